"""Files that come in parts: on disk from request to request, until they are whole or forgotten.

How much of a file is there is its size on disk, and nothing else says so: a `kill -9` between two bytes leaves what
was written, and whoever asks next is told just that. Who writes holds a lock that the kernel releases when he dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from longtake.errors import OrderError, StoreError, TooLargeError, UnknownError
from longtake.records import PartialUpload, Records
from longtake.store import Store

if TYPE_CHECKING:
    from typing_extensions import Buffer

MOST_UNFINISHED = 100
"""Uploads that one account may have under way."""
_ID = re.compile(r"[0-9a-f-]{36}")
_UNCHECKED = ".unchecked"


class PartialFile:
    """A file that grows, open and locked. Not for two threads at a time."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._marker = path.with_suffix(_UNCHECKED)
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def open(cls, path: Path) -> PartialFile | None:
        """Makes it where it is missing. None where another request, of any process, has it open."""
        with _told():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return None
            file = cls(path, descriptor)
            file.roll_back()
            return file

    def write(self, data: Buffer) -> None:
        """Appends. Raises StoreError, with as much written as went."""
        view = memoryview(data).cast("B")
        with _told():
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                self.size += written
                view = view[written:]

    def distrust(self) -> None:
        """What is written from now on counts only after `trust`: a kill, or `roll_back`, takes it away."""
        with _told():
            self._marker.write_text(str(self.size))

    def trust(self) -> None:
        """What was written is good, and outlives a power cut."""
        with _told():
            os.fsync(self._descriptor)
            self._marker.unlink(missing_ok=True)

    def roll_back(self) -> None:
        """Takes away what was written since `distrust`."""
        size = _checked_size(self._marker)
        if size is not None:
            self.cut(size)
            self._marker.unlink(missing_ok=True)

    def cut(self, size: int) -> None:
        """Keeps the first `size` bytes."""
        with _told():
            self.size = min(size, self.size)
            os.ftruncate(self._descriptor, self.size)

    def remove(self) -> None:
        """From the disk; its lock stays until `close`."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def whole(self) -> Iterator[Path]:
        """Another name of the same bytes, which may be moved away: this file is still there after a kill."""
        path = self.path.with_suffix(".whole")
        with _told():
            path.unlink(missing_ok=True)
            try:
                os.link(self.path, path)
            except OSError:  # a file system without links: it is moved, and after a kill comes again from its start
                path = self.path
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._descriptor)


class Incoming:
    """The files that are under way, of all accounts."""

    def __init__(self, records: Records, store: Store, *, max_bytes: int, seconds: float) -> None:
        self._records = records
        self._folder = store.partial_folder
        self.max_bytes = max_bytes
        """Of one file."""
        self.seconds = seconds
        """How long a file waits for its next byte."""

    def begin(self, account: str, num_bytes: int, *, metadata: str = "", sha256: str | None = None) -> PartialUpload:
        """Raises TooLargeError, OrderError for an empty file, ConflictError where too many are unfinished."""
        if num_bytes > self.max_bytes:
            raise TooLargeError(f"an upload may have at most {self.max_bytes} bytes, got {num_bytes}")
        if not num_bytes:
            raise OrderError("the file is empty", field="file")
        partial = PartialUpload(str(uuid.uuid4()), account, num_bytes, metadata, sha256, time.time())
        self._records.begin_upload(partial, most=MOST_UNFINISHED)
        return partial

    def find(self, id: str, account: str) -> PartialUpload:
        """Raises UnknownError."""
        partial = self._records.find_partial(id, account)
        if partial is None:
            raise UnknownError(f"there is no upload {id[:80]}")
        return partial

    def offset(self, partial: PartialUpload) -> int:
        """How many bytes are there, from the first on without a gap."""
        path = self._path(partial.id)
        checked = _checked_size(path.with_suffix(_UNCHECKED))
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        return size if checked is None else min(size, checked)

    def expires_at(self, partial: PartialUpload) -> float:
        """Unix seconds: so long after its last byte."""
        try:
            touched_at = self._path(partial.id).stat().st_mtime
        except FileNotFoundError:
            touched_at = 0.0
        return max(partial.created_at, touched_at) + self.seconds

    def is_expired(self, partial: PartialUpload) -> bool:
        return self.expires_at(partial) < time.time()

    def open(self, partial: PartialUpload) -> PartialFile | None:
        """None where another has it open. Raises UnknownError where it was ended meanwhile."""
        file = PartialFile.open(self._path(partial.id))
        if file is not None and self._records.find_partial(partial.id, partial.account) is None:
            file.remove()
            file.close()
            raise UnknownError(f"there is no upload {partial.id}")
        return file

    def refuse(self, partial: PartialUpload, file: PartialFile, reason: str) -> None:
        """The whole file can't be kept: its bytes go, the reason stays until it expires."""
        self._records.refuse_partial(partial.id, reason)
        file.cut(0)

    def end(self, partial: PartialUpload, file: PartialFile) -> None:
        """Forgets it, and its bytes."""
        self._records.end_partial(partial.id)
        file.remove()

    def sweep(self, now: float | None = None) -> int:
        """Forgets what has expired, and removes files that belong to nothing. Returns how many files went."""
        now = time.time() if now is None else now
        # Files first: a record is made before its file, so a file without one belongs to nothing.
        found = {path.stem for path in self._folder.iterdir() if _ID.fullmatch(path.stem)}
        known = {partial.id: partial for partial in self._records.partial_uploads()}
        for partial in known.values():
            if self.expires_at(partial) < now:
                self._end_unless_open(partial)
        stray = found - set(known)
        return sum(self._remove_stray(self._path(id)) for id in stray)

    def _end_unless_open(self, partial: PartialUpload) -> None:
        with contextlib.suppress(UnknownError):
            file = self.open(partial)
            if file is not None:
                self.end(partial, file)
                file.close()

    def _remove_stray(self, path: Path) -> bool:
        file = PartialFile.open(path)
        if file is None:
            return False
        file.remove()
        file.close()
        return True

    def _path(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise UnknownError(f"there is no upload {id[:80]}")
        return self._folder / id


def _checked_size(marker: Path) -> int | None:
    """How many bytes were there when the marker was made. An empty one was made by a process that died at that."""
    try:
        text = marker.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"could not keep what came: {error.strerror}", retryable=True) from error
