"""Other kinds of file from a finished video: its frames, their times, its colours and its sound are in each."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from longtake.confined import Confined
from longtake.errors import MediaError, StoreError
from longtake.frames import Frames
from longtake.media.colour import EXACT
from longtake.media.export import KINDS, Kind, export
from longtake.media.playing import play
from tests.conftest import missing
from tests.footage import flat, moving, video_frames, write_foreign
from tests.sounds import tones, write_video

WIDTH, HEIGHT, NUM_FRAMES = 96, 64, 24
PRIMARIES = ((81, 90, 240), (145, 54, 34), (41, 240, 110), (210, 16, 146))
"""Red, green, blue and yellow as limited-range Y, U, V of BT.601."""
BOTH: list[Kind] = ["webm", "prores"]


@dataclass
class Read:
    """What a plain decoder finds in a file."""

    frames: list[VideoFrame]
    times: list[Fraction]
    seconds: float
    rotation: int
    sample_aspect: Fraction
    tags: tuple[int, int, int, int]
    pix_fmt: str
    codecs: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].width, self.frames[0].height

    def rgb(self, index: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Of a frame, by the tags of the file: as a player that reads them shows it."""
        frame = self.frames[index]
        if frame.format.is_rgb:
            return frame.to_ndarray(format="rgb24").astype(np.float64)
        matrix = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}[self.tags[2]]
        color_range = ColorRange.JPEG if self.tags[3] == 2 else ColorRange.MPEG
        shown = frame.reformat(
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        )
        return shown.to_ndarray().astype(np.float64)


def read(path: Path) -> Read:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first = frames[0]
        return Read(
            frames,
            [Fraction(frame.pts or 0) * Fraction(frame.time_base or 0) for frame in frames],
            (container.duration or 0) / 1e6,
            round(first.rotation) % 360,
            Fraction(stream.sample_aspect_ratio or 1),
            (first.color_primaries, first.color_trc, first.colorspace, int(first.color_range)),
            first.format.name,
            tuple(one.codec_context.codec.canonical_name for one in container.streams),
        )


def heard(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The sound as one channel at 48 kHz, from 0 s on, placed by its time stamps."""
    resampler = AudioResampler("flt", "mono", 48_000)
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        frames = [frame for frame in container.decode(container.streams.audio[0]) if frame.samples]
    start = round(Fraction(frames[0].pts or 0) * Fraction(frames[0].time_base or 0) * 48_000)
    parts = [one.to_ndarray()[0] for frame in [*frames, None] for one in resampler.resample(frame)]
    whole = np.concatenate([np.zeros(max(0, start), np.float32), *parts])[max(0, -start) :]
    return whole.astype(np.float64)


def delay_between(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """By how many samples the other comes later."""
    length = min(len(one), len(other))
    spectrum = np.fft.rfft(one[:length], 2 * length).conj() * np.fft.rfft(other[:length], 2 * length)
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak if peak < length else peak - 2 * length


def made(source: Path, kind: Kind) -> Path:
    path = source.with_name(f"{source.stem}-made.{KINDS[kind]}")
    export(source, kind, path)
    return path


def source_of(tmp_path: Path, frames: Frames | None = None, **settings: Any) -> Path:
    shown = video_frames(moving(NUM_FRAMES, WIDTH, HEIGHT) if frames is None else frames)
    return write_foreign(tmp_path / "source.mp4", shown, options={"crf": "4"}, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_there_at_its_time(tmp_path: Path, kind: Kind) -> None:
    source = source_of(tmp_path)
    found = read(made(source, kind))
    assert found.size == (WIDTH, HEIGHT)
    assert len(found.frames) == NUM_FRAMES
    tolerance = {"webm": Fraction(1, 2000), "gif": Fraction(1, 200), "prores": Fraction(0)}[kind]
    assert all(abs(time - Fraction(number, 12)) <= tolerance for number, time in enumerate(found.times))
    assert found.seconds == pytest.approx(NUM_FRAMES / 12, abs=0.011)
    assert found.codecs == ({"webm": "vp9", "gif": "gif", "prores": "prores"}[kind],)


@pytest.mark.parametrize("kind", BOTH)
def test_frames_with_times_of_their_own_keep_them(tmp_path: Path, kind: Kind) -> None:
    pts = [0, 1000, 4003, 4500, 9000, 9600, 17777, 20000]
    frames = video_frames(moving(len(pts), WIDTH, HEIGHT))
    source = write_foreign(tmp_path / "source.mp4", frames, pts=pts, time_base=Fraction(1, 12800))
    found = read(made(source, kind))
    tolerance = Fraction(0) if kind == "prores" else Fraction(1, 2000)  # WebM counts milliseconds
    assert [abs(time - Fraction(at, 12800)) <= tolerance for time, at in zip(found.times, pts, strict=True)] == [
        True
    ] * len(pts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("matrix", "color_range"), [(1, 1), (6, 1), (6, 2), (2, 0)])
def test_colours_stay_and_are_tagged(tmp_path: Path, kind: Kind, matrix: int, color_range: int) -> None:
    tags = {"colorspace": matrix, "color_range": color_range, "color_primaries": matrix, "color_trc": matrix}
    for number, (y, u, v) in enumerate(PRIMARIES):
        source = source_of(tmp_path, flat(2, y, u, v, width=WIDTH, height=HEIGHT), **tags)
        before, after = read(source), read(made(source, kind))
        before.tags = (*before.tags[:2], 6, color_range) if matrix == 2 else before.tags  # small and untagged: BT.601
        assert np.abs(before.rgb(0).mean((0, 1)) - after.rgb(0).mean((0, 1))).max() <= (2 if kind != "gif" else 4), (
            number
        )
        if kind != "gif":
            assert after.tags[2] in ({6, 5} if matrix != 1 else {1})
            assert after.tags[3] == (2 if kind == "webm" and color_range == 2 else 1)


@pytest.mark.parametrize("kind", BOTH)
def test_each_picture_is_that_of_the_source(tmp_path: Path, kind: Kind) -> None:
    source = source_of(tmp_path, colorspace=1, color_range=1, color_primaries=1, color_trc=1)
    before, after = read(source), read(made(source, kind))
    for number in range(NUM_FRAMES):
        difference = before.rgb(number) - after.rgb(number)
        assert np.abs(difference).mean() < 2.5
        assert np.abs(difference.mean((0, 1))).max() < 1


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_upright_or_says_how_it_is_to_be_turned(tmp_path: Path, kind: Kind, rotation: int) -> None:
    source = source_of(tmp_path, rotation=rotation)
    found, before = read(made(source, kind)), read(source)
    if kind == "prores":
        assert (found.size, found.rotation) == ((WIDTH, HEIGHT), rotation)
        return
    upright = np.rot90(before.frames[0].to_ndarray(format="gray"), rotation // 90)
    shown = found.frames[0].to_ndarray(format="gray").astype(float)
    assert found.rotation == 0
    assert shown.shape == upright.shape
    assert np.corrcoef(shown.ravel(), upright.ravel().astype(float))[0, 1] > 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_square_or_the_file_says_their_shape(tmp_path: Path, kind: Kind) -> None:
    found = read(made(source_of(tmp_path, sample_aspect_ratio=Fraction(4, 3), rotation=90), kind))
    if kind == "prores":
        assert (found.size, found.sample_aspect, found.rotation) == ((WIDTH, HEIGHT), Fraction(4, 3), 90)
    else:
        assert (found.size, found.sample_aspect) == ((64, 128), Fraction(1))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("codec", "rate", "channels"), [("aac", 44_100, 2), ("aac", 48_000, 1), ("ac3", 48_000, 6)])
def test_sound_is_there_in_time(tmp_path: Path, kind: Kind, codec: str, rate: int, channels: int) -> None:
    samples = tones(2 * rate, rate, channels)
    source = write_video(tmp_path / "source.mp4", codec, samples, rate=rate)
    path = made(source, kind)
    assert read(path).codecs[1] == ("opus" if kind == "webm" else "pcm_s24le")
    before, after = heard(source), heard(path)
    length = min(len(before), len(after))
    assert length > 1.9 * 48_000
    assert abs(delay_between(before, after)) <= 48  # 1 ms
    assert np.corrcoef(before[:length], after[:length])[0, 1] > (0.9 if kind == "webm" else 0.999)


@pytest.mark.parametrize("kind", BOTH)
def test_sound_that_begins_late_begins_late(tmp_path: Path, kind: Kind) -> None:
    source = write_video(tmp_path / "source.mp4", "aac", tones(48_000, 48_000), delay=Fraction(1, 2))
    path = made(source, kind)
    assert abs(delay_between(heard(source), heard(path))) <= 48


def test_a_gap_in_the_sound_is_silence_in_pcm(tmp_path: Path) -> None:
    """Where time stamps jump, PCM would be played too early: nothing in it says when a sample is played."""
    source = write_video(tmp_path / "source.mp4", "aac", tones(96_000, 48_000))
    late = tmp_path / "gap.mkv"
    with av.open(str(source)) as given, av.open(str(late), "w") as output:
        assert isinstance(given, InputContainer)
        streams = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.stream.type == "audio" and packet.pts > 48_000:
                packet.pts, packet.dts = packet.pts + 20 * 48_000, packet.dts + 20 * 48_000
            packet.stream = streams[packet.stream.index]
            output.mux(packet)
    sound = heard(made(late, "prores"))
    assert len(sound) == pytest.approx(22 * 48_000, abs=4096)
    assert np.abs(sound[round(1.2 * 48_000) : 20 * 48_000]).max() < 0.01
    assert np.abs(sound[round(21.2 * 48_000) :]).max() > 0.1


def test_interlaced_pictures_become_progressive_ones(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1:tff=1", "flags": "+ilme+ildct"}
    source = write_foreign(tmp_path / "source.mp4", video_frames(moving(12, WIDTH, HEIGHT)), options=options)
    assert read(source).frames[0].interlaced_frame
    for kind in BOTH:
        found = read(made(source, kind))
        assert not found.frames[0].interlaced_frame
        assert [round(time * 12) for time in found.times] == list(range(12))


class TestGif:
    def test_it_loops_for_ever_is_narrow_and_shows_15_frames_a_second_at_most(self, tmp_path: Path) -> None:
        frames = video_frames(moving(60, 640, 360))
        source = write_foreign(tmp_path / "source.mp4", frames, time_base=Fraction(1, 60), rate=Fraction(60))
        path = made(source, "gif")
        found = read(path)
        assert found.size == (480, 270)
        assert len(found.frames) == 15
        assert b"NETSCAPE2.0\x03\x01\x00\x00" in path.read_bytes()  # how often: 0, without end
        assert found.seconds == pytest.approx(1.0, abs=0.011)

    def test_its_last_picture_lasts_to_the_end(self, tmp_path: Path) -> None:
        frames = video_frames(moving(3, WIDTH, HEIGHT))
        source = write_foreign(tmp_path / "source.mp4", frames, pts=[0, 10, 11], time_base=Fraction(1, 100))
        found = read(made(source, "gif"))
        assert found.times == [0, Fraction(1, 10)]

    def test_one_of_more_than_60_s_is_refused_with_the_figures(self, tmp_path: Path) -> None:
        frames = video_frames(flat(61, 100))
        source = write_foreign(tmp_path / "source.mp4", frames, time_base=Fraction(1), rate=Fraction(1))
        with pytest.raises(MediaError, match=r"up to 60 s, and the video lasts 61\.0 s"):
            export(source, "gif", tmp_path / "made.gif")
        assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_half_is_left_of_a_broken_video(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "source.mp4").write_bytes(source_of(tmp_path).read_bytes()[:3000])
    with pytest.raises(MediaError):
        export(tmp_path / "source.mp4", kind, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_a_video_that_is_deleted_meanwhile_ends_it(tmp_path: Path) -> None:
    """What is open could be read on; nobody waits for it."""
    source = source_of(tmp_path)
    with play(source) as playing:
        next(playing.frames)
        source.unlink()
        with pytest.raises(MediaError, match="deleted"):
            list(playing.frames)


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    with pytest.raises(StoreError, match="can't be written"):
        export(source, "prores", tmp_path / "nowhere" / "made.mov")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_video_gives_the_same_file(tmp_path: Path, kind: Kind) -> None:
    source = write_video(tmp_path / "source.mp4", "aac")
    assert made(source, kind).read_bytes() == made(source, kind).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_length(tmp_path: Path, kind: Kind) -> None:
    """800 frames of 92 kB more, or of three times that as ProRes sees them."""
    code = """
import sys
from pathlib import Path
from longtake.media.export import export
export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    if not Path("/proc/self/status").exists():
        missing("proc", "there is no /proc/self/status")
    peaks = []
    for num_frames in (100, 900):
        frames = video_frames(flat(num_frames, 100, width=320, height=192))
        source = write_foreign(tmp_path / f"{num_frames}.mp4", frames, time_base=Fraction(1, 30), rate=Fraction(30))
        arguments = [str(source), kind, str(tmp_path / "made")]
        ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        peaks.append(int(ran.stdout))
    assert peaks[1] - peaks[0] < 20_000  # kB


def test_what_converts_steps_back_behind_what_renders(tmp_path: Path) -> None:
    confined = Confined("longtake.media.export", at_once=1)
    try:
        confined.call(export, 60, source_of(tmp_path), "webm", tmp_path / "made.webm")
        assert confined.call(os.getpriority, 20, os.PRIO_PROCESS, 0) >= 10
    finally:
        confined.close()
