"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from longtake.media import memory
from longtake.video import BT709

SIDE = 64 * 1024
"""Bytes: small enough that the C library keeps them when they are freed."""


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_what_was_freed_between_what_is_held_goes_back() -> None:
    if memory._TRIM is None or not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux and a C library with malloc_trim")
    pieces = [np.ones(SIDE, np.uint8) for _ in range(1000)]
    held = pieces[::10]
    del pieces
    before = resident()
    memory.give_back()
    assert before - resident() > 0.5 * 900 * SIDE
    assert all(piece.all() for piece in held)


def test_where_the_c_library_cannot_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_name: None) -> ctypes.CDLL:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert memory._c_function("malloc_trim") is None
    monkeypatch.setattr(memory, "_TRIM", None)
    monkeypatch.setattr(memory, "_OPTION", None)
    memory.give_back()
    memory.share_one_heap()


IN_THREADS = """
import ctypes, sys
from threading import Barrier, Thread
from longtake.media.memory import share_one_heap

if sys.argv[1:]:
    share_one_heap()
all_there = Barrier(4)
def take():
    held = [bytearray(4000) for _ in range(100)]
    all_there.wait()
threads = [Thread(target=take) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ctypes.CDLL(None).malloc_stats()
"""


def test_threads_take_memory_from_one_heap() -> None:
    if memory._OPTION is None or memory._c_function("malloc_stats") is None:
        pytest.skip("needs glibc")

    def heaps(*arguments: str) -> int:
        run = subprocess.run([sys.executable, "-c", IN_THREADS, *arguments], capture_output=True, text=True, check=True)
        return run.stderr.count("Arena ")

    assert heaps() > heaps("one")  # what is imported may have begun some before


def test_a_spool_gives_room_that_keeps_what_is_put_into_it_and_takes_no_memory_when_let_go(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux")
    spool = memory.Spool(tmp_path)
    frames = spool.room(40, 640, 480, BT709)
    rng, before = np.random.default_rng(1), resident()
    given = rng.integers(0, 256, (40, 1), np.uint8)
    for plane in frames.planes:
        plane[:] = given[..., None]
    taken = sum(plane.nbytes for plane in frames.planes)
    assert resident() - before > 0.8 * taken
    spool.let_go()
    assert resident() - before < 0.2 * taken
    assert all((plane == given[..., None]).all() for plane in frames.planes)
    assert [plane.shape for plane in frames.planes] == [(40, 480, 640), (40, 240, 320), (40, 240, 320)]
    assert not list(tmp_path.iterdir())


def test_where_the_disk_has_no_room_a_spool_takes_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _start: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for folder in (tmp_path, tmp_path / "none"):
        spool = memory.Spool(folder)
        frames = spool.room(2, 64, 48, BT709)
        frames.planes[0][:] = 7
        spool.let_go()
        assert (frames.planes[0] == 7).all()
    assert not list(tmp_path.iterdir())
