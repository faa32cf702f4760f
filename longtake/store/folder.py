"""Objects as files below a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import obstore
from obstore.store import LocalStore

from longtake.errors import StoreError
from longtake.store.objects import Objects
from longtake.store.scratch import Scratch


class Folder(Objects):
    """Files that come from its own work folder are renamed; all others are copied there first."""

    def __init__(self, folder: Path, scratch: Scratch) -> None:
        super().__init__(LocalStore(folder))
        self._folder = folder
        self._work_folder = scratch.work_folder

    def put_file(self, key: str, path: Path) -> None:
        if not path.resolve().is_relative_to(self._folder):
            ours = self._work_folder / uuid.uuid4().hex
            shutil.copyfile(path, ours)
            self.put_file(key, ours)
            path.unlink()
            return
        _flush_to_disk(path)
        obstore.rename(self._store, path.resolve().relative_to(self._folder).as_posix(), key)
        _flush_to_disk((self._folder / key).parent)

    def put(self, key: str, data: bytes) -> None:
        path = self._work_folder / uuid.uuid4().hex
        path.write_bytes(data)
        self.put_file(key, path)

    def open(self, key: str) -> str:
        path = self._folder / key
        if not path.is_file():
            raise FileNotFoundError(key)
        return str(path)

    def read(self, key: str) -> bytes:
        return (self._folder / key).read_bytes()

    def delete(self, keys: Sequence[str]) -> None:
        """And the folders that are empty then, but not those of a kind."""
        for key in keys:
            path = self._folder / key
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for parent in path.parents[: key.count("/") - 1]:
                    parent.rmdir()

    def check(self) -> None:
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"the folder {self._folder} is not there, or may not be written to", retryable=True)


def _flush_to_disk(path: Path) -> None:
    """A file's bytes, or a folder's names: a rename outlives a power cut only once its folder is flushed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
