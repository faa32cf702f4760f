"""Promise 2, reading: any stretch of a timeline, frame-exact, entered at the nearest key frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from longtake.errors import FaultError
from longtake.frames import Frames
from longtake.media import decode
from longtake.media.decode import read, read_all
from longtake.media.objects import OpenObject
from longtake.media.planes import BATCH_FRAMES, batch_length
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from tests.footage import (
    concatenate,
    decode_linearly,
    keep_as_it_is,
    moving,
    opener,
    same,
    store,
    timeline,
    video_frames,
    write_foreign,
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Timeline, Frames]:
    """Five segments of three objects, three of them cut, and all their frames by linear decoding."""
    folder = tmp_path_factory.mktemp("scene")
    a, b, c = (store(folder, key, moving(n, seed=n)) for key, n in (("a", 50), ("b", 13), ("c", 31)))
    parts = [
        a,
        Segment("b", "b", 0, 7, b.key_frames),
        Segment("c", "c", 12, 31, c.key_frames),
        Segment("a", "a", 24, 41, a.key_frames),
        b,
    ]
    own = {key: decode_linearly(folder / key)[0] for key in "abc"}
    return folder, timeline(*parts), concatenate(own[part.key][part.start : part.stop] for part in parts)


def test_random_stretches_equal_a_full_linear_decode(scene: tuple[Path, Timeline, Frames]) -> None:
    folder, joined, expected = scene
    rng = random.Random(1)
    for _ in range(60):
        start = rng.randrange(joined.num_frames)
        stop = rng.randint(start + 1, joined.num_frames)
        assert same(read_all(joined, start, stop, opener(folder)), expected[start:stop]), (start, stop)


@pytest.mark.parametrize("wanted", [[5, 7, 10, 12, 15, 79], list(range(6, 80, 3)), [60], range(5, 80)])
def test_of_a_stretch_only_the_frames_wanted_are_kept(
    scene: tuple[Path, Timeline, Frames], wanted: Sequence[int]
) -> None:
    folder, joined, expected = scene
    found = read_all(joined, 5, 80, opener(folder), wanted=wanted)
    assert same(found, concatenate(expected[number : number + 1] for number in wanted))
    assert found.planes[0].base is None  # no others are held behind them


@pytest.mark.parametrize("wanted", [[], [4, 6], [7, 80], [6, 6], [9, 7]])
def test_frames_wanted_outside_of_the_stretch_or_out_of_order_are_refused(
    scene: tuple[Path, Timeline, Frames], wanted: list[int]
) -> None:
    folder, joined, _ = scene
    with pytest.raises(ValueError, match="must ascend inside"):
        read_all(joined, 5, 80, opener(folder), wanted=wanted)


def test_random_stretches_of_kept_footage_with_b_frames_and_times_of_its_own_equal_a_linear_decode(
    tmp_path: Path,
) -> None:
    """Open groups, so that frames ahead of a key frame need what follows it; entered anywhere, across a join."""
    dice = random.Random(2)
    pts = [0, *accumulate(dice.choices((1, 1, 2, 3), k=49))]
    options = {"x264-params": "bframes=3:b-pyramid=normal:open-gop=1:keyint=12:min-keyint=12:scenecut=0"}
    write_foreign(tmp_path / "own.mp4", video_frames(moving(50)), pts=pts, options=options)
    segment, format = keep_as_it_is(tmp_path / "own.mp4", tmp_path, "a")
    assert segment.reorder
    assert segment.stamps
    stop = segment.stops[len(segment.stops) // 2]
    joined = timeline(replace(segment, stop=stop), segment, format=format)
    own = decode_linearly(tmp_path / "own.mp4")[0]
    expected = concatenate([own[:stop], own])
    for _ in range(40):
        first = dice.randrange(joined.num_frames)
        last = dice.randint(first + 1, joined.num_frames)
        assert same(read_all(joined, first, last, opener(tmp_path)), expected[first:last]), (first, last)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_footage_is_read_upright(degrees: int, tmp_path: Path) -> None:
    write_foreign(tmp_path / "own.mp4", video_frames(moving(6)), rotation=degrees)
    segment, format = keep_as_it_is(tmp_path / "own.mp4", tmp_path, "a")
    stored = decode_linearly(tmp_path / "own.mp4")[0]
    upright = Frames(tuple(np.rot90(plane, degrees // 90, axes=(1, 2)) for plane in stored.planes))
    assert same(read_all(timeline(segment, format=format), 0, 6, opener(tmp_path)), upright)


def test_batches_are_small_packed_and_of_their_own_memory(scene: tuple[Path, Timeline, Frames]) -> None:
    folder, joined, expected = scene
    batches = list(read(joined, 0, joined.num_frames, opener(folder)))
    assert max(batch.num_frames for batch in batches) <= BATCH_FRAMES
    assert all(plane.flags.c_contiguous for batch in batches for plane in batch.planes)
    assert same(concatenate(batches), expected)
    assert batch_length(4096, 2160) * 4096 * 2160 * 3 // 2 < 32 * 2**20


def test_only_the_segments_touched_are_opened_and_entered_at_the_nearest_key_frame(
    scene: tuple[Path, Timeline, Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, joined, _ = scene
    entered: list[tuple[str, int]] = []
    numbers: list[int] = []
    enter_at, number = OpenObject.enter_at, OpenObject.number

    def spy_enter(self: OpenObject, key_frame: int) -> None:
        entered.append((self.key, key_frame))
        enter_at(self, key_frame)

    def spy_number(self: OpenObject, pts: int | None) -> int:
        numbers.append(number(self, pts))
        return numbers[-1]

    monkeypatch.setattr(OpenObject, "enter_at", spy_enter)
    monkeypatch.setattr(OpenObject, "number", spy_number)
    read_all(joined, 46, 48, opener(folder))
    assert entered == [("a", 36)]
    assert numbers == list(range(36, 48))


def test_an_abandoned_reading_closes_its_object(scene: tuple[Path, Timeline, Frames]) -> None:
    folder, joined, _ = scene
    file = (folder / "a").open("rb")
    reading = read(joined, 0, 40, lambda key: file)
    next(reading)
    assert not file.closed
    reading.close()  # type: ignore[attr-defined]
    assert file.closed


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (5, 4), (0, 1000)])
def test_a_stretch_outside_the_timeline_is_refused(scene: tuple[Path, Timeline, Frames], start: int, stop: int) -> None:
    folder, joined, _ = scene
    with pytest.raises(ValueError, match="a stretch needs"):
        read_all(joined, start, stop, opener(folder))


def test_an_object_of_another_format_is_a_fault(scene: tuple[Path, Timeline, Frames]) -> None:
    folder, joined, _ = scene
    for format in (VideoFormat(66, 48, joined.format.frame_rate), VideoFormat(64, 48, joined.format.frame_rate / 7)):
        wrong = Timeline(format, joined.segments)
        with pytest.raises(FaultError, match=r"object a"):
            read_all(wrong, 0, 20, opener(folder))


def test_a_damaged_object_is_a_fault_that_names_it(scene: tuple[Path, Timeline, Frames]) -> None:
    folder, joined, _ = scene
    data = bytearray((folder / "a").read_bytes())
    data[len(data) * 2 // 3 :] = bytes(len(data) - len(data) * 2 // 3)
    (folder / "damaged").write_bytes(data)
    damaged = timeline(Segment("a", "damaged", 0, 50, joined.segments[0].key_frames))
    with pytest.raises(FaultError, match="object damaged"):
        read_all(damaged, 0, 50, opener(folder))
    assert decode.THREADS == 2
