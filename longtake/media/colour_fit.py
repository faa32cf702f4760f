"""Takes an engine's drift in tone out of the new part where it meets footage: full at the seam, gone within a second.

A model that renders a tail again often gives it back a little darker, greyer or warmer. A join is then seen however
well the motion meets. The mean and the spread of each plane are matched across the seam (Reinhard, Ashikhmin, Gooch,
Shirley: "Color transfer between images", IEEE CG&A 21(5), 2001, here on Y'CbCr), and the correction fades out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Frames, Plane
from longtake.media.colour import to_yuv
from longtake.media.planes import batch_length, empty_frames

FADE_SECONDS: Final = 1.0
MOST_HELD_BYTES: Final = 64 * 2**20
"""Frames ahead of a clip are held back until the last one is there: a second of them, or as many as fit in this."""
GRID: Final = 16, 9
"""Looks are compared on so few areas (columns, rows) that a frame's motion hardly changes them."""
LEAST_LEVELS: Final = 2.0
"""A difference in tone below it is not seen, and is left."""
MOST_LEVELS: Final = 24.0
"""A difference above it is another picture, not another tone."""
OWN_CHANGES: Final = 2.0
"""A difference must be so many times the footage's own from frame to frame: lamps flicker, clouds pass."""
CALM: Final = 0.75
"""The share of areas that are asked: those whose differences are most alike. Something passes through the others."""
EXPLAINED: Final = 0.5
"""Of the squared difference of the two looks, the tone must explain more than this share; the rest is content."""
MOST_GAIN: Final = 4 / 3
PLAIN_LEVELS: Final = 2.0
"""A spread that is small beside this one says nothing of contrast."""
LIMITS: Final = ((16.0, 235.0), (16.0, 240.0), (16.0, 240.0))
"""Of Y', Cb and Cr in BT.709's limited range: no correction leaves them."""

Look = npt.NDArray[np.float32]
"""(3, areas): the mean levels of Y', Cb and Cr."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A correction: `gain * level + offset` for each of Y', Cb and Cr."""

    gain: tuple[float, ...]
    offset: tuple[float, ...]
    levels: float
    """How far the mean of Y' is off: positive where the new part is too bright."""

    def apply(self, frames: Frames, index: int, weight: float) -> None:
        """Corrects one 4:2:0 frame in its place; `weight` is 1 for all of the correction, 0 for none."""
        for plane, gain, offset, limits in zip(frames.planes, self.gain, self.offset, LIMITS, strict=True):
            cv2.LUT(plane[index], _table(gain, offset, limits, weight), plane[index])


def fit_colour(
    batches: Iterable[Frames],
    num_frames: int,
    frame_rate: float,
    before: Frames | None,
    after: Frames | None,
    note: Callable[[str], None],
    *,
    start: int = 0,
) -> Iterator[Frames]:
    """Passes the `num_frames` new frames on, corrected next to `before[-1]` and `after[0]` where their tone is off.

    `before` and `after` are the footage that the part is joined to, 4:2:0; None where an end is open or a still, which
    is met exactly. The first new frame is fitted to the last of `before`, the last one to the first of `after`; the
    correction fades out, and never reaches the other end. Frames that need none are passed on as they are; nothing is
    held back but the last second ahead of an `after`. `note` is told of each correction in a sentence.
    `batches` may begin at frame `start`, behind what is fitted to `before`; else ValueError is raised.
    """
    fade = max(0, min(round(FADE_SECONDS * frame_rate), num_frames // 2 if before and after else num_frames - 1))
    frames = iter(batches)
    if before is not None and 0 < start < fade:
        raise ValueError(f"the first {fade} frames are fitted together, got those from {start} on")
    if before is not None and start < fade:
        frames = _fitted_after(frames, before, fade, note)
    if after is not None and fade:
        frames = _fitted_ahead(frames, num_frames - start, after, fade, note)
    return frames


def tone_between(meets: Frames, new: Frames) -> Tone | None:
    """What brings the first frame of `new` to the tone of the last of `meets`; None where they agree, or differ in
    more than tone. Frames are 4:2:0; `meets` is up to a few frames that end at the seam, in order towards it.
    """
    looks = [_look(meets, index) for index in range(meets.num_frames)]
    own = max((_distance(*_calm(a, b)) for a, b in itertools.pairwise(looks)), default=0.0)
    target, found = _calm(looks[-1], _look(new, 0))
    distance = _distance(target, found)
    if not max(LEAST_LEVELS, OWN_CHANGES * own) <= distance <= MOST_LEVELS:
        return None
    (mean, spread), (new_mean, new_spread) = _moments(target), _moments(found)
    gain = np.sqrt((spread**2 + PLAIN_LEVELS**2) / (new_spread**2 + PLAIN_LEVELS**2))
    gain = np.clip(gain, 1 / MOST_GAIN, MOST_GAIN)
    offset = mean - gain * new_mean
    left = target - (gain[:, None] * found + offset[:, None])
    if float((left**2).sum()) > (1 - EXPLAINED) * float(((target - found) ** 2).sum()):
        return None
    return Tone(tuple(map(float, gain)), tuple(map(float, offset)), float(new_mean[0] - mean[0]))


def _fitted_after(frames: Iterator[Frames], before: Frames, fade: int, note: Callable[[str], None]) -> Iterator[Frames]:
    """The part that follows `before`: known from its first frame on, so that nothing is held back."""
    tone: Tone | None = None
    start = 0
    for batch in frames:
        if start == 0:
            tone = tone_between(to_yuv(before[-3:]), to_yuv(batch[:1]))
            if tone:
                note(f"The new part began {_off(tone)}: its tone was fitted to the footage, fading out over its start.")
        yield _corrected(batch, tone, [1 - (start + k) / fade for k in range(batch.num_frames)]) if tone else batch
        start += batch.num_frames


def _fitted_ahead(
    frames: Iterator[Frames], num_frames: int, after: Frames, fade: int, note: Callable[[str], None]
) -> Iterator[Frames]:
    """The part that leads up to `after`: only its last frame tells, so its end is held back."""
    fade = max(1, min(fade, MOST_HELD_BYTES // (after.width * after.height * 3 // 2)))
    first_held, held, start = num_frames - fade, empty_frames(fade, after.width, after.height), 0
    for batch in frames:
        free = min(batch.num_frames, max(0, first_held - start))
        if free:
            yield batch[:free]
        for plane, ended in zip(
            held.planes, to_yuv(batch[free:]).planes if free < batch.num_frames else (), strict=False
        ):
            plane[max(0, start - first_held) :][: len(ended)] = ended
        start += batch.num_frames
    tone = tone_between(to_yuv(after[:3][::-1]), held[-1:]) if start == num_frames else None
    if tone:
        note(f"The new part ended {_off(tone)}: its tone was fitted to the footage, fading in over its end.")
        held = _corrected(held, tone, [(k + 1) / fade for k in range(fade)])
    step = batch_length(after.width, after.height)
    for place in range(0, fade, step):
        yield held[place : place + step]


def _corrected(frames: Frames, tone: Tone, weights: list[float]) -> Frames:
    """A corrected copy; the frames themselves where no weight is above 0."""
    if max(weights) <= 0:
        return frames
    made = Frames(tuple(plane.copy() for plane in to_yuv(frames).planes))
    for index, weight in enumerate(weights):
        if weight > 0:
            tone.apply(made, index, weight)
    return made


def _table(gain: float, offset: float, limits: tuple[float, float], weight: float) -> Plane:
    """The 256 levels of a plane, corrected; levels out of range are moved no further out."""
    level = np.arange(256.0)
    moved = level + weight * ((gain - 1) * level + offset)
    least, most = np.minimum(level, limits[0]), np.maximum(level, limits[1])
    return np.asarray(np.clip(moved, least, most).round(), np.uint8)


def _look(frames: Frames, index: int) -> Look:
    small = [cv2.resize(plane[index], GRID, interpolation=cv2.INTER_AREA) for plane in frames.planes]
    return np.stack(small).reshape(3, -1).astype(np.float32)


def _calm(first: Look, second: Look) -> tuple[Look, Look]:
    """Both looks, of the areas alone whose difference is most like the usual one."""
    change = second - first
    strangeness = np.abs(change - np.median(change, axis=1, keepdims=True)).sum(axis=0)
    calm = np.argsort(strangeness, kind="stable")[: round(CALM * strangeness.size)]
    return first[:, calm], second[:, calm]


def _moments(look: Look) -> tuple[Look, Look]:
    """The mean and the spread of each plane."""
    return look.mean(axis=1), look.std(axis=1)


def _distance(first: Look, second: Look) -> float:
    """How far two tones are from each other: the largest of the planes' differences in mean and in spread."""
    (mean, spread), (other_mean, other_spread) = _moments(first), _moments(second)
    return float(np.hypot(mean - other_mean, spread - other_spread).max())


def _off(tone: Tone) -> str:
    """In words."""
    if abs(tone.levels) < 1:
        return "with colours or a contrast of its own"
    return f"{abs(tone.levels):.0f} levels too {'bright' if tone.levels > 0 else 'dark'}"
