"""Bounds on time that a busy machine does not break: the quickest of several, for what is wrong delays them all."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def quickest(seconds_spent: Callable[[], float], *, below: float) -> float:
    """What it spends, in seconds: of the first try that stays below the bound, or of the best of several."""
    spent: list[float] = []
    for _ in range(TRIES):
        spent.append(seconds_spent())
        if spent[-1] < below:
            break
    return min(spent)


def seconds_of(run: Callable[[], object]) -> Callable[[], float]:
    """`run` as what tells how long it takes."""

    def timed() -> float:
        started = time.monotonic()
        run()
        return time.monotonic() - started

    return timed
