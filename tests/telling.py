"""What a child of `Confined` is asked to do in tests: it finds functions by their modules' names."""

from __future__ import annotations

import time
from collections.abc import Callable

from longtake.confined import LOOK_SECONDS


def count(progress: Callable[[float], None], num: int) -> int:
    """Work that takes a while, and tells of it."""
    for number in range(1, num + 1):
        time.sleep(LOOK_SECONDS)
        progress(number / num)
    return num


def hang(progress: Callable[[float], None], part: float) -> None:
    """Work that gets as far as that, and no further."""
    progress(part)
    time.sleep(60)
