"""A user's packets are kept as they are, or not at all: what can't be is told before anything is made of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import Cancelled, FaultError
from longtake.frames import Plane
from longtake.media.decode import read_all
from longtake.media.house import bring_home
from longtake.media.keep import NotKept, keep
from longtake.media.nal import in_band, with_parameter_sets
from longtake.media.output import with_data
from longtake.media.packets import Clock
from longtake.media.probe import why_not_kept
from longtake.media.splice import splice
from longtake.media.survey import survey
from longtake.timeline import Segment
from longtake.video import VideoFormat
from tests.footage import (
    decode_linearly,
    frames_and_times,
    keep_as_it_is,
    moving,
    opener,
    same,
    store,
    timeline,
    video_frames,
    write_foreign,
)
from tests.kinds import BY_NAME

NO_B_FRAMES = {"x264-params": "bframes=0:keyint=12"}
OTHER = {"x264-params": "bframes=0:keyint=12:cabac=0:ref=5:8x8dct=0"}


def packets_of(path: Path) -> list[Packet[VideoStream]]:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]


def one_after_another(sources: Sequence[Path], path: Path) -> Path:
    """The packets of several files as one stream, with the header of the first."""
    with av.open(str(sources[0])) as first, av.open(str(path), "w") as output:
        assert isinstance(output, OutputContainer)
        stream = output.add_stream_from_template(first.streams.video[0])
        for number, packet in enumerate(packet for source in sources for packet in packets_of(source)):
            packet.time_base, packet.stream = Fraction(1, 12), stream
            packet.pts = packet.dts = number
            output.mux_one(packet)
    return path


def check_not_kept(path: Path, why: str) -> None:
    kept = path.with_name("kept.mp4")
    before = sorted(path.parent.iterdir())
    with pytest.raises(NotKept, match=why):
        keep(path, survey(path), kept)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_footage_that_changes_its_size_on_the_way_is_not_kept(suffix: str, tmp_path: Path) -> None:
    a, b, c = (
        write_foreign(tmp_path / f"{name}.ts", video_frames(moving(num, *size)), options=NO_B_FRAMES)
        for name, num, size in (("a", 20, (64, 48)), ("b", 20, (96, 64)), ("c", 70, (64, 48)))
    )
    check_not_kept(one_after_another([a, b], tmp_path / f"other-end.{suffix}"), "frames are not found")
    check_not_kept(one_after_another([a, b, c], tmp_path / f"other-middle.{suffix}"), "frames are not found")


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_footage_that_two_encoders_made_is_kept(suffix: str, tmp_path: Path) -> None:
    a = write_foreign(tmp_path / "a.ts", video_frames(moving(20)), options=NO_B_FRAMES)
    b = write_foreign(tmp_path / "b.ts", video_frames(moving(20, seed=1)), options=OTHER)
    path = one_after_another([a, b], tmp_path / f"both.{suffix}")
    keep_as_it_is(path, tmp_path, "kept.mp4")
    assert frames_and_times(tmp_path / "kept.mp4")[0] == frames_and_times(path)[0]


def test_b_frames_in_avi_are_not_kept_wherever_they_are(tmp_path: Path) -> None:
    check_not_kept(BY_NAME["H.264 in AVI with B-frames"].make(tmp_path), "AVI does not say")


def test_footage_that_begins_inside_a_group_is_not_kept(tmp_path: Path) -> None:
    check_not_kept(BY_NAME["H.264 that begins inside a group"].make(tmp_path), "does not begin with a key frame")


def test_real_footage_of_b_frames_in_avi_is_not_kept(clips: Path, tmp_path: Path) -> None:
    path = clips / "cv_vtest.avi"
    with pytest.raises(NotKept, match="AVI"):
        keep(path, survey(path), tmp_path / "kept.mp4")
    assert not list(tmp_path.iterdir())


def test_what_is_taken_back_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    path = BY_NAME["H.264 with B-frames"].make(tmp_path)
    told: list[float] = []

    def progress(part: float) -> None:
        told.append(part)
        if part > 0.5:
            raise Cancelled("taken back")

    with pytest.raises(Cancelled):
        keep(path, survey(path), tmp_path / "kept.mp4", progress)
    assert told == sorted(told)
    assert list(tmp_path.iterdir()) == [path]


def test_an_object_of_another_size_than_its_header_says_is_a_fault(tmp_path: Path) -> None:
    """As if it had been replaced: it is told, not run into."""
    a, b = (
        write_foreign(tmp_path / f"{width}.ts", video_frames(moving(12, width, 48)), options=NO_B_FRAMES)
        for width in (64, 96)
    )
    one_after_another([a, b], tmp_path / "object.mp4")
    whole = Segment("x", "object.mp4", 0, 24, (0, 12))
    twelve = VideoFormat(64, 48, Fraction(12))
    assert read_all(timeline(whole, format=twelve), 0, 12, opener(tmp_path)).num_frames == 12
    with pytest.raises(FaultError, match="broken at frame 12"):
        read_all(timeline(whole, format=twelve), 10, 14, opener(tmp_path))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"x264-params": "open-gop=1:bframes=3:keyint=24:scenecut=0"}),
        ("libx265", {"x265-params": "log-level=error:open-gop=1:bframes=3:keyint=24"}),
    ],
)
def test_the_end_of_footage_with_open_groups_is_read_from_its_last_group(
    codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    source = write_foreign(tmp_path / "a.mp4", video_frames(moving(240)), codec=codec, options=options)
    kept, format = keep_as_it_is(source, tmp_path, "kept.mp4")
    assert kept.key_frames == (0,)
    footage, decoded = timeline(kept, format=format), 0

    def look() -> None:
        nonlocal decoded
        decoded += 1

    whole, _ = decode_linearly(source)
    for start in (180, 191, 192, 193, 237):
        decoded = 0
        assert same(read_all(footage, start, start + 3, opener(tmp_path), look), whole[start : start + 3])
        assert decoded < 80


def test_parameter_sets_that_change_once_and_are_not_repeated_are_not_kept(tmp_path: Path) -> None:
    """A cut behind the change, or a join ahead of it, would lose them."""
    sources = [
        write_foreign(tmp_path / f"{name}.mp4", video_frames(moving(36)), options=options)
        for name, options in (("a", NO_B_FRAMES), ("b", OTHER))
    ]
    with av.open(str(sources[1])) as other:
        sets = in_band(bytes(other.streams.video[0].codec_context.extradata or b""), "h264")
    with av.open(str(sources[0])) as first, av.open(str(tmp_path / "both.mp4"), "w") as output:
        assert isinstance(output, OutputContainer)
        stream = output.add_stream_from_template(first.streams.video[0])
        for number, packet in enumerate(packet for source in sources for packet in packets_of(source)):
            data = bytes(packet)
            made = with_data(packet, with_parameter_sets(data, sets, "h264") if number == 36 else data)
            made.pts = made.dts = number
            made.time_base, made.stream = Fraction(1, 12), stream
            output.mux_one(made)
    check_not_kept(tmp_path / "both.mp4", "parameter sets change")


@pytest.mark.parametrize(("matrix", "flipped"), [((-1, 0, 0, 1), np.fliplr), ((1, 0, 0, -1), np.flipud)])
def test_mirrored_footage_is_converted_to_what_players_show(
    matrix: tuple[int, int, int, int], flipped: Callable[[Plane], Plane], tmp_path: Path
) -> None:
    source = write_foreign(tmp_path / "a.mp4", video_frames(moving(12)), colorspace=1, options={"crf": "1"})
    data = bytearray(source.read_bytes())
    a, b, c, d = (struct.pack(">i", number * 2**16) for number in matrix)
    at = data.index(b"tkhd") + 44
    data[at : at + 8], data[at + 12 : at + 20] = a + b, c + d
    source.write_bytes(data)
    assert list(why_not_kept(survey(source))) == ["it is mirrored"]
    _, _, remarks = bring_home(source, tmp_path / "home.mp4")
    assert "mirrored → as it is shown" in remarks
    shown, stored = decode_linearly(tmp_path / "home.mp4")[0], decode_linearly(source)[0]
    difference = shown.planes[0][3].astype(int) - flipped(stored.planes[0][3])
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("interval", [2001, 2993, 2996, 3004, 3337, 4507])
def test_new_frames_can_be_counted_beside_stamps_of_any_interval(interval: int, tmp_path: Path) -> None:
    """Phones write such: an MP4's clock holds both, and sound beside them."""
    pts = [k * interval + (k % 5 == 0) * 40 for k in range(30)]
    source = write_foreign(tmp_path / "a.mp4", video_frames(moving(30)), pts=pts, time_base=Fraction(1, 90_000))
    kept, format = keep_as_it_is(source, tmp_path, "kept.mp4")
    assert kept.stamps
    new = store(tmp_path, "new.mp4", moving(6), format)
    joined = timeline(kept, new, format=format)
    for rate in (44_100, 48_000):
        assert lcm(Clock(joined).time_base.denominator, rate) < 2**31
    splice(joined, opener(tmp_path), tmp_path / "joined.mp4")
    _, times = frames_and_times(tmp_path / "joined.mp4")
    assert times == pytest.approx([float(joined.time_of(k)) for k in range(36)], abs=1e-4)
