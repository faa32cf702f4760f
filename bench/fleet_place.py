"""A database of its own with a front, workers, and orders for them: what the fleet is measured in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from longtake.app import House
from longtake.engines.motion import Motion
from longtake.orders import Order
from longtake.records import Generation, Key, Records
from longtake.service import Service
from longtake.settings import load
from longtake.workflows import Workflows
from tests.postgres import Databases, PostgresServer
from tests.servers import Server

SMALL = Order(prompt="grey", seconds=Fraction(1, 3), aspect_ratio=(1, 1), short_side=64, frame_rate=Fraction(6))
"""2 frames of 64x64."""
START_SECONDS, END_SECONDS = 60.0, 120.0
LOG_PREFIX = "%d|%p|%a|"


@dataclass
class Place:
    """`url` is None for SQLite in the folder."""

    folder: Path
    url: str | None = None
    store: dict[str, str] | None = None
    """Where objects are, by variables; None: in the folder."""

    @property
    def variables(self) -> dict[str, str]:
        return {**({"LONGTAKE_DATABASE_URL": self.url} if self.url else {}), **(self.store or {})}

    @contextlib.contextmanager
    def front(self) -> Iterator[Server]:
        """A front without a worker."""
        server = Server(self.folder / "data", "--no-worker", **self.variables).start()
        try:
            yield server
        finally:
            server.stop()

    @contextlib.contextmanager
    def workers(self, num: int, concurrency: int) -> Iterator[None]:
        """So many worker processes, ready; ended in order at the end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
        environment = {**kept, **self.variables, "LONGTAKE_DATA": str(self.folder / "data")}
        command = [sys.executable, "-m", "bench.fleet_worker", str(concurrency)]
        logs = [self.folder / f"worker-{time.monotonic_ns()}-{number}.log" for number in range(num)]
        processes = [_started(command, environment, log) for log in logs]
        try:
            for process, log in zip(processes, logs, strict=True):
                _until_ready(process, log)
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    @contextlib.contextmanager
    def office(self) -> Iterator[Office]:
        """Takes orders here, in this process."""
        with _environment(self.store or {}):
            house = House.open(load(data=self.folder / "data", database_url=self.url))
        workflows = Workflows(house.url)
        try:
            yield Office(house, workflows)
        finally:
            workflows.close()
            house.database.dispose()


class Office:
    """Orders from several accounts, without HTTP."""

    def __init__(self, house: House, workflows: Workflows) -> None:
        self.house = house
        self.records = Records(house.database, workflows.enqueue, workflows.enqueue_webhook)
        self._service = Service(
            self.records,
            house.store,
            engines={"motion": Motion().capabilities},
            models={"ray-2": "motion"},
            rules=house.rules,
            max_still_pixels=10**6,
        )

    def keys(self, num: int) -> list[Key]:
        """Each of an account of its own."""
        return [
            self.house.keys.check(self.house.keys.create(f"bench {n}", account=f"bench-{n}")[1]) for n in range(num)
        ]

    def submit(self, key: Key, order: Order = SMALL) -> str:
        return self._service.submit(key, order, wire="native", request={}).id

    def until_ended(self) -> None:
        """Asks seldom: what it asks is counted too, where the database's statements are."""
        deadline = time.monotonic() + END_SECONDS
        while left := self.records.unfinished():
            if time.monotonic() > deadline:
                sys.exit(f"{len(left)} generations have not ended after {END_SECONDS:g} s")
            time.sleep(0.25)

    def ended(self, ids: Sequence[str]) -> list[Generation]:
        """All of them, once they have ended."""
        self.until_ended()
        found = [self.records.get(id) for id in ids]
        for generation in found:
            if generation.state != "completed":
                sys.exit(f"a generation failed: {generation.failure_reason}")
        return found


class Places:
    """Fresh ones, on SQLite and on one Postgres that flushes each commit to disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = PostgresServer(is_durable=True, log_line_prefix=LOG_PREFIX).start()
        self._databases = Databases(self.server.url())
        self._num = 0

    def on(self, kind: str, store: dict[str, str] | None = None) -> Place:
        self._num += 1
        folder = self._folder / str(self._num)
        folder.mkdir()
        return Place(folder, self._databases.fresh(empty=True) if kind == "Postgres" else None, store)

    def close(self) -> None:
        self._databases.close()
        self.server.remove()


@contextlib.contextmanager
def places() -> Iterator[Places]:
    with TemporaryDirectory() as folder:
        made = Places(Path(folder))
        try:
            yield made
        finally:
            made.close()


def _started(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def _until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "worker ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"a worker did not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.02)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
