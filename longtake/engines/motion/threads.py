"""Work that a few threads share. OpenCV and numpy let go of the interpreter's lock while they work.

Threads that each do whole pieces waste nothing on waiting for each other. OpenCV's own, which share each single call,
spend a third more processor time on pictures as small as the proxies, and are left out of it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from threading import Event, Lock
from typing import TypeVar

from longtake.engines.motion.frame import Frame
from longtake.engines.motion.patience import event_of_thread, go_on, stopping

Draw = Callable[[], Frame]
"""Makes one frame, in any thread, at any time, and the same each time."""

_THREADS = max(2, min(6, os.cpu_count() or 2))
"""More would hold more frames than they save time: the encoder wants processors too."""
_AHEAD = _THREADS + 2
"""How many frames are drawn, or being drawn, ahead of the one that is asked for."""

S = TypeVar("S")
T = TypeVar("T")


def each(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """`function` of each item, in order of the items; the caller's thread works on them too, and calls may be nested.

    What an item raises is passed on; the others are then left where they are.
    """
    if len(items) < 2:
        return [function(item) for item in items]
    places, results, failed = count(), dict[int, T](), Event()

    def work() -> None:
        try:
            while (place := next(places)) < len(items) and not failed.is_set():
                go_on()
                results[place] = function(items[place])
        except BaseException:
            failed.set()
            raise

    num_others = min(_THREADS, len(items)) - 1
    with ThreadPoolExecutor(num_others, "longtake-motion-each") as pool:
        others = [pool.submit(_in_step, event_of_thread(), work) for _ in range(num_others)]
        work()
        for other in others:
            other.result()
    return [results[place] for place in range(len(items))]


def both(first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T]:
    """What the two give, done at the same time."""
    with ThreadPoolExecutor(1, "longtake-motion-both") as pool:
        other = pool.submit(_in_step, event_of_thread(), second)
        return first(), other.result()


def drawn(draws: Iterable[Draw]) -> Iterator[Frame]:
    """The frames in their order, each drawn a few frames before it is asked for."""
    event, waiting = event_of_thread(), deque[Future[Frame]]()
    pool = ThreadPoolExecutor(_THREADS, "longtake-motion-draw")
    try:
        for draw in draws:
            waiting.append(pool.submit(_in_step, event, draw))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        waiting.clear()  # what one of them raised holds this frame: they would keep each other alive
        pool.shutdown(wait=False, cancel_futures=True)


def still(frame: Frame) -> Draw:
    """Draws what has been drawn already."""
    return lambda: frame


class Once:
    """A draw that is asked for twice, and draws once."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._frame: Frame | None = None
        self._lock = Lock()

    def __call__(self) -> Frame:
        with self._lock:
            if self._frame is None:
                self._frame = self._draw()
            return self._frame


def _in_step(event: Event | None, work: Callable[[], T]) -> T:
    """Does the work in this thread, and stops when the thread stops that it is done for."""
    if event is None:
        return work()
    with stopping(event):
        return work()
