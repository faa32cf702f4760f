"""A user's packets are kept as they are, or not at all: what can't be is told before anything is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from longtake.errors import Cancelled, FaultError
from longtake.media.decode import read_all
from longtake.media.keep import NotKept, keep
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
