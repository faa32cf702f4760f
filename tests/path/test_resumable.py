"""A video in parts, to a server of its own: killed in the middle, resumed, extended; and its memory meanwhile."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conftest import missing
from tests.footage import moving, store
from tests.servers import KEY, Server

TUS = {"tus-resumable": "1.0.0"}
PART = {**TUS, "content-type": "application/offset+octet-stream"}
MIB = 1 << 20
PAGE = Path(__file__).parents[2] / "docs" / "uploads.md"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("resumable") / "data", "--no-worker").start()
    yield server
    server.stop()


def begin(server: Server, num_bytes: int, sha256: str | None = None) -> str:
    metadata = {"upload-metadata": f"sha256 {base64.b64encode(sha256.encode()).decode()}"} if sha256 else {}
    answer = server.client.post("/api/uploads", headers={**TUS, "upload-length": str(num_bytes), **metadata})
    assert answer.status_code == 201, answer.text
    return urlsplit(answer.headers["location"]).path


def offset(server: Server, path: str) -> int:
    return int(server.client.head(path, headers=TUS).headers["upload-offset"])


def send(server: Server, path: str, at: int, data: bytes | Iterator[bytes]) -> httpx2.Response:
    return server.client.patch(path, content=data, headers={**PART, "upload-offset": str(at)})


def a_long_file(path: Path, num_bytes: int) -> Path:
    """A whole video with bytes after it that readers of MP4 pass over: a `free` box."""
    store(path.parent, path.name, moving(24))
    with path.open("ab") as file:
        left = num_bytes - file.tell()
        file.write(left.to_bytes(4, "big") + b"free")
        file.write(os.urandom(left - 8))
    return path


def test_an_upload_outlives_a_kill_and_goes_on_where_it_was(own: Server, tmp_path: Path) -> None:
    data = a_long_file(tmp_path / "a.mp4", 9 * MIB).read_bytes()
    path = begin(own, len(data), hashlib.sha256(data).hexdigest())
    file = own.data / "objects" / "partial" / path.rpartition("/")[2]
    hold = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield from (data[at : at + MIB] for at in range(0, 5 * MIB, MIB))
        hold.wait(30)

    sender = threading.Thread(target=_swallow, args=(own, path, pieces()))
    sender.start()
    deadline = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < 4 * MIB:
        assert time.monotonic() < deadline
    own.kill()
    hold.set()
    sender.join()
    on_disk = file.read_bytes()
    own.start()
    at = offset(own, path)
    assert at == len(on_disk) >= 4 * MIB
    assert on_disk == data[:at]
    assert send(own, path, at, data[at:]).status_code == 204
    kept = own.client.get(path).json()
    assert (kept["kind"], kept["width"]) == ("video", 64)
    assert not file.exists()
    (whole,) = (own.data / "objects" / "uploads").iterdir()
    assert whole.read_bytes() == data
    frame = {"type": "video", "upload": kept["id"]}
    own.create({"seconds": 1, "keyframes": {"frame0": frame}})


def _swallow(server: Server, path: str, pieces: Iterator[bytes]) -> None:
    with httpx2.Client(base_url=server.address, trust_env=False, timeout=30) as client:
        headers = {**PART, "upload-offset": "0", "authorization": f"Bearer {KEY}"}
        try:
            client.patch(path, content=pieces, headers=headers)
        except httpx2.TransportError:
            return


def peak_kib(server: Server) -> int:
    assert server.process
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_large_upload_takes_no_more_memory_than_a_small_one(own: Server, tmp_path: Path) -> None:
    store(tmp_path, "small.mp4", moving(24))
    own.upload(tmp_path / "small.mp4")
    before = peak_kib(own)
    num_bytes = 160 * MIB
    path = begin(own, num_bytes)
    zeros = bytes(MIB)
    refused = send(own, path, 0, (zeros for _ in range(num_bytes // MIB)))
    assert (refused.status_code, "neither an image nor a video" in refused.text) == (400, True)
    raw = own.client.post("/api/uploads", content=(zeros for _ in range(num_bytes // MIB)))
    assert raw.status_code == 400
    assert peak_kib(own) - before < 48 * 1024


def test_the_page_on_uploads_runs_as_it_is_written(own: Server, tmp_path: Path) -> None:
    for program in ("curl", "openssl", "sha256sum"):
        if not shutil.which(program):
            missing(program, "there is no such program")
    a_long_file(tmp_path / "video.mp4", MIB)
    (script,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    variables = {**os.environ, "LONGTAKE_KEY": KEY, "URL": own.address}
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=variables, capture_output=True, check=True)
    found = [json.loads(line) for line in done.stdout.decode().replace("}{", "}\n{").splitlines()]
    assert [one["width"] for one in found] == [64] * 3


def test_the_javascript_client_of_tus_uploads_and_resumes(own: Server, tmp_path: Path, node: str) -> None:
    file = a_long_file(tmp_path / "a.mp4", 5 * MIB)
    script = Path(__file__).parents[1] / "clients" / "tus" / "upload.js"
    done = subprocess.run(
        [node, str(script), str(file), f"{own.address}/api/uploads", KEY],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert int(first.split()[1]) == 2 * MIB
    assert own.client.get(urlsplit(last).path).json()["width"] == 64
