"""Webhooks of a real server: over kills and restarts, by the command line, and as the examples receive them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook as Standard

from tests.receivers import Receiver, receiving
from tests.servers import Server

EXAMPLES = Path(__file__).parents[2] / "examples" / "webhooks"
SHORT = {"prompt": "a lighthouse at dusk", "seconds": 0.5, "fps": 12, "resolution": "540p"}


def longtake(server: Server, *arguments: str) -> str:
    command = [sys.executable, "-m", "longtake", *arguments, "--data", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(receiver: Receiver, id: str) -> list[str]:
    return [one.json["state"] for one in receiver.came if one.json["id"] == id]


def test_what_was_to_be_told_outlives_a_kill_of_all_processes(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    try:
        is_back = False
        receiver = Receiver(lambda _: (200 if is_back else 500, {}))
        with receiving(receiver):
            id = server.create({**SHORT, "callback_url": receiver.address})
            server.completed(id)
            receiver.until(bool)
            server.kill()
            assert set(states(receiver, id)) == {"dreaming"}, "the end is not told before the start was taken"
            is_back, num_before = True, len(receiver.came)
            server.start()
            came = receiver.until(lambda came: came[-1].json["state"] == "completed")[num_before:]
            secret = longtake(server, "webhooks", "secret").strip()
        assert [one.json["state"] for one in came] == ["dreaming", "completed"]
        for one in came:
            Standard(secret).verify(one.body, one.headers)
        polled = server.client.get(f"/api/generations/{id}").json()
        told = came[-1].json
        assert (told["id"], told["state"], told["request"]) == (polled["id"], polled["state"], polled["request"])
        path, query = httpx2.URL(told["video"]["url"]).path, httpx2.URL(told["video"]["url"]).params
        assert server.client.get(path, params=query).status_code == 200
    finally:
        server.stop()


def test_who_names_no_address_is_told_at_the_houses_own(tmp_path: Path) -> None:
    with receiving(Receiver()) as receiver:
        server = Server(tmp_path / "data", LONGTAKE_WEBHOOK_URL=receiver.address + "/[/x]").start()
        try:
            id = server.create(SHORT)
            server.completed(id)
            receiver.until(lambda came: len(came) == 2)
            assert states(receiver, id) == ["dreaming", "completed"]
            listed = longtake(server, "webhooks", "list", "--generation", id)
            assert listed.count("delivered") == 2
            assert "[/x]" in listed
            longtake(server, "webhooks", "redeliver", "2")
            receiver.until(lambda came: len(came) == 3)
            assert receiver.came[2].headers["webhook-id"] == receiver.came[1].headers["webhook-id"]
        finally:
            server.stop()


@contextlib.contextmanager
def example(*command: str, secret: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A receiver of `examples/` on a free port: its address and process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "WEBHOOK_SECRET": secret}
    process = subprocess.Popen([*command, str(port)], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["receive.py", "receive.js"])
def test_the_examples_take_what_is_genuine_and_nothing_else(name: str, server: Server, node: str) -> None:
    secret = longtake(server, "webhooks", "secret").strip()
    program = sys.executable if name.endswith(".py") else node
    with example(program, str(EXAMPLES / name), secret=secret) as (address, process):
        id = server.create({**SHORT, "callback_url": address})
        assert process.stdout
        assert [process.stdout.readline().split() for _ in range(2)] == [[id, "dreaming"], [id, "completed"]]
        body, headers = json.dumps({"id": "x", "state": "completed"}).encode(), {"webhook-id": "msg_x"}
        for more in ({}, {"webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}):
            assert httpx2.post(address, content=body, headers=headers | more, trust_env=False).status_code == 401
