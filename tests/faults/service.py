"""A grown service on one machine: Postgres, S3 or a folder, fronts and workers, each a process under a supervisor."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longtake.store import Store
from tests import s3, swift
from tests.faults.members import Database, Kind, Member, Victim
from tests.postgres import PostgresServer

KEY = "a-key-for-chaos-0123456789"
CONCURRENCY = 2
"""Generations that each worker renders at a time."""
START_SECONDS = 90.0


class Service:
    """Its processes are started all at once on an empty database: who comes first makes the tables."""

    def __init__(
        self,
        folder: Path,
        rng: random.Random,
        stack: contextlib.ExitStack,
        *,
        workers: int,
        fronts: int,
        in_bucket: bool,
        **settings: float,
    ) -> None:
        """`stack` ends it. `settings` are the workers' and fronts', by their names."""
        self.folder, self._rng, self._stack, self._in_bucket = folder, rng, stack, in_bucket
        server = PostgresServer().start()
        stack.callback(server.remove)
        self.url = server.url(tcp=True)
        self.database = Database(server, self._another())
        stack.callback(self.database.close)
        told = {f"LONGTAKE_{name.upper()}": str(value) for name, value in settings.items()}
        self.environment = self._environment(told | (self._bucket() if in_bucket else {}))
        self.workers = [self._member("worker", number) for number in range(1, workers + 1)]
        self.fronts = [self._member("front", number) for number in range(1, fronts + 1)]
        self.members = [*self.workers, *self.fronts]
        self.fleet: list[Victim] = [self.database, *self.members]

    def start(self) -> None:
        for member in self.members:
            self._stack.callback(member.close)
            member.start()
        until(lambda: all(member.is_ready for member in self.members), START_SECONDS, "all are ready")

    def until_well(self) -> None:
        until(lambda: all(one.is_well for one in self.fleet), START_SECONDS, "all are well")

    def data(self, name: str) -> Path:
        """The data folder of a process: its own where objects are elsewhere."""
        return self.folder / (f"{name}-data" if self._in_bucket else "data")

    def store(self) -> Store:
        if self._in_bucket:
            return Store.in_bucket(self.environment["LONGTAKE_STORE_URL"], self.folder / "scratch")
        return Store.in_folder(self.folder / "data" / "objects")

    def _another(self) -> random.Random:
        return random.Random(self._rng.getrandbits(32))

    def _environment(self, given: dict[str, str]) -> dict[str, str]:
        mine = {
            "LONGTAKE_API_KEY": KEY,
            "LONGTAKE_DATABASE_URL": self.url,
            "LONGTAKE_FETCH_ALLOW": "127.0.0.1/32",
            "LONGTAKE_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LONGTAKE_", "AWS_"))}
        return inherited | mine | given

    def _bucket(self) -> dict[str, str]:
        """The variables that name it."""
        folder = self.folder / "s3"
        folder.mkdir()
        way = swift.running(folder, page=s3.PAGE) if s3.found() == "swift" else s3._moto(folder)
        endpoint, _ = self._stack.enter_context(way)
        server = s3.S3(endpoint, s3.found())
        until(lambda: s3._has_bucket(server), 60, "the S3 server is ready")
        found = s3.KEYS | {"AWS_ENDPOINT_URL": endpoint}
        os.environ.update(found)  # our own store's too
        return found | {"LONGTAKE_STORE_URL": f"s3://{s3.BUCKET}/chaos"}

    def _member(self, kind: Kind, number: int) -> Member:
        serve = ("serve", "--no-worker", "--port", "0")
        work = ("worker", "--engines", "motion", "--concurrency", str(CONCURRENCY))
        name = f"{kind}-{number}"
        environment = self.environment | {"LONGTAKE_DATA": str(self.data(name))}
        arguments = serve if kind == "front" else work
        return Member(name, kind, arguments, environment, self.folder, self._another())


def until(is_so: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
