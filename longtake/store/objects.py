"""What a place of objects does. Each of them is a class here below; through obstore, but where that does too much."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import obstore

from longtake import metrics
from longtake.errors import LongtakeError, StoreError, UnknownError
from longtake.store.ranged import FIRST_BYTES, RangedFile

CHUNK_BYTES = 1 << 20


class Listed(NamedTuple):
    """An object as a listing shows it."""

    key: str
    num_bytes: int
    modified_at: float
    """Unix seconds, by the clock of the place."""


class Objects:
    """Objects by key; whoever calls has checked the keys, and turns what is raised into our errors by `cause`."""

    largest_range: ClassVar[int] = CHUNK_BYTES
    """How many bytes are read at once, where all are wanted."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def put_file(self, key: str, path: Path) -> None:
        """Puts the file, and removes it there. The object is seen whole or not at all."""
        self.put(key, path.read_bytes())
        path.unlink()

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._store, key, data)

    def open(self, key: str) -> str | BinaryIO:
        """A local path, or a seekable stream, whose reads raise our errors. Raises FileNotFoundError."""
        num_bytes = self.size(key)
        return self._ranged(key, num_bytes, self.read_range(key, 0, min(num_bytes, FIRST_BYTES)))

    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)`, or fewer where it ends before. Raises FileNotFoundError."""
        if start == stop:
            return b""
        return bytes(obstore.get_range(self._store, key, start=start, end=stop))

    def size(self, key: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        return int(obstore.head(self._store, key)["size"])

    def delete(self, keys: Sequence[str]) -> None:
        """Those that are not there are passed over."""
        obstore.delete(self._store, keys)

    def listed(self, path: str) -> Iterator[Listed]:
        """All objects below a path; of all paths, where it is empty."""
        for batch in obstore.list(self._store, path or None):
            for meta in batch:
                yield Listed(str(meta["path"]), int(meta["size"]), meta["last_modified"].timestamp())

    def check(self) -> None:
        """Raises what stands between us and the objects; cheap."""

    def cause(self, error: BaseException, message: str, *, putting: bool = False) -> LongtakeError:
        """What obstore or the system raised, as our error."""
        if isinstance(error, FileNotFoundError) and not putting:
            return UnknownError(message + ": there is no such object")
        return StoreError(f"{message}: {type(error).__name__}", retryable=True)

    def _ranged(self, key: str, num_bytes: int, head: bytes) -> BinaryIO:
        def fetch(start: int, stop: int) -> bytes:
            try:
                data = self.read_range(key, start, stop)
            except (OSError, obstore.exceptions.BaseError) as error:
                raise self.cause(error, f"could not read {key}") from None
            if not data:
                raise StoreError(f"could not read {key}: it ends at byte {start}, not at {num_bytes}", retryable=True)
            metrics.read(len(data))
            return data

        metrics.read(len(head))
        return io.BufferedReader(RangedFile(fetch, num_bytes, head), 1 << 16)
