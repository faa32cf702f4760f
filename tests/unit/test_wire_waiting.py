"""Clients that wait for a state: woken by commits of other processes, and so cheap that a thousand may wait."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from longtake.wire.answers import GenerationAnswer, generation_answer
from tests.timing import quickest
from tests.wire_rig import KEY, Rig, client, serving

PATH = "/v2/generate/video/luma-ai/generation"
NUM_CLIENTS = 1000


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Records that stand in for another process: the server has its own."""
    return Rig.build(tmp_path_factory.mktemp("waiting"))


@pytest.fixture(scope="module")
def process(rig: Rig) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.wire_rig", str(rig.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def url(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if line.startswith("http://"):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return line.strip()
    raise AssertionError("the server did not start")


def create(url: str) -> str:
    with client(url) as http:
        return str(http.post(PATH, json={"prompt": "A jellyfish"}).json()["id"])


def num_threads(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("Threads:")[1].split()[0])


def num_waiting(url: str) -> int:
    with client(url) as http:
        text = http.get("/metrics").text
    return int(float(text.split("\nlongtake_waiting_clients ")[1].split()[0]))


async def wait_for(url: str, id: str) -> tuple[bytes, float]:
    """The answer, and when its first byte came."""
    port = urlsplit(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {PATH}?generation_id={id}&state=completed HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
    writer.write(f"{request}authorization: Bearer {KEY}\r\nconnection: close\r\n\r\n".encode())
    first = await reader.read(1)
    at = time.perf_counter()
    answer = first + await reader.read()
    writer.close()
    return answer, at


async def all_waiting(url: str) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(num_waiting, url) < NUM_CLIENTS:
            await asyncio.sleep(0.02)


def test_a_thousand_clients_wait_without_threads_and_wake_at_once(
    rig: Rig, url: str, process: subprocess.Popen[str]
) -> None:
    async def run() -> tuple[float, float]:
        mine, others = create(url), create(url)
        waits = [asyncio.create_task(wait_for(url, others)) for _ in range(NUM_CLIENTS - 1)]
        first = asyncio.create_task(wait_for(url, mine))
        await all_waiting(url)
        assert num_threads(process) < 60
        await asyncio.to_thread(rig.complete, mine)
        done = time.perf_counter()
        answer, at = await first
        assert b'"state":"completed"' in answer
        await asyncio.to_thread(rig.complete, others)
        all_done = time.perf_counter()
        answers = await asyncio.gather(*waits)
        assert all(b'"state":"completed"' in answer for answer, _ in answers)
        return at - done, max(at for _, at in answers) - all_done

    def wake() -> float:
        one, everyone = asyncio.run(run())
        print(f"one of a thousand woke after {one * 1000:.1f} ms, all of them within {everyone * 1000:.0f} ms")
        assert everyone < 5
        return one

    assert quickest(wake, below=0.25) < 0.25  # 50 ms on a machine that is not busy; a poll would take longer, too


def test_clients_that_wait_for_the_same_share_one_look_and_one_composed_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, composed = Rig.build(tmp_path), list[str]()

    def compose(*args: Any) -> GenerationAnswer:
        composed.append("")
        return generation_answer(*args)

    monkeypatch.setattr("longtake.wire.aimlapi.generation_answer", compose)

    async def run(url: str, id: str) -> list[bytes]:
        waits = [asyncio.create_task(wait_for(url, id)) for _ in range(40)]
        async with asyncio.timeout(20):
            while await asyncio.to_thread(num_waiting, url) < len(waits):
                await asyncio.sleep(0.005)
        composed.clear()
        await asyncio.to_thread(rig.complete, id)
        return [answer for answer, _ in await asyncio.gather(*waits)]

    with serving(rig) as url:
        id = create(url)
        answers = asyncio.run(run(url, id))
    assert len({answer.partition(b"\r\n\r\n")[2] for answer in answers}) == 1
    assert len({line for answer in answers for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")}) == 40
    assert len(composed) <= 4  # one for each batch of changes: it starts, and ends
