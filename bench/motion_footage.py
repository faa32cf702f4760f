"""Real footage for the motion benchmark: each clip's first part given, the rest held back."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from av.container import InputContainer

from longtake.errors import MediaError
from longtake.frames import Frames, Plane
from longtake.media.decode import read_all
from longtake.media.house import bring_home
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat

MOST_SECONDS = 12
HELD_SECONDS = 5
LEAST_GIVEN_SECONDS = 3
LARGEST = 1280, 720
SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Clip:
    """One clip, cut in two: an engine sees `given` only."""

    name: str
    format: VideoFormat
    whole: Frames
    num_given: int

    @property
    def given(self) -> Frames:
        return self.whole[: self.num_given]

    @property
    def held(self) -> Frames:
        return self.whole[self.num_given :]

    @property
    def rate(self) -> float:
        return float(self.format.frame_rate)


def folder() -> Path:
    """The folder of clips. Exits with a sentence where it is not said or not there."""
    named = os.environ.get("LONGTAKE_CLIPS")
    if not named:
        sys.exit("LONGTAKE_CLIPS is not set: name a folder of real videos, LONGTAKE_CLIPS=DIR make bench-motion")
    if not Path(named).is_dir():
        sys.exit(f"LONGTAKE_CLIPS names {named}, which is no folder")
    return Path(named)


def paths(source: Path, only: str = "") -> list[Path]:
    """Every video of the folder whose name contains `only`, in order of their names."""
    return [path for path in sorted(source.iterdir()) if path.suffix.lower() in SUFFIXES and only in path.stem]


def load(path: Path) -> Clip:
    """The first `MOST_SECONDS` of a clip, brought home and at most `LARGEST`.

    Raises MediaError where it is no video, or leaves less than a second to hold back.
    """
    with TemporaryDirectory() as work:
        start, home = Path(work) / f"start{path.suffix}", Path(work) / "home.mp4"
        copy_start(path, start)
        encoded, made, _ = bring_home(start, home)
        timeline = Timeline(made, (Segment("clip", str(home), 0, encoded.num_frames, encoded.key_frames),))
        frames = fitted(read_all(timeline, 0, min(encoded.num_frames, made.num_frames(Fraction(MOST_SECONDS))), str))
    format = VideoFormat(frames.width, frames.height, made.frame_rate)
    rate = float(format.frame_rate)
    num_given = max(frames.num_frames - round(HELD_SECONDS * rate), round(LEAST_GIVEN_SECONDS * rate))
    if num_given + rate > frames.num_frames:
        raise MediaError(f"it lasts {frames.num_frames / rate:.1f} s, under {LEAST_GIVEN_SECONDS + 1} s")
    return Clip(path.stem, format, frames, num_given)


def copy_start(path: Path, start: Path) -> None:
    """The packets of a video's first `MOST_SECONDS`, copied."""
    with av.open(str(path)) as source, av.open(str(start), "w") as target:
        assert isinstance(source, InputContainer)
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.dts * packet.time_base > MOST_SECONDS + 1:
                break
            packet.stream = copy
            target.mux(packet)


def fitted(frames: Frames, largest: tuple[int, int] = LARGEST) -> Frames:
    """The frames scaled down to fit `largest` (width, height), area-averaged; as they are where they fit."""
    scale = min(1.0, largest[0] / frames.width, largest[1] / frames.height)
    if scale == 1:
        return frames
    return resized(frames, 2 * round(frames.width * scale / 2), 2 * round(frames.height * scale / 2))


def resized(frames: Frames, width: int, height: int) -> Frames:
    """4:2:0 frames of another, even size."""
    sizes = (width, height), (width // 2, height // 2), (width // 2, height // 2)
    how = cv2.INTER_AREA if width < frames.width else cv2.INTER_CUBIC
    return Frames(
        tuple(
            np.stack([np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8) for picture in plane])
            for plane, size in zip(frames.planes, sizes, strict=True)
        )
    )


def joined(*parts: Frames) -> Frames:
    """Stretches of one size, one after the other, copied."""
    return Frames(tuple(np.concatenate(planes) for planes in zip(*(part.planes for part in parts), strict=True)))


def picked(frames: Frames, numbers: list[int]) -> Frames:
    """The frames of these numbers, copied."""
    return Frames(tuple(plane[numbers] for plane in frames.planes))


def luma(frames: Frames) -> Plane:
    return frames.planes[0]
