"""Clients that wait for a change that another process makes: how soon they hear of it, and what a thousand cost.

The server has no worker: this process changes the records, as a worker would.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import httpx2
import pytest

from longtake.app import House
from longtake.records import Changes, Records, Result
from longtake.settings import load
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from longtake.workflows import Workflows
from tests.servers import KEY, Server

SEED_PATH = "/v2/generate/video/luma-ai/generation"
NUM_CLIENTS = 1000


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("waiting") / "data", "--no-worker").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def records(front: Server) -> Iterator[Records]:
    house = House.open(load(data=front.data))
    workflows = Workflows(house.url)
    yield Records(house.database, workflows.enqueue)
    workflows.close()
    house.database.dispose()


def dreaming(front: Server, records: Records) -> str:
    """A generation that is being rendered."""
    id = front.create({"prompt": "a lighthouse at dusk", "seconds": 1, "fps": 12, "resolution": "540p"})
    assert records.start(id, 1)
    return id


def complete(records: Records, id: str) -> float:
    """When the commit is done, in Unix seconds: a busy disk takes long for it, and nobody can hear of it before."""
    made = VideoFormat(960, 540, Fraction(12))
    timeline = Timeline(made, (Segment(id, f"segments/{id}.mp4", 0, 12, (0,)),))
    keys = (f"videos/{id}.mp4", f"segments/{id}.mp4", f"images/{id}.jpg")
    assert records.complete(id, 1, Result(timeline, 0, 12, *keys, 1000, (), (), {}))
    return time.time()


def num_waiting(client: httpx2.Client) -> int:
    found = re.search(r"^longtake_waiting_clients (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def until_waiting(client: httpx2.Client, count: int) -> None:
    deadline = time.monotonic() + 30
    while (waiting := num_waiting(client)) != count:
        assert time.monotonic() < deadline, f"{waiting} clients wait, not {count}"


def num_threads(server: Server) -> int:
    assert server.process
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


def test_a_get_that_waits_is_answered_as_soon_as_another_process_has_ended_the_generation(
    front: Server, records: Records
) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    delays = []
    with (
        httpx2.Client(base_url=front.address, headers=headers, timeout=40, trust_env=False) as waiter,
        ThreadPoolExecutor(1) as pool,
    ):

        def wait(id: str) -> tuple[float, str]:
            answer = waiter.get(SEED_PATH, params={"generation_id": id, "state": "completed"})
            return time.time(), answer.json()["state"]

        for _ in range(9):
            id = dreaming(front, records)
            waiting = pool.submit(wait, id)
            until_waiting(front.client, 1)
            committed_at = complete(records, id)
            arrived_at, state = waiting.result()
            assert state == "completed"
            delays.append(1000 * (arrived_at - committed_at))
    print(f"from the end of a generation to the answer: {', '.join(f'{delay:.0f}' for delay in sorted(delays))} ms")
    assert statistics.median(delays) < 150, "50 ms where the machine is not busy with other things"


def test_a_thousand_clients_wait_without_a_thread_each_and_all_are_answered_at_once(
    front: Server, records: Records
) -> None:
    host, port = front.address.removeprefix("http://").split(":")

    async def wait(id: str) -> tuple[float, bytes]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET {SEED_PATH}?generation_id={id}&state=completed HTTP/1.1\r\nhost: {host}:{port}\r\n"
            f"authorization: Bearer {KEY}\r\nconnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return time.time(), answer

    async def wait_all() -> tuple[float, list[tuple[float, bytes]]]:
        id = dreaming(front, records)
        clients = [asyncio.create_task(wait(id)) for _ in range(NUM_CLIENTS)]
        await asyncio.to_thread(until_waiting, front.client, NUM_CLIENTS)
        threads.append(num_threads(front))
        committed_at = await asyncio.to_thread(complete, records, id)
        return committed_at, await asyncio.gather(*clients)

    threads, lasts = [num_threads(front)], list[float]()
    for _ in range(3):  # the quickest of three: the machine may be busy with other things
        committed_at, answers = asyncio.run(wait_all())
        for _, answer in answers:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(body)["state"] == "completed"
        delays = sorted(arrived_at - committed_at for arrived_at, _ in answers)
        lasts.append(delays[-1])
        print(f"{NUM_CLIENTS} clients: {threads[0]} threads before, {threads[-1]} while they wait")
        print(f"answered after {delays[0]:.3f} s (first), {statistics.median(delays):.3f} s, {delays[-1]:.3f} s (last)")
        if delays[-1] < 0.2:
            break
    assert max(threads) - threads[0] < 20
    assert min(lasts) < 2, "200 ms where the machine is not busy with other things"
    assert num_waiting(front.client) == 0


def test_a_stream_of_events_goes_on_after_a_kill_without_loss_or_repetition(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--no-worker").start()
    house = House.open(load(data=server.data))
    workflows = Workflows(house.url)
    records, changes = Records(house.database, workflows.enqueue), Changes(house.database)
    id, seen = dreaming(server, records), list[int]()

    def read(lines: Iterator[str], until: int) -> None:
        """Takes note of events up to this one."""
        for line in lines:
            if line.startswith("id:"):
                seen.append(int(line.removeprefix("id:")))
                if seen[-1] >= until:
                    return
        raise AssertionError(f"the stream ended after {seen[-1:]}, ahead of {until}")

    def change(count: int) -> int:
        """Some progress, and the last event's number."""
        for part in range(count):
            records.report(id, 1, "render", part / count)
        return changes.last_id()

    try:
        change(200)
        with server.client.stream("GET", "/api/events", headers={"last-event-id": "0"}, timeout=20) as stream:
            lines = stream.iter_lines()
            read(lines, changes.last_id())
            sent = change(200)
            read(lines, sent - 100)
            server.kill()
            with pytest.raises((httpx2.TransportError, AssertionError)):  # what was on its way still arrives
                read(lines, sent + 1)
        change(200)
        server.start()
        headers = {"last-event-id": str(seen[-1])}
        with server.client.stream("GET", "/api/events", headers=headers, timeout=20) as stream:
            lines = stream.iter_lines()
            read(lines, changes.last_id())
            read(lines, change(50))
            assert seen == [event.id for event in changes.after(0)]
            complete(records, id)
            read(lines, changes.last_id())
            assert seen[-1] == changes.last_id()
    finally:
        server.stop()
        workflows.close()
        changes.close()
        house.database.dispose()
