"""Promise 1: parts are joined by copying packets, and the old frames stay bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import FaultError
from longtake.frames import Frames
from longtake.media import encode as encoding
from longtake.media import splice as splicing
from longtake.media.decode import read_all
from longtake.media.encode import PARAMETER_SET_ID
from longtake.media.nal import Clash, merged_avcc, parameter_set_ids
from longtake.media.probe import probe
from longtake.media.splice import splice
from longtake.timeline import Segment, Timeline
from longtake.video import HOUSE, VideoFormat
from tests.footage import (
    TINY,
    bring_home_start,
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


@dataclass
class Shelf:
    """Objects in a folder, and each one's frames as a full linear decode of that object alone gives them."""

    folder: Path
    own: dict[str, Frames] = field(default_factory=dict)

    def put(self, key: str, frames: Frames) -> Segment:
        segment = store(self.folder, key, frames)
        self.own[key] = decode_linearly(self.folder / key)[0]
        return segment

    def expected(self, joined: Timeline) -> Frames:
        return concatenate(self.own[part.key][part.start : part.stop] for part in joined.segments)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    for key, num_frames in (("long", 40), ("short", 9), ("one", 1), ("other", 25)):
        shelf.put(key, moving(num_frames, seed=num_frames))
    return shelf


def boxes(data: bytes) -> Iterator[tuple[str, int]]:
    """The top-level boxes of an MP4 (ISO/IEC 14496-12): `(type, size)`."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8].decode(), size
        at += size


def whole(shelf: Shelf, key: str) -> Timeline:
    with av.open(str(shelf.folder / key)) as container:
        keys = [k for k, packet in enumerate(container.demux(video=0)) if packet.is_keyframe and packet.size]
    return timeline(Segment(key, key, 0, shelf.own[key].num_frames, tuple(keys)))


def check(shelf: Shelf, joined: Timeline, path: Path) -> None:
    num_bytes = splice(joined, opener(shelf.folder), path)
    decoded, stamps = decode_linearly(path)
    assert decoded.num_frames == joined.num_frames
    assert same(decoded, shelf.expected(joined))
    assert stamps[0] == 0
    assert len({later - earlier for earlier, later in pairwise(stamps)}) <= 1
    assert num_bytes == path.stat().st_size
    assert [name for name, _ in boxes(path.read_bytes())][:2] == ["ftyp", "moov"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_extension_and_cut_splices_to_the_segments_own_frames(
    shelf: Shelf, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    parts = st.sampled_from(sorted(key for key in shelf.own if not key.startswith("lead")))
    joined = whole(shelf, data.draw(parts))
    for action in data.draw(st.lists(st.sampled_from(["append", "prepend", "bridge", "head", "cut"]), max_size=4)):
        part = whole(shelf, data.draw(parts))
        if action == "append":
            joined = joined + part
        elif action == "prepend":
            joined = part + joined
        elif action == "bridge":
            joined = joined + part + whole(shelf, data.draw(parts))
        elif action == "head":
            kept, num_tail = joined.head(data.draw(st.integers(1, joined.num_frames)))
            assert (kept is not None, num_tail) == (True, 0)  # ours have no B-frames: they can end anywhere
            joined = kept or joined
        else:
            joined = cut_start(shelf, joined, data.draw(st.integers(0, joined.num_frames - 1)))
    check(shelf, joined, tmp_path_factory.mktemp("spliced") / "video.mp4")


def cut_start(shelf: Shelf, joined: Timeline, frame: int) -> Timeline:
    """All from `frame` on: the few frames ahead of the next key frame are encoded again."""
    num_lead, rest = joined.split_at(frame)
    if not num_lead:
        assert rest is not None
        return rest
    key = f"lead-{len(shelf.own)}"
    lead = shelf.put(key, read_all(joined, frame, frame + num_lead, opener(shelf.folder)))
    return timeline(lead) + rest if rest else timeline(lead)


def test_real_footage_in_house_format_is_spliced_bit_for_bit_and_is_house_format_still(
    clips: Path, tmp_path: Path
) -> None:
    for name, seconds in (("sam2_juggle.mp4", 0.4), ("mdn_friday.mp4", 1.0)):
        segment, format = bring_home_start(clips / name, seconds, tmp_path)
        own, _ = decode_linearly(tmp_path / segment.key)
        stop = segment.num_frames - 7
        joined = Timeline(format, (segment, replace(segment, stop=stop), segment))
        splice(joined, opener(tmp_path), tmp_path / "joined.mp4")
        decoded, stamps = decode_linearly(tmp_path / "joined.mp4")
        assert same(decoded, concatenate([own, own[:stop], own]))
        assert len({later - earlier for earlier, later in pairwise(stamps)}) == 1
        found = probe(tmp_path / "joined.mp4")
        assert found.is_kept, found.why_converted
        assert found.format == format
        assert found.format.coding == HOUSE


@pytest.mark.parametrize("rate", ["1", "24", "30000/1001", "179/6", "30303/1000", "120"])
def test_time_stamps_are_exact_at_any_rate(tmp_path: Path, rate: str) -> None:
    format = VideoFormat(64, 48, Fraction(rate))
    segment = store(tmp_path, "a", moving(5), format)
    splice(timeline(segment, segment, format=format), opener(tmp_path), tmp_path / "video.mp4")
    with av.open(str(tmp_path / "video.mp4")) as container:
        times = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.pts is not None]
    assert times == [Fraction(k) / format.frame_rate for k in range(10)]


def test_objects_may_be_file_objects_and_each_is_closed(shelf: Shelf, tmp_path: Path) -> None:
    opened: list[BytesIO] = []

    def open_object(key: str) -> BinaryIO:
        opened.append(BytesIO((shelf.folder / key).read_bytes()))
        return opened[-1]

    joined = whole(shelf, "long") + whole(shelf, "short")
    splice(joined, open_object, tmp_path / "video.mp4")
    assert same(decode_linearly(tmp_path / "video.mp4")[0], shelf.expected(joined))
    assert same(read_all(joined, 0, joined.num_frames, open_object), shelf.expected(joined))
    assert len(opened) == 7  # the splice: both headers, the first one's stream, both; the reader: both
    assert all(file.closed for file in opened)


def test_room_kept_too_small_for_the_index_falls_back_to_moving_it(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing, "index_bytes", lambda timeline, sound: 600)
    check(shelf, whole(shelf, "long") + whole(shelf, "short"), tmp_path / "video.mp4")


def coded(folder: Path, key: str, frames: Frames, params: str = "", **settings: Any) -> Segment:
    """Frames as another encoder's H.264, without B-frames, in an object of a folder."""
    options = {"x264-params": f"bframes=0:keyint=12:scenecut=0:open-gop=0{params}", "crf": "18"}
    foreign = folder / f"foreign-{key}.mp4"
    write_foreign(foreign, video_frames(frames), rate=TINY.frame_rate, time_base=1 / TINY.frame_rate,
                  options=options, **settings)  # fmt: skip
    kept, format = keep_as_it_is(foreign, folder, key)
    assert (format.stored_size, format.frame_rate) == ((64, 48), TINY.frame_rate)
    return kept


def record_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return bytes(container.streams.video[0].codec_context.extradata or b"")


def check_joined(folder: Path, *parts: Segment) -> Path:
    """Joins whole objects, and compares each frame with those of the objects alone: in order, and after a seek."""
    joined, path = timeline(*parts), folder / "joined.mp4"
    splice(joined, opener(folder), path)
    own = concatenate(decode_linearly(folder / part.key)[0] for part in parts)
    decoded, stamps = decode_linearly(path)
    assert same(decoded, own)
    assert len({later - earlier for earlier, later in pairwise(stamps)}) == 1
    at = 0
    for part in parts:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(stamps[at], stream=stream)
            landed = next(container.decode(stream))
        assert landed.pts == stamps[at]
        assert np.array_equal(landed.to_ndarray()[:48], own.planes[0][at])
        at += part.num_frames
    return path


def test_other_encoders_parameter_sets_stand_beside_ours_in_one_header(tmp_path: Path) -> None:
    theirs, ours = coded(tmp_path, "theirs", moving(20, seed=1)), store(tmp_path, "ours", moving(15, seed=2))
    path = check_joined(tmp_path, theirs, ours, theirs)
    assert parameter_set_ids(record_of(path)) == (frozenset({0, PARAMETER_SET_ID}),) * 2
    assert check_joined(tmp_path, ours, theirs)


def test_two_encoders_that_use_the_same_ids_are_joined_with_the_parameter_sets_in_band(tmp_path: Path) -> None:
    a = coded(tmp_path, "a", moving(20, seed=1))
    b = coded(tmp_path, "b", moving(15, seed=2), ":ref=4:cabac=0:weightp=2:8x8dct=0")
    ours = store(tmp_path, "ours", moving(15, seed=3))
    records = [record_of(tmp_path / key) for key in ("a", "b")]
    assert parameter_set_ids(records[0]) == parameter_set_ids(records[1])
    with pytest.raises(Clash):
        merged_avcc(records)
    check_joined(tmp_path, a, ours, b)
    check_joined(tmp_path, b, a, b)


def test_old_objects_of_ours_with_another_id_stand_beside_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = store(tmp_path, "new", moving(20, seed=1))
    old_options = encoding.X264_OPTIONS | {"x264-params": encoding.X264_OPTIONS["x264-params"].replace("=31", "=0")}
    monkeypatch.setitem(encoding.ENCODERS, "h264", ("libx264", old_options))
    old = store(tmp_path, "old", moving(15, seed=2))
    assert parameter_set_ids(record_of(tmp_path / "old")) == (frozenset({0}),) * 2
    path = check_joined(tmp_path, old, new, old)
    assert parameter_set_ids(record_of(path)) == (frozenset({0, PARAMETER_SET_ID}),) * 2


def test_grey_footage_whose_record_cant_hold_ours_is_joined_all_the_same(tmp_path: Path) -> None:
    write_foreign(tmp_path / "grey.mp4", video_frames(moving(20), "gray"), rate=TINY.frame_rate,
                  time_base=1 / TINY.frame_rate)  # fmt: skip
    grey, _ = keep_as_it_is(tmp_path / "grey.mp4", tmp_path, "grey")
    with pytest.raises(ValueError, match="chroma format"):
        merged_avcc([record_of(tmp_path / "grey"), record_of(tmp_path / store(tmp_path, "ours", moving(15)).key)])
    check_joined(tmp_path, grey, store(tmp_path, "ours", moving(15)))


def truncated(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def no_video(_: bytes) -> bytes:
    return b"this is no video" * 40


@pytest.mark.parametrize("damage", [truncated, no_video, lambda data: b""])
def test_a_damaged_object_is_a_fault_and_leaves_no_half_file(
    shelf: Shelf, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (shelf.folder / "damaged").write_bytes(damage((shelf.folder / "long").read_bytes()))
    joined = whole(shelf, "short") + timeline(replace(whole(shelf, "long").segments[0], key="damaged"))
    with pytest.raises(FaultError, match="object damaged"):
        splice(joined, opener(shelf.folder), tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_missing_object_leaves_no_half_file(shelf: Shelf, tmp_path: Path) -> None:
    joined = whole(shelf, "short") + timeline(replace(whole(shelf, "long").segments[0], key="nowhere"))
    with pytest.raises(FaultError, match="object nowhere can't be read"):
        splice(joined, opener(shelf.folder), tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_timeline_that_wants_more_than_an_object_holds_is_a_fault(shelf: Shelf, tmp_path: Path) -> None:
    joined = timeline(Segment("short", "short", 0, 30, (0,)))
    with pytest.raises(FaultError, match="short ends at frame 9"):
        splice(joined, opener(shelf.folder), tmp_path / "video.mp4")
    assert joined.format == TINY
