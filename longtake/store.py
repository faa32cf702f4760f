"""Where bytes are: objects under keys, through obstore. A folder by default; memory for tests and short runs.

An object appears whole or not at all, and is never changed once it is there. In a folder, each process makes its
objects in a work folder of its own, and holds a lock on that as long as it lives: what a dead one left is swept away.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.store import LocalStore, MemoryStore

from longtake.errors import StoreError, UnknownError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 1 << 20
_KEY = re.compile(r"[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_WORK, _PARTIAL = "work", "partial"


class Store:
    """Objects by key. Keys are ours alone, such as `segments/<generation id>.mp4`: no user text is ever in one."""

    def __init__(self, store: LocalStore | MemoryStore, *, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self.work_folder: Path | None = None
        """A folder from which `put_file` moves instead of copying; None where the store has none."""
        self.partial_folder = folder / _PARTIAL if folder else Path(tempfile.mkdtemp(prefix="longtake-partial-"))
        """Where files that come in parts grow from request to request, on this machine's disk; no object is there."""
        if folder:
            self.work_folder, lock = _own_folder(folder / _WORK)
            weakref.finalize(self, os.close, lock)
            self.partial_folder.mkdir(exist_ok=True)
        else:
            weakref.finalize(self, shutil.rmtree, self.partial_folder, ignore_errors=True)

    @classmethod
    def in_folder(cls, folder: Path) -> Store:
        """Objects as files below `folder`, which is made where it is missing."""
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(folder), folder=folder)

    @classmethod
    def in_memory(cls) -> Store:
        return cls(MemoryStore(), folder=None)

    def put_file(self, key: str, path: Path) -> int:
        """Puts the file at `path` under `key` and removes it there. Returns its size in bytes."""
        num_bytes = path.stat().st_size
        with _told(f"could not store {_checked(key)}"):
            if self._folder and path.resolve().is_relative_to(self._folder):
                _flush_to_disk(path)
                obstore.rename(self._store, path.resolve().relative_to(self._folder).as_posix(), key)
                _flush_to_disk((self._folder / key).parent)
            else:
                obstore.put(self._store, key, path)
                path.unlink()
        return num_bytes

    def put(self, key: str, data: bytes) -> None:
        if self.work_folder:
            path = self.work_folder / uuid.uuid4().hex
            with _told(f"could not store {_checked(key)}"):
                path.write_bytes(data)
            self.put_file(key, path)
            return
        with _told(f"could not store {_checked(key)}"):
            obstore.put(self._store, key, data)

    def open(self, key: str) -> str | BinaryIO:
        """What a reader of media can read from: the path of a local file, else a seekable stream.

        Raises UnknownError where there is no such object.
        """
        if self._folder:
            path = self._folder / _checked(key)
            if not path.is_file():
                raise UnknownError(f"there is no object {key}")
            return str(path)
        try:
            return io.BufferedReader(_Reader(obstore.open_reader(self._store, _checked(key))), CHUNK_BYTES)
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            raise UnknownError(f"there is no object {key}") from None

    def read(self, key: str) -> bytes:
        """The whole object; for small ones."""
        source = self.open(key)
        with open(source, "rb") if isinstance(source, str) else source as file:  # noqa: PTH123
            return bytes(file.read())

    def size(self, key: str) -> int | None:
        """In bytes; None where there is no such object."""
        try:
            with _told(f"could not read {key}"):
                return int(obstore.head(self._store, _checked(key))["size"])
        except UnknownError:
            return None

    def stream(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes `[start, stop)` of the object, a chunk at a time."""
        for at in range(start, stop, CHUNK_BYTES):
            with _told(f"could not read {key}"):
                yield bytes(obstore.get_range(self._store, _checked(key), start=at, end=min(stop, at + CHUNK_BYTES)))

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""
        try:
            with _told(f"could not delete {key}"):
                obstore.delete(self._store, _checked(key))
        except UnknownError:
            return

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys of all whole objects that begin with `prefix`, a path."""
        for batch in obstore.list(self._store, prefix or None):
            paths = (str(meta["path"]) for meta in batch)
            yield from (path for path in paths if not path.startswith((f"{_WORK}/", f"{_PARTIAL}/")))

    def sweep_work(self) -> None:
        """Removes what killed processes left half made. What living ones have in hand stays."""
        if not self._folder:
            return
        for path in (self._folder / _WORK).iterdir():
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


class _Reader(io.RawIOBase):
    """obstore's reader as Python's own readers are: what it gives is no `bytes`, and it can't be closed."""

    def __init__(self, reader: obstore.ReadableFile) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = bytes(self._reader.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)


class _told:  # noqa: N801
    """Turns what obstore and the system raise into our errors."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (FileNotFoundError, obstore.exceptions.NotFoundError)):
            raise UnknownError(self.message + ": there is no such object") from error
        if isinstance(error, (OSError, obstore.exceptions.BaseError)):
            raise StoreError(f"{self.message}: {type(error).__name__}", retryable=True) from error


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise UnknownError(f"there is no object {key[:80]!r}")
    return key


def _flush_to_disk(path: Path) -> None:
    """A file's bytes, or a folder's names: a rename outlives a power cut only once its folder is flushed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own_folder(work: Path) -> tuple[Path, int]:
    """A new folder in `work`, and its lock."""
    while True:
        folder = work / uuid.uuid4().hex
        folder.mkdir(parents=True)
        lock = _lock(folder)
        if lock is not None and folder.is_dir():
            return folder, lock
        if lock is not None:  # swept away by another process before the lock was ours
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Locks the folder; the kernel unlocks it when we die. None where another holds it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
