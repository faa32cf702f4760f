"""House format: the same parameter sets for any content, exact clocks, whole files or none."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longtake.errors import Cancelled, FaultError
from longtake.frames import Frames
from longtake.media.colour import to_rgb
from longtake.media.decode import read_all
from longtake.media.encode import PARAMETER_SET_ID, Encoded, encode, gop_length
from longtake.media.house import bring_home
from longtake.media.nal import parameter_set_ids
from longtake.media.probe import PIXEL_FORMATS, own_format, probe
from longtake.media.survey import survey
from longtake.timeline import Stamps
from longtake.video import Coding, Colour, VideoFormat
from tests.footage import (
    TINY,
    bring_home_start,
    decode_linearly,
    flat,
    frames_and_times,
    moving,
    opener,
    same,
    store,
    timeline,
)
from tests.timing import quickest

FORMATS = [
    TINY,
    VideoFormat(1280, 720, Fraction(24)),
    VideoFormat(1920, 1080, Fraction(30000, 1001)),
    VideoFormat(320, 568, Fraction(179, 6)),
    VideoFormat(2, 2, Fraction(1)),
]


def noise(num_frames: int, width: int, height: int) -> Frames:
    rng = np.random.default_rng(3)
    luma = rng.integers(0, 256, (num_frames, height, width), dtype=np.uint8)
    return Frames((luma, luma[:, ::2, ::2].copy(), luma[:, 1::2, 1::2].copy()))


def extradata(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return bytes(container.streams.video[0].codec_context.extradata or b"")


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_parameter_sets_are_the_same_bytes_for_any_content_and_length(format: VideoFormat, tmp_path: Path) -> None:
    size = format.width, format.height
    contents = [flat(1, 16, width=size[0], height=size[1]), flat(3, 235, 90, 200, width=size[0], height=size[1])]
    records = set()
    for frames in (*contents, noise(2, *size)):
        encode([frames], format, tmp_path / "video.mp4")
        records.add(extradata(tmp_path / "video.mp4"))
    assert len(records) == 1
    assert parameter_set_ids(records.pop()) == (frozenset({PARAMETER_SET_ID}),) * 2


def test_what_is_encoded_is_house_format_with_its_key_frames_where_encoded_says(tmp_path: Path) -> None:
    encoded = encode([moving(30)], TINY, tmp_path / "video.mp4")
    assert encoded == Encoded(30, (0, 12, 24), (tmp_path / "video.mp4").stat().st_size)
    found = probe(tmp_path / "video.mp4")
    assert found.is_kept, found.why_converted
    assert (found.format, found.num_frames) == (TINY, 30)
    assert survey(tmp_path / "video.mp4").key_frames == (0, 12, 24)
    assert gop_length(Fraction(30000, 1001)) == 60


@pytest.mark.parametrize(("codec", "pixels"), [(codec, name) for codec, all in PIXEL_FORMATS.items() for name in all])
def test_whatever_is_kept_can_be_matched(codec: str, pixels: str, tmp_path: Path) -> None:
    format = VideoFormat(64, 48, Fraction(6), Coding(codec, pixels))
    part = store(tmp_path, "part", moving(3), format)
    assert read_all(timeline(part, format=format), 0, 3, opener(tmp_path)).num_frames == 3
    assert own_format(survey(tmp_path / "part")) == format


PHONE = Colour(6, 1, 6, 2)


@pytest.mark.parametrize(
    "coding",
    [
        Coding(pix_fmt="yuv422p", colour=PHONE),
        Coding(pix_fmt="yuv444p", sample_aspect=Fraction(4, 3)),
        Coding(pix_fmt="yuv420p10le", colour=Colour(9, 1, 9, 1)),
        Coding(pix_fmt="yuv422p10le"),
        Coding(rotation=90, colour=PHONE),
        Coding(rotation=180),
        Coding(rotation=270, sample_aspect=Fraction(8, 9)),
        Coding("hevc"),
        Coding("hevc", "yuv420p10le", rotation=180),
        Coding("vp9"),
        Coding("mpeg4", colour=Colour(2, 2, 2, 0), sample_aspect=Fraction(4, 3)),
    ],
    ids=str,
)
def test_what_stands_beside_footage_is_coded_and_tagged_as_that_is(coding: Coding, tmp_path: Path) -> None:
    format, frames = VideoFormat(64, 48, Fraction(6), coding), moving(26)
    part = store(tmp_path, "part", Frames(frames.planes, coding.colour), format)
    found = survey(tmp_path / "part")
    assert own_format(found) == format
    assert (found.reordered, found.key_frames) == (False, part.key_frames)
    assert part.key_frames[:2] == (0, 12)
    shown = read_all(timeline(part, format=format), 0, 26, opener(tmp_path))
    assert np.abs(shown.planes[0].astype(int) - frames.planes[0]).mean() < 3


def test_frames_are_shown_when_their_stamps_say(tmp_path: Path) -> None:
    stamps = Stamps(Fraction(1, 30_000), (0, 1001, 2002, 5005, 6006, 10_010, 10_011, 12_012))
    encoded = encode([moving(7)], VideoFormat(64, 48, Fraction(30_000, 1001)), tmp_path / "video.mp4", stamps)
    assert encoded.num_frames == 7
    times = frames_and_times(tmp_path / "video.mp4")[1]
    assert times == [pts * stamps.time_base for pts in stamps.pts[:-1]]
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert Fraction(stream.duration or 0) * Fraction(stream.time_base or 0) == Fraction(12_012, 30_000)


def test_a_cut_in_the_picture_makes_no_key_frame(tmp_path: Path) -> None:
    batches = [flat(4, 16), noise(4, 64, 48), flat(3, 235)]
    assert encode(batches, TINY, tmp_path / "video.mp4").key_frames == (0,)


def test_the_same_frames_give_the_same_bytes_whatever_the_batches(tmp_path: Path) -> None:
    frames = moving(40)
    encode([frames], TINY, tmp_path / "a.mp4")
    encode((frames[k : k + 3] for k in range(0, 40, 3)), TINY, tmp_path / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_given_as_views_with_gaps_are_encoded_as_their_copies(tmp_path: Path) -> None:
    frames = moving(6, 128, 96)
    views = Frames(tuple(plane[:, ::2, ::2] for plane in frames.planes))
    copies = Frames(tuple(np.ascontiguousarray(plane) for plane in views.planes))
    encode([views], TINY, tmp_path / "a.mp4")
    encode([copies], TINY, tmp_path / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_rgb_and_yuv_of_the_same_picture_decode_to_the_same_colours(tmp_path: Path) -> None:
    yuv = moving(8)
    left, right = store(tmp_path, "yuv", yuv), store(tmp_path, "rgb", to_rgb(yuv))
    decoded = [read_all(timeline(part), 0, 8, opener(tmp_path)) for part in (left, right)]
    for a, b, source in zip(*(frames.planes for frames in decoded), yuv.planes, strict=True):
        assert abs(float(a.mean()) - float(b.mean())) < 0.3
        assert np.abs(a.astype(int) - b).mean() < 1.5
        assert np.abs(a.astype(int) - source).mean() < 2


def test_batches_are_pulled_one_by_one(tmp_path: Path) -> None:
    alive: list[int] = []

    def batches() -> Iterator[Frames]:
        for number in range(30):
            alive.append(number)
            yield flat(2, 20 + number)
            alive.remove(number)
            assert not alive

    assert encode(batches(), TINY, tmp_path / "video.mp4").num_frames == 60


def test_frames_come_out_in_the_order_they_went_in_whatever_the_sizes_of_the_batches(tmp_path: Path) -> None:
    levels = list(range(30, 230, 5))

    def batches() -> Iterator[Frames]:
        start = 0
        for length in itertools.cycle((1, 7, 2, 5)):
            if start >= len(levels):
                return
            luma = np.repeat(np.array(levels[start:][:length], np.uint8), 48 * 64).reshape(-1, 48, 64)
            yield Frames((luma, *(np.full((len(luma), 24, 32), 128, np.uint8) for _ in "uv")))
            start += length

    encode(batches(), TINY, tmp_path / "video.mp4")
    decoded, _ = decode_linearly(tmp_path / "video.mp4")
    assert np.abs(decoded.planes[0].mean(axis=(1, 2)) - levels).max() < 2


def test_the_next_batch_is_rendered_while_one_is_encoded(tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []

    def batches() -> Iterator[Frames]:
        for _ in range(3):
            names = {thread.name for thread in threading.enumerate()}
            seen.append(
                (threading.current_thread() is caller, any(name.startswith("longtake-encode") for name in names))
            )
            yield moving(4)

    caller = threading.current_thread()
    encode(batches(), TINY, tmp_path / "video.mp4")
    assert seen == [(True, False), (True, True), (True, True)]


def test_a_cancel_does_not_wait_for_the_batch_that_is_being_encoded(tmp_path: Path) -> None:
    format = VideoFormat(1280, 720, Fraction(24))
    frames = noise(2, 1280, 720)
    many = Frames(tuple(np.broadcast_to(plane[:1], (400, *plane.shape[1:])) for plane in frames.planes))
    cancelled_at: list[float] = []

    def batches() -> Iterator[Frames]:
        yield many
        cancelled_at.append(time.monotonic())
        raise Cancelled("taken back")

    def wait_for_the_cancel() -> float:
        with pytest.raises(Cancelled):
            encode(batches(), format, tmp_path / "video.mp4")
        return time.monotonic() - cancelled_at[-1]

    assert quickest(wait_for_the_cancel, below=0.2) < 0.2  # all of it would take seconds


@pytest.mark.parametrize("error", [Cancelled("taken back"), RuntimeError("engine"), KeyboardInterrupt()])
def test_an_engine_that_raises_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def batches() -> Iterator[Frames]:
        yield moving(20)
        raise error

    with pytest.raises(type(error)):
        encode(batches(), TINY, tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_failed_encoding_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"before")
    with pytest.raises(FaultError):
        encode([moving(3, 32, 32)], TINY, tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_frames_of_the_wrong_size_are_a_fault_and_close_the_generator(tmp_path: Path) -> None:
    closed = []

    def batches() -> Iterator[Frames]:
        try:
            yield moving(2)
            yield moving(2, 32, 32)
            yield moving(2)
        finally:
            closed.append(True)

    with pytest.raises(FaultError, match="64x48, got Frames"):
        encode(batches(), TINY, tmp_path / "video.mp4")
    assert closed == [True]
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_closes_the_generator(tmp_path: Path) -> None:
    def frames() -> Iterator[Frames]:
        yield moving(2)

    batches = frames()
    with pytest.raises(OSError, match="No such file"):
        encode(batches, TINY, tmp_path / "nowhere" / "video.mp4")
    assert list(batches) == []  # closed before its first batch


def test_no_frames_at_all_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="no frame was rendered"):
        encode([], TINY, tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def drift(start: Frames, end: Frames) -> float:
    """The change of the mean colour, in levels: R, G and B on average."""
    means = [to_rgb(frames).planes[0].mean(axis=(0, 1, 2)) for frames in (start, end)]
    return float(np.abs(means[1] - means[0]).mean())


def extend_often(folder: Path, tail: Frames, format: VideoFormat, times: int) -> Frames:
    """Each extension plays the decoded tail of the last one backwards, by way of RGB as a diffusion engine does."""
    for _ in range(times):
        rgb = to_rgb(tail).planes[0][::-1]
        part = store(folder, "next", Frames((rgb,)), format)
        tail = read_all(timeline(part, format=format), 0, part.num_frames, opener(folder))
    return tail


@pytest.mark.parametrize("step", [2.0, 1.5, 0.25])
def test_eight_chained_extensions_of_synthetic_footage_keep_their_colours(tmp_path: Path, step: float) -> None:
    start = moving(12, step=step)
    assert drift(start, extend_often(tmp_path, start, TINY, 8)) < 0.5


def test_ten_chained_extensions_of_real_footage_keep_their_colours_to_a_level(clips: Path, tmp_path: Path) -> None:
    drifts = []
    for name in ("intel_car-detection.mp4", "mdn_friday.mp4", "mdn_flower.mp4"):
        part, format = bring_home_start(clips / name, 0.25, tmp_path)
        decoded = decode_linearly(tmp_path / part.key)[0]
        luma, *chroma = decoded.planes
        start = Frames((luma[:, 100:372, 80:560], *(plane[:, 50:186, 40:280] for plane in chroma)))
        drifts.append(drift(start, extend_often(tmp_path, start, VideoFormat(480, 272, format.frame_rate), 10)))
    assert max(drifts) < 1, drifts


def test_house_footage_brought_home_again_keeps_its_frames_nearly(tmp_path: Path) -> None:
    encode([moving(10)], TINY, tmp_path / "a.mp4")
    bring_home(tmp_path / "a.mp4", tmp_path / "b.mp4")
    first, second = decode_linearly(tmp_path / "a.mp4")[0], decode_linearly(tmp_path / "b.mp4")[0]
    assert not same(first, flat(10, 0))
    assert np.abs(first.planes[0].astype(int) - second.planes[0]).mean() < 1.5
