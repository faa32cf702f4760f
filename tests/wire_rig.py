"""The front as clients meet it, on a real port, with records and a store but no engine: tests move generations by hand.

`python -m tests.wire_rig FOLDER` serves it from a process of its own and prints its port.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from longtake.fetch import Fetcher, FetchRules
from longtake.incoming import Incoming
from longtake.planning import Capabilities
from longtake.records import Changes, Keys, Records, Result, migrate, open_database
from longtake.service import Service
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from longtake.wire.http import Front, build
from longtake.wire.links import Links
from tests.postgres import Databases

MODELS = {"ray-2": "motion", "ray-flash-2": "motion", "ray-1-6": "motion", "motion": "motion"}
LINK_SECRET = b"0123456789abcdef0123456789abcdef"
KEY = "lt-test-key"
OTHER_KEY = "lt-key-of-another-account"


@dataclass
class Rig:
    """What a test needs to play the back room."""

    records: Records
    store: Store
    keys: Keys
    links: Links
    app: FastAPI
    folder: Path
    service: Service

    @property
    def incoming(self) -> Incoming:
        return self.service.incoming

    @classmethod
    def build(
        cls,
        folder: Path,
        *,
        fetch_seconds: float = 10,
        max_partial_bytes: int = 10 << 30,
        partial_seconds: float = 86400,
        url: str | None = None,
        **settings: Any,
    ) -> Rig:
        engine = open_database(url or f"sqlite:///{folder / 't.db'}")
        migrate(engine)
        records = Records(engine, lambda *_: None)
        store = Store.in_folder(folder / "objects")
        keys, links = Keys(engine), Links(LINK_SECRET, 3600)
        keys.ensure(KEY)
        if not any(key.account == "another" for key in keys.all()):
            keys.create("another", account="another", secret=OTHER_KEY)
        rules = FetchRules(max_bytes=10_000_000, timeout_seconds=fetch_seconds, allow=(ip_network("127.0.0.0/8"),))
        service = Service(
            records,
            store,
            engines={"motion": Capabilities(name="motion", concepts=frozenset({"zoom_in"}))},
            models=MODELS,
            rules=rules,
            max_still_pixels=50_000_000,
            max_partial_bytes=max_partial_bytes,
            partial_seconds=partial_seconds,
        )
        front = Front(
            service=service,
            changes=Changes(engine),
            keys=keys,
            store=store,
            links=links,
            fetcher=Fetcher(rules),
            **settings,
        )
        return cls(records, store, keys, links, build(front), folder, service)

    def complete(self, id: str, *, seconds: int = 5) -> None:
        """As a worker does it at its end, with objects of a few bytes."""
        attempt = self.records.get(id).attempt
        self.records.start(id, attempt)
        made = VideoFormat(1280, 720, Fraction(24))
        for key in (f"videos/{id}.mp4", f"segments/{id}.mp4", f"images/{id}.jpg"):
            self.store.put(key, key.encode())
        segment = Segment(id, f"segments/{id}.mp4", 0, 24 * seconds, (0,))
        result = Result(
            timeline=Timeline(made, (segment,)),
            new_start=0,
            new_frames=24 * seconds,
            video_key=f"videos/{id}.mp4",
            segment_key=f"segments/{id}.mp4",
            image_key=f"images/{id}.jpg",
            num_bytes=100,
            seams=({"frame": 24, "jump": 1.1, "motion": 1.0, "sharpness": 0.9, "colour": 0.2},),
            notes=("A note.",),
            timings={"render": 0.5},
            preview=True,
        )
        assert self.records.complete(id, attempt, result)


@contextlib.contextmanager
def rig_on(request: pytest.FixtureRequest, folder: Path) -> Iterator[Rig]:
    """A rig on the database that the fixture's parameter names: `sqlite` or `postgres`."""
    if request.param == "sqlite":
        yield Rig.build(folder)
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    url = databases.fresh()
    rig = Rig.build(folder, url=url)
    yield rig
    rig.records.close()
    databases.drop(url)


@contextlib.contextmanager
def serving(rig: Rig) -> Iterator[str]:
    """The base URL of a server in a thread of this process."""
    log = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = uvicorn.Server(uvicorn.Config(rig.app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            thread.join(0.005)
        yield base_url
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        structlog.configure(**log)


def client(base_url: str, key: str | None = KEY) -> httpx2.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(base_url=base_url, headers=headers, timeout=20, trust_env=False)


def events(response: httpx2.Response) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """`(id, type, data)` of each server-sent event."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if not line and "data" in fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def new_id() -> str:
    return f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}"


if __name__ == "__main__":
    with serving(Rig.build(Path(sys.argv[1]))) as base_url:
        print(base_url, flush=True)
        sys.stdin.read()
