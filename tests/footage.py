"""Footage for tests: synthetic frames, real clips brought home, foreign videos, and an independent decoder."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from longtake.frames import Frames, Plane
from longtake.media.encode import Encoded, encode
from longtake.media.house import bring_home
from longtake.media.keep import keep
from longtake.media.planes import empty_frames
from longtake.media.survey import survey
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat

TINY = VideoFormat(64, 48, Fraction(6))
"""Small and slow: a GOP is 12 frames."""


def moving(num_frames: int, width: int = 64, height: int = 48, *, seed: int = 0, step: float = 1.5) -> Frames:
    """A smooth texture that pans by `step` pixels a frame, 4:2:0, in colours that RGB has too."""
    rng = np.random.default_rng(seed)
    wide = width + int(abs(step) * num_frames) + 2
    coarse = rng.integers(70, 180, (3, height // 8 + 2, wide // 8 + 2), dtype=np.uint8)
    texture = [
        np.asarray(cv2.resize(plane, (wide, height), interpolation=cv2.INTER_CUBIC), np.uint8) for plane in coarse
    ]
    planes: list[Plane] = []
    for index, plane in enumerate(texture):
        shifted = [plane[:, int(k * step) : int(k * step) + width] for k in range(num_frames)]
        stack = np.stack(shifted) if index == 0 else np.stack(shifted)[:, ::2, ::2] // 4 + 97
        planes.append(np.ascontiguousarray(stack, np.uint8))
    return Frames(tuple(planes))


def flat(num_frames: int, y: int, u: int = 128, v: int = 128, *, width: int = 64, height: int = 48) -> Frames:
    """Frames of one colour, 4:2:0."""
    planes = empty_frames(num_frames, width, height)
    for plane, level in zip(planes.planes, (y, u, v), strict=True):
        plane[:] = level
    return planes


def store(folder: Path, key: str, frames: Frames, format: VideoFormat = TINY) -> Segment:
    """Encodes frames to an object in a folder: the segment that is all of it."""
    return segment(key, encode([frames], format, folder / key))


def segment(key: str, encoded: Encoded) -> Segment:
    return Segment(key, key, 0, encoded.num_frames, encoded.key_frames)


def keep_as_it_is(source: Path, folder: Path, key: str) -> tuple[Segment, VideoFormat]:
    """A foreign video as an object of a folder, packet for packet: the segment that is all that is shown of it."""
    kept, format = keep(source, survey(source), folder / key)
    return replace(kept, owner=key, key=key), format


def opener(folder: Path) -> Callable[[str], str]:
    """Opens objects that are files in a folder."""
    return lambda key: str(folder / key)


def decode_linearly(path: Path) -> tuple[Frames, list[int]]:
    """Every frame of a yuv420p file from its first packet on, and their time stamps; shares no code with the reader."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.video[0]))
        stamps = [frame.pts for frame in frames]
    width, height = frames[0].width, frames[0].height
    packed: Plane = np.asarray(np.stack([frame.to_ndarray() for frame in frames]), np.uint8)
    luma, chroma = packed[:, :height], packed[:, height:].reshape(len(frames), 2, height // 2, width // 2)
    return Frames((luma, chroma[:, 0], chroma[:, 1])), [int(stamp or 0) for stamp in stamps]


def frames_and_times(path: Path) -> tuple[list[str], list[Fraction]]:
    """A digest of each decoded frame, and when it is shown, in seconds. Shares no code with the reader."""
    hashes, times = [], []
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        for frame in container.decode(container.streams.video[0]):
            assert frame.pts is not None
            assert frame.time_base is not None
            hashes.append(hashlib.blake2b(frame.to_ndarray().tobytes(), digest_size=12).hexdigest())
            times.append(frame.pts * frame.time_base)
    return hashes, times


def frame_hashes(path: Path) -> tuple[list[str], Fraction]:
    """A digest of each decoded frame, and the interval that parts them, in seconds; fails unless they are equally far
    apart and begin at 0."""
    hashes, times = frames_and_times(path)
    intervals = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert times[0] == 0
    assert len(intervals) == 1, intervals
    return hashes, intervals.pop()


def same(left: Frames, right: Frames) -> bool:
    """Bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(left.planes, right.planes, strict=True))


def bring_home_start(source: Path, seconds: float, folder: Path) -> tuple[Segment, VideoFormat]:
    """The first seconds of a real clip in house format, as an object of a folder."""
    cut = folder / f"{source.stem}-start.mp4"
    with av.open(str(source)) as container, av.open(str(cut), "w") as output:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None or packet.dts * packet.time_base > seconds:
                break
            packet.stream = copy
            output.mux(packet)
    encoded, format, _ = bring_home(cut, folder / f"{source.stem}.mp4")
    return segment(f"{source.stem}.mp4", encoded), format


def write_foreign(
    path: Path,
    frames: Sequence[VideoFrame],
    *,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12),
    rate: Fraction = Fraction(12),
    sound: bool = False,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Encodes FFmpeg's frames with any encoder: what a user may bring."""
    with av.open(str(path), "w", options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.width, stream.codec_context.height = frames[0].width, frames[0].height
        stream.codec_context.pix_fmt = frames[0].format.name
        stream.codec_context.time_base = time_base
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        audio = output.add_stream("aac", rate=48000) if sound else None
        for number, frame in enumerate(frames):
            frame.pts = pts[number] if pts else number
            frame.time_base = time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if isinstance(audio, av.AudioStream):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            silence.sample_rate = 48000
            for number in range(48):
                silence.pts = number * 1024
                output.mux(audio.encode(silence))
            output.mux(audio.encode(None))
    return path


def video_frames(frames: Frames, pixel_format: str = "yuv420p") -> list[VideoFrame]:
    """Frames as FFmpeg's, in a pixel format, with the numbers left as they are for yuv420p."""
    made = []
    for index in range(frames.num_frames):
        packed = np.concatenate([plane[index].ravel() for plane in frames.planes])
        frame = VideoFrame.from_ndarray(packed.reshape(-1, frames.width), "yuv420p")
        made.append(frame if pixel_format == "yuv420p" else frame.reformat(format=pixel_format))
    return made


def timeline(*segments: Segment, format: VideoFormat = TINY) -> Timeline:
    return Timeline(format, segments)


def concatenate(parts: Iterable[Frames]) -> Frames:
    """Stretches of one kind and size, one after the other. Raises ValueError where there is none."""
    stretches = list(parts)
    if not stretches:
        raise ValueError("there are no frames to put together")
    kinds = zip(*(stretch.planes for stretch in stretches), strict=True)
    return stretches[0] if len(stretches) == 1 else Frames(tuple(np.concatenate(kind) for kind in kinds))
