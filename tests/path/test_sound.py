"""The sound that footage came with: untouched under its own frames, through a chain of extensions on a real server."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer

from longtake.engines.motion import Motion
from longtake.local import make
from longtake.orders import KeyFrame, Order
from tests.footage import moving, video_frames
from tests.servers import Server
from tests.sounds import sound_packets

RATE = 48_000
SECONDS = 2
FLASHES = (6, 30)
"""Frames of the footage that are white, each with a click that begins with it."""
FRAME_RATE = Fraction(24)

Samples = npt.NDArray[np.float32]


def write(path: Path, codec: str) -> Path:
    """Footage that flashes and clicks at once."""
    frames = video_frames(moving(int(SECONDS * FRAME_RATE), 128, 96))
    samples: Samples = np.zeros((2, SECONDS * RATE), np.float32)
    for number in FLASHES:
        start = int(number / FRAME_RATE * RATE)
        samples[:, start : start + 480] = 0.7 * np.sin(np.arange(480) * 0.3, dtype=np.float32)
        frames[number] = av.VideoFrame.from_ndarray(
            np.concatenate([np.full((96, 128), 235, np.uint8), np.full((48, 128), 128, np.uint8)]), "yuv420p"
        )
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=FRAME_RATE, options={"x264-params": "bframes=3:keyint=24"})
        assert isinstance(picture, av.VideoStream)
        picture.width, picture.height, picture.pix_fmt = 128, 96, "yuv420p"
        sound = output.add_stream(codec, rate=RATE)
        assert isinstance(sound, av.AudioStream)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / FRAME_RATE
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        for start in range(0, samples.shape[1], 1024):
            packed = np.ascontiguousarray(samples[:, start : start + 1024])
            piece = av.AudioFrame.from_ndarray(packed, "fltp", "stereo")
            piece.sample_rate, piece.pts = RATE, start
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return path


def flashes_and_clicks(path: Path) -> tuple[list[float], list[float]]:
    """When each flash is shown, and when each click begins, in seconds of the file's own clock."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        luma = [
            (float(frame.time or 0), float(frame.to_ndarray()[: frame.height].mean()))
            for frame in container.decode(container.streams.video[0])
        ]
    shown = [time for time, level in luma if level > 225]
    begun: list[float] = []
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        for frame in container.decode(container.streams.audio[0]):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.2)
            for place in loud:
                time = float(frame.time or 0) + float(place) / RATE
                if not begun or time - begun[-1] > 0.1:
                    begun.append(time)
    return shown, begun


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_after_ten_extensions_each_click_is_heard_with_its_flash(server: Server, tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "source.mp4", codec)
    shown, heard = flashes_and_clicks(path)
    assert len(shown) == len(heard) == len(FLASHES)
    apart = [sound - picture for sound, picture in zip(heard, shown, strict=True)]
    last: dict[str, Any] = {"type": "video", "upload": server.upload(path)}
    for number in range(10):
        end = "frame1" if number % 2 else "frame0"
        last = {"type": "generation", "id": server.create({"keyframes": {end: last}, "seconds": 0.3, "seed": number})}
    made = server.completed(last["id"])
    assert made["source"] == {"converted": []}
    shown, heard = flashes_and_clicks(server.download(made["assets"]["video"], tmp_path / "ten.mp4"))
    of_its_own = [time for time in shown if min(abs(time - click) for click in heard) < 0.05]
    assert len(heard) == len(of_its_own) == len(FLASHES)
    for sound, picture, before in zip(heard, of_its_own, apart, strict=True):
        assert sound - picture == pytest.approx(before, abs=0.001)


def test_the_second_sound_of_a_bridge_is_told_where_it_is_encoded_again(tmp_path: Path) -> None:
    ends = [KeyFrame(type="video", url=str(write(tmp_path / f"{codec}.mp4", codec))) for codec in ("aac", "libmp3lame")]
    for first, second, told in ((0, 1, True), (0, 0, False)):
        order = Order(before=ends[first], after=ends[second], seconds=Fraction(1, 2))
        made = make(order, tmp_path / f"{second}.mp4", Motion(), max_still_pixels=10**6, tell=lambda *_: None)
        said = "The sound of file:frame1 is encoded again to match what comes before it."
        assert (said in made.notes) == told
        assert len(flashes_and_clicks(made.path)[1]) == 2 * len(FLASHES)


def test_the_second_sound_of_a_bridge_is_encoded_once_then_copied_and_heard_by_who_watches(
    server: Server, tmp_path: Path
) -> None:
    ends = [server.upload(write(tmp_path / f"{codec}.mp4", codec)) for codec in ("aac", "libmp3lame")]
    frames = {f"frame{number}": {"type": "video", "upload": id} for number, id in enumerate(ends)}
    made = server.make({"keyframes": frames, "seconds": 0.5, "seed": 1})
    said = f"The sound of upload:{ends[1]} is encoded again to match what comes before it."
    assert said in made["notes"]
    (sound,) = (server.data / "objects" / "sources" / made["id"]).glob("*-match-*.mp4")
    again = server.make({"keyframes": {"frame0": {"type": "generation", "id": made["id"]}}, "seconds": 0.5, "seed": 1})
    assert said not in again["notes"]
    heard = {data for _, data in sound_packets(sound)[10:-40]}
    for one in (made, again):
        path = server.download(one["assets"]["video"], tmp_path / f"{one['id']}.mp4")
        assert heard <= {data for _, data in sound_packets(path)}
        with av.open(one["playlist"]) as container:
            assert isinstance(container, InputContainer)
            decoded = list(container.decode(container.streams.audio[0]))
        loud = [float(frame.time or 0) for frame in decoded if np.abs(frame.to_ndarray()).max() > 0.2]
        assert 1 + sum(b - a > 0.1 for a, b in pairwise(loud)) == 2 * len(FLASHES)
