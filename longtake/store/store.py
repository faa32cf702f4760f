"""The store as everybody knows it: one class, whatever the place."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import obstore

from longtake import metrics
from longtake.errors import FaultError, StoreError, UnknownError
from longtake.store.bucket import Bucket
from longtake.store.folder import Folder
from longtake.store.memory import Memory
from longtake.store.objects import CHUNK_BYTES, Listed, Objects
from longtake.store.scratch import PARTIAL, WORK, Scratch

_KEY = re.compile(r"[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_DELETED_AT_ONCE = 1000


class Store:
    """Objects by key. Keys are ours alone, such as `segments/<generation id>.mp4`: no user text is ever in one.

    For any number of threads at a time. What was put is there for all who read after that, on every machine.
    """

    def __init__(self, objects: Objects, scratch: Scratch | None, *, is_shared: bool = False) -> None:
        self._objects = objects
        self._scratch = scratch
        self.is_shared = is_shared
        """Other machines may see the same objects."""
        self.work_folder: Path | None = scratch.work_folder if scratch else None
        """Where objects are made, on this machine's disk, in a folder that is ours while we live; None for memory."""
        self.partial_folder = scratch.partial_folder if scratch else _folder_of(self)
        """Where files that come in parts grow from request to request, on this machine's disk; no object is there."""

    @classmethod
    def in_folder(cls, folder: Path) -> Store:
        """Objects as files below `folder`, which is made where it is missing. Its work folder is in it."""
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Scratch(folder)
        return cls(Folder(folder, scratch), scratch)

    @classmethod
    def in_memory(cls) -> Store:
        return cls(Memory(), None)

    @classmethod
    def in_bucket(cls, url: str, scratch: Path) -> Store:
        """Objects in `s3://bucket/prefix`, made in `scratch`, a folder of this machine that is made where missing.

        Raises CallerError for another URL, or an `AWS_…` variable that can't be; asks the server nothing.
        """
        objects = Bucket(url)
        scratch.mkdir(parents=True, exist_ok=True)
        return cls(objects, Scratch(scratch.resolve()), is_shared=True)

    def check(self) -> None:
        """One cheap look. Raises StoreError that says what to mend where no object can be reached, within 10 s."""
        with self._told("the store can't be used"):
            self._objects.check()

    def put_file(self, key: str, path: Path) -> int:
        """Puts the file at `path` under `key` and removes it there. Returns its size in bytes.

        From the work folder of a folder this is one rename.
        """
        num_bytes = path.stat().st_size
        with self._told(f"could not store {_checked(key)}", putting=True):
            self._objects.put_file(key, path)
        metrics.stored(num_bytes)
        return num_bytes

    def put(self, key: str, data: bytes) -> None:
        with self._told(f"could not store {_checked(key)}", putting=True):
            self._objects.put(key, data)
        metrics.stored(len(data))

    def open(self, key: str) -> str | BinaryIO:
        """What a reader of media can read from: the path of a local file, else a seekable stream.

        Raises UnknownError where there is no such object. Reading from the stream raises the same errors.
        """
        with self._told(f"could not read {key}"):
            return self._objects.open(_checked(key))

    def read(self, key: str) -> bytes:
        """The whole object; for small ones."""
        with self._told(f"could not read {key}"):
            data = self._objects.read(_checked(key))
        metrics.read(len(data))
        return data

    def size(self, key: str) -> int | None:
        """In bytes; None where there is no such object."""
        try:
            with self._told(f"could not read {key}"):
                return self._objects.size(_checked(key))
        except UnknownError:
            return None

    def stream(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes `[start, stop)` of the object, a chunk at a time. The first comes soon, then more are read at once."""
        num_bytes = CHUNK_BYTES
        while start < stop:
            with self._told(f"could not read {key}"):
                data = self._objects.read_range(_checked(key), start, min(stop, start + num_bytes))
            if not data:
                raise StoreError(f"could not read {key}: it ends at byte {start}, not at {stop}", retryable=True)
            metrics.read(len(data))
            for at in range(0, len(data), CHUNK_BYTES):
                yield data[at : at + CHUNK_BYTES]
            start += len(data)
            num_bytes = min(2 * num_bytes, self._objects.largest_range)

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""
        if _KEY.fullmatch(key):
            self._delete(iter([key]), f"could not delete {key}")

    def delete_many(self, keys: Iterable[str]) -> None:
        """Removes the objects, a thousand with one request; those that are not there are passed over.

        Raises StoreError, with any of them removed.
        """
        self._delete((key for key in keys if _KEY.fullmatch(key)), "could not delete objects")

    def delete_under(self, prefix: str) -> None:
        """Removes all objects below that path, such as `segments/<generation id>`."""
        if not _KEY.fullmatch(prefix):
            raise FaultError(f"what is to be deleted must be a path of two names at least, got {prefix!r}")
        self._delete(self.keys(prefix), f"could not delete what is in {prefix}")

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys of all whole objects below `prefix`, a path."""
        return (found.key for found in self.listed(prefix))

    def listed(self, prefix: str = "") -> Iterator[Listed]:
        """All whole objects below `prefix`, a path, in no order. What is not yet one is there for who asks for it."""
        with self._told("could not list the objects"):
            for found in self._objects.listed(prefix):
                if prefix or not found.key.startswith((f"{WORK}/", f"{PARTIAL}/")):
                    yield found

    def sweep_work(self) -> None:
        """Removes what killed processes of this machine left half made. What living ones have in hand stays."""
        if self._scratch:
            self._scratch.sweep()

    def _delete(self, keys: Iterator[str], message: str) -> None:
        while batch := list(islice(keys, _DELETED_AT_ONCE)):
            try:
                with self._told(message):
                    self._objects.delete(batch)
            except UnknownError:  # some servers say so of one that is not there, and leave the others
                for key in batch if len(batch) > 1 else ():
                    self._delete(iter([key]), message)

    @contextmanager
    def _told(self, message: str, *, putting: bool = False) -> Iterator[None]:
        """Turns what obstore and the system raise into our errors."""
        try:
            yield
        except (OSError, obstore.exceptions.BaseError) as error:
            raise self._objects.cause(error, message, putting=putting) from None


def _folder_of(store: Store) -> Path:
    """A folder that goes with the store."""
    folder = Path(tempfile.mkdtemp(prefix="longtake-partial-"))
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise UnknownError(f"there is no object {key[:80]!r}")
    return key
