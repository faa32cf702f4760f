"""A finished video, fetched by its address as the kind of file that is asked for: server, child, bytes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from av.container import InputContainer

from tests.footage import moving, video_frames, write_foreign
from tests.servers import Server
from tests.sounds import write_video
from tests.wire_rig import OTHER_KEY, Rig, client, serving

FORMATS = {
    "mp4": ("mp4", "video/mp4", "h264"),
    "webm": ("webm", "video/webm", "vp9"),
    "gif": ("gif", "image/gif", "gif"),
    "prores": ("mov", "video/quicktime", "prores"),
}
OTHERS = [format for format in FORMATS if format != "mp4"]


def download(http: httpx2.Client, id: str, format: str, method: str = "GET") -> httpx2.Response:
    """As a browser does it: asks again while it is being converted, and follows where it is sent."""
    until = time.monotonic() + 60
    while True:
        answer = http.request(method, f"/api/generations/{id}/download", params={"format": format})
        if answer.status_code != 202:
            return http.request(method, answer.headers["location"]) if answer.status_code == 307 else answer
        assert method == "HEAD" or answer.json() == {"state": "converting", "format": format}
        assert int(answer.headers["retry-after"]) == 2
        assert time.monotonic() < until


def frames_in(data: bytes, path: Path) -> tuple[int, list[str]]:
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        codecs = [stream.codec_context.codec.canonical_name for stream in container.streams]
        return sum(1 for _ in container.decode(container.streams.video[0])), codecs


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    clip = write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", "aac")
    frame0 = {"type": "video", "upload": server.upload(clip)}
    return server.make({"keyframes": {"frame0": frame0}, "seconds": 0.5, "seed": 1})


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_is_fetched_by_following_the_address(
    server: Server, made: dict[str, Any], format: str, tmp_path: Path
) -> None:
    ending, content_type, codec = FORMATS[format]
    answer = download(server.client, made["id"], format)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'attachment; filename="longtake-{made["id"]}.{ending}"'
    num_frames, codecs = frames_in(answer.content, tmp_path / f"video.{ending}")
    whole, _ = frames_in(server.client.get(made["assets"]["video"]).content, tmp_path / "whole.mp4")
    assert whole == 63
    assert codecs[0] == codec
    assert num_frames == (32 if format == "gif" else whole)
    assert len(codecs) == (1 if format == "gif" else 2)
    head = download(server.client, made["id"], format, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == answer.headers["etag"]
    assert download(server.client, made["id"], format).headers["etag"] == answer.headers["etag"]


def test_nothing_is_left_in_the_work_folder(server: Server, made: dict[str, Any]) -> None:
    for format in OTHERS:
        download(server.client, made["id"], format)
    assert not list((server.data / "objects" / "work").glob("*/export-*"))


def test_it_is_gone_with_its_generation(server: Server) -> None:
    id = server.make({"prompt": "x", "seconds": 0.5, "resolution": "540p", "fps": 12})["id"]
    addresses = []
    for format in FORMATS:
        answer = server.client.get(f"/api/generations/{id}/download", params={"format": format})
        assert answer.status_code == 307, answer.text
        addresses.append(answer.headers["location"])
    kept = server.data / "objects" / "exports"
    assert {path.name for path in kept.glob(f"{id}.*")} == {f"{id}.webm", f"{id}.gif", f"{id}.mov"}
    assert server.client.delete(f"/api/generations/{id}").status_code == 204
    assert [server.client.get(address).status_code for address in addresses] == [404] * 4
    assert not list(kept.glob(f"{id}.*"))
    assert server.client.get(f"/api/generations/{id}/download").status_code == 404


@contextmanager
def front(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The front in a process of its own, to be killed."""
    command = [sys.executable, "-m", "tests.wire_rig", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_a_kill_in_the_midst_leaves_nothing_and_the_next_who_asks_gets_it(tmp_path: Path) -> None:
    rig = Rig.build(tmp_path)
    work = tmp_path / "objects" / "work"
    with front(tmp_path) as (url, process), client(url) as http, ThreadPoolExecutor(1) as pool:
        id = create(http)
        rig.complete(id)
        clip = write_foreign(tmp_path / "clip.mp4", video_frames(moving(72, 480, 272)))
        rig.store.put_file(f"videos/{id}.mp4", clip)
        asked = pool.submit(download, http, id, "prores")
        until = time.monotonic() + 30
        while not list(work.glob("*/export-*/.made.mov.part")):
            assert time.monotonic() < until
            assert not asked.done(), asked.result().text
        process.kill()
        assert isinstance(asked.exception(), httpx2.TransportError)
    assert list(rig.store.keys("exports")) == []
    while list(work.glob("*/export-*")):  # as soon as its child has noticed, too
        rig.store.sweep_work()
        assert time.monotonic() < until
    with front(tmp_path) as (url, _), client(url) as http:
        answer = download(http, id, "prores")
    assert answer.status_code == 200, answer.text
    assert frames_in(answer.content, tmp_path / "video.mov")[0] == 72


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """The front alone, that waits for no conversion."""
    return Rig.build(tmp_path_factory.mktemp("downloads"), wait_seconds=0.0)


@pytest.fixture(scope="module")
def http(rig: Rig) -> Iterator[httpx2.Client]:
    with serving(rig) as url, client(url) as http:
        yield http


def create(http: httpx2.Client) -> str:
    answer = http.post("/api/generations", json={"prompt": "x"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_who_asks_while_it_is_converted_is_told_and_all_get_the_same(
    rig: Rig, http: httpx2.Client, tmp_path: Path
) -> None:
    id = create(http)
    rig.complete(id)
    rig.store.put_file(f"videos/{id}.mp4", write_foreign(tmp_path / "a.mp4", video_frames(moving(48, 320, 180))))
    first = http.get(f"/api/generations/{id}/download", params={"format": "webm"})
    assert first.status_code == 202
    assert first.json() == {"state": "converting", "format": "webm"}
    assert http.head(f"/api/generations/{id}/download", params={"format": "webm"}).status_code == 202
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: download(http, id, "webm"), range(3)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert len(list(rig.store.keys("exports"))) == 1


def test_what_can_not_be_converted_is_told_and_may_be_asked_again(rig: Rig, http: httpx2.Client) -> None:
    id = create(http)
    rig.complete(id)  # with a video of a few bytes of text
    for _ in range(2):
        answer = download(http, id, "webm")
        assert answer.status_code == 400
        assert answer.json()["error"]["kind"] == "media"
        assert "can't be converted to webm" in answer.json()["error"]["message"]


def test_a_gif_of_more_than_a_minute_is_refused(rig: Rig, http: httpx2.Client) -> None:
    id = create(http)
    rig.complete(id, seconds=75)
    answer = download(http, id, "gif")
    assert answer.status_code == 400
    assert "up to 60 s, and the video lasts 75.0 s" in answer.json()["error"]["message"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_not_finished_is_409_and_what_is_not_there_404(http: httpx2.Client, format: str) -> None:
    id = create(http)
    answer = download(http, id, format)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (409, "conflict")
    assert "is queued" in answer.json()["error"]["message"]
    assert download(http, "no-such-id", format).status_code == 404


def test_a_wrong_format_is_refused_with_the_four(http: httpx2.Client) -> None:
    answer = http.get(f"/api/generations/{create(http)}/download", params={"format": "avi"})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (400, "format")
    assert all(format in error["message"] for format in FORMATS)


def test_another_account_gets_nothing(rig: Rig, http: httpx2.Client) -> None:
    id = create(http)
    rig.complete(id)
    headers = {"authorization": f"Bearer {OTHER_KEY}"}
    assert http.get(f"/api/generations/{id}/download", headers=headers).status_code == 404
    assert http.get(f"/api/generations/{id}/download", headers={"authorization": ""}).status_code == 401


def test_the_document_says_what_it_may_answer(http: httpx2.Client) -> None:
    path = http.get("/openapi.json").json()["paths"]["/api/generations/{id}/download"]
    for method in ("get", "head"):
        assert {"202", "307", "400", "401", "404", "409", "503"} <= set(path[method]["responses"])
        (format,) = [one for one in path[method]["parameters"] if one["name"] == "format"]
        assert set(format["schema"]["enum"]) == set(FORMATS)
