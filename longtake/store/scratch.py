"""Where a process makes files before they are objects: a folder of its own, on this machine's disk.

Each process holds a lock on its folder as long as it lives, which the kernel releases: what a dead one left is swept.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
import weakref
from pathlib import Path

WORK, PARTIAL = "work", "partial"


class Scratch:
    """Below `folder`, which is made where it is missing."""

    def __init__(self, folder: Path) -> None:
        self._all_work = folder / WORK
        self.work_folder, lock = _own_folder(self._all_work)
        weakref.finalize(self, os.close, lock)
        self.partial_folder = folder / PARTIAL
        self.partial_folder.mkdir(exist_ok=True)

    def sweep(self) -> None:
        """Removes what killed processes left half made. What living ones have in hand stays."""
        for path in self._all_work.iterdir():
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


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
