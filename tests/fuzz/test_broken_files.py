"""Videos that are not whole, or not what they say: a clear error or something to extend, and never anything left."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtake.engines.motion import Motion
from longtake.errors import CallerError, MediaError
from longtake.local import make
from longtake.media.decode import read_all
from longtake.orders import KeyFrame, Order
from longtake.sources import keep_footage
from longtake.store import Store
from tests.footage import moving, video_frames, write_foreign
from tests.servers import Server

NUM_FRAMES, RATE = 96, 12


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Eight seconds with B-frames and sound, index first."""
    folder = tmp_path_factory.mktemp("good")
    path = write_foreign(
        folder / "good.mp4",
        video_frames(moving(NUM_FRAMES, 160, 128)),
        options={"x264-params": "bframes=3:keyint=24"},
        sound=True,
    )
    with av.open(str(path)) as source, av.open(str(folder / "front.mp4"), "w", options={"movflags": "faststart"}) as to:
        assert isinstance(source, InputContainer)
        copies = {stream: to.add_stream_from_template(stream) for stream in source.streams if stream.type != "data"}
        for packet in source.demux(*copies):
            if packet.size:
                packet.stream = copies[packet.stream]
                to.mux(packet)
    return (folder / "front.mp4").read_bytes()


def noise(data: bytes, start: float, stop: float) -> bytes:
    """The file with a stretch of its media overwritten."""
    media = data.index(b"mdat") + 4
    length = len(data) - media
    first, last = media + int(start * length), media + int(stop * length)
    return data[:first] + random.Random(1).randbytes(last - first) + data[last:]


def field(data: bytes, box: bytes, offset: int, value: int, num_bytes: int = 4) -> bytes:
    """The file with a number in the first box of a kind replaced."""
    at = data.index(box) + offset
    return data[:at] + value.to_bytes(num_bytes, "big") + data[at + num_bytes :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off at its end": (lambda data: data[: len(data) * 6 // 10], r"nothing can be read after [34]\.[0-9]+ s"),
    "without its index": (lambda data: data[: len(data) // 50], "its index can't be read"),
    "broken where it is to be extended": (lambda data: noise(data, 0.9, 1.0), r"decoding failed at [567]\.[0-9]+ s"),
    "broken in the middle": (lambda data: noise(data, 0.5, 0.6), r"broken at [34]\.[0-9]+ s: a frame there"),
    "a text": (lambda data: b"hello, I am no video\n" * 100, "not a video of a kind that can be read"),
    "empty": (lambda data: b"", r"empty \(0 bytes\)"),
    "with two milliards of frames in its index": (lambda data: field(data, b"stsz", 12, 2**31 - 1), "can't be read"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_said_with_its_second_and_nothing_is_left(kind: str, good: bytes, tmp_path: Path) -> None:
    breaks, message = BROKEN[kind]
    (tmp_path / "in.mp4").write_bytes(breaks(good))
    order = Order(before=KeyFrame(type="video", url=str(tmp_path / "in.mp4")), seconds=Fraction(1))
    with pytest.raises(MediaError, match=message):
        make(order, tmp_path / "out.mp4", Motion(), max_still_pixels=10**6, tell=lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_what_is_whole_ahead_of_a_broken_place_can_be_extended(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(noise(good, 0.5, 0.6))
    order = Order(before=KeyFrame(type="video", url=str(tmp_path / "in.mp4"), at=Fraction(3)), seconds=Fraction(1))
    made = make(order, tmp_path / "out.mp4", Motion(), max_still_pixels=10**6, tell=lambda *_: None)
    assert made.timeline.num_frames == 4 * RATE


def test_a_header_that_lies_about_the_size_changes_nothing(good: bytes, tmp_path: Path) -> None:
    """The size in the container is 20,000 x 20,000; that of the pictures is what counts."""
    (tmp_path / "in.mp4").write_bytes(field(good, b"avc1", 28, 20_000 * (2**16 + 1)))
    footage = keep_footage(
        tmp_path / "in.mp4", "sources/a", "upload:a", Store.in_folder(tmp_path / "s"), lambda *_: None
    )
    assert (footage.timeline.format.width, footage.timeline.num_frames) == (160, NUM_FRAMES)


def test_sound_alone_and_a_video_without_frames_are_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.start_encoding()
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        sound = output.add_stream("aac", rate=48_000)
        assert isinstance(sound, av.AudioStream)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate, silence.pts = 48_000, 0
        output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    for name, message in (("none.mp4", "can't be read|no frames|no video"), ("sound.mp4", "sound only, no video")):
        with pytest.raises(MediaError, match=message):
            keep_footage(tmp_path / name, "sources/a", "upload:a", Store.in_folder(tmp_path / "s"), lambda *_: None)


def test_an_hour_of_black_is_extended_like_any_other(tmp_path: Path) -> None:
    black = VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), "yuv420p")
    with av.open(str(tmp_path / "in.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(3600):
            black.pts, black.time_base = number, Fraction(1)
            output.mux(stream.encode(black))
        output.mux(stream.encode(None))
    order = Order(before=KeyFrame(type="video", url=str(tmp_path / "in.mp4")), seconds=Fraction(2))
    made = make(order, tmp_path / "out.mp4", Motion(), max_still_pixels=10**6, tell=lambda *_: None)
    assert made.timeline.seconds == 3602


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_clear_error_or_footage_that_its_timeline_tells_the_truth_about(
    data: st.DataObject, good: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(good)
    index = good.index(b"mdat")
    for _ in range(data.draw(st.integers(1, 8), label="how many places")):
        in_index = data.draw(st.booleans(), label="in the index")
        at = data.draw(st.integers(0, index - 1) if in_index else st.integers(index, len(good) - 1), label="where")
        damaged[at] = data.draw(st.integers(0, 255), label="what")
    (folder / "in.mp4").write_bytes(damaged[: data.draw(st.integers(1, len(damaged)), label="how much of it")])
    store = Store.in_folder(folder / "store")
    try:
        footage = keep_footage(folder / "in.mp4", "sources/a", "upload:a", store, lambda *_: None)
    except CallerError:
        assert not list(store.keys("sources"))
    else:
        try:
            last = footage.timeline.num_frames
            assert read_all(footage.timeline, max(0, last - 2), last, store.open).num_frames == min(2, last)
        except MediaError:
            assert not footage.converted
    assert store.work_folder
    assert not list(store.work_folder.iterdir())


def test_a_worker_outlives_every_broken_video(good: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(noise(good, 0.5, 0.6))
    upload = server.upload(tmp_path / "in.mp4")
    made = server.finished(server.create({"keyframes": {"frame0": {"type": "video", "upload": upload}}, "seconds": 1}))
    assert made["state"] == "failed"
    assert "a frame there can't be decoded" in made["failure_reason"]
    assert "fault of ours" not in made["failure_reason"]
    server.completed(server.create({"prompt": "the sea", "seconds": 0.5}))
