"""`python -m bench.generations [NAME]`: what ten extensions of a clip, each of the one before, lose or gain.

The last second of each is compared with the clip's own last seconds: as it is, which counts what has come or gone too,
and *matched*, which compares only the same points of the scene. The loss is told apart by who causes it: the engine
(its frames beside the context that it was shown) and the encoder (the frames decoded beside those that were encoded).
Clips are those of the folder `LONGTAKE_CLIPS` whose name contains NAME, at 960x540 at most. Frames of the first and
the last generation are written to `bench-out/generations/`: look at them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import numpy.typing as npt

from bench.motion_footage import fitted, folder, joined, load, paths
from longtake.engines.base import Capabilities, Engine, Report, Shot
from longtake.engines.motion import Motion
from longtake.footage import Footage, Run
from longtake.frames import Frames
from longtake.joining import timeline_of
from longtake.media.colour import to_rgb, to_yuv
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.media.survey import survey
from longtake.orders import KeyFrame, Order
from longtake.rendering import render
from longtake.scene import Scene
from longtake.sources import keep_footage
from longtake.store import Store
from longtake.video import VideoFormat

OUT = Path("bench-out/generations")
TIMES = 10
SECONDS = Fraction(2)
LARGEST = 960, 540
CONTEXT_SECONDS = 5
MOST_FRAMES = 24
"""Of the clip's own frames so many are looked through for the same points of the scene."""
CANDIDATES = 4
SAMPLES = 4
THUMB = 96, 54
BROAD = 2.0
"""Points are the same by what is left of them after a Gaussian blur of so many pixels: neither noise nor sharpness."""
NEAR, FAR = 3.0, 12.0
MOST_APART = 4.0
"""Levels."""
FINE = 0.7
"""Detail is measured by the Laplacian after a Gaussian blur of so many pixels (Marr and Hildreth, "Theory of Edge
Detection", 1980): the Laplacian alone weighs what an encoder adds from pixel to pixel twenty times."""

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Matched:
    """Frames beside others, over the points of the scene that both show."""

    share: float
    """Of the points."""
    sharpness: float
    """Ratio of the mean squared Laplacians of luma."""
    detail: float
    """The same of what is coarser than pixels: see `FINE`."""
    tone: tuple[float, float, float]
    """Levels of Y', Cb and Cr by which it is higher."""


class Reference:
    """Frames that others are compared with, point by point."""

    def __init__(self, frames: Frames) -> None:
        last = frames.num_frames - 1
        places = sorted({round(float(at)) for at in np.linspace(0, last, min(last + 1, MOST_FRAMES))})
        self._looks = [_Look(frames, place) for place in places]

    def compare(self, frames: Frames) -> Matched:
        """Up to `SAMPLES` of the frames, spread evenly, each beside those that look most like it."""
        last = frames.num_frames - 1
        places = sorted({round(float(at)) for at in np.linspace(0, last, min(last + 1, SAMPLES))})
        sums = np.array([self._one(_Look(frames, place)) for place in places])
        share, sharp, was_sharp, detail, was_detail, *tone = sums.sum(axis=0).tolist()
        levels = [plane / max(share, 1.0) for plane in tone]
        return Matched(
            share=share / (len(places) * frames.width * frames.height),
            sharpness=sharp / max(was_sharp, 1e-6),
            detail=detail / max(was_detail, 1e-6),
            tone=(levels[0], levels[1], levels[2]),
        )

    def _one(self, look: _Look) -> list[float]:
        """Sums over the points that are matched: how many, both squared Laplacians and those of others, tones."""
        best = np.full(look.luma.shape, np.inf, np.float32)
        others = [np.zeros_like(best) for _ in range(5)]
        nearest = sorted(self._looks, key=lambda other: float(np.abs(look.thumb - other.thumb).mean()))
        for other in nearest[:CANDIDATES]:
            flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(look.luma, other.luma, None)  # type: ignore[call-overload]
            for moved in (None, np.asarray(flow, np.float32)):
                apart = look.broad - _at(other.broad, moved)
                tone = cv2.GaussianBlur(apart, (0, 0), FAR)
                # Another tone is still the same point, to a degree; another structure is not.
                unlike = cv2.GaussianBlur(np.abs(apart - tone), (0, 0), NEAR) + 0.3 * np.abs(tone)
                better = unlike < best
                best[better] = unlike[better]
                found = (other.sharp, other.detail, other.broad, other.blue, other.red)
                for values, theirs in zip(others, found, strict=True):
                    values[better] = _at(theirs, moved)[better]
        same = best < MOST_APART
        sharp, detail, *tones = (float(values[same].sum()) for values in others)
        own = [float(values[same].sum()) for values in (look.sharp, look.detail, look.broad, look.blue, look.red)]
        higher = [mine - theirs for mine, theirs in zip(own[2:], tones, strict=True)]
        return [float(np.count_nonzero(same)), own[0], sharp, own[1], detail, *higher]


class _Look:
    """One frame: its broad luma, its chroma at luma's size, and how sharp it is around each point."""

    def __init__(self, frames: Frames, index: int) -> None:
        self.luma, size = frames.planes[0][index], (frames.width, frames.height)
        levels = self.luma.astype(np.float32)
        self.broad = _blurred(levels, BROAD)
        self.blue, self.red = (
            np.asarray(cv2.resize(plane[index].astype(np.float32), size), np.float32) for plane in frames.planes[1:]
        )
        self.sharp = _blurred(np.square(cv2.Laplacian(levels, cv2.CV_32F)), NEAR)
        self.detail = _blurred(np.square(cv2.Laplacian(_blurred(levels, FINE), cv2.CV_32F)), NEAR)
        self.thumb = np.asarray(cv2.resize(levels, THUMB, interpolation=cv2.INTER_AREA), np.float32)


def _blurred(values: npt.NDArray[np.floating], sigma: float) -> Map:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _at(values: Map, flow: Map | None) -> Map:
    """The values fetched from where a flow points."""
    if flow is None:
        return values
    rows, columns = values.shape
    across, down = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    x, y = across + flow[..., 0], down + flow[..., 1]
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@dataclass(frozen=True)
class Generation:
    """One extension; its figures, which are of its last second, are taken when they are asked for."""

    number: int
    own: Frames
    """The clip's own last seconds."""
    shown: Frames
    """The context that the engine was shown."""
    rendered: Frames
    """The extension's last second, as the engine gave it."""
    last: Frames
    """The same as it is decoded."""

    @property
    def colour(self) -> float:
        """By how many levels the mean of R, G or B differs from the clip's last second, where that is most."""
        return float(np.abs(_mean(self.last) - _mean(self.own[-self.last.num_frames :])).max())

    @property
    def sharpness(self) -> float:
        """Ratio of the variances of the Laplacian to the clip's last second."""
        return _sharpness(self.last) / _sharpness(self.own[-self.last.num_frames :])

    @property
    def encoder(self) -> float:
        """Ratio of the sharpness of what is decoded to that of what was encoded."""
        return _sharpness(self.last) / _sharpness(self.rendered)

    def matched(self) -> Matched:
        """To the clip's own last seconds."""
        return Reference(self.own).compare(self.last)

    def engine(self) -> Matched:
        """The engine's frames beside the context that it was shown."""
        return Reference(self.shown).compare(self.rendered)


@dataclass
class Kept:
    """An engine whose last shot and frames are kept."""

    engine: Engine
    capabilities: Capabilities = field(init=False)
    shot: Shot | None = None
    made: list[Frames] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.capabilities = self.engine.capabilities

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        self.shot, self.made = shot, []
        for batch in self.engine.render(shot, report):
            self.made.append(to_yuv(batch))
            yield batch


def chain(footage: Footage, store: Store, engine: Engine, times: int, seconds: Fraction) -> Iterator[Generation]:
    """Extends the footage again and again by so many seconds, with another seed each time."""
    timeline, kept = footage.timeline, Kept(engine)
    rate, length = round(timeline.format.frame_rate), timeline.num_frames
    own = read_all(timeline, max(0, length - CONTEXT_SECONDS * rate), length, store.open)
    for number in range(1, times + 1):
        order = Order(before=KeyFrame(type="video", url="clip"), seconds=seconds, seed=number)
        scene = Scene.of(Run(f"{number}"), order, Footage(timeline), None, engine.capabilities, store)
        timeline, _ = timeline_of(scene.plan, render(scene, kept))
        last = read_all(timeline, timeline.num_frames - rate, timeline.num_frames, store.open)
        assert kept.shot is not None
        assert kept.shot.before is not None
        yield Generation(number, own, kept.shot.before, joined(*kept.made)[-rate:], last)


def footage_of(path: Path, store: Store) -> Footage:
    """The clip: its packets as they are where they can be kept and are small enough, else scaled down and encoded."""
    found = survey(path)
    if found.width <= LARGEST[0] and found.height <= LARGEST[1]:
        return keep_footage(path, "sources/clip", "upload:clip", store, lambda *_: None)
    clip = load(path)
    frames = fitted(clip.whole, LARGEST)
    with TemporaryDirectory() as work:
        small = Path(work) / "small.mp4"
        encode([frames], VideoFormat(frames.width, frames.height, clip.format.frame_rate), small)
        return keep_footage(small, "sources/clip", "upload:clip", store, lambda *_: None)


def _mean(frames: Frames) -> npt.NDArray[np.float64]:
    return np.asarray(to_rgb(frames).planes[0].reshape(-1, 3).mean(axis=0), np.float64)


def _sharpness(frames: Frames) -> float:
    return max(1e-6, float(np.mean([cv2.Laplacian(luma, cv2.CV_64F).var() for luma in frames.planes[0]])))


def row(name: str, found: Generation) -> str:
    """A line of the table."""
    matched, engine = found.matched(), found.engine()
    tone = max(matched.tone, key=abs)
    return (
        f"| {name} | {found.number} | {found.colour:.2f} | {found.sharpness:.3f} | {matched.share:.0%} | {tone:+.2f} |"
        f" {matched.sharpness:.3f} | {matched.detail:.3f} | {engine.sharpness:.3f} | {found.encoder:.3f} |"
    )


HEAD = (
    "| clip | extension | colour, levels | sharpness | matched: share | colour, levels | sharpness | detail |"
    " engine: sharpness | encoder: sharpness |\n|---|---|---|---|---|---|---|---|---|---|"
)


def main(only: str = "") -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    print(HEAD, flush=True)
    for path in paths(folder(), only):
        with TemporaryDirectory() as work:
            store = Store.in_folder(Path(work))
            for found in chain(footage_of(path, store), store, Motion(), TIMES, SECONDS):
                print(row(path.stem, found), flush=True)
                if found.number in {1, TIMES}:
                    picture = to_rgb(found.last[-1:]).planes[0][0]
                    cv2.imwrite(str(OUT / f"{path.stem}-{found.number:02d}.png"), picture[..., ::-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
