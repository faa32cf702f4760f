"""A picture that starts to move, against FFmpeg's zoompan; and what appending costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from bench.__main__ import run
from bench.motion_baselines import zoompan
from bench.motion_extend import Remarks
from bench.motion_figures import jerk, psnr, sharpness
from bench.motion_footage import Clip, fitted, joined, luma, resized
from longtake.engines.base import Engine, Shot
from longtake.frames import Frames
from longtake.media.encode import encode
from longtake.media.sheet import poster
from longtake.video import Cell, VideoFormat

STILL_SECONDS = 3
STEADY_SECONDS = 1
"""What the camera takes to set off is not counted as unsteady."""
HD = VideoFormat(1280, 720, Fraction(24))
FULL_HD = VideoFormat(1920, 1080, Fraction(24))


@dataclass(frozen=True)
class StillResult:
    """Of one picture, by one method."""

    frames_a_second: float
    """Rendering and encoding."""
    jerk: float
    """Pixels at 640 wide; see `motion_figures.jerk`."""
    sharpness: float
    """The last frame's over the first's."""
    first_frame: float
    """Decibels of PSNR to the picture."""


def still(clip: Clip, engine: Engine, folder: Path) -> dict[str, StillResult]:
    """The clip's first frame, brought to 1280 × 720 and moved for `STILL_SECONDS`."""
    picture, num_frames = resized(clip.whole[:1], HD.width, HD.height), HD.num_frames(Fraction(STILL_SECONDS))
    shot = Shot(Cell("still", "nothing"), HD, num_frames, before=picture, seed=1)
    return {
        "ours": _moved(lambda: engine.render(shot, Remarks()), picture, folder / "ours.mp4"),
        "zoompan": _moved(lambda: zoompan(picture, num_frames, HD.frame_rate), picture, folder / "zoompan.mp4"),
    }


def _moved(render: Callable[[], Iterator[Frames]], picture: Frames, path: Path) -> StillResult:
    kept: list[Frames] = []

    def tee() -> Iterator[Frames]:
        for batch in render():
            kept.append(batch)
            yield batch

    started = time.perf_counter()
    num_frames = encode(tee(), HD, path).num_frames
    spent = time.perf_counter() - started
    made = joined(*kept)
    steady = luma(fitted(made[round(STEADY_SECONDS * float(HD.frame_rate)) :], (640, 360)))
    ends = sharpness(luma(made)[[0, -1]])
    return StillResult(
        num_frames / spent, jerk(steady), float(ends[1] / ends[0]), psnr(luma(made)[0], luma(picture)[0])
    )


def append_cost(clip: Clip, format: VideoFormat, folder: Path) -> dict[str, float]:
    """Five new seconds after five of the clip in another size, in a process of its own: see `bench.case`."""
    parent = folder / f"{clip.name}-{format.height}.mp4"
    given = clip.given[-min(clip.num_given, format.num_frames(Fraction(5))) :]
    encode(iter([resized(given, format.width, format.height)]), format, parent)
    picture = folder / "picture.jpg"
    picture.write_bytes(poster(given))
    return run(("append", 1), parent, picture)
