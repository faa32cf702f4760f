"""Worker processes that run workflows of a few steps, each of which waits, dies, or holds Python's lock, as it is told.

They are forked from one process that has imported all they need, so that each is there at once.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from dbos import DBOS

from longtake.errors import LongtakeError
from longtake.log import set_up
from longtake.records import Turn, open_database
from longtake.workflows import Executor, Step, Workflows, locks_of
from longtake.workflows.recovery import HANDED_BACK, _table

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.faults.fleet"])
GRACE_SECONDS = 0.3


class Done(NamedTuple):
    """One step that was begun."""

    id: str
    step: int
    start: int
    pid: int


class Fleet:
    """Any number of workers on one database, and orders for them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.database = open_database(url)
        self.workflows = Workflows(url)
        self._processes: list[BaseProcess] = []

    def worker(self, *engines: str, concurrency: int = 1, **options: Any) -> BaseProcess:
        """One that has begun: `grace`, `drain` in seconds; `fallback`: DBOS's own recovery is not there;
        `lockless`: it has no lock while there is a file `no locks`."""
        given = {"engines": engines or ("motion",), "concurrency": concurrency, **options}
        process = context.Process(target=work, args=(self.url, self.folder, given))
        process.start()
        self._processes.append(process)
        soon(lambda: (self.folder / f"ready-{process.pid}").exists(), "the worker is ready")
        return process

    def order(
        self, account: str = "a", *, engine: str = "motion", priority: int = 0, steps: int = 1, **told: Any
    ) -> str:
        """Its id. `wait`: the steps that wait for `release`. `die`: those that kill their worker. `seconds`: that each
        step lasts. `gil`: so long holding Python's lock."""
        id = str(uuid.uuid4())
        (self.folder / f"{id}.json").write_text(json.dumps({"steps": steps, **told}))
        with self.database.begin() as connection:
            self.workflows.enqueue(connection, Turn(id, 1, engine, account, priority))
        return id

    def release(self, id: str, step: int) -> None:
        (self.folder / f"{id}-{step}-released").touch()

    def begun(self, id: str | None = None) -> list[Done]:
        """The steps that were begun, in that order."""
        path = self.folder / "begun"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [Done(*json.loads(line)) for line in lines]
        return [one for one in found if id in (None, one.id)]

    def ended(self, id: str) -> str | None:
        """How it ended: "" or the reason of its failure; None while it has not."""
        path = self.folder / f"{id}-ended"
        return path.read_text() if path.exists() else None

    def ended_well(self, id: str) -> bool:
        return self.ended(id) == ""

    def status(self, id: str) -> str | None:
        """Of its workflow, by DBOS."""
        table = _table(self.database.dialect)
        query = sa.select(table.c.status).where(table.c.workflow_uuid == f"{id}.1")
        with self.database.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    def num_handed_back(self, id: str) -> int:
        table = _table(self.database.dialect)
        query = sa.select(table.c.attributes).where(table.c.workflow_uuid == f"{id}.1")
        with self.database.connect() as connection:
            return int((connection.execute(query).scalar_one() or {}).get(HANDED_BACK, 0))

    def is_done(self, *ids: str) -> bool:
        return all(self.status(id) == "SUCCESS" for id in ids)

    def kill(self, process: BaseProcess) -> None:
        process.kill()
        process.join()

    def close(self) -> None:
        for process in self._processes:
            if process.is_alive():
                self.kill(process)
        self.workflows.close()
        with self.database.begin() as connection:
            connection.execute(sa.delete(_table(connection.dialect)))
        self.database.dispose()


def soon(is_so: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


def work(url: str, folder: Path, given: dict[str, Any]) -> None:
    """A worker process."""
    set_up("json")
    if given.get("fallback"):
        del DBOS._recover_pending_workflows

    def run(id: str, attempt: int, start: int, step: Step) -> None:
        told = json.loads((folder / f"{id}.json").read_text())
        try:
            for number in range(told["steps"]):
                step(f"step {number}", lambda number=number: take(folder, id, number, start, told))  # type: ignore[misc]
        except LongtakeError as error:
            (folder / f"{id}-ended").write_text(str(error))
        else:
            (folder / f"{id}-ended").write_text("")

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    locks = locks_of(url)
    held = locks.held

    def refused(ids: Collection[str]) -> set[str]:
        if given.get("lockless") and (folder / "no locks").exists():
            locks.release()
            raise OSError("no lock is to be had")
        return held(ids)

    locks.held = refused  # type: ignore[method-assign]
    executor = Executor(
        url,
        open_database(url),
        run,
        lambda number, turn: note(folder, f"webhook {number}", 0, turn),
        locks=locks,
        engines=given["engines"],
        concurrency=given["concurrency"],
        grace_seconds=given.get("grace", GRACE_SECONDS),
    )
    executor.start()
    (folder / f"ready-{os.getpid()}").touch()
    while not ended.wait(0.05):
        pass
    executor.drain(given.get("drain", 20.0))
    os._exit(0)


def take(folder: Path, id: str, number: int, start: int, told: dict[str, Any]) -> str:
    """One step."""
    note(folder, id, number, start)
    time.sleep(told.get("seconds", 0.0))
    if number in told.get("die", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    if number in told.get("wait", ()):
        while not (folder / f"{id}-{number}-released").exists():
            time.sleep(0.005)
    if told.get("gil"):
        ctypes.PyDLL(None).usleep(int(told["gil"] * 1e6))  # unlike CDLL, it keeps Python's lock
    return f"{number} by {os.getpid()}"


def note(folder: Path, id: str, number: int, start: int) -> None:
    with (folder / "begun").open("a") as file:  # a line is written at once
        file.write(json.dumps([id, number, start, os.getpid()]) + "\n")


if __name__ == "__main__":
    sys.exit("it is started by tests")
