"""Work that two threads share comes out in order, stops when it fails or is given up, and is not done twice."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from functools import partial

import numpy as np
import pytest

from longtake.engines.motion.frame import Frame
from longtake.engines.motion.patience import go_on, stopping
from longtake.engines.motion.threads import Draw, Once, both, drawn, each, still
from longtake.errors import Cancelled


def picture(level: int) -> Frame:
    return Frame(*(np.full(shape, level, np.uint8) for shape in ((4, 4), (2, 2), (2, 2))))


def level(frame: Frame) -> int:
    return int(frame.y[0, 0])


def test_results_come_in_the_order_of_the_items() -> None:
    assert each(lambda number: number * number, range(50)) == [number * number for number in range(50)]


def test_two_items_are_worked_on_at_once() -> None:
    meeting = threading.Barrier(2, timeout=20)
    assert len(set(each(lambda _: (meeting.wait(), threading.get_ident())[1], range(2)))) == 2
    assert sorted(both(meeting.wait, meeting.wait)) == [0, 1]


def test_calls_may_be_nested() -> None:
    rows = each(lambda row: each(lambda column: 10 * row + column, range(4)), range(4))
    assert rows == [[10 * row + column for column in range(4)] for row in range(4)]


def test_what_an_item_raises_ends_the_work() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError(number)
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        each(work, range(10_000))
    assert len(done) < 9_999


@pytest.mark.parametrize("number", [0, 1])
def test_what_either_of_two_raises_is_passed_on(number: int) -> None:
    works = [partial(int, "1"), partial(int, "1")]
    works[number] = partial(int, "one")
    with pytest.raises(ValueError, match="one"):
        both(*works)


def test_frames_come_in_order_and_only_a_few_are_drawn_ahead() -> None:
    asked_for: list[int] = []

    def draws() -> Iterator[Draw]:
        for number in range(100):
            asked_for.append(number)
            yield partial(picture, number)

    frames = drawn(draws())
    assert [level(next(frames)) for _ in range(10)] == list(range(10))
    assert 10 < len(asked_for) < 20
    assert [level(frame) for frame in frames] == list(range(10, 100))


def test_who_is_given_up_is_so_in_every_thread() -> None:
    given_up = threading.Event()
    given_up.set()

    def draw() -> Frame:
        go_on()
        return picture(0)

    with stopping(given_up):
        with pytest.raises(Cancelled):
            next(drawn([draw]))
        with pytest.raises(Cancelled):
            both(lambda: None, go_on)
        with pytest.raises(Cancelled):
            each(lambda _: None, range(4))


def test_frames_that_nobody_takes_end_their_threads() -> None:
    frames = drawn(partial(picture, number) for number in range(100))
    next(frames)
    assert isinstance(frames, Generator)
    frames.close()
    for thread in threading.enumerate():
        if thread.name.startswith("longtake-motion-draw"):
            thread.join(20)
            assert not thread.is_alive()


def test_what_is_shown_twice_is_drawn_once() -> None:
    drawings: list[int] = []

    def draw() -> Frame:
        drawings.append(1)
        return picture(7)

    once = Once(draw)
    assert [level(frame) for frame in drawn([once, once, once, still(picture(8))])] == [7, 7, 7, 8]
    assert len(drawings) == 1
