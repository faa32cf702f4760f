"""The front room: takes orders, and answers for them. It renders nothing; uploads are looked at, not decoded whole."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from longtake.confined import SECONDS, Confined
from longtake.errors import CallerError, ConflictError, MediaError, OrderError
from longtake.exports import Exports
from longtake.fetch import FetchRules, check_url
from longtake.incoming import Incoming, PartialFile
from longtake.media.probe import is_video, probe
from longtake.media.stills import normalise
from longtake.orders import MOST_TAKES, KeyFrame, Order
from longtake.planning import Capabilities, Extent, check_engine, outline
from longtake.records import Create, Generation, Key, PartialUpload, Records, Upload
from longtake.sources import forget_matched
from longtake.store import Store
from longtake.watching import Watch

P = ParamSpec("P")
T = TypeVar("T")
CREDITS_PER_SECOND = 1.0
"""One credit renders one second of new video; each take is rendered."""
READ_BYTES_PER_SECOND = 20 << 20
"""A file is given the more time to be looked at, the larger it is."""


class Service:
    """Every wire speaks to this, and to nothing below it."""

    def __init__(
        self,
        records: Records,
        store: Store,
        *,
        engines: Mapping[str, Capabilities],
        models: Mapping[str, str],
        rules: FetchRules,
        max_still_pixels: int,
        max_partial_bytes: int = 10 << 30,
        partial_seconds: float = 86400.0,
    ) -> None:
        self._records = records
        self._store = store
        self._engines = engines
        self.models = models
        """Model names that clients may ask for → our engine's name."""
        self._rules = rules
        self._max_still_pixels = max_still_pixels
        self.incoming = Incoming(records, store, max_bytes=max_partial_bytes, seconds=partial_seconds)
        """Uploads that come in parts."""
        self._confined = Confined("longtake.media.stills", "longtake.media.probe")
        self.exports = Exports(store, Confined("longtake.media.export", at_once=1))
        """Finished videos as other kinds of file."""

    def capabilities(self, model: str) -> Capabilities:
        """Raises OrderError that names the models there are."""
        if model not in self.models:
            raise OrderError(f"model must be one of {', '.join(self.models)}, got {model[:80]}", field="model")
        return self._engines[self.models[model]]

    def submit(
        self,
        key: Key,
        order: Order,
        *,
        wire: str,
        request: Mapping[str, Any],
        base_url: str = "",
        create: Create | None = None,
    ) -> Generation:
        """Takes an order: all that can be known now is checked now. Raises CallerError, with nothing changed.

        Where `create` came before, what it made then is what it makes now.
        """
        if create and (made := self._records.repeated(key.account, create)):
            return made
        capabilities = self.capabilities(order.model)
        check_engine(order, capabilities)
        extents: dict[str, Extent | None] = {}
        for end, frame in order.ends:
            extents[end] = self._check_end(end, frame, key.account)
        extent = None
        if all(extents[end] or frame.type == "image" for end, frame in order.ends):
            extent = outline(order, extents.get("frame0"), extents.get("frame1"), capabilities).extent
        if order.callback_url:
            _at_field("callback_url", check_url, order.callback_url, self._rules)
        now = time.time()
        generation = Generation(
            id=str(uuid.uuid4()),
            account=key.account,
            key_id=key.id,
            wire=wire,
            request=dict(request),
            order=order if order.seed is not None else replace(order, seed=secrets.randbits(32)),
            engine=capabilities.name,
            credits=float(order.seconds) * order.takes * CREDITS_PER_SECOND,
            created_at=now,
            updated_at=now,
            extent=extent,
            base_url=base_url,
            parents=tuple((end, frame.id) for end, frame in order.ends if frame.id),
        )
        return self._records.submit(generation, limits=key.limits, create=create)

    def get(self, id: str, account: str) -> Generation:
        """Raises UnknownError."""
        return self._records.get(id, account)

    def get_many(self, ids: Sequence[str], account: str) -> list[Generation]:
        """In the order asked for. Raises UnknownError."""
        return self._records.get_many(ids, account)

    def page(self, account: str, *, limit: int, offset: int = 0) -> tuple[list[Generation], int]:
        """Newest first, and how many there are in all."""
        return self._records.page(account, limit=limit, offset=offset), self._records.count(account)

    def watch(self, id: str) -> Watch:
        """What there is of it to be watched, by whoever has its address. Raises UnknownError."""
        account = self._records.get(id).account
        return Watch.of(self._records.get(id, account), self._store)  # a deleted one is in no account

    def children(self, id: str) -> list[str]:
        return self._records.children(id)

    def count_by_state(self) -> dict[str, int]:
        """How many generations of all accounts are in each state, the deleted ones too."""
        return self._records.count_by_state()

    def cancel(self, id: str, account: str) -> Generation:
        """Takes an order back while it runs. Raises UnknownError, ConflictError where it has ended."""
        self._records.get(id, account)
        if not self._records.fail(id, "cancelled", "cancelled"):
            raise ConflictError(f"generation {id} has ended: it can't be cancelled")
        return self._records.get(id, account)

    def retry(self, id: str, key: Key) -> Generation:
        """Tries a failed one again. Raises UnknownError, ConflictError, CreditError, LimitError."""
        return self._records.retry(id, key.account, limits=key.limits)

    def delete(self, id: str, account: str) -> None:
        """Removes it, and cancels it where it still runs. Segments that others use stay. Raises UnknownError."""
        self._records.delete(id, account)
        for key in (f"videos/{id}.mp4", f"images/{id}.jpg", f"stills/{id}-frame0.png", f"stills/{id}-frame1.png"):
            self._store.delete(key)
        self.exports.delete(id)
        if self._records.was_extended(id):
            return
        takes = [f"segments/{id}-take{number}" for number in range(2, MOST_TAKES + 1)]
        others = (f"segments/{id}-tail", f"segments/{id}-lead", f"sources/{id}-frame0", f"sources/{id}-frame1")
        for stem in (f"segments/{id}", *takes, *others):
            for suffix in (".mp4", ".json", "-sound.mp4"):
                self._store.delete(f"{stem}{suffix}")
        forget_matched(id, self._store)

    def upload(self, account: str, path: Path, *, id: str | None = None, sha256: str | None = None) -> Upload:
        """Keeps the file at `path`, an image or a video, and removes it there.

        `sha256`, in hexadecimal, is what it must have. Raises MediaError, OrderError for another digest.
        """
        digest = _digest(path)
        if sha256 is not None and digest != sha256:
            raise OrderError(f"the file's SHA-256 is {digest}, not {sha256} as was said: send it again", field="sha256")
        id = id or str(uuid.uuid4())
        if is_video(path):
            upload = self._upload_video(id, account, path, digest)
        else:
            upload = self._upload_unknown(id, account, path, digest)
        self._records.add_upload(upload)
        return upload

    def get_upload(self, id: str, account: str) -> Upload:
        """Raises UnknownError."""
        return self._records.get_upload(id, account)

    def find_upload(self, id: str, account: str) -> Upload | None:
        return self._records.find_upload(id, account)

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

    def _upload_image(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        num_bytes, upright = path.stat().st_size, path.with_suffix(".upright")
        try:
            width, height = self._confined.call(
                normalise, _seconds_for(path), path, upright, max_pixels=self._max_still_pixels
            )
            self._store.put_file(f"uploads/{id}.png", upright)
        finally:
            upright.unlink(missing_ok=True)
        path.unlink()
        now = time.time()
        return Upload(id, account, "image", f"uploads/{id}.png", width, height, None, None, num_bytes, sha256, now)

    def _upload_unknown(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        """An image, or a video whose first bytes do not say so."""
        try:
            return self._upload_image(id, account, path, sha256)
        except MediaError as not_an_image:
            try:
                return self._upload_video(id, account, path, sha256)
            except MediaError as not_a_video:
                raise MediaError(f"neither an image nor a video: {not_an_image}; {not_a_video}") from None

    def _upload_video(self, id: str, account: str, path: Path, sha256: str) -> Upload:
        found = self._confined.call(probe, _seconds_for(path), path)
        num_bytes, key = path.stat().st_size, f"uploads/{id}.video"
        self._store.put_file(key, path)
        made, now = found.format, time.time()
        seconds, fps = found.seconds, float(made.frame_rate)
        # Another video is decoded first, and only that tells how many frames come of it; times of their own are not
        # known at the door.
        extent = Extent(made, found.num_frames) if found.is_kept and found.is_constant else None
        return Upload(id, account, "video", key, made.width, made.height, seconds, fps, num_bytes, sha256, now, extent)

    def _check_end(self, end: str, frame: KeyFrame, account: str) -> Extent | None:
        """How long the video at this end is or will be, where that is known already."""
        field = f"keyframes.{end}"
        if frame.url:
            _at_field(f"{field}.url", check_url, frame.url, self._rules)
        if frame.upload:
            upload = _at_field(f"{field}.upload", self._records.get_upload, frame.upload, account)
            if upload.kind != frame.type:
                what = {"image": "an image", "video": "a video"}
                raise OrderError(
                    f"upload {upload.id} is {what[upload.kind]}, not {what[frame.type]}", field=f"{field}.type"
                )
            return upload.extent
        if frame.id:
            parent = self._records.get_parent(frame.id, account, end)
            return Extent.of(parent.result.timeline) if parent.result else parent.extent
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seconds_for(path: Path) -> float:
    """How long it may take to look at a file."""
    return SECONDS + path.stat().st_size / READ_BYTES_PER_SECOND


def _at_field(field: str, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls `check`; its CallerError is raised on, naming the field."""
    try:
        return check(*args, **kwargs)
    except CallerError as error:
        error.field = error.field or field
        raise
