"""Clips continued, by the engine and by each baseline, and the figures of each continuation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from bench import motion_figures as figures
from bench.motion_baselines import EXTENSIONS
from bench.motion_footage import Clip, joined, luma
from longtake.engines.base import Engine, Shot
from longtake.frames import Frames, Plane
from longtake.media.reversal import reversal
from longtake.media.seams import measure
from longtake.video import Cell

SECONDS = 5
LONG_SECONDS = 9
"""For the figures of what is repeated and what runs backwards."""
PSNR_SECONDS = 0.25, 0.5, 1.0
OURS, TRUTH = "ours", "truth"
METHODS = OURS, TRUTH, *EXTENSIONS


@dataclass(frozen=True)
class Continued:
    """The figures of one continuation of one clip; None and missing where the footage is too short for one."""

    jump: float
    velocity_break: float
    energy: list[float]
    """Of each second, over the tail's."""
    sharpness: list[float]
    """Of each second, over the tail's."""
    lowest_sharpness: float
    """In the first half second, over the tail's."""
    stop_seconds: float
    over_freeze: dict[float, float]
    """Seconds after the seam → decibels of PSNR above a freeze's."""
    reversal: float
    repetition: float


@dataclass
class ClipResult:
    name: str
    form: str
    pixels: int
    static: bool
    """The camera stands."""
    render_seconds: float
    remarks: list[str]
    methods: dict[str, Continued] = field(default_factory=dict)
    extensions: dict[str, Frames] = field(default_factory=dict)
    """For pictures; left out of `to_json`."""

    def to_json(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in {"extensions", "methods"}}
        return kept | {"methods": {name: asdict(value) for name, value in self.methods.items()}}


class Remarks:
    """A `Report` that keeps what an engine says."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def tail_of(clip: Clip, engine: Engine) -> Frames:
    """What the engine is shown of a clip."""
    wanted = clip.format.num_frames(engine.capabilities.context_seconds)
    return clip.given[-wanted:]


def append(clip: Clip, engine: Engine, seconds: float, remarks: Remarks) -> Frames:
    num_frames = clip.format.num_frames(Fraction(seconds))
    shot = Shot(Cell("clip", "nothing"), clip.format, num_frames, before=tail_of(clip, engine), seed=1)
    return joined(*engine.render(shot, remarks))


def continue_clip(clip: Clip, engine: Engine) -> ClipResult:
    """Everything that is measured of one clip."""
    remarks, tail = Remarks(), tail_of(clip, engine)
    started = time.perf_counter()
    ours = append(clip, engine, SECONDS, remarks)
    spent = time.perf_counter() - started
    own = _Tail(tail, clip)
    result = ClipResult(
        clip.name, str(clip.format), clip.format.width * clip.format.height, own.static, spent, remarks.texts
    )
    ours_long = append(clip, engine, LONG_SECONDS, Remarks())
    for name, short, whole in _continuations(own, ours, ours_long):
        result.methods[name] = _figures(own, short, whole)
        result.extensions[name] = short
    return result


def _continuations(own: _Tail, ours: Frames, ours_long: Frames) -> Iterator[tuple[str, Frames, Frames]]:
    """Each method's name, its first `SECONDS` and its `LONG_SECONDS`, one at a time."""
    yield OURS, ours, ours_long
    yield TRUTH, own.truth, own.truth
    for name, extend in EXTENSIONS.items():
        whole = extend(own.frames, round(LONG_SECONDS * own.rate), own.rate)
        yield name, whole[: round(SECONDS * own.rate)], whole


class _Tail:
    """A clip's tail, with what every continuation of it is compared with."""

    def __init__(self, frames: Frames, clip: Clip) -> None:
        self.frames = frames
        self.clip = clip
        self.truth = clip.held
        self.rate = clip.rate
        self.proxies: Plane = figures.proxies(luma(frames))
        self.steps = figures.steps(self.proxies[-round(2 * self.rate) :])
        self.sharpness = float(figures.sharpness(luma(frames)[-round(self.rate) :]).mean())
        self.static = figures.camera_stands(self.proxies)


def _figures(own: _Tail, short: Frames, whole: Frames) -> Continued:
    rate, pictures = own.rate, figures.proxies(luma(short))
    steps = figures.steps(np.concatenate([own.proxies[-1:], pictures]))
    sharp = figures.sharpness(luma(short)) / own.sharpness
    second = round(rate)
    return Continued(
        jump=measure(own.frames[-second:], short[:1], 0).jump,
        velocity_break=figures.velocity_break(own.proxies[-second:], pictures[:1]),
        energy=figures.energy(own.steps, steps, rate).tolist(),
        sharpness=figures.by_second(sharp, rate).tolist(),
        lowest_sharpness=float(sharp[: max(1, round(rate / 2))].min()),
        stop_seconds=figures.longest_stop(own.steps, steps, rate),
        over_freeze={} if short is own.truth else _over_freeze(own.clip, luma(own.frames)[-1], short),
        reversal=reversal(own.frames, whole, rate),
        repetition=figures.repetition(luma(own.frames), luma(whole), rate),
    )


def _over_freeze(clip: Clip, last: Plane, short: Frames) -> dict[float, float]:
    above = {}
    for seconds in PSNR_SECONDS:
        place = round(seconds * clip.rate) - 1
        if place < min(short.num_frames, clip.held.num_frames):
            truth = luma(clip.held)[place]
            above[seconds] = figures.psnr(luma(short)[place], truth) - figures.psnr(last, truth)
    return above
