"""What clients bring, whole: looked at in a child, kept as an upload, and forgotten again where it was for nothing."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from longtake.confined import Confined, seconds_for
from longtake.errors import DatabaseError, MediaError, OrderError, StoreError
from longtake.fetch import FetchRules, decode_data
from longtake.incoming import Incoming, PartialFile
from longtake.media.probe import is_video, probe
from longtake.media.stills import normalise
from longtake.planning import Extent
from longtake.records import PartialUpload, Records, Upload
from longtake.store import Store

log = logging.getLogger(__name__)


class Uploads:
    """Keeps uploads, and finds them again."""

    def __init__(
        self,
        records: Records,
        store: Store,
        *,
        rules: FetchRules,
        max_still_pixels: int,
        max_partial_bytes: int,
        partial_seconds: float,
    ) -> None:
        self._records = records
        self._store = store
        self._rules = rules
        self._max_still_pixels = max_still_pixels
        self.incoming = Incoming(records, store, max_bytes=max_partial_bytes, seconds=partial_seconds)
        """Uploads that come in parts."""
        self._confined = Confined("longtake.media.stills", "longtake.media.probe")

    def upload(self, account: str, path: Path, *, id: str | None = None, sha256: str | None = None) -> Upload:
        """Keeps the file at `path`, an image or a video, and removes it there.

        `sha256`, in hexadecimal, is what it must have. Raises MediaError, OrderError for another digest.
        """
        digest = _digest(path)
        if sha256 is not None and digest != sha256:
            raise OrderError(f"the file's SHA-256 is {digest}, not {sha256} as was said: send it again", field="sha256")
        keep = self._keep_video if is_video(path) else self._keep_unknown
        return self._add(keep, account, path, digest, id)

    def get_upload(self, id: str, account: str) -> Upload:
        """Raises UnknownError."""
        return self._records.get_upload(id, account)

    def find_upload(self, id: str, account: str) -> Upload | None:
        return self._records.find_upload(id, account)

    def forget_upload(self, id: str, account: str) -> None:
        """Removes it: its record, and its object. No order may name it."""
        upload = self._records.forget_upload(id, account)
        if upload is None:
            return
        try:
            self._store.delete(upload.key)
        except StoreError:
            log.warning("the object %s is left over", upload.key, exc_info=True)

    def finish_upload(self, partial: PartialUpload, file: PartialFile) -> Upload:
        """Keeps a file that has come whole. A second time, after a kill in the midst of it, does no harm.

        Raises MediaError, OrderError: then its bytes are gone, and the record says why.
        """
        upload = self._records.find_upload(partial.id, partial.account)
        if upload is None:
            try:
                with file.whole() as path:
                    upload = self.upload(partial.account, path, id=partial.id, sha256=partial.sha256)
            except (MediaError, OrderError) as error:
                self.incoming.refuse(partial, file, error.message)
                raise
        file.remove()
        return upload

    @contextmanager
    def _for_an_order(self, account: str) -> Iterator[list[str]]:
        """A list for the ids of uploads that are kept for an order: those in it at the end are forgotten.

        Not where the database went away: the order may have been taken, and only the answer lost.
        """
        ids: list[str] = []
        try:
            yield ids
        except DatabaseError:
            ids.clear()
            raise
        finally:
            for id in ids:
                self.forget_upload(id, account)

    def _upload_inline(self, account: str, kind: str, url: str) -> Upload:
        """Keeps what a `data:` URL holds. Raises OrderError, MediaError where that is not of this `kind`."""
        _, data = decode_data(url, self._rules)
        path = (self._store.work_folder or Path(tempfile.gettempdir())) / f"inline-{uuid.uuid4()}"
        try:
            path.write_bytes(data)
            keep = self._keep_image if kind == "image" else self._keep_video
            return self._add(keep, account, path, hashlib.sha256(data).hexdigest())
        except OSError as error:
            raise StoreError(f"could not keep what came: {error.strerror}", retryable=True) from error
        finally:
            path.unlink(missing_ok=True)

    def _add(
        self,
        keep: Callable[[str, str, Path, str], Upload],
        account: str,
        path: Path,
        sha256: str,
        id: str | None = None,
    ) -> Upload:
        upload = keep(id or str(uuid.uuid4()), account, path, sha256)
        return self._records.add_upload(upload)

    def _keep_image(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        num_bytes, upright = path.stat().st_size, path.with_suffix(".upright")
        try:
            width, height = self._confined.call(
                normalise, seconds_for(path), path, upright, max_pixels=self._max_still_pixels
            )
            self._store.put_file(f"uploads/{id}.png", upright)
        finally:
            upright.unlink(missing_ok=True)
        path.unlink()
        now = time.time()
        return Upload(id, account, "image", f"uploads/{id}.png", width, height, None, None, num_bytes, sha256, now)

    def _keep_unknown(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        """An image, or a video whose first bytes do not say so."""
        try:
            return self._keep_image(id, account, path, sha256)
        except MediaError as not_an_image:
            try:
                return self._keep_video(id, account, path, sha256)
            except MediaError as not_a_video:
                raise MediaError(f"neither an image nor a video: {not_an_image}; {not_a_video}") from None

    def _keep_video(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        found = self._confined.call(probe, seconds_for(path), path)
        num_bytes, key = path.stat().st_size, f"uploads/{id}.video"
        self._store.put_file(key, path)
        made, now = found.format, time.time()
        seconds, fps = found.seconds, float(made.frame_rate)
        # Another video is decoded first, and only that tells how many frames come of it; times of their own are not
        # known at the door.
        extent = Extent(made, found.num_frames) if found.is_kept and found.is_constant else None
        return Upload(id, account, "video", key, made.width, made.height, seconds, fps, num_bytes, sha256, now, extent)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
