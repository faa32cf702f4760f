"""Memory that goes back to the system: what was freed, and pictures that many look at now and then."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import numpy as np

from longtake.frames import Frames
from longtake.media.planes import empty_frames
from longtake.video import Colour

M_ARENA_MAX: Final = -8
"""glibc's malloc.h."""
_DONTNEED: Final = 4
"""Linux's asm-generic/mman-common.h."""


def give_back() -> None:
    """Hands freed memory back to the system; costs some milliseconds, and does nothing where the C library can't.

    glibc keeps what was freed, for each thread on its own. After footage was decoded, and after a clip was looked at,
    that is some 20 MB each at 720p, in pieces that are too small for the frames that come next.
    """
    if _TRIM is not None:
        _TRIM(0)


def share_one_heap() -> None:
    """From now on all threads take memory from one heap: for a process whose threads make pictures.

    glibc gives each of some threads a heap of its own, and what one of them has freed another one can't use: some
    70 MB at 720p. Waiting for each other costs nothing that can be measured, as they ask for whole planes. To be called
    before threads start; does nothing where the C library can't.
    """
    if _OPTION is not None:
        _OPTION(M_ARENA_MAX, 1)


class Spool:
    """Room for pictures that are made once and looked at now and then, in a file that has no name.

    What is not looked at just now is the system's to keep or to put away (`let_go`), and takes no memory of ours. Where
    the folder has no room for a file, it is plain memory. The file is gone with the last picture in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: list[mmap] = []

    def room(self, num_frames: int, width: int, height: int, colour: Colour) -> Frames:
        """Room for 4:2:0 frames, not yet filled, as `empty_frames` gives it."""
        shapes = [(num_frames, height, width), *[(num_frames, height // 2, width // 2)] * 2]
        sizes = [int(np.prod(shape)) for shape in shapes]
        try:
            # Without a promise of its blocks, a disk that is full would end the process where a page is written to.
            with TemporaryFile(dir=self._folder) as file:
                os.posix_fallocate(file.fileno(), 0, sum(sizes))
                whole = mmap(file.fileno(), sum(sizes))
        except (OSError, AttributeError):
            return empty_frames(num_frames, width, height, colour)
        self._maps.append(whole)
        ends = np.cumsum(sizes).tolist()
        planes = (np.frombuffer(whole, np.uint8, size, end - size) for size, end in zip(sizes, ends, strict=True))
        return Frames(tuple(plane.reshape(shape) for plane, shape in zip(planes, shapes, strict=True)), colour)

    def let_go(self) -> None:
        """Takes what was looked at out of our memory; looking at it again brings it back, at no cost worth naming."""
        for whole in self._maps:
            whole.madvise(_DONTNEED)


def _c_function(name: str) -> Callable[..., Any] | None:
    try:
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None


_TRIM = _c_function("malloc_trim")
_OPTION = _c_function("mallopt")
