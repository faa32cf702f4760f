"""How a server begins and ends: its address, its port, its worker, what stops it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from longtake.app import House, back
from longtake.errors import CallerError
from longtake.lost import sweep
from longtake.orders import Order
from longtake.records import Records
from longtake.serving import PARENT_GONE, _wait, serve
from longtake.settings import load
from longtake.wire.waiting import Waiting
from longtake.workflows import Workflows, names
from longtake.workflows.recovery import HANDED_BACK
from tests.servers import KEY, Reply, Server, replying
from tests.stage import generation

if TYPE_CHECKING:
    from longtake.records import Changes


class Told(Exception):
    """Ends a server as soon as it has told its address."""


def workers_of(data: Path) -> list[int]:
    """The process numbers of the workers that were started with this data folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:  # it has ended, or is another user's
            continue
        if b"\0worker\0" in command and str(data).encode() in environment:
            found.append(int(process.name))
    return found


def test_the_port_is_open_when_the_address_is_told_and_closed_after_a_failure(tmp_path: Path) -> None:
    house = House.open(load(data=tmp_path / "data", port=0))
    addresses: list[tuple[str, int]] = []

    def connect(address: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname
        assert parts.port
        addresses.append((parts.hostname, parts.port))
        socket.create_connection(addresses[0], timeout=5).close()
        raise Told

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with pytest.raises(Told):
            serve(house, with_worker=False, tell=connect)
    finally:
        house.database.dispose()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[0], timeout=5)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house = House.open(load(data=tmp_path / "data", port=taken.getsockname()[1]))
        try:
            with pytest.raises(CallerError, match=r"can't listen on 127\.0\.0\.1"):
                serve(house, with_worker=False, tell=lambda _: None)
        finally:
            house.database.dispose()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_stop_ends_well_with_its_worker(number: signal.Signals, tmp_path: Path) -> None:
    data = tmp_path / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "longtake", "serve", "--port", "0", "--data", str(data)],
        env={**environment, "LONGTAKE_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert any(line.startswith("Longtake") for line in iter(process.stdout.readline, ""))
        assert len(workers_of(data)) == 1
        os.killpg(process.pid, number)  # as a terminal does it: all of the group hear it
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    for word in ("worker died", "Aborted", "Traceback"):
        assert word not in log, log
    assert workers_of(data) == []


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    try:
        (worker,) = workers_of(server.data)
        os.kill(worker, signal.SIGKILL)
        server.make({"seconds": 0.25, "fps": 12, "resolution": "540p", "prompt": "a boat"})
        assert "worker died" in server.log.read_text()
        assert workers_of(server.data) != [worker]
    finally:
        server.stop()


def test_who_ends_the_server_and_its_worker_at_once_has_what_it_did_handed_back(tmp_path: Path) -> None:
    opened, asked = threading.Event(), threading.Event()

    class Asked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asked.set()
            return opened.wait(timeout)

        def set(self) -> None:
            opened.set()

    server = Server(tmp_path / "data")
    with replying({"/slow.png": Reply(404, opened=Asked())}) as address:
        server.start()
        try:
            server.create({"seconds": 1, "keyframes": {"frame0": {"type": "image", "url": f"{address}/slow.png"}}})
            assert asked.wait(60)
            assert server.process
            for process in (server.process.pid, *workers_of(server.data)):
                os.kill(process, signal.SIGTERM)  # as systemd does it
            assert server.process.wait(timeout=30) == 0
        finally:
            server.stop()
    assert workers_of(server.data) == []
    assert "drained" in server.log.read_text()
    with contextlib.closing(sqlite3.connect(server.data / "longtake.db")) as connection:
        found = connection.execute("select status, attributes from workflow_status").fetchall()
    assert [(status, json.loads(attributes)) for status, attributes in found] == [("ENQUEUED", {HANDED_BACK: 1})]


def test_a_worker_that_has_a_parent_is_ended_by_no_second_signal_and_any_ends_after_its_time() -> None:
    heard, hears = os.pipe()
    try:
        os.write(hears, bytes([signal.SIGTERM]))
        _wait(heard, 0.01, told_once=True)  # else it would wait for ever
        assert select.select([heard], [], [], 0)[0] == [], "it has read on"
        os.write(hears, bytes([signal.SIGTERM]))
        _wait(heard, 1e6, told_once=False)
        os.write(hears, PARENT_GONE)
        _wait(heard, 1e6, told_once=True)
    finally:
        os.close(heard)
        os.close(hears)


def test_a_drain_that_hangs_with_its_database_does_not_keep_the_worker(tmp_path: Path) -> None:
    script = """
import sys, threading, types
from longtake import serving
from longtake.settings import load

class Hangs:
    id, engines = "worker", ()
    def start(self):
        print("begun", flush=True)
    def drain(self, seconds):
        threading.Event().wait()

serving.LATE_SECONDS = 0.1
serving.back = lambda *_, **__: Hangs()
store = types.SimpleNamespace(check=bool)
serving.work(types.SimpleNamespace(settings=load(data=sys.argv[1], drain_seconds=0), store=store))
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line == "begun\n" for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_a_worker_that_is_told_to_end_while_it_begins_goes_on_to_its_hand_back_or_ends(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time, types
from longtake import serving
from longtake.settings import load

class Begins:
    id, engines = "worker", ()
    def start(self):
        os.kill(os.getpid(), signal.SIGTERM)
        while sys.argv[2] == "never":
            time.sleep(0.01)
    def drain(self, seconds):
        print("handed back", flush=True)

serving.LATE_SECONDS = 0.1 if sys.argv[2] == "never" else 60
serving.back = lambda *_, **__: Begins()
store = types.SimpleNamespace(check=bool)
serving.work(types.SimpleNamespace(settings=load(data=sys.argv[1], drain_seconds=0), store=store))
"""
    for when, said in (("soon", True), ("never", False)):
        command = [sys.executable, "-c", script, str(tmp_path), when]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
        assert ("handed back" in done.stdout) is said


class Hanging:
    """Changes of a database that does not answer."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def last_id(self) -> int:
        return 0

    def watch(self, *_: object, **__: object) -> None:
        self.answers.wait()


@pytest.mark.timeout(30)
def test_a_watcher_that_hangs_with_its_database_does_not_keep_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtake.wire.waiting.STOP_SECONDS", 0.01)
    changes = Hanging()
    waiting = Waiting(cast("Changes", changes))

    async def begin_and_end() -> None:
        waiting.start()
        waiting.stop()

    try:
        asyncio.run(begin_and_end())
    finally:
        changes.answers.set()


@pytest.mark.parametrize(
    ("status", "state", "turn"), [("ERROR", "given_up", 1), ("CANCELLED", "waiting", 2), ("ENQUEUED", "waiting", 1)]
)
def test_a_webhook_that_has_killed_its_workers_is_given_up_and_what_was_lost_otherwise_is_sent(
    status: str, state: str, turn: int, tmp_path: Path
) -> None:
    house = House.open(load(data=tmp_path / "data"))
    workflows = Workflows(house.url)
    try:
        records = Records(house.database, workflows.enqueue, workflows.enqueue_webhook)
        made = generation(Order(callback_url="https://example.com/told"))
        records.submit(made)
        records.start(made.id, 1)
        change = sa.text("update workflow_status set status = :status where workflow_uuid like 'webhook.%'")
        with house.database.begin() as connection:
            assert connection.execute(change, {"status": status}).rowcount == 1
        sweep(records, workflows, house.store)
        (webhook,) = records.webhooks.page()
        assert (webhook.state, webhook.turn) == (state, turn)
    finally:
        workflows.close()
        house.database.dispose()


def test_what_an_older_version_had_queued_leaves_its_queue_when_it_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House.open(load(data=tmp_path / "data"))
    workflows = Workflows(house.url)
    try:
        records = Records(house.database, workflows.enqueue)
        made = generation(Order())
        records.submit(made)
        monkeypatch.setattr(names, "VERSION", str(int(names.VERSION) + 1))
        sweep(records, workflows, house.store)
        with house.database.connect() as connection:
            query = sa.text("select workflow_uuid, status from workflow_status order by 1")
            found = [tuple(row) for row in connection.execute(query)]
        assert found == [(f"{made.id}.1", "CANCELLED"), (f"{made.id}.2", "ENQUEUED")]
    finally:
        workflows.close()
        house.database.dispose()


def test_a_key_in_the_settings_that_was_revoked_is_a_sentence(tmp_path: Path) -> None:
    house = House.open(load(data=tmp_path / "data", api_key=KEY))
    try:
        assert house.first_key() is None
        assert house.first_key() is None  # at the next start it is there already
        house.keys.revoke(house.keys.check(KEY).id)
        with pytest.raises(CallerError, match="LONGTAKE_API_KEY is a key that was revoked") as caught:
            house.first_key()
        assert caught.value.field == "LONGTAKE_API_KEY"
    finally:
        house.database.dispose()


def test_an_engine_that_there_is_not_is_a_sentence(tmp_path: Path) -> None:
    house = House.open(load(data=tmp_path / "data"))
    try:
        with pytest.raises(CallerError, match=r"there is no engine 'nope'; there are: motion") as caught:
            back(house, able=("motion", "nope"))
        assert caught.value.field == "engines"
    finally:
        house.database.dispose()


@pytest.mark.parametrize(
    ("url", "why"),
    [("postgresql://127.0.0.1:1/none", "can't be used"), ("postgresql://127.0.0.1", "must name the database")],
)
def test_a_database_that_can_not_be_had_is_a_sentence(url: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=f"LONGTAKE_DATABASE_URL: .*{why}") as caught:
        House.open(load(data=tmp_path / "data", database_url=url))
    assert caught.value.field == "LONGTAKE_DATABASE_URL"


def test_servers_on_one_database_have_the_same_secrets_wherever_their_folders_are(
    postgres_url: str, tmp_path: Path
) -> None:
    houses = [House.open(load(data=tmp_path / name, database_url=postgres_url)) for name in "ab"]
    try:
        for secret_of in (House.secret, House.webhook_secret):
            assert len({secret_of(house) for house in houses}) == 1
        assert houses[0].secret() != houses[0].webhook_secret()
        assert not list(tmp_path.rglob("*secret*"))
    finally:
        for house in houses:
            house.database.dispose()


@pytest.mark.parametrize("networks", ["foo", "10.0.0.1/8", "127.0.0.1/99"])
def test_networks_that_are_none_are_a_sentence_and_leave_no_folder(networks: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="LONGTAKE_FETCH_ALLOW: ") as caught:
        House.open(load(data=tmp_path / "data", fetch_allow=networks))
    assert caught.value.field == "LONGTAKE_FETCH_ALLOW"
    assert not (tmp_path / "data").exists()
