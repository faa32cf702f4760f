"""Files that come in parts: kept from request to request, until they are whole or forgotten.

They grow where all who may get the next part see them: on this machine's disk beside a folder of objects, in the
bucket where objects are in one.
"""

from __future__ import annotations

import contextlib
import time
import uuid

from longtake.errors import OrderError, TooLargeError, UnknownError
from longtake.incoming.in_bucket import InBucket
from longtake.incoming.on_disk import OnDisk
from longtake.incoming.partial import PartialFile, Place
from longtake.records import PartialUpload, Records
from longtake.store import Store

__all__ = ["MOST_UNFINISHED", "Incoming", "PartialFile"]

MOST_UNFINISHED = 100
"""Uploads that one account may have under way."""


class Incoming:
    """The files that are under way, of all accounts."""

    def __init__(self, records: Records, store: Store, *, max_bytes: int, seconds: float) -> None:
        self._records = records
        self._place: Place = InBucket(store) if store.is_shared else OnDisk(store.partial_folder)
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
        return self._place.size(partial.id)

    def expires_at(self, partial: PartialUpload) -> float:
        """Unix seconds: so long after its last byte."""
        return max(partial.created_at, self._place.touched_at(partial.id)) + self.seconds

    def is_expired(self, partial: PartialUpload, now: float | None = None) -> bool:
        now = time.time() if now is None else now
        # The place is asked last: where it is a bucket, that is a request.
        return partial.created_at + self.seconds < now and self.expires_at(partial) < now

    def open(self, partial: PartialUpload) -> PartialFile | None:
        """None where another has it open. Raises UnknownError where it was ended meanwhile."""
        file = self._place.open(partial.id)
        if file is None:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            if self._records.find_partial(partial.id, partial.account) is None:
                file.remove()
                raise UnknownError(f"there is no upload {partial.id}")
            stack.pop_all()
        return file

    def refuse(self, partial: PartialUpload, file: PartialFile, reason: str) -> None:
        """The whole file can't be kept: its bytes go, the reason stays until it expires."""
        self._records.refuse_partial(partial.id, reason)
        file.empty()

    def end(self, partial: PartialUpload, file: PartialFile) -> None:
        """Forgets it, and its bytes."""
        self._records.end_partial(partial.id)
        file.remove()

    def sweep(self, now: float | None = None) -> int:
        """Forgets what has expired, and removes what belongs to nothing. Returns how many such files went."""
        now = time.time() if now is None else now
        self._place.sweep()
        # Files first: a record is made before its file, so a file without one belongs to nothing.
        found = self._place.ids()
        known = {partial.id: partial for partial in self._records.partial_uploads()}
        for partial in known.values():
            if self.is_expired(partial, now):
                self._end_unless_open(partial)
        return sum(self._remove_stray(id) for id in found if id not in known)

    def _end_unless_open(self, partial: PartialUpload) -> None:
        with contextlib.suppress(UnknownError):
            file = self.open(partial)
            if file is not None:
                with contextlib.closing(file):
                    self.end(partial, file)

    def _remove_stray(self, id: str) -> bool:
        file = self._place.open(id)
        if file is None:
            return False
        with contextlib.closing(file):
            file.remove()
        return True
