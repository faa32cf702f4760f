"""Every kind of file that people bring × append, prepend, bridge and cut: what is kept stays, bit for bit and in time.

Sources are read by `keep_footage`, and extended by the same steps as in a worker, with an engine that takes no time.
Everything is then decoded by FFmpeg alone. The rows of docs/formats.md are checked against what happens here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from longtake.engines.base import Capabilities, Frames, Report, Shot
from longtake.footage import Footage, Run
from longtake.joining import join, timeline_of
from longtake.media.encode import encode
from longtake.media.planes import empty_frames
from longtake.orders import KeyFrame, Order
from longtake.planning import Plan
from longtake.rendering import render
from longtake.scene import Scene
from longtake.sources import keep_footage, match
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import HOUSE
from tests.kinds import BY_NAME, CONVERTED, GOP, KEPT, NUM_FRAMES, STEP, names

VIDEO = KeyFrame(type="video", url="-")
NUM_NEW = 6
NEAR = 6.0
"""Levels: what was encoded again may differ from what it was by so much on average."""
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


class Flat:
    """Renders one shade at once."""

    capabilities = Capabilities(name="flat", context_seconds=Fraction(1, 4))

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        frames = empty_frames(shot.num_frames, shot.format.width, shot.format.height)
        for plane in frames.planes:
            plane[:] = 128
        yield frames


@dataclass
class Seen:
    """A file as FFmpeg alone decodes it from its first packet to its last."""

    path: Path
    hashes: list[str]
    times: list[Fraction]
    """Seconds, as the container says; -1 where it says nothing."""
    lumas: list[np.ndarray[Any, np.dtype[np.float64]]]
    """In levels of 8 bits."""
    tags: set[tuple[Any, ...]]
    """Of all frames: codec, pixels, colours, sample aspect, rotation."""
    tick: Fraction
    """What its container counts time in, in seconds."""


def see(path: Path) -> Seen:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        codec, aspect = stream.codec_context.codec.canonical_name, Fraction(stream.sample_aspect_ratio or 1)
        tags = {(codec, *tags_of(frame), aspect, round(frame.rotation) % 360) for frame in frames}
        tick = Fraction(stream.time_base or 1)
    lumas, times = [luma(frame) for frame in frames], [time_of(frame) for frame in frames]
    return Seen(path, [digest(frame) for frame in frames], times, lumas, tags, tick)


def tags_of(frame: VideoFrame) -> tuple[Any, ...]:
    colours = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
    return frame.format.name.replace("yuvj", "yuv"), colours


def digest(frame: VideoFrame) -> str:
    """Of all samples of all planes, without what pads their rows."""
    made = hashlib.blake2b(digest_size=12)
    num_bytes = 4 if frame.format.is_rgb else 1 + (frame.format.components[0].bits > 8)
    for plane in frame.planes:
        assert isinstance(plane, VideoPlane)
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        made.update(rows[:, : plane.width * num_bytes].tobytes())
    return made.hexdigest()


def time_of(frame: VideoFrame) -> Fraction:
    return Fraction(-1) if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def luma(frame: VideoFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Every fourth sample of the first plane: enough to tell frames apart."""
    if frame.format.is_rgb:
        frame = frame.reformat(format="yuv420p")
    bits = frame.format.components[0].bits
    plane = np.frombuffer(frame.planes[0], np.uint16 if bits > 8 else np.uint8)  # type: ignore[call-overload]
    rows = plane.reshape(frame.height, -1)[::4, : frame.width : 4]
    return np.asarray(rows / 2.0 ** (bits - 8))


@dataclass
class Shelf:
    """A kind's file, what it is in the store, and what comes of extending it."""

    source: Seen
    footage: Footage
    store: Store
    folder: Path
    num_made: int = 0

    @property
    def timeline(self) -> Timeline:
        return self.footage.timeline

    def extend(
        self, before: Footage | None, after: Footage | None, cut: Fraction | None = None
    ) -> tuple[Seen, Plan, Timeline]:
        """What is made of ends that may be cut. Each frame is shown when the timeline says."""
        end = replace(VIDEO, at=cut)
        seconds = max(NUM_NEW / self.timeline.format.frame_rate, Fraction(1, 10))
        order = Order(before=end if before else None, after=end if after else None, seconds=seconds)
        self.num_made += 1
        id = f"made{self.num_made}"
        scene = Scene.of(Run(id), order, before, after, Flat.capabilities, self.store)
        planned, rendered = scene.plan, render(scene, Flat())
        made, start = timeline_of(planned, rendered)
        key, *_ = join(Run(id), made, self.store)
        seen = see(self.path_of(key))
        assert start == planned.outline.before_stop
        assert len(seen.hashes) == made.num_frames == planned.outline.total_frames
        assert seen.times == [made.time_of(number) for number in range(made.num_frames)]
        return seen, planned, made

    def path_of(self, key: str) -> Path:
        path = self.store.open(key)
        assert isinstance(path, str)
        return Path(path)

    def like_it(self) -> Footage:
        """Footage of ours, made to match it."""
        format = self.timeline.format
        shade = empty_frames(GOP, format.width, format.height, format.coding.colour)
        for plane in shade.planes:
            plane[:] = 90
        encoded = encode([shade], format, self.folder / "like-it.mp4")
        self.store.put_file("segments/like-it.mp4", self.folder / "like-it.mp4")
        return Footage(
            Timeline(format, (Segment("x", "segments/like-it.mp4", 0, encoded.num_frames, encoded.key_frames),))
        )


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shelf]:
    """The shelf of a kind, made once."""

    @cache
    def shelf(kind: str) -> Shelf:
        folder = tmp_path_factory.mktemp("kind")
        return shelf_of(BY_NAME[kind].make(folder), folder)

    return shelf


def shelf_of(path: Path, folder: Path) -> Shelf:
    store = Store.in_folder(folder / "store")
    footage = keep_footage(path, "sources/it", "upload:it", store, lambda stage, part: None)
    return Shelf(see(path), footage, store, folder)


def check_kept(made: Seen, start: int, source: Seen, first: int, last: int) -> None:
    """The source's frames `[first, last)` are those of what was made from `start` on: their bits, and their times."""
    stop = start + last - first
    assert made.hashes[start:stop] == source.hashes[first:last]
    if last == first:
        return
    shown = [time - made.times[start] for time in made.times[start:stop]]
    expected = [time - source.times[first] for time in source.times[first:last]]
    if shown != expected:  # of a constant rate, made exact; its container rounds
        assert len({later - earlier for earlier, later in pairwise(shown)}) == 1
        assert max(abs(a - b) for a, b in zip(shown, expected, strict=True)) <= source.tick


def check_seeks(made: Seen, frames: Iterable[int]) -> None:
    """A player that seeks to a frame gets it, and the one after it."""
    with av.open(str(made.path)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        for number in frames:
            container.seek(round(made.times[number] / made.tick), stream=stream)
            decoded = (frame for frame in container.decode(stream) if time_of(frame) >= made.times[number])
            assert [digest(frame) for frame in islice(decoded, 2)] == made.hashes[number : number + 2], number


def check_near(made: Seen, start: int, source: Seen, first: int, last: int) -> None:
    for a, b in zip(made.lumas[start:], source.lumas[first:last], strict=False):
        assert np.abs(a - b).mean() < NEAR


SEEKABLE = [name for name in names(KEPT) if name != "H.264 with one key frame (intra refresh)"]


@pytest.mark.parametrize("kind", names(KEPT))
def test_what_is_kept_is_kept(kind: str, shelves: Callable[[str], Shelf]) -> None:
    shelf = shelves(kind)
    assert shelf.footage.converted == ()
    assert shelf.timeline.num_frames == len(shelf.source.hashes)
    format = shelf.timeline.format
    assert {(format.coding.codec, format.coding.pix_fmt)} == {tags[:2] for tags in shelf.source.tags}


@pytest.mark.parametrize("kind", names(KEPT))
def test_an_append_and_a_prepend_leave_every_frame_as_it_was(kind: str, shelves: Callable[[str], Shelf]) -> None:
    shelf = shelves(kind)
    num, source = shelf.timeline.num_frames, shelf.source
    appended, planned, _ = shelf.extend(shelf.footage, None)
    check_kept(appended, 0, source, 0, num)
    prepended, other, _ = shelf.extend(None, shelf.footage)
    check_kept(prepended, len(prepended.hashes) - num + other.num_lead, source, other.num_lead, num)
    assert planned.num_tail == 0
    assert (other.num_lead > 0) == ("trimmed" in kind)  # what is hidden can't stand in the middle
    for made, seam in ((appended, num), (prepended, len(prepended.hashes) - num)):
        assert made.tags == source.tags
        if kind in SEEKABLE:
            check_seeks(made, (0, 1, GOP, seam - 1, seam, seam + 1, len(made.hashes) - 2))


@pytest.mark.parametrize("kind", names(KEPT))
def test_a_bridge_leaves_every_frame_of_both_as_it_was(kind: str, shelves: Callable[[str], Shelf]) -> None:
    shelf = shelves(kind)
    num, source, ours = shelf.timeline.num_frames, shelf.source, shelf.like_it()
    itself, planned, _ = shelf.extend(shelf.footage, shelf.footage)
    check_kept(itself, 0, source, 0, num)
    check_kept(itself, len(itself.hashes) - num + planned.num_lead, source, planned.num_lead, num)
    own = see(shelf.path_of(ours.timeline.segments[0].key))
    there, _, _ = shelf.extend(shelf.footage, ours)
    check_kept(there, 0, source, 0, num)
    check_kept(there, len(there.hashes) - GOP, own, 0, GOP)
    back, planned, _ = shelf.extend(ours, shelf.footage)
    check_kept(back, 0, own, 0, GOP)
    check_kept(back, len(back.hashes) - num + planned.num_lead, source, planned.num_lead, num)
    assert itself.tags == there.tags == back.tags == source.tags
    if kind in SEEKABLE:
        check_seeks(itself, (num - 1, num, len(itself.hashes) - num - 1, len(itself.hashes) - num))


CODECS = ("H.264 with B-frames", "HEVC with B-frames", "VP9", "MPEG-4 without B-frames")


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(60)])
@pytest.mark.parametrize("kind", CODECS)
def test_a_bridge_of_two_rates_leaves_every_frame_of_both_as_it_was(
    kind: str, rate: Fraction, shelves: Callable[[str], Shelf], tmp_path: Path
) -> None:
    shelf, path = shelves(kind), replace(BY_NAME[kind], rate=rate).make(tmp_path)
    stem = f"sources/{rate.numerator}"
    other, source = keep_footage(path, stem, "upload:other", shelf.store, lambda stage, part: None), see(path)
    assert (shelf.timeline.format.frame_rate, other.timeline.format.frame_rate) == (Fraction(24), rate)
    num = shelf.timeline.num_frames
    ours, theirs = (shelf.footage, shelf.source), (other, source)
    for (before, first), (after, last) in ((ours, theirs), (theirs, ours)):
        before, after = match(Run("x"), before, after, shelf.store, lambda stage, part: None)
        assert before.converted == after.converted == ()
        made, planned, _ = shelf.extend(before, after)
        assert planned.outline.format.frame_rate == min(24, rate)
        check_kept(made, 0, first, 0, num)
        check_kept(made, len(made.hashes) - num, last, 0, num)
        assert made.tags == shelf.source.tags
        check_seeks(made, (num - 1, num, len(made.hashes) - num - 1, len(made.hashes) - num))


@pytest.mark.parametrize("kind", names(KEPT))
def test_a_cut_leaves_all_as_it_was_but_the_few_frames_beside_it(kind: str, shelves: Callable[[str], Shelf]) -> None:
    shelf = shelves(kind)
    source, timeline, num = shelf.source, shelf.timeline, shelf.timeline.num_frames
    cut = max(range(GOP + 1, 2 * GOP), key=lambda place: timeline.head(place)[1])  # the worst place of the second group
    appended, planned, _ = shelf.extend(shelf.footage, None, timeline.time_of(cut))
    kept = cut - planned.num_tail
    assert (planned.num_tail > 0) == (timeline.segments[0].reorder > 0)
    check_kept(appended, 0, source, 0, kept)
    check_near(appended, kept, source, kept, cut)
    prepended, other, _ = shelf.extend(None, shelf.footage, timeline.time_of(cut))
    lead, start = other.num_lead, len(prepended.hashes) - num + cut
    check_kept(prepended, start + lead, source, cut + lead, num)
    check_near(prepended, start, source, cut, cut + lead)
    shown = [time - prepended.times[start] for time in prepended.times[start:]]
    whole = [time - source.times[cut] for time in source.times[cut:]]
    assert max(abs(a - b) for a, b in zip(shown, whole, strict=True)) <= source.tick
    assert appended.tags == prepended.tags == source.tags
    if kind in SEEKABLE:
        check_seeks(appended, (kept, cut - 1, cut, cut + 1))
        check_seeks(prepended, (start - 1, start, min(start + lead, len(prepended.hashes) - 2)))


@pytest.mark.parametrize("kind", names(CONVERTED))
def test_what_cant_be_kept_is_brought_to_house_format_and_extended(kind: str, shelves: Callable[[str], Shelf]) -> None:
    shelf = shelves(kind)
    assert shelf.timeline.format.coding == HOUSE
    assert shelf.footage.converted
    home = see(shelf.path_of(shelf.timeline.segments[0].key))
    assert len(home.hashes) == shelf.timeline.num_frames
    appended, _, _ = shelf.extend(shelf.footage, None)
    check_kept(appended, 0, home, 0, len(home.hashes))
    if not kind.startswith("HDR"):  # whose picture is meant to change
        steps = np.diff([frame.mean() for frame in home.lumas])
        assert abs(steps.mean() / STEP - 1) < 0.25
    check_seeks(appended, (0, len(home.hashes) - 1, len(home.hashes)))


@pytest.mark.parametrize("params", ["", "bframes=8:ref=5:keyint=16:min-keyint=16:rc-lookahead=20", "radl=2"])
def test_hevc_with_open_groups_is_cut_anywhere_and_kept_from_the_next_key_frame_on(params: str, tmp_path: Path) -> None:
    kind = replace(BY_NAME["HEVC with open groups"], params=f"open-gop=1:{params}".rstrip(":"))
    shelf = shelf_of(kind.make(tmp_path), tmp_path)
    num, segment = shelf.timeline.num_frames, shelf.timeline.segments[0]
    assert segment.open_entries or "radl" in params
    entries = sorted({*segment.key_frames, *segment.open_entries, num})
    for cut in (1, 7, entries[1] - 1, entries[1], entries[1] + 1, num - 2):
        made, planned, timeline = shelf.extend(None, shelf.footage, shelf.timeline.time_of(cut))
        lead, start = planned.num_lead, len(made.hashes) - num + cut
        assert cut + lead == next(entry for entry in entries if entry >= cut)
        check_kept(made, start + lead, shelf.source, cut + lead, num)
        check_near(made, start, shelf.source, cut, cut + lead)
        check_seeks(made, (start - 1, start, min(start + lead, len(made.hashes) - 2)))
        if cut == num - 2:
            continue
        again, planned, _ = shelf.extend(None, Footage(timeline), Fraction(NUM_NEW + lead + 2) / 24)  # of what was made
        kept = len(again.hashes) - NUM_NEW - planned.num_lead
        assert again.hashes[len(again.hashes) - kept :] == made.hashes[len(made.hashes) - kept :]


REAL = ("intel_car-detection.mp4", "mdn_flower.mp4", "mdn_friday.mp4", "sam2_dog.mp4", "sam2_bedroom.mp4")


@pytest.mark.parametrize("name", REAL)
def test_real_footage_stays_frame_for_frame_whatever_is_done_to_it(name: str, clips: Path, tmp_path: Path) -> None:
    shelf = shelf_of(start_of(clips / name, tmp_path / name, NUM_FRAMES), tmp_path)
    assert shelf.footage.converted == ()
    for kind_of_check in (
        test_an_append_and_a_prepend_leave_every_frame_as_it_was,
        test_a_bridge_leaves_every_frame_of_both_as_it_was,
        test_a_cut_leaves_all_as_it_was_but_the_few_frames_beside_it,
    ):
        kind_of_check(SEEKABLE[0], lambda _: shelf)


def start_of(source: Path, path: Path, num: int) -> Path:
    """The first packets of a file, copied."""
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        assert isinstance(container, InputContainer)
        copy = output.add_stream_from_template(container.streams.video[0])
        for packet in islice(container.demux(container.streams.video[0]), num):
            packet.stream = copy
            output.mux(packet)
    return path


def rows() -> list[list[str]]:
    """The cells of the table of kinds."""
    table = PAGE.read_text().partition("\n## The table\n")[2]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_has_a_row_for_each_kind() -> None:
    assert [row[0] for row in rows()] == [*names(KEPT), *names(CONVERTED)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_page_says_what_happens(row: list[str], shelves: Callable[[str], Shelf]) -> None:
    kind, what, tail, lead, _ = row
    shelf = shelves(kind)
    timeline, num = shelf.timeline, shelf.timeline.num_frames
    assert what == ("; ".join(shelf.footage.converted) or "kept")
    if shelf.footage.converted:
        assert (tail, lead) == ("—", "—")
        assert timeline.segments[0].reorder == 0
        return
    assert tail == said(max(timeline.head(number)[1] for number in range(1, num + 1)), num)
    assert lead == said(max(timeline.split_at(number)[0] for number in range(num)), num)


def said(most: int, num: int) -> str:
    if most == num - 1:
        return "all of it"
    return f"up to {most}" if most else "none"
