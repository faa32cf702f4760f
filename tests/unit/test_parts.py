"""Long new parts, made in pieces: a takeover in any of them, or a worker that wakes up late, changes no frame."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from longtake import parts
from longtake.engines.base import Frames, Report, Shot
from longtake.engines.motion import Motion
from longtake.errors import UnknownError
from longtake.fetch import Fetcher, FetchRules
from longtake.footage import KINDS, Run, keys_of
from longtake.media.encode import encode, gop_length
from longtake.orders import KeyFrame, Order, Reframe
from longtake.parts import Reel, piece_end
from longtake.records import Result, Upload
from longtake.video import VideoFormat
from longtake.watching import Watch
from longtake.worker import Worker
from tests.footage import decode_linearly, flat, moving, same
from tests.stage import Dead, Steps, walking
from tests.wire_rig import KEY, Rig

T = TypeVar("T")
RATE = Fraction(6)
FORMAT = VideoFormat(96, 64, RATE)
GROUP = gop_length(RATE)
SECONDS = Fraction(7)
PIECES = ((0, 12), (12, 24), (24, 42))
"""Of seven seconds of six frames, where none may be longer than two: the last one would be shorter than a group."""


class Shown(Motion):
    """Keeps from where on it was asked, and gives what it renders a tone of its own."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.after: Callable[[int], None] = lambda num_frames: None
        self.shade = 0

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        self.starts.append(shot.start)
        num_frames = shot.start
        for batch in super().render(shot, report):
            num_frames += batch.num_frames
            self.after(num_frames)
            y, u, v = batch.planes
            yield Frames((np.clip(y, 40, 200) + np.uint8(self.shade), u, v))


class Yard:
    """A front, and two workers without a workflow: one makes new parts in pieces, the other all at once."""

    def __init__(self, folder: Path) -> None:
        self.rig, self.engine = Rig.build(folder), Shown()
        self.folder = folder
        fetcher = Fetcher(FetchRules(max_bytes=1, timeout_seconds=1))
        both: dict[str, Any] = {"engines": {"motion": self.engine}, "max_still_pixels": 10**6}
        self.worker = Worker(self.rig.records, self.rig.store, fetcher, part_seconds=Fraction(2), **both)
        self.at_once = Worker(self.rig.records, self.rig.store, fetcher, part_seconds=None, **both)
        self.frames = {"a": walking_small(), "b": moving(18, 96, 64, seed=5), "long": moving(42, 96, 64, step=0.5)}

    def bring(self, name: str) -> KeyFrame:
        """One of the clips, or a picture."""
        path, type = self.folder / f"{name}.file", "video" if name in self.frames else "image"
        if not path.exists():
            if name in self.frames:
                encode([self.frames[name]], FORMAT, path)
            else:
                Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 96, 3), np.uint8)).save(path, "png")
            self.rig.store.put(f"uploads/{name}.{type}", path.read_bytes())
            facts: Any = 96, 64, 2.0, 6.0, path.stat().st_size, "", time.time()
            self.rig.records.add_upload(Upload(name, "default", type, f"uploads/{name}.{type}", *facts))  # type: ignore[arg-type]
        return KeyFrame(type=type, upload=name)  # type: ignore[arg-type]

    def submit(self, kind: str) -> str:
        self.engine.starts.clear()
        self.engine.after = lambda num_frames: None
        order = replace(ORDERS[kind](self), seed=3)
        return self.rig.service.submit(self.rig.keys.check(KEY), order, wire="native", request={}).id

    def result(self, id: str) -> Result:
        made = self.rig.records.get(id)
        assert made.result, made.failure_reason
        return made.result

    def bytes_of(self, id: str) -> dict[str, str]:
        """A digest of each object that the record names."""
        result = self.result(id)
        keys = {*keys_of(result.timeline), result.video_key, result.image_key, result.segment_key}
        return {key: hashlib.sha256(self.rig.store.read(key)).hexdigest() for key in keys}

    def made(self, id: str) -> list[str]:
        """All that lies in the generation's folders."""
        return sorted(key for kind in KINDS for key in self.rig.store.keys(f"{kind}/{id}"))

    def video(self, id: str) -> Frames:
        return decode_linearly(self.folder / "objects" / self.result(id).video_key)[0]


ORDERS: dict[str, Callable[[Yard], Order]] = {
    "append": lambda yard: Order(before=yard.bring("a"), seconds=SECONDS),
    "prepend": lambda yard: Order(after=yard.bring("a"), seconds=SECONDS),
    "bridge": lambda yard: Order(before=yard.bring("a"), after=yard.bring("b"), seconds=SECONDS),
    "still": lambda yard: Order(before=yard.bring("p"), seconds=SECONDS, frame_rate=RATE, short_side=64),
    "prompt": lambda yard: Order(prompt="waves at sunset", seconds=SECONDS, frame_rate=RATE, short_side=64),
    "takes": lambda yard: Order(before=yard.bring("a"), seconds=SECONDS, takes=2),
    "edit": lambda yard: Order(before=yard.bring("long"), edit=Reframe(aspect_ratio=(1, 1), short_side=96)),
}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("yard"))


def walking_small() -> Frames:
    """A square that walks over a standing background, a little darker than what `Shown` gives."""
    whole = walking(20)
    return Frames(tuple(plane[:, : 64 // d, : 96 // d] for plane, d in zip(whole.planes, (1, 2, 2), strict=True)))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Frames]:
    """What was given to the encoder."""
    given: list[Frames] = []

    def kept(frames: Iterator[Frames], *args: Any) -> Any:
        def copied() -> Iterator[Frames]:
            for batch in frames:
                given.append(Frames(tuple(plane.copy() for plane in batch.planes)))
                yield batch

        return encode(copied(), *args)

    monkeypatch.setattr(parts, "encode", kept)
    return given


def taken(given: list[Frames]) -> Frames:
    """All of it in one piece; the list is empty afterwards."""
    whole = Frames(tuple(np.concatenate(planes) for planes in zip(*(batch.planes for batch in given), strict=True)))
    given.clear()
    return whole


def pieces_of(kind: str) -> list[str]:
    """The names of the steps that make them."""
    steps = {"edit": ["edit"], "takes": ["render", "render take 2"]}.get(kind, ["render"])
    return [f"{step}{part}" for step in steps for part in ("", " part 2", " part 3")]


@dataclass
class Made:
    """What came of an order."""

    given: Frames
    """To the encoder."""
    figures: list[Any]
    seams: tuple[dict[str, Any], ...]
    video: Frames

    @classmethod
    def of(cls, yard: Yard, id: str, encoded: list[Frames]) -> Made:
        result = yard.result(id)
        (segment,) = [part for part in result.timeline.segments if part.owner == id]
        assert list(yard.rig.store.keys(f"segments/{id}")) == [segment.key]
        assert set(yard.made(id)) <= {*keys_of(result.timeline), result.video_key, result.image_key}
        reversals = [take["reversal"] for take in result.takes or ()]
        figures = [result.notes, result.new_frames, segment.key_frames, result.reversal, reversals]
        return cls(taken(encoded), figures, result.seams, yard.video(id))


@pytest.mark.parametrize("kind", ORDERS)
def test_a_takeover_in_each_piece_gives_the_frames_and_figures_of_one_rendering(
    yard: Yard, encoded: list[Frames], kind: str
) -> None:
    names, made = pieces_of(kind), []
    yard.engine.shade = 6
    for deaths in (None, [], [*names, "splice"]):
        id, steps = yard.submit(kind), Steps()
        encoded.clear()
        worker = yard.at_once if deaths is None else yard.worker
        for start, steps.dies_at in enumerate(deaths or [], 1):
            with pytest.raises(Dead):
                worker.carry_out(Run(id, 1, start), steps)
        steps.dies_at = ""
        worker.run(id, 1, len(deaths or []) + 1, steps)
        made.append(Made.of(yard, id, encoded))
        if deaths is not None:
            made_in = [name for name in steps.kept if name.startswith(("render", "edit")) and "whole" not in name]
            assert made_in == names
            starts = [start for start, _ in PIECES] if deaths else [0]
            assert yard.engine.starts == ([] if kind == "edit" else starts * (len(names) // 3))
    whole, pieces, taken_over = made
    assert same(whole.given, pieces.given)
    assert same(whole.given, taken_over.given)
    assert whole.figures == pieces.figures == taken_over.figures
    assert same(pieces.video, taken_over.video)
    assert pieces.seams == taken_over.seams
    planes = zip(whole.video.planes, pieces.video.planes, strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in planes) < 1
    if kind in ("append", "prepend", "bridge"):
        assert any("its tone was fitted" in note for note in whole.figures[0])
        assert whole.figures[3] is not None


class Conflict(BaseException):
    """What a workflow raises for a run that another one has taken over from."""


class Frozen(Steps):
    """A run that is frozen ahead of the step named, wakes up when another has ended all, and then does the step."""

    def __init__(self, name: str, others: Callable[[Steps], None]) -> None:
        super().__init__()
        self._name, self._others = name, others

    def __call__(self, name: str, function: Callable[[], T]) -> T:
        if name != self._name or name in self.kept:
            return super().__call__(name, function)
        other = Steps()
        other.kept = dict(self.kept)
        self._others(other)
        with suppress(Exception):  # that is not recorded either
            function()
        raise Conflict


STEPS = ("bring frame0", "render", "render part 3", "render whole", "splice", "poster")


@pytest.mark.parametrize("name", [*STEPS, "edit part 2", "edit whole"])
def test_a_run_that_wakes_up_late_changes_nothing_that_is_used(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("longtake.worker._tell", lambda *_: None)  # so that nothing stops the late one
    id = yard.submit("edit" if name.startswith("edit") else "append")
    found: list[Any] = []

    def finish(steps: Steps) -> None:
        yard.worker.run(id, 1, 2, steps)
        found.extend((yard.rig.records.get(id), yard.bytes_of(id), yard.made(id)))

    with pytest.raises(Conflict):
        yard.worker.run(id, 1, 1, Frozen(name, finish))
    assert (yard.rig.records.get(id), yard.bytes_of(id)) == (found[0], found[1])
    late = set(yard.made(id)) - set(found[2])
    assert late or name in ("bring frame0", "render whole", "edit whole")  # whose pieces are gone
    assert all(f"/{id}/1-1" in key for key in late)
    yard.rig.service.delete(id, "default")
    assert yard.made(id) == []


def test_an_older_attempt_that_wakes_up_changes_nothing_of_the_newer_one(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longtake.worker._tell", lambda *_: None)
    id = yard.submit("append")

    def retry(_: Steps) -> None:
        yard.rig.records.fail(id, "no luck", "world")
        yard.rig.records.retry(id, "default")
        yard.worker.run(id, 2, 1, Steps())

    steps = Frozen("render part 2", retry)
    with pytest.raises(Conflict):
        yard.worker.run(id, 1, 1, steps)
    found = yard.bytes_of(id)
    yard.worker._clean_up(Run(id, 1, 1))
    assert yard.bytes_of(id) == found
    assert not [key for key in yard.made(id) if f"/{id}/1-1" in key]


def test_a_cancel_between_two_pieces_leaves_the_next_unmade_and_nothing_behind(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yard.worker, "_report_seconds", 0.0)
    id = yard.submit("append")

    def cancel(num_frames: int) -> None:
        if num_frames > PIECES[0][1]:
            yard.rig.records.fail(id, "cancelled", "cancelled")

    yard.engine.after, steps = cancel, Steps()
    yard.worker.run(id, 1, 1, steps)
    assert yard.rig.records.get(id).failure_kind == "cancelled"
    assert list(steps.kept) == ["bring frame0", "render"]
    assert yard.made(id) == []


def test_progress_and_what_can_be_watched_never_go_back_over_pieces_and_takeovers(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yard.worker, "_report_seconds", 0.0)
    id, steps, told, lengths = yard.submit("append"), Steps(), [0.0], [0]
    names: set[str] = set()
    report = yard.rig.records.report

    def reported(id: str, attempt: int, stage: str, progress: float) -> None:
        report(id, attempt, stage, progress)
        told.append(progress)
        with suppress(UnknownError):
            watch = Watch.of(yard.rig.records.get(id), yard.rig.store)
            lengths.append(watch.shown.num_frames)
            names.update(line for line in watch.playlist(str).splitlines() if line[0] != "#")

    monkeypatch.setattr(yard.rig.records, "report", reported)
    for start, steps.dies_at in enumerate(("render part 2", "render part 3", "render whole", "measure"), 1):
        with pytest.raises(Dead):
            yard.worker.carry_out(Run(id, 1, start), steps)
    steps.dies_at = ""
    yard.worker.run(id, 1, 5, steps)
    assert told == sorted(told)
    assert lengths == sorted(lengths)
    assert lengths[-1] == 20 + 42
    whole = Watch.of(yard.rig.records.get(id), yard.rig.store)
    assert names == {line for line in whole.playlist(str).splitlines() if line[0] != "#"}


def test_an_upload_is_made_into_footage_once_by_whoever_says_so_first(yard: Yard) -> None:
    ids = [yard.submit("append") for _ in range(2)]
    with yard.rig.records._engine.begin() as connection:
        connection.exec_driver_sql("update uploads set footage = null where id = 'a'")

    def first(_: str, stage: str) -> None:
        if stage == "bring" and not yard.rig.records.brought("a"):
            yard.worker.run(ids[1], 1, 1, Steps())

    generation = yard.rig.records.start(ids[0], 1)
    assert generation
    frame = KeyFrame(type="video", upload="a")
    kept = yard.worker._bringing.bring(
        Run(ids[0]), generation, "frame0", frame, lambda stage, part: first(ids[1], stage)
    )
    assert kept["footage"] == yard.rig.records.brought("a")
    assert yard.result(ids[1]).timeline.segments[0].key == f"sources/a/{ids[1]}-1-1.mp4"
    assert not [key for key in yard.rig.store.keys("sources/a") if ids[0] in key]


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0, 10.0])
def test_pieces_begin_at_key_frames_and_the_last_one_is_no_shorter_than_a_group(seconds: float) -> None:
    for rate in (Fraction(6), Fraction(30000, 1001), Fraction(1, 2)):
        group = gop_length(rate)
        for num_frames in {*range(1, 8 * group), int(61 * rate) or 1}:
            pieces = divided(num_frames, rate, seconds)
            assert [stop for _, stop in pieces[:-1]] == [start for start, _ in pieces[1:]]
            assert (pieces[0][0], pieces[-1][1]) == (0, num_frames)
            assert all(start % group == 0 for start, _ in pieces)
            lengths = [stop - start for start, stop in pieces]
            assert (len(lengths) == 1) or min(lengths) >= group
            most = round(rate * Fraction(seconds))
            assert len(lengths) == 1 or max(lengths) <= max(most, group) + (group if most < 2 * group else 0)
            assert len(lengths) > 1 or num_frames <= most or num_frames < 2 * group
    assert divided(300, Fraction(30000, 1001), 10) == [(0, 300)], "ten seconds are ten seconds"
    assert divided(10**6, RATE, None) == [(0, 10**6)]


def divided(num_frames: int, rate: Fraction, seconds: float | None) -> list[tuple[int, int]]:
    stops = [0]
    while stops[-1] < num_frames:
        stops.append(piece_end(stops[-1], num_frames, rate, seconds))
    return list(pairwise(stops))


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 2), (2, None), (None, 2)])
@pytest.mark.parametrize("what", ["append", "edit"])
def test_a_worker_with_other_settings_goes_on_with_a_part_that_was_begun(
    yard: Yard,
    encoded: list[Frames],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    first: int | None,
    then: int | None,
) -> None:
    whole = yard.submit(what)
    yard.at_once.run(whole, 1, 1, Steps())
    given = taken(encoded)
    id, steps = yard.submit(what), Steps()
    monkeypatch.setattr(yard.worker, "_part_seconds", first)
    steps.dies_at = "poster" if first is None else f"{'edit' if what == 'edit' else 'render'} part 2"
    with pytest.raises(Dead):
        yard.worker.carry_out(Run(id, 1, 1), steps)
    monkeypatch.setattr(yard.worker, "_part_seconds", then)
    steps.dies_at = ""
    yard.worker.run(id, 1, 2, steps)
    assert same(taken(encoded), given)
    assert yard.video(id).num_frames == yard.video(whole).num_frames


def test_a_reel_gives_all_frames_once_however_batches_and_stretches_lie() -> None:
    frames = flat(20, 0)
    frames.planes[0][:] = np.arange(20, dtype=np.uint8)[:, None, None]
    for batch in (1, 3, 7, 20):
        for stretches in ((20,), (1, 19), (7, 7, 6), (2, 3, 15)):
            reel = Reel(frames[at : at + batch] for at in range(0, 20, batch))
            found = [[int(y) for b in reel.take(n) for y in b.planes[0][:, 0, 0]] for n in (*stretches[:-1], None)]
            assert [len(stretch) for stretch in found] == list(stretches)
            assert list(chain.from_iterable(found)) == list(range(20))
