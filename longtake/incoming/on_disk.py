"""On this machine's disk: what was written stays there, byte for byte.

How much of a file is there is its size on disk, and nothing else says so: a `kill -9` between two bytes leaves what
was written, and whoever asks next is told just that. Who writes holds a lock that the kernel releases when he dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from longtake.errors import UnknownError
from longtake.incoming.partial import ID, PartialFile, told

if TYPE_CHECKING:
    from typing_extensions import Buffer

_UNCHECKED = ".unchecked"


class DiskFile(PartialFile):
    """Open and locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._marker = path.with_suffix(_UNCHECKED)
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def open(cls, path: Path) -> DiskFile | None:
        """Makes it where it is missing. None where another request, of any process, has it open."""
        with told(), contextlib.ExitStack() as stack:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return None
            file = cls(path, descriptor)
            file.roll_back()
            stack.pop_all()
            return file

    def write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        with told():
            while view:
                written = os.pwrite(self._descriptor, view, self.size)
                self.size += written
                view = view[written:]

    def distrust(self) -> None:
        with told():
            self._marker.write_text(str(self.size))

    def trust(self) -> None:
        with told():
            os.fsync(self._descriptor)
            self._marker.unlink(missing_ok=True)

    def roll_back(self) -> None:
        size = _checked_size(self._marker)
        if size is not None:
            self.cut(size)
            self._marker.unlink(missing_ok=True)

    def cut(self, size: int) -> None:
        with told():
            self.size = min(size, self.size)
            os.ftruncate(self._descriptor, self.size)

    def empty(self) -> None:
        self.cut(0)

    def remove(self) -> None:
        """From the disk; its lock stays until `close`."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def whole(self) -> Iterator[Path]:
        """Another name of the same bytes."""
        path = self.path.with_suffix(".whole")
        with told():
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


class OnDisk:
    """Files in a folder, named by their ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, id: str) -> DiskFile | None:
        return DiskFile.open(self._path(id))

    def size(self, id: str) -> int:
        path = self._path(id)
        checked = _checked_size(path.with_suffix(_UNCHECKED))
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return 0
        return size if checked is None else min(size, checked)

    def touched_at(self, id: str) -> float:
        try:
            return self._path(id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def ids(self) -> Collection[str]:
        return {path.stem for path in self._folder.iterdir() if ID.fullmatch(path.stem)}

    def sweep(self) -> None:
        """Nothing: what a process had in hand when it died is the file itself."""

    def _path(self, id: str) -> Path:
        if not ID.fullmatch(id):
            raise UnknownError(f"there is no upload {id[:80]}")
        return self._folder / id


def _checked_size(marker: Path) -> int | None:
    """How many bytes were there when the marker was made. An empty one was made by a process that died at that."""
    try:
        text = marker.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None
