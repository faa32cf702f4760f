"""In a bucket, where every front sees it: pieces that never change, each named by the bytes of the file that it holds.

What is there are the bytes that pieces cover from the first on without a gap, and nothing else says so. No lock is
needed for that: two requests that bring the same bytes at once, to two fronts, leave two pieces of which either will
do, and no request takes away what another brought, until the whole is kept, refused or ended. A piece is made on this
machine's disk, and becomes an object when it is large enough, or the request ends, however it ends. A `kill -9` loses
what is on the disk then, less than one piece, and no client was told of it.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from longtake.errors import StoreError, UnknownError
from longtake.incoming.partial import ID, PartialFile, told
from longtake.store import Listed, Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE_BYTES = 8 << 20
_FETCHED_AT_ONCE = 4
_PIECES = "partial"
_NAME = re.compile(rf"{_PIECES}/(?P<id>[^/]+)/(?P<start>\d+)-(?P<stop>\d+)-[0-9a-f]{{32}}")


class Piece(NamedTuple):
    """Bytes `[start, stop)` of a file, in an object that begins with byte `at` of it, which may be an earlier one."""

    start: int
    stop: int
    at: int
    key: str


class BucketFile(PartialFile):
    """What was there when it was opened, and what is written since."""

    def __init__(self, store: Store, id: str) -> None:
        assert store.work_folder
        self._store, self._id = store, id
        self._piece = store.work_folder / f"piece-{uuid.uuid4().hex}"
        self._descriptor: int | None = None
        """Of the piece under way, while there is one."""
        self._own: list[tuple[int, str]] = []
        """The pieces that were made here, one behind the other: where each starts, and its key."""
        self._is_distrusted = False
        self.size = self._kept = _size(self._pieces())
        """Of which so many bytes are in the bucket."""

    def write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        with told():
            if self._descriptor is None:
                self._descriptor = os.open(self._piece, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            while view:
                written = os.pwrite(self._descriptor, view, self.size - self._kept)
                self.size += written
                view = view[written:]
        if self.size - self._kept >= PIECE_BYTES and not self._is_distrusted:
            self._keep()

    def distrust(self) -> None:
        self._keep()
        self._is_distrusted = True

    def trust(self) -> None:
        self._is_distrusted = False
        self._keep()

    def roll_back(self) -> None:
        if self._is_distrusted:
            self.size = self._kept
        self.trust()

    def cut(self, size: int) -> None:
        """A piece goes as a whole: of one that starts before `size` the first bytes are to come again."""
        while self._own and self._kept > size:
            start, key = self._own[-1]
            self._store.delete(key)
            self._own.pop()
            self.size = self._kept = start
        self.size = max(self._kept, min(size, self.size))

    def empty(self) -> None:
        self._store.delete_under(f"{_PIECES}/{self._id}")
        self._own.clear()
        self.size = self._kept = 0

    def remove(self) -> None:
        self.empty()

    @contextmanager
    def whole(self) -> Iterator[Path]:
        """Fetched from the bucket. Raises StoreError where another front has ended the upload meanwhile."""
        path = self._piece.with_suffix(".whole")
        try:
            self._put_together(path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _put_together(self, path: Path) -> None:
        pieces = self._pieces()
        if _size(pieces) < self.size:
            raise self._gone()
        message = "could not put together what came"
        with told(message), path.open("wb") as file, ThreadPoolExecutor(_FETCHED_AT_ONCE) as pool:
            for _ in pool.map(lambda piece: self._fetch(piece, file.fileno()), pieces):
                pass

    def _gone(self) -> StoreError:
        return StoreError(f"upload {self._id} is being finished or ended elsewhere", retryable=True)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._piece.unlink(missing_ok=True)

    def _keep(self) -> None:
        """Makes an object of what is on the disk."""
        if self._descriptor is None or self.size == self._kept:
            return
        key = f"{_PIECES}/{self._id}/{self._kept:015}-{self.size:015}-{uuid.uuid4().hex}"
        with told():
            os.ftruncate(self._descriptor, self.size - self._kept)
        self._store.put_file(key, self._piece)
        self._own.append((self._kept, key))
        self._kept = self.size
        self.close()  # it is the object's now, or gone: the next byte begins another

    def _fetch(self, piece: Piece, descriptor: int) -> None:
        place = piece.start
        try:
            for chunk in self._store.stream(piece.key, piece.start - piece.at, piece.stop - piece.at):
                place += os.pwrite(descriptor, chunk, place)
        except UnknownError:
            raise self._gone() from None

    def _pieces(self) -> list[Piece]:
        return _chain(self._store.listed(f"{_PIECES}/{self._id}"))


class InBucket:
    """Folders of pieces, named by the uploads' ids. Whoever asks may open one: none keeps others off."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, id: str) -> BucketFile:
        return BucketFile(self._store, _checked(id))

    def size(self, id: str) -> int:
        return _size(_chain(self._store.listed(f"{_PIECES}/{_checked(id)}")))

    def touched_at(self, id: str) -> float:
        return max((found.modified_at for found in self._store.listed(f"{_PIECES}/{_checked(id)}")), default=0.0)

    def ids(self) -> Collection[str]:
        names = (_NAME.fullmatch(found.key) for found in self._store.listed(_PIECES))
        return {name["id"] for name in names if name and ID.fullmatch(name["id"])}

    def sweep(self) -> None:
        self._store.sweep_work()


def _chain(listed: Iterable[Listed]) -> list[Piece]:
    """The pieces that cover the file from its first byte on, as far as that goes."""
    found = []
    for each in listed:
        name = _NAME.fullmatch(each.key)
        if name and each.num_bytes == int(name["stop"]) - int(name["start"]):
            found.append((int(name["start"]), int(name["stop"]), each.key))
    pieces: list[Piece] = []
    for start, stop, key in sorted(found):
        end = _size(pieces)
        if start <= end < stop:
            pieces.append(Piece(end, stop, start, key))
    return pieces


def _size(pieces: list[Piece]) -> int:
    return pieces[-1].stop if pieces else 0


def _checked(id: str) -> str:
    if not ID.fullmatch(id):
        raise UnknownError(f"there is no upload {id[:80]}")
    return id
