"""What an extension is measured against: the ways without weights that everybody has, and FFmpeg's filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from bench.motion_figures import PROXY_WIDTH, flows, proxies
from bench.motion_footage import joined, luma, picked
from longtake.frames import Frames
from longtake.media.planes import copy_into, empty_frames, to_video_frame

LINEAR_SECONDS = 1.2
FADE_SECONDS = 0.5
MINTERPOLATE = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
"""Its best settings."""


def freeze(tail: Frames, num_frames: int, _rate: float) -> Frames:
    """The last frame, again and again (FFmpeg's tpad)."""
    return picked(tail, [tail.num_frames - 1] * num_frames)


def ping_pong(tail: Frames, num_frames: int, _rate: float) -> Frames:
    """Back to the start of the tail, forward again, and so on (reverse and concat)."""
    last = tail.num_frames - 1
    return picked(tail, [abs(last - (k + 1) % (2 * last)) if last else 0 for k in range(num_frames)])


def linear_flow(tail: Frames, num_frames: int, rate: float) -> Frames:
    """The last frame warped on along its last flow, at constant velocity; `LINEAR_SECONDS` at the most."""
    num_frames = min(num_frames, round(LINEAR_SECONDS * rate))
    small = proxies(luma(tail)[-2:], PROXY_WIDTH)
    backward = flows(small[::-1])[0]
    scale = tail.width / small.shape[2]
    made = empty_frames(num_frames, tail.width, tail.height)
    for target, source, shrink in zip(made.planes, tail.planes, (1, 2, 2), strict=True):
        height, width = source.shape[1:]
        flow = cv2.resize(backward, (width, height)) * np.float32(scale / shrink)
        grid = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
        for k in range(num_frames):
            where = (grid + np.float32(k + 1) * flow).astype(np.float32)
            target[k] = cv2.remap(  # type: ignore[call-overload]
                source[-1], where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
    return made


def cross_fade(tail: Frames, num_frames: int, rate: float) -> Frames:
    """The tail from its start again and again, each time faded into from its last frame (xfade)."""
    fade = max(1, round(FADE_SECONDS * rate))
    made = picked(tail, [k % tail.num_frames for k in range(num_frames)])
    for target, source in zip(made.planes, tail.planes, strict=True):
        for k in range(num_frames):
            share = (k % tail.num_frames + 1) / (fade + 1)
            if share < 1:
                target[k] = cv2.addWeighted(source[-1], 1 - share, target[k], share, 0)
    return made


EXTENSIONS: dict[str, Callable[[Frames, int, float], Frames]] = {
    "freeze": freeze,
    "ping-pong": ping_pong,
    "linear flow": linear_flow,
    "cross-fade": cross_fade,
}


def minterpolate(four: Frames, rate: Fraction, wanted: Fraction) -> Frames:
    """What minterpolate puts strictly between the middle two of four frames at `rate`, at the rate `wanted`."""
    return joined(*(frame for moment, frame in minterpolated(four, rate, wanted) if 1 < moment * rate < 2))


def minterpolated(frames: Frames, rate: Fraction, wanted: Fraction) -> Iterator[tuple[Fraction, Frames]]:
    """All that minterpolate gives, as (seconds, frame)."""
    return pulled(frames, rate, [("minterpolate", f"fps={wanted}:{MINTERPOLATE}")])


def zoompan(picture: Frames, num_frames: int, rate: Fraction) -> Iterator[Frames]:
    """A push-in of 8 % over one picture, as FFmpeg's zoompan makes it, a frame at a time."""
    size = f"{picture.width}x{picture.height}"
    step = 0.08 / max(num_frames, 1)
    options = f"z='1+{step:.8f}*on':x='iw/2-(iw/zoom/2)':y='ih/2-(ih/zoom/2)':d={num_frames}:s={size}:fps={rate}"
    for _, frame in pulled(picture, rate, [("zoompan", options)]):
        yield frame


def pulled(frames: Frames, rate: Fraction, chain: list[tuple[str, str]]) -> Iterator[tuple[Fraction, Frames]]:
    """Frames through FFmpeg's filters: (seconds, frame), each as soon as it comes out."""
    graph = Graph()
    pixels = VideoFormat("yuv420p", frames.width, frames.height)
    source = graph.add_buffer(width=frames.width, height=frames.height, format=pixels, time_base=1 / rate)
    nodes = [source, *(graph.add(name, options) for name, options in chain), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    for index in range(frames.num_frames):
        frame = to_video_frame(frames, index)
        frame.pts, frame.time_base = index, 1 / rate
        graph.vpush(frame)
        yield from _ready(graph)
    graph.vpush(None)
    yield from _ready(graph)


def _ready(graph: Graph) -> Iterator[tuple[Fraction, Frames]]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        assert frame.pts is not None
        assert frame.time_base is not None
        packed = empty_frames(1, frame.width, frame.height)
        copy_into(packed, 0, frame)
        yield frame.pts * frame.time_base, packed
