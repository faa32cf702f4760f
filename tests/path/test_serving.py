"""How a server begins and ends: its address, its port, its worker, what stops it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from longtake.app import House, back
from longtake.errors import CallerError
from longtake.serving import serve
from longtake.settings import load
from tests.servers import KEY, Server


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
