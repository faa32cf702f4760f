"""What strangers send is opened in a child: what happens to it is an answer, and never ours."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from longtake.confined import Confined, _Answers
from longtake.errors import Cancelled, FaultError, MediaError
from longtake.media.stills import normalise
from longtake.video import VideoFormat
from tests.telling import count, hang


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    confined = Confined("longtake.media.stills", memory_bytes=2 << 30)
    yield confined
    confined.close()


def test_a_call_answers_as_if_it_were_made_here(confined: Confined, tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "a.png")
    assert confined.call(normalise, 20, tmp_path / "a.png", tmp_path / "b.png", max_pixels=10**6) == (256, 256)
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "RGB"


def test_what_it_raises_is_raised_here(confined: Confined, tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="pixels") as caught:
        confined.call(normalise, 20, tmp_path / "a.png", tmp_path / "b.png", max_pixels=100)
    assert caught.value.field is None


def test_values_of_ours_come_through(confined: Confined) -> None:
    assert confined.call(VideoFormat, 20, 64, 48, Fraction(30000, 1001)) == VideoFormat(64, 48, Fraction(30000, 1001))


def test_a_crash_is_an_answer_and_the_next_call_works(confined: Confined) -> None:
    with pytest.raises(MediaError, match="breaks the program"):
        confined.call(os.abort, 20)
    assert confined.call(Fraction, 20, 1, 3) == Fraction(1, 3)


def test_what_takes_too_long_is_ended(confined: Confined) -> None:
    confined.call(Fraction, 20, 1)
    started = time.monotonic()
    with pytest.raises(MediaError, match="longer than it may"):
        confined.call(time.sleep, 0.2, 60)
    assert time.monotonic() - started < 10


def test_what_takes_too_much_memory_is_ended(confined: Confined) -> None:
    with pytest.raises(MediaError, match="more memory than it may"):
        confined.call(bytearray, 20, 4 << 30)


def test_a_fault_in_it_is_a_fault(confined: Confined) -> None:
    with pytest.raises(FaultError, match="ZeroDivisionError"):
        confined.call(divmod, 20, 1, 0)


def test_it_has_none_of_our_secrets(confined: Confined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_SECRET", "x" * 40)
    confined.close()
    assert confined.call(os.getenv, 20, "LONGTAKE_SECRET") is None
    assert confined.call(os.getenv, 20, "PATH") == os.environ["PATH"]


def test_calls_from_many_threads_are_made_by_so_many_children_and_no_more(confined: Confined) -> None:
    assert len({confined.call(os.getpid, 20) for _ in range(5)}) == 1
    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(lambda _: confined.call(os.getpid, 20), range(32)))
    assert 1 <= len(pids) <= 2
    assert os.getpid() not in pids


def test_one_that_is_busy_keeps_no_other_waiting(confined: Confined) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(confined.call, time.sleep, 2.0, 60)
        confined.call(os.getpid, 20)
        assert not slow.done()
        with pytest.raises(MediaError):
            slow.result()


def test_a_child_is_replaced_when_it_has_served_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtake.confined.MOST_CALLS", 2)
    confined = Confined()
    pids = [confined.call(os.getpid, 20) for _ in range(4)]
    confined.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_who_follows_a_call_hears_how_far_it_is(confined: Confined) -> None:
    heard: list[float] = []
    assert confined.follow(count, 20, heard.append, 8) == 8
    assert heard == sorted(heard)
    assert {1 / 8, 1.0} <= set(heard)


def test_what_tells_of_its_progress_may_take_its_time_and_what_stops_telling_may_not(confined: Confined) -> None:
    assert confined.follow(count, 0.7, lambda part: None, 10) == 10
    with pytest.raises(MediaError, match="longer than it may"):
        confined.follow(hang, 0.7, lambda part: None, 0.5)


def test_who_follows_a_call_can_end_it_though_it_tells_nothing_any_more(confined: Confined) -> None:
    pids, heard = {confined.call(os.getpid, 20)}, []

    def hear(part: float) -> None:
        heard.append(part)
        if len(heard) == 4:
            raise Cancelled("taken back")

    with pytest.raises(Cancelled):
        confined.follow(hang, 20, hear, 0.5)
    assert heard[-1] == 0.5
    assert confined.call(os.getpid, 20) not in pids
    assert not any(_lives(pid) for pid in pids)


def test_who_waits_for_a_child_can_be_told_that_nobody_waits_any_more() -> None:
    confined = Confined(at_once=1)

    def hear(_part: float) -> None:
        raise Cancelled("taken back")

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(confined.call, time.sleep, 2.0, 60)
        while confined._free.qsize():
            pass
        with pytest.raises(Cancelled):
            confined.follow(count, 20, hear, 1)
        assert not slow.done()
        with pytest.raises(MediaError):
            slow.result()
    confined.close()


def test_it_ends_with_its_parent_in_the_midst_of_a_call() -> None:
    code = """
import os, time
from longtake.confined import Confined
confined = Confined()
print(confined.call(os.getpid, 20), flush=True)
confined.call(time.sleep, 60, 60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline


def _lives(pid: int) -> bool:
    """A zombie does not: nobody has asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_answer_that_would_run_something_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    with pytest.raises(FaultError, match="answered with"):
        _Answers(io.BytesIO(pickle.dumps(Evil()))).load()


def test_who_takes_an_order_back_does_not_wait_for_a_child_that_is_slow_to_start() -> None:
    children, looks = Confined("tests.slow_to_import"), []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 3:
            raise Cancelled("taken back")

    started = time.monotonic()
    for ask in (lambda: children.watch(Fraction, 20, look, 1), lambda: children.follow(count, 20, lambda _: look(), 1)):
        looks.clear()
        with pytest.raises(Cancelled):
            ask()
    assert time.monotonic() - started < 20
    children.close()


def test_who_watches_a_call_can_end_it(confined: Confined) -> None:
    assert confined.watch(Fraction, 20, lambda: None, 1, 3) == Fraction(1, 3)

    def look() -> None:
        raise Cancelled("taken back")

    started = time.monotonic()
    with pytest.raises(Cancelled):
        confined.watch(time.sleep, 20, look, 60)
    assert time.monotonic() - started < 10
