"""Clients of one front process: how much it takes and answers, and how soon a thousand that wait hear of an end."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction

from longtake.records import Records, Result
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from tests.servers import KEY, Server

NUM_CLIENTS = 16
NUM_WAITING = 1000
BODY = json.dumps({"prompt": "a lighthouse at dusk", "seconds": 1, "fps": 12, "resolution": "540p"}).encode()
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def ask(streams: Streams, method: str, path: str, body: bytes = b"") -> bytes:
    """The answer's body; the connection stays open. Raises RuntimeError for any status but 200 and 201."""
    reader, writer = streams
    head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n"
    writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = re.search(r"\r\ncontent-length: (\d+)", answer)
    content = await reader.readexactly(int(length[1])) if length else b""
    if answer.split(" ", 2)[1] not in ("200", "201"):
        raise RuntimeError(f"{method} {path}: {answer[:20]} {content[:500]!r}")
    return content


def per_second(front: Server, num: int, method: str, path: str, body: bytes = b"") -> float:
    """So many requests, by clients that each send the next as soon as the last is answered."""

    async def run() -> float:
        clients = [await _connected(front) for _ in range(NUM_CLIENTS)]
        left = iter(range(num))

        async def client(streams: Streams) -> None:
            for _ in left:
                await ask(streams, method, path, body)

        started = time.perf_counter()
        await asyncio.gather(*map(client, clients))
        took = time.perf_counter() - started
        await _closed(clients)
        return num / took

    return asyncio.run(run())


def woken(front: Server, records: Records) -> tuple[float, float]:
    """Milliseconds from the commit that ends a generation until half of those who wait for it, and all, have heard."""

    async def run() -> list[float]:
        id = front.create(json.loads(BODY))
        records.start(id, 1)
        clients = [await _connected(front) for _ in range(NUM_WAITING)]
        path = f"/api/generations/{id}?wait=completed&timeout=30"
        waiting = [asyncio.create_task(_timed(lambda one=one: ask(one, "GET", path))) for one in clients]  # type: ignore[misc]
        await asyncio.to_thread(_until_waiting, front)
        committed_at = await asyncio.to_thread(_complete, records, id)
        heard = [at - committed_at for at in await asyncio.gather(*waiting)]
        await _closed(clients)
        return heard

    gc.disable()  # a pause of the clients' own would count as the front's
    try:
        heard = sorted(asyncio.run(run()))
    finally:
        gc.enable()
    return 1000 * statistics.median(heard), 1000 * heard[-1]


async def _connected(front: Server) -> Streams:
    host, _, port = front.address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def _closed(clients: list[Streams]) -> None:
    for _, writer in clients:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in clients))


async def _timed(run: Callable[[], Awaitable[bytes]]) -> float:
    await run()
    return time.time()


def _until_waiting(front: Server) -> None:
    while f"longtake_waiting_clients {NUM_WAITING}.0" not in front.client.get("/metrics").text:
        time.sleep(0.02)


def _complete(records: Records, id: str) -> float:
    """When the commit is done, in Unix seconds."""
    timeline = Timeline(VideoFormat(960, 540, Fraction(12)), (Segment(id, f"segments/{id}.mp4", 0, 12, (0,)),))
    keys = (f"videos/{id}.mp4", f"segments/{id}.mp4", f"images/{id}.jpg")
    records.complete(id, 1, Result(timeline, 0, 12, *keys, 1000, (), (), {}))
    return time.time()
