"""The engine's dealings with who asks: what is told while it looks at a shot's ends, and what ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion import engine as engine_module
from longtake.engines.motion.frame import Frame, frame_at
from longtake.engines.motion.patience import go_on, stopping
from longtake.errors import Cancelled
from longtake.video import Cell, VideoFormat
from tests.timing import quickest, seconds_of

TRIES = 5
FORMAT = VideoFormat(64, 48, Fraction(24))


class Listener:
    """Keeps what it hears; raises Cancelled on the call of the number `cancel_on`."""

    def __init__(self, cancel_on: int = 10**6) -> None:
        self.counts: list[int] = []
        self._cancel_on = cancel_on

    def progress(self, num_frames: int) -> None:
        self.counts.append(num_frames)
        if len(self.counts) == self._cancel_on:
            raise Cancelled("taken back")

    def note(self, text: str) -> None: ...


def clip() -> Frames:
    rng = np.random.default_rng(1)
    luma = rng.integers(16, 235, (30, 48, 64), dtype=np.uint8)
    chroma = np.full((30, 24, 32), 128, np.uint8)
    return Frames((luma, chroma, chroma))


def shot(num_frames: int = 20) -> Shot:
    return Shot(Cell("clip", "nothing"), FORMAT, num_frames, before=clip())


def quickest_cancel() -> float:
    """Seconds until a cancel is heard, of several: a busy machine delays some, who waits for the work delays all."""

    def cancel() -> None:
        with pytest.raises(Cancelled):
            next(Motion().render(shot(), Listener(cancel_on=2)))

    return quickest(seconds_of(cancel), below=0.2)


def test_progress_goes_up_to_all_frames() -> None:
    heard = Listener()
    for _ in Motion().render(shot(20), heard):
        pass
    assert heard.counts == sorted(heard.counts)
    assert (heard.counts[0], heard.counts[-1]) == (0, 20)


def test_a_cancel_does_not_wait_for_a_frame_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def frames(*_: object) -> Iterator[Frame]:
        yield frame_at(clip(), 0)
        done.wait(60)

    monkeypatch.setattr(engine_module, "_frames", frames)
    try:
        assert quickest_cancel() < 0.2
    finally:
        done.set()


def test_who_closes_the_rendering_ends_its_thread() -> None:
    rendering = Motion().render(shot(100), Listener())
    next(rendering)
    assert isinstance(rendering, Generator)
    rendering.close()
    longest_wait_for_the_thread()


def test_a_cancel_does_not_wait_for_the_ends_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = threading.Event()
    monkeypatch.setattr(engine_module, "_frames", lambda *_: looked_at.wait(60))
    try:
        assert quickest_cancel() < 0.2
    finally:
        looked_at.set()


def longest_wait_for_the_thread() -> float:
    """Seconds until no rendering thread lives."""
    started = time.monotonic()
    for thread in threading.enumerate():
        if thread.name.startswith("longtake-motion"):
            thread.join(20)
            assert not thread.is_alive()
    return time.monotonic() - started


def test_a_cancel_ends_the_looking_at_the_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def looking(*_: object) -> None:
        too_long = time.monotonic() + 30
        while time.monotonic() < too_long:
            go_on()

    monkeypatch.setattr(engine_module, "_frames", looking)

    def wait_for_the_end() -> float:
        with pytest.raises(Cancelled, match="taken back"):
            next(Motion().render(shot(), Listener(cancel_on=2)))
        return longest_wait_for_the_thread()

    assert min(wait_for_the_end() for _ in range(TRIES)) < 0.2


def test_who_closes_the_rendering_ends_a_batch_within_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, made = threading.Event(), []

    def frames(*_: object) -> Iterator[Frame]:
        for number in range(100):
            if number == 6:
                cancelled.wait(5)
            made.append(number)
            yield frame_at(clip(), 0)

    class Impatient(Listener):
        def progress(self, num_frames: int) -> None:
            if len(made) == 6:
                raise Cancelled("taken back")

    monkeypatch.setattr(engine_module, "_frames", frames)
    rendering = Motion().render(shot(100), Impatient())
    with pytest.raises(Cancelled):
        list(rendering)
    cancelled.set()
    longest_wait_for_the_thread()
    assert made == list(range(7))


def test_nobody_else_is_stopped() -> None:
    go_on()
    given_up = threading.Event()
    given_up.set()
    with stopping(given_up):
        with stopping(threading.Event()):
            go_on()
        with pytest.raises(Cancelled):
            go_on()
        with ThreadPoolExecutor(1) as other:
            other.submit(go_on).result()
    go_on()


def test_what_fails_while_the_ends_are_looked_at_reaches_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("in the other thread")

    monkeypatch.setattr(engine_module, "_frames", fail)
    with pytest.raises(ZeroDivisionError, match="in the other thread"):
        next(Motion().render(shot(), Listener()))
