"""What a generation costs the database and the bucket: counted in Postgres' log, and by a relay ahead of an S3 server.

A statement in the log is a round trip. A transaction *writes* where it holds an INSERT, an UPDATE or a DELETE: only
then is its commit flushed to disk, and not even then where no row was changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import httpx2
import psycopg
import sqlalchemy as sa

from bench.fleet_place import SMALL, Office, Place, Places
from longtake.orders import KeyFrame
from tests import s3
from tests.swift import free_ports

IDLE_SECONDS = 8.0
BATCH = 30
NUM_CONNECTIONS, COMMIT_SECONDS = 16, 2.0
COMMITS = (
    ("of as many accounts", False, False),
    ("of as many accounts, with NOTIFY", False, True),
    ("of one account, with NOTIFY", True, True),
)
"""Name; whether all take the same account's lock; whether the commit tells those who listen."""
LINE = re.compile(r"^([^|\n]*)\|(\d+)\|([^|\n]*)\|LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)
WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\b(?! SKIP)(?! NOWAIT)", re.IGNORECASE)
FIVE_SECONDS = replace(SMALL, seconds=Fraction(5), frame_rate=Fraction(24))


@dataclass
class Traffic:
    """Of a stretch of time, or of a generation."""

    statements: float = 0
    transactions: float = 0
    writing: float = 0
    by_dbos: float = 0
    """Of the statements."""

    def less(self, other: Traffic, times: float) -> Traffic:
        return Traffic(*(mine - times * theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def over(self, by: float) -> Traffic:
        return Traffic(*(value / by for value in self.values))

    @property
    def values(self) -> tuple[float, ...]:
        return self.statements, self.transactions, self.writing, self.by_dbos

    @property
    def cells(self) -> str:
        return " | ".join(f"{value:.1f}" for value in self.values)


def counted(text: str, database: str) -> Traffic:
    """Of Postgres' log."""
    found, open_by = Traffic(), dict[str, bool]()
    lines = list(LINE.finditer(text))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        if line[1] != database:
            continue
        statement = text[line.end() : following.start() if following else len(text)].strip()
        word = statement.split(None, 1)[0].upper().rstrip(";")
        found.statements += 1
        found.by_dbos += not line[3].startswith("longtake")
        if word == "BEGIN":
            open_by[line[2]] = False
        elif word in ("COMMIT", "ROLLBACK"):
            found.transactions += 1
            found.writing += word == "COMMIT" and open_by.pop(line[2], False)
        elif line[2] in open_by:
            open_by[line[2]] |= bool(WRITES.search(statement))
        else:
            found.transactions += 1
            found.writing += bool(WRITES.search(statement))
    return found


class Watched:
    """A database on Postgres whose statements are counted, and its connections."""

    def __init__(self, all: Places, place: Place) -> None:
        assert place.url
        self._log, self._database = all.server.log, str(sa.make_url(place.url).database)
        self._connection = psycopg.connect(all.server.url(), autocommit=True)
        self._connection.execute(f"ALTER DATABASE \"{self._database}\" SET log_statement = 'all'")

    def during(self, seconds: float) -> Traffic:
        """A second's."""
        at = self._log.stat().st_size
        time.sleep(seconds)
        return self.since(at).over(seconds)

    def size(self) -> int:
        return self._log.stat().st_size

    def since(self, at: int) -> Traffic:
        with self._log.open("rb") as log:
            log.seek(at)
            return counted(log.read().decode("utf-8", "replace"), self._database)

    def connections(self) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        row = self._connection.execute(query, (self._database,)).fetchone()
        return int(row[0]) if row else 0

    @contextlib.contextmanager
    def most_connections(self) -> Iterator[list[int]]:
        """The most at a time, as its last item, once it is over."""
        seen, over = [0], threading.Event()

        def look() -> None:
            while not over.wait(0.05):
                seen.append(max(seen[-1], self.connections()))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


def of_the_database(all: Places) -> list[str]:
    """A table: a front and a worker at rest, and a generation."""
    place = all.on("Postgres")
    with place.office() as office:
        watched = Watched(all, place)
        office.house.database.dispose()
        before = watched.connections()
        with place.front():
            fronts = watched.connections() - before
            front = watched.during(IDLE_SECONDS)
        with place.workers(1, 4):
            workers = watched.connections() - before
            worker = watched.during(IDLE_SECONDS)
            rows = [("a front at rest, in a second", front), ("a worker at rest, in a second", worker)]
            (key,) = office.keys(1)
            for name, order, num in (("2 frames", SMALL, BATCH), ("5 s at 24 frames/s", FIVE_SECONDS, BATCH // 3)):
                at, started = watched.size(), time.perf_counter()
                ids = [office.submit(key, order) for _ in range(num)]
                office.until_ended()
                total = watched.since(at).less(worker, time.perf_counter() - started)
                office.ended(ids)
                rows.append((f"a generation: {name}", total.over(num)))
    lines = ["| | statements | transactions | of them writing | statements of DBOS |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {traffic.cells} |" for name, traffic in rows]
    return [*lines, "", f"Connections: a front at rest holds {fronts}, a worker {workers}."]


def of_commits(all: Places) -> list[str]:
    """A table: how many events are committed in a second, each in one round trip, by connections side by side."""
    place = all.on("Postgres")
    assert place.url
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench (id bigserial PRIMARY KEY, data text)")
    lines = [f"| commits by {NUM_CONNECTIONS} connections | in a second |", "|---|---|"]
    for name, is_shared, is_told in COMMITS:
        lines.append(f"| {name} | {_commits(place.url, is_shared=is_shared, is_told=is_told):.0f} |")
    return lines


def _commits(url: str, *, is_shared: bool, is_told: bool) -> float:
    returned = "pg_notify('bench', '')" if is_told else "id"
    locked = "WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s))"
    query = f"{locked} INSERT INTO bench (data) SELECT 'event' FROM locked RETURNING {returned}"
    over, start = threading.Event(), threading.Barrier(NUM_CONNECTIONS + 1)

    def commit(number: int) -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            start.wait()
            num = 0
            while not over.is_set():
                connection.execute(query, (0 if is_shared else number,))
                num += 1
            return num

    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        counts = [pool.submit(commit, number) for number in range(NUM_CONNECTIONS)]
        start.wait()
        started = time.perf_counter()
        time.sleep(COMMIT_SECONDS)
        took = time.perf_counter() - started
        over.set()
        return sum(count.result() for count in counts) / took


def of_the_bucket(all: Places, folder: Path) -> list[str]:
    """A table: requests, objects and bytes of a generation that is made from nothing, and of one that extends it."""
    if not s3.PROGRAM.is_file():
        return ["No S3 server is there (make test builds one): the bucket's requests were not counted."]
    with _moto(folder) as server:
        relay = s3.Relay(server)
        with relay.listening() as endpoint:
            variables = {**s3.KEYS, "AWS_ENDPOINT_URL": endpoint, "LONGTAKE_STORE_URL": f"s3://{s3.BUCKET}/bench"}
            place = all.on("SQLite", variables)
            with place.office() as office, place.workers(1, 1):
                relay.forget()
                return _bucket_table(office, relay)


def _bucket_table(office: Office, relay: s3.Relay) -> list[str]:
    (key,) = office.keys(1)
    lines = ["| 5 s at 64x64, 24 frames/s | GET, HEAD | PUT, POST | DELETE | LIST | objects that stay |"]
    lines.append("|---|---|---|---|---|---|")
    parent = ""
    for name in ("from nothing", "append to it"):
        end = KeyFrame(type="generation", id=parent) if parent else None
        relay.forget()
        parent = office.submit(key, replace(FIVE_SECONDS, before=end))
        office.ended([parent])
        _until_still(relay)
        kinds = Counter(_kind(line) for line in relay.requests)
        stay = sum(parent in one.key for one in office.house.store.listed())
        cells = " | ".join(str(kinds[kind]) for kind in ("GET", "PUT", "DELETE", "LIST"))
        lines.append(f"| {name} | {cells} | {stay} |")
    return lines


def _kind(line: str) -> str:
    method, target, _ = line.split(" ", 2)
    query = target.partition("?")[2]
    if method == "GET" and "list-type=" in query:
        return "LIST"
    if method == "DELETE" or (method == "POST" and query.startswith("delete")):
        return "DELETE"
    return "GET" if method in ("GET", "HEAD") else "PUT"


def _until_still(relay: s3.Relay) -> None:
    """What is removed behind a generation's end counts too."""
    num = -1
    while num != len(relay.requests):
        num = len(relay.requests)
        time.sleep(0.5)


@contextlib.contextmanager
def _moto(folder: Path) -> Iterator[s3.S3]:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen([str(s3.PROGRAM), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            _make_bucket(endpoint)
            yield s3.S3(endpoint, "moto")
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(10)


def _make_bucket(endpoint: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx2.put(f"{endpoint}/{s3.BUCKET}", trust_env=False).raise_for_status()
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
