"""The front room: takes orders, and answers for them. It renders nothing; uploads are looked at, not decoded whole."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from longtake.confined import Confined
from longtake.errors import CallerError, ConflictError, OrderError
from longtake.exports import Exports
from longtake.fetch import FetchRules, check_url, is_data_url
from longtake.footage import keys_of, run_of
from longtake.orders import KeyFrame, Order
from longtake.planning import CREDITS_PER_SECOND, Capabilities, Extent, check_engine, outline
from longtake.records import Create, Generation, Key, Records, Upload
from longtake.store import Store
from longtake.uploads import Uploads
from longtake.watching import Watch

P = ParamSpec("P")
T = TypeVar("T")


class Service(Uploads):
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
        webhook_url: str | None = None,
    ) -> None:
        super().__init__(
            records,
            store,
            rules=rules,
            max_still_pixels=max_still_pixels,
            max_partial_bytes=max_partial_bytes,
            partial_seconds=partial_seconds,
        )
        self._engines = engines
        self.models = models
        """Model names that clients may ask for → our engine's name."""
        self._webhook_url = webhook_url
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
        trace: str | None = None,
    ) -> Generation:
        """Takes an order: all that can be known now is checked now. Raises CallerError, with nothing changed.

        What stands in it as a `data:` URL is kept as an upload, which takes its place. Where `create` came before,
        what it made then is what it makes now. `trace`: the `traceparent` that it belongs to.
        """
        if create and (made := self._records.repeated(key.account, create)):
            return made
        capabilities = self.capabilities(order.model)
        check_engine(order, capabilities)
        extents: dict[str, Extent | None] = {end: self._check_end(end, frame, key.account) for end, frame in order.ends}
        if order.callback_url:
            _at_field("callback_url", check_url, order.callback_url, self._rules)
        with self._for_an_order(key.account) as kept:
            for end, frame in order.ends:
                if not frame.url or not is_data_url(frame.url):
                    continue
                upload = _at_field(f"keyframes.{end}.url", self._upload_inline, key.account, frame.type, frame.url)
                kept.append(upload.id)
                extents[end], named = upload.extent, replace(frame, url=None, upload=upload.id)
                order = replace(order, before=named) if end == "frame0" else replace(order, after=named)
            generation = self._generation(
                key, order, extents, wire=wire, request=request, base_url=base_url, trace=trace
            )
            made = self._records.submit(generation, limits=key.limits, create=create)
            _release(kept, made)
        return made

    def submit_file(
        self,
        key: Key,
        path: Path,
        order_of: Callable[[Upload], tuple[Order, Mapping[str, Any]]],
        *,
        wire: str,
        base_url: str = "",
        create: Create | None = None,
        trace: str | None = None,
    ) -> Generation:
        """Takes an order whose `frame0` is the file at `path`: its order and request are made of the upload.

        The file is removed at `path`, and is no upload where the order is not taken, or was before. Raises CallerError.
        """
        with self._for_an_order(key.account) as kept:
            upload = _at_field("keyframes.frame0", self.upload, key.account, path)
            kept.append(upload.id)
            order, request = order_of(upload)
            made = self.submit(key, order, wire=wire, request=request, base_url=base_url, create=create, trace=trace)
            _release(kept, made)
        return made

    def repeated(self, account: str, create: Create) -> Generation | None:
        """What this create has made already. Raises ConflictError where that is gone, or was another create."""
        return self._records.repeated(account, create)

    def get(self, id: str, account: str) -> Generation:
        """Raises UnknownError."""
        return self._records.get(id, account)

    def get_many(self, ids: Sequence[str], account: str) -> list[Generation]:
        """In the order asked for. Raises UnknownError."""
        return self._records.get_many(ids, account)

    def page(self, account: str, *, limit: int, offset: int = 0) -> tuple[list[Generation], int]:
        """Newest first, and how many there are in all."""
        return self._records.page(account, limit=limit, offset=offset), self._records.count(account)

    def page_after(
        self, account: str, *, after: str | None = None, limit: int = 100, ascending: bool = False
    ) -> tuple[list[Generation], bool]:
        """Those that follow the generation `after`, newest first or oldest first, and whether there are more.

        Raises UnknownError.
        """
        return self._records.page_after(account, after=after, limit=limit, ascending=ascending)

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
        """Tries a failed one again, at this key's cost. Raises UnknownError, ConflictError, CreditError, LimitError."""
        return self._records.retry(id, key.account, key_id=key.id, limits=key.limits)

    def delete(self, id: str, account: str) -> None:
        """Removes it, and cancels it where it still runs. Segments that others use stay. Raises UnknownError."""
        result = self._records.delete(id, account).result
        for kind in ("videos", "images", "stills", "live"):
            self._store.delete_under(f"{kind}/{id}")
        self.exports.delete(id)
        older = {result.video_key, result.image_key} if result else set()
        if not self._records.was_extended(id):
            for kind in ("segments", "sources"):
                self._store.delete_under(f"{kind}/{id}")
            older |= {key for key in keys_of(result.timeline) if _is_of(key, id)} if result else set()
        for key in older:  # the names that older versions gave lie in no folder of the generation's
            if run_of(key) is None:
                self._store.delete(key)

    def _generation(
        self,
        key: Key,
        order: Order,
        extents: Mapping[str, Extent | None],
        *,
        wire: str,
        request: Mapping[str, Any],
        base_url: str,
        trace: str | None,
    ) -> Generation:
        """The record of an order. Raises OrderError, ConflictError for ends that do not go with it."""
        capabilities = self.capabilities(order.model)
        extent, seconds = None, order.seconds
        if all(extents[end] or frame.type == "image" for end, frame in order.ends):
            found = outline(order, extents.get("frame0"), extents.get("frame1"), capabilities)
            extent, seconds = found.extent, found.seconds if order.edit else seconds
        order = replace(
            order,
            seed=secrets.randbits(32) if order.seed is None else order.seed,
            callback_url=order.callback_url or self._webhook_url,
        )
        now = time.time()
        return Generation(
            id=str(uuid.uuid4()),
            account=key.account,
            key_id=key.id,
            wire=wire,
            request=dict(request),
            order=order,
            engine=capabilities.name,
            credits=float(seconds) * order.takes * CREDITS_PER_SECOND,
            created_at=now,
            updated_at=now,
            extent=extent,
            base_url=base_url,
            trace=trace,
            parents=tuple((end, frame.id) for end, frame in order.ends if frame.id),
        )

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


def _is_of(key: str, id: str) -> bool:
    """Whether this generation has made an object, and not one whose footage it goes on from."""
    return key.split("/")[1].startswith(id)


def _release(kept: list[str], made: Generation) -> None:
    """Of the uploads that were kept for an order, those that it names are no longer ours to forget."""
    named = {frame.upload for _, frame in made.order.ends}
    kept[:] = [id for id in kept if id not in named]


def _at_field(field: str, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls `check`; its CallerError is raised on, naming the field."""
    try:
        return check(*args, **kwargs)
    except CallerError as error:
        error.field = error.field or field
        raise
