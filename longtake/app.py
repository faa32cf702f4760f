"""Builds everything once. The only place that knows which implementation is used."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from longtake.dialects import is_postgres
from longtake.engines.available import engines
from longtake.errors import AuthError, CallerError, DatabaseError
from longtake.fetch import Fetcher, FetchRules, check_url, parse_networks
from longtake.fetch.addresses import Network
from longtake.garbage import check_mark, mark
from longtake.lost import sweep_often
from longtake.metrics import Seen
from longtake.records import (
    Changes,
    Keys,
    Limits,
    Records,
    WorkerRecords,
    WorkerRow,
    count_request,
    kept_secret,
    migrate,
    open_database,
    seconds_ahead,
)
from longtake.service import Service
from longtake.settings import PREFIX, Settings, parse_models
from longtake.store import Store
from longtake.webhooks import Webhooks, parse_secret
from longtake.worker import Worker
from longtake.workflows import Executor, Locks, Workflows, locks_of, migrate_workflows
from longtake.workflows.recovery import in_living_hands

if TYPE_CHECKING:
    import sqlalchemy as sa
    from fastapi import FastAPI

PATIENCE_SECONDS = 60.0
"""How long a worker waits for a database that is away before it lets its run begin again."""


@dataclass(frozen=True, slots=True)
class House:
    """The database and the store, opened: what front and back both stand on."""

    settings: Settings
    url: str
    database: sa.Engine
    store: Store
    keys: Keys
    rules: FetchRules

    @classmethod
    def open(cls, settings: Settings, *, marks: bool = True) -> House:
        """Makes the folder and the tables where they are missing, and marks a store that has no mark as this one's.

        Raises CallerError, also where the store belongs to another database.
        """
        house = cls._of(settings)
        with house._closed_on_error():
            migrate(house.database)
            migrate_workflows(house.url)
            if marks:
                mark(house._id, house.store)
        return house

    @classmethod
    def open_marked(cls, settings: Settings, *, migrates: bool) -> House:
        """For who deletes. Raises CallerError, and has made nothing, unless the store is marked as this database's."""
        house = cls._of(settings)
        file = house.database.url.database or ""
        if not is_postgres(house.url) and not Path(file).exists():
            raise _database_error(f"there is no {file}")
        with house._closed_on_error():
            check_mark(house._id, house.store)
            if migrates:
                migrate(house.database)
                migrate_workflows(house.url)
        return house

    @classmethod
    def _of(cls, settings: Settings) -> House:
        rules = FetchRules(
            allow=_networks(settings),
            max_bytes=settings.fetch_max_bytes,
            timeout_seconds=settings.fetch_timeout_seconds,
        )
        folder = settings.data
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CallerError(f"can't use {folder} as the data folder: {error.strerror}", field="data") from None
        url = settings.database
        database = open_database(url)
        limits = Limits(**{name: getattr(settings, name) for name in Limits.__dataclass_fields__})
        if settings.store_url:
            store = Store.in_bucket(settings.store_url, folder / "scratch")
        else:
            store = Store.in_folder(folder / "objects")
        return cls(settings, url, database, store, Keys(database, limits), rules)

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            self.database.dispose()
            why = str(error.__cause__ or error).partition("\n")[0]
            raise _database_error(f"the database can't be used: {why}") from error
        except BaseException:
            self.database.dispose()
            raise

    def _id(self, make: Callable[[], bytes]) -> bytes:
        """The database's own, made where it has none."""
        return kept_secret(self.database, "house", make)

    def first_key(self) -> str | None:
        """The secret of the key made now, where there was none; None where there is one already.

        Raises CallerError where the settings name a key that was revoked.
        """
        if self.settings.api_key:
            try:
                self.keys.ensure(self.settings.api_key)
            except AuthError:
                name = f"{PREFIX}API_KEY"
                raise CallerError(f"{name} is a key that was revoked: choose another", field=name) from None
            return None
        return self.keys.create_first("made at the first start")

    def secret(self) -> bytes:
        """What links are signed with: from the settings, or made once and kept where all servers find it."""
        if self.settings.secret:
            return self.settings.secret.encode()
        return self._kept("secret")

    def webhook_secret(self) -> bytes:
        """What the secrets are made from that webhooks are signed with. Raises CallerError."""
        given, name = self.settings.webhook_secret, f"{PREFIX}WEBHOOK_SECRET"
        try:
            return parse_secret(given) if given else self._kept("webhook-secret")
        except CallerError as error:
            raise CallerError(f"{name}: {error.message}", field=name) from None

    def webhook_url(self) -> str | None:
        """What is told of all generations. Raises CallerError for an address that may not be reached."""
        name = f"{PREFIX}WEBHOOK_URL"
        try:
            if self.settings.webhook_url:
                check_url(self.settings.webhook_url, self.rules)
        except CallerError as error:
            raise CallerError(f"{name}: {error.message}", field=name) from None
        return self.settings.webhook_url

    def _kept(self, name: str) -> bytes:
        """32 random bytes, made once: in the database where others may share it, else in the data folder."""
        if self.settings.database_url:
            return kept_secret(self.database, name, lambda: secrets.token_bytes(32))
        path = self.settings.data / name
        if not path.exists():
            # Written aside and linked into place: neither a crash nor another process leaves or sees half of it.
            draft = path.with_name(f"{name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
                writer.write(secrets.token_hex(32))
                writer.flush()
                os.fsync(writer.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return bytes.fromhex(path.read_text())


def front(house: House) -> FastAPI:
    """What answers HTTP."""
    from longtake.wire.http import Front, build
    from longtake.wire.links import Links
    from longtake.wire.rates import Rates, SharedRates

    settings = house.settings
    workflows = Workflows(house.url)
    models = parse_models(settings.models)
    able = {name: engine.capabilities for name, engine in engines().items()}
    for model, name in models.items():
        if name not in able:
            raise CallerError(f"LONGTAKE_MODELS: {model} needs the engine {name}; there are {', '.join(able)}")
    records = Records(house.database, workflows.enqueue, workflows.enqueue_webhook)
    service = Service(
        records,
        house.store,
        engines=able,
        models=models,
        rules=house.rules,
        max_still_pixels=settings.max_still_pixels,
        max_partial_bytes=settings.max_resumable_bytes,
        partial_seconds=settings.resumable_seconds,
        webhook_url=house.webhook_url(),
    )
    if is_postgres(house.url):
        rates: Rates = SharedRates(partial(count_request, house.database), partial(seconds_ahead, house.database))
    else:
        rates = Rates()
    return build(
        Front(
            service=service,
            look=partial(_look, house.database, records, locks_of(house.url)),
            changes=Changes(house.database),
            keys=house.keys,
            store=house.store,
            links=Links(house.secret(), settings.link_seconds),
            fetcher=Fetcher(house.rules),
            public_url=settings.public_url,
            max_upload_bytes=settings.max_upload_bytes,
            max_body_bytes=settings.max_body_bytes,
            rates=rates,
        )
    )


def _look(database: sa.Engine, records: Records, locks: Locks) -> Seen:
    alive, runs = in_living_hands(database, locks, [worker.id for worker in records.workers.all()])
    return Seen(records.waiting_by_engine(runs), len(alive))


def back(house: House, *, able: Sequence[str] = (), concurrency: int = 1) -> Executor:
    """What carries generations out, those for the engines that are named: ready to be started. None: all there are.

    Raises CallerError for an engine that there is not.
    """
    from longtake.wire.callbacks import bodies
    from longtake.wire.links import Links

    has = engines()
    for name in able:
        if name not in has:
            raise CallerError(f"there is no engine {name!r}; there are: {', '.join(has)}", field="engines")
    chosen = {name: engine for name, engine in has.items() if name in (able or has)}
    workflows = Workflows(house.url)
    records = Records(house.database, workflows.enqueue, workflows.enqueue_webhook, patience_seconds=PATIENCE_SECONDS)
    sweep_often(records, workflows, house.store)
    worker = Worker(
        records,
        house.store,
        Fetcher(house.rules),
        engines=chosen,
        max_still_pixels=house.settings.max_still_pixels,
        limits=house.keys.limits,
        part_seconds=house.settings.part_seconds,
        report_seconds=house.settings.report_seconds,
    )
    links = Links(house.secret(), house.settings.link_seconds)
    told = bodies(links, house.store, house.settings.public_url)
    webhooks = Webhooks(records, told, house.webhook_secret(), house.rules, house_url=house.webhook_url())
    return Executor(
        house.url,
        house.database,
        worker.run,
        webhooks.deliver,
        locks=locks_of(house.url),
        engines=tuple(chosen),
        concurrency=concurrency,
        grace_seconds=house.settings.worker_grace_seconds,
        poll_seconds=house.settings.poll_seconds,
        book=_Book(records.workers, tuple(chosen), concurrency),
    )


@dataclass(frozen=True, slots=True)
class _Book:
    """Writes this worker, and others' ends, into the records."""

    workers: WorkerRecords
    engines: tuple[str, ...]
    concurrency: int

    def add(self, id: str) -> None:
        now, host = time.time(), socket.gethostname()
        self.workers.add(WorkerRow(id, host, os.getpid(), self.engines, self.concurrency, now))

    def remove(self, id: str) -> None:
        self.workers.remove(id)

    def ids(self) -> list[str]:
        return [one.id for one in self.workers.all()]


def _database_error(message: str) -> CallerError:
    name = f"{PREFIX}DATABASE_URL"
    return CallerError(f"{name}: {message}", field=name)


def _networks(settings: Settings) -> tuple[Network, ...]:
    try:
        return parse_networks(settings.fetch_allow)
    except ValueError as error:
        name = f"{PREFIX}FETCH_ALLOW"
        raise CallerError(f"{name}: {error}", field=name) from None
