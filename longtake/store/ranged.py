"""Reads an object that is far away as a file: by ranges, a few of which stay in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

FIRST_BYTES = 512 << 10
"""What a jump fetches. An MP4 is read by jumps: its head, its index, the frames at its end. What 5 ms of a good line
bring, where an answer takes 30: less would save nothing."""
MOST_BYTES = 4 << 20
"""What reading on fetches at most: each range is twice the one before, so that a long read takes few requests."""
KEPT_BYTES = 8 << 20
"""What stays in memory, the latest used first. Sound and picture lie apart, and are read by turns."""

Fetch = Callable[[int, int], bytes]
"""Bytes `[start, stop)` of the object, one at least. What it raises, reading raises."""


class RangedFile(io.RawIOBase):
    """An object of `num_bytes` that never changes. Not for two threads at a time."""

    def __init__(self, fetch: Fetch, num_bytes: int, head: bytes = b"") -> None:
        self._fetch = fetch
        self._num_bytes = num_bytes
        self._at = 0
        self._ranges = [(0, head)] if head else []
        """`(start, bytes)`, the latest used last."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        if base + offset < 0:
            raise OSError(22, f"can't seek to {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._num_bytes or not view:
            return 0
        start, data = self._range(len(view))
        part = data[self._at - start : self._at - start + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _range(self, num_bytes: int) -> tuple[int, bytes]:
        """One that holds the byte we are at; fetched where none does."""
        length = FIRST_BYTES
        for index, (start, data) in enumerate(self._ranges):
            if start <= self._at < start + len(data):
                self._ranges.append(self._ranges.pop(index))
                return self._ranges[-1]
            if start + len(data) == self._at:  # reading on
                length = max(length, min(2 * len(data), MOST_BYTES))
        stop = min(self._num_bytes, self._at + max(length, num_bytes))
        data = self._fetch(self._at, stop)
        while self._ranges and sum(len(kept) for _, kept in self._ranges) + len(data) > KEPT_BYTES:
            del self._ranges[0]
        self._ranges.append((self._at, data))
        return self._ranges[-1]
