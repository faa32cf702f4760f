"""The exact frame rate that a video was made at, from time stamps that may be rounded or irregular."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

LEAST: Final = Fraction(1)
MOST: Final = Fraction(120)
DEFAULT: Final = Fraction(25)
FINEST: Final = 90_000
"""Ticks a second: what counts finer is rounded to these."""
STANDARD: Final = tuple(
    Fraction(rate)
    for rate in (
        *(24, 25, 30, Fraction(24000, 1001), Fraction(30000, 1001), 50, 60, Fraction(60000, 1001)),
        *(12, 15, 10, 20, Fraction(25, 2), 48, 90, 100, 120, Fraction(120000, 1001), 8, 5, 1),
    )
)


class Rate(NamedTuple):
    """What the time stamps say."""

    frame_rate: Fraction
    constant: bool
    """Frame k is at k / frame_rate, but for the rounding of the time stamps."""


def nominal_rate(pts: Sequence[int], time_base: Fraction, hints: Iterable[Fraction]) -> Rate:
    """The rate of a video with these ascending time stamps; `hints` is what its container says.

    A constant rate is the first of the standard hints, the standard rates and the other hints that each time stamp
    fits within one tick, or else that of equal intervals. A variable one becomes its most frequent interval's rate
    (a mean or a median would lie between those of 24 fps with dropped frames). At least 1, at most 120.
    """
    given = [Fraction(hint) for hint in hints if hint > 0]
    if len(pts) < 2:
        return Rate(_bounded(given[0]) if given else DEFAULT, True)
    intervals = Counter(later - earlier for earlier, later in pairwise(pts))
    if len(intervals) == 1 and (interval := next(iter(intervals))) > 0 and time_base < Fraction(1, 5000):
        return _checked(1 / (interval * time_base))
    standard_hints = [hint for hint in given if hint in STANDARD]
    for candidate in (*standard_hints, *STANDARD, *given):
        if fits(pts, time_base, candidate):
            return _checked(candidate)
    return Rate(_most_frequent(intervals, time_base), False)


def _checked(frame_rate: Fraction) -> Rate:
    return Rate(_bounded(frame_rate), LEAST <= frame_rate <= MOST)


def _bounded(frame_rate: Fraction) -> Fraction:
    """Halved or doubled into what engines can make, so that whole frames are left out or shown twice."""
    while frame_rate > MOST:
        frame_rate /= 2
    while frame_rate < LEAST:
        frame_rate *= 2
    return frame_rate


def fits(pts: Sequence[int], time_base: Fraction, frame_rate: Fraction) -> bool:
    ticks = 1 / (frame_rate * time_base)
    return ticks >= 1 and all(abs(stamp - pts[0] - k * ticks) <= 1 for k, stamp in enumerate(pts))


def _most_frequent(intervals: Counter[int], time_base: Fraction) -> Fraction:
    usable = {ticks: num for ticks, num in intervals.items() if ticks * time_base * MOST >= 1}
    if not usable:
        return MOST
    near = {ticks: sum(usable.get(ticks + step, 0) for step in (-1, 0, 1)) for ticks in usable}
    mode = max(usable, key=lambda ticks: (near[ticks], usable[ticks], -ticks))
    standard = [rate for rate in STANDARD if abs(1 / (rate * time_base) - mode) <= 1]
    exact = 1 / (mode * time_base)
    if standard:
        return _bounded(min(standard, key=lambda rate: abs(rate - exact)))
    # As the time stamps count, so that a clock for them counts the new frames too.
    return _bounded(exact if time_base.denominator <= FINEST else Fraction(FINEST, round(FINEST / exact)))
