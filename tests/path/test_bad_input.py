"""What is wrong is refused at the door, with its field and nothing changed, or fails later with a clear reason."""

from __future__ import annotations

import io
import json
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from longtake.records import Keys, open_database
from tests.servers import Reply, Server, replying

V2 = "/v2/generate/video/luma-ai/generation"
NATIVE = "/api/generations"
MARK = "mark-5f1c-of-this-body"
"""Stands in each body: no refusal may repeat it."""
SMALL = {"resolution": "540p", "fps": 12, "seconds": 0.25}


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


def noise() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


PAGE = b"<!doctype html><html><body><p>Not found, but politely.</p></body></html>"
REPLIES = {
    "/good.png": Reply(body=png(96, 54)),
    "/page.png": Reply(body=PAGE, headers={"Content-Type": "image/png"}),
    "/truncated.png": Reply(body=noise()[:20_000]),
    "/bomb.png": Reply(body=png(10_000, 10_000, "1")),
    "/empty.png": Reply(),
    "/metadata.png": Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
    "/private.png": Reply(302, headers={"Location": "http://10.0.0.1/image.png"}),
    "/file.png": Reply(302, headers={"Location": "file:///etc/passwd"}),
    "/round.png": Reply(302, headers={"Location": "/round.png"}),
    "/gone.png": Reply(404, b"gone"),
}


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    with replying(REPLIES) as address:
        yield address


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[httpx2.Client]:
    """A client with a key of another account."""
    database = open_database(f"sqlite:///{server.data / 'longtake.db'}")
    _, secret = Keys(database).create("another", account="another")
    database.dispose()
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx2.Client(base_url=server.address, headers=headers, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def whole(server: Server, files: str) -> str:
    """A completed generation's id."""
    keyframes = {"frame0": {"type": "image", "url": f"{files}/good.png"}}
    found = server.make({**SMALL, "keyframes": keyframes})
    return str(found["id"])


@pytest.fixture(scope="module")
def failed(server: Server, files: str) -> str:
    """A failed generation's id."""
    found = server.finished(
        server.create({**SMALL, "keyframes": {"frame0": {"type": "image", "url": f"{files}/gone.png"}}})
    )
    assert found["state"] == "failed"
    return str(found["id"])


def refused(server: Server, path: str, body: Any, status: int, field: str | None) -> str:
    """Sends the body, checks the refusal's status, shape and field and that nothing changed: the message."""
    before = server.count()
    answer = server.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert MARK not in answer.text
    assert server.count() == before
    data = answer.json()
    if path == NATIVE:
        assert set(data) == {"error", "request_id"}
        assert set(data["error"]) == {"message", "field", "kind"}
        assert data["error"]["field"] == field
        return str(data["error"]["message"])
    assert {"requestId", "statusCode", "timestamp", "path", "message"} <= set(data)
    assert (data["statusCode"], data["path"]) == (status, path)
    assert ("errors" in data) == (status == 400)
    if status == 400:
        assert data["message"].startswith("Body validation error")
        assert field in [error["field"] for error in data["errors"]]
    return str(data["message"])


IMAGE = {"type": "image", "url": f"https://example.com/{MARK}.png"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"promt": MARK}, "promt"),
    ({"keyframes": {"frame2": IMAGE}}, "keyframes.frame2"),
    ({"keyframes": {"frame0": {**IMAGE, "size": MARK}}}, "keyframes.frame0.size"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": [MARK]}, "prompt"),
    ({"loop": MARK}, "loop"),
    ({"keyframes": MARK}, "keyframes"),
    ({"keyframes": {"frame0": MARK}}, "keyframes.frame0"),
    ({"keyframes": {"frame0": {"type": "picture", "url": MARK}}}, "keyframes.frame0.type"),
    ({"keyframes": {"frame0": {"url": f"https://example.com/{MARK}"}}}, "keyframes.frame0.type"),
    ({"keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0.url"),
    ({"keyframes": {"frame0": {"type": "image", "url": f"file:///{MARK}"}}}, "keyframes.frame0.url"),
    ({"keyframes": {"frame0": {"type": "image", "url": f"data:image/png,{MARK}"}, "frame1": 3}}, "keyframes.frame1"),
    ({"keyframes": {"frame0": {"type": "generation", "id": 12}}}, "keyframes.frame0.id"),
    ({"keyframes": {"frame1": IMAGE}, "loop": True}, "loop"),
    ({"aspect_ratio": "30:9"}, "aspect_ratio"),
    ({"aspect_ratio": MARK}, "aspect_ratio"),
    ({"resolution": MARK}, "resolution"),
    ({"duration": "7s"}, "duration"),
    ({"model": MARK}, "model"),
    ({"callback_url": f"ftp://{MARK}"}, "callback_url"),
    ({"keyframes": {"frame0": {"type": "image", "url": "http://169.254.169.254/latest"}}}, "keyframes.frame0.url"),
    ({"keyframes": {"frame1": {"type": "image", "url": "http://10.0.0.1/image.png"}}}, "keyframes.frame1.url"),
    ({"keyframes": {"frame1": {"type": "image", "url": "http://0xa9fea9fe/"}}}, "keyframes.frame1.url"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=[field + f"-{k}" for k, (_, field) in enumerate(WRONG)])
def test_a_wrong_body_is_refused_by_the_seeds_protocol(wrong: dict[str, Any], field: str, server: Server) -> None:
    body = {"prompt": "A jellyfish", **wrong}
    if field == "model":
        body["model"] = "no-such-model"
    refused(server, V2, body, 400, field)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *[(wrong, field) for wrong, field in WRONG if wrong not in ({"keyframes": {"frame0": {"type": "image"}}},)],
        ({"keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0"),
        ({"keyframes": {"frame0": {"type": "image", "url": IMAGE["url"], "upload": MARK}}}, "keyframes.frame0"),
        ({"keyframes": {"frame0": {**IMAGE, "at": 1}}}, "keyframes.frame0.at"),
        ({"seconds": "2"}, "seconds"),
        ({"seconds": 0.01}, "seconds"),
        ({"seconds": 1, "duration": "5s"}, "seconds"),
        ({"fps": 1000}, "fps"),
        ({"seed": -1}, "seed"),
        ({"concepts": ["no_such_move"]}, "concepts"),
    ],
)
def test_a_wrong_body_is_refused_by_our_own_protocol(wrong: dict[str, Any], field: str, server: Server) -> None:
    body = {"prompt": "A jellyfish", **wrong}
    if field == "model":
        body["model"] = "no-such-model"
    refused(server, NATIVE, body, 400, field)


def test_a_prompt_one_character_too_long_is_refused(server: Server) -> None:
    assert "2048" in refused(server, V2, {"prompt": MARK + "x" * (2049 - len(MARK))}, 400, "prompt")
    assert "5000" in refused(server, NATIVE, {"prompt": MARK + "x" * (5001 - len(MARK))}, 400, "prompt")


@pytest.mark.parametrize("path", [V2, NATIVE])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"text"', b'{"prompt": NaN}', b"\xff\xfe{}", b'{"prompt": "\xed\xa0\x80"}']
)
def test_what_is_no_json_object_is_refused(content: bytes, path: str, server: Server) -> None:
    before = server.count()
    answer = server.client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert server.count() == before


@pytest.mark.parametrize("path", [V2, NATIVE])
def test_a_body_of_twenty_megabytes_is_refused(path: str, server: Server) -> None:
    refused(server, path, {"prompt": MARK * 1_000_000}, 413, None)


def test_a_body_of_twenty_megabytes_that_does_not_tell_its_length_is_refused(server: Server) -> None:
    before = server.count()
    chunks = (json.dumps(MARK * 1000).encode() for _ in range(1000))
    answer = server.client.post(V2, content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert MARK not in answer.text
    assert server.count() == before


@pytest.mark.parametrize("path", [V2, NATIVE])
@pytest.mark.parametrize("end", ["frame0", "frame1"])
def test_an_unknown_generation_is_not_found(end: str, path: str, server: Server) -> None:
    for id in (str(uuid.uuid4()), "no-id", "../../etc/passwd", "' OR 1=1 --"):
        body = {"prompt": MARK, "keyframes": {end: {"type": "generation", "id": id}}}
        refused(server, path, body, 404, f"keyframes.{end}.id")


def test_another_accounts_generations_and_uploads_are_not_found(
    server: Server, stranger: httpx2.Client, whole: str, tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(noise())
    upload = server.upload(tmp_path / "image.png")
    for frame, field in (
        ({"type": "generation", "id": whole}, "keyframes.frame0.id"),
        ({"type": "image", "upload": upload}, "keyframes.frame0.upload"),
    ):
        answer = stranger.post(NATIVE, json={"prompt": MARK, "keyframes": {"frame0": frame}})
        assert (answer.status_code, answer.json()["error"]["field"]) == (404, field)
    path = f"{NATIVE}/{whole}"
    calls = [("GET", path), ("DELETE", path), ("POST", f"{path}/cancel"), ("POST", f"{path}/retry")]
    for method, called in [*calls, ("GET", f"{path}/events"), ("GET", f"{V2}?generation_id={whole}")]:
        assert stranger.request(method, called).status_code == 404, called
    assert stranger.get(NATIVE).json()["generations"] == []
    assert server.client.get(path).json()["state"] == "completed"


@pytest.mark.parametrize("path", [V2, NATIVE])
def test_a_failed_a_cancelled_and_a_deleted_parent_are_conflicts(
    path: str, server: Server, files: str, failed: str
) -> None:
    image = {"type": "image", "url": f"{files}/good.png"}
    cancelled = server.create({**SMALL, "keyframes": {"frame0": image}, "seconds": 600})
    assert server.client.post(f"{NATIVE}/{cancelled}/cancel").status_code == 200
    deleted = server.create({**SMALL, "keyframes": {"frame0": image}})
    assert server.client.delete(f"{NATIVE}/{deleted}").status_code == 204
    for id, why in ((failed, "404"), (cancelled, "cancelled"), (deleted, "deleted")):
        body = {"prompt": MARK, "keyframes": {"frame1": {"type": "generation", "id": id}}}
        message = refused(server, path, body, 409, "keyframes.frame1.id")
        assert id in message
        assert why in message


@pytest.mark.parametrize("key", [None, "wrong", "Bearer", "a" * 5000])
def test_without_the_right_key_nothing_is_answered(key: str | None, server: Server) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=server.address, trust_env=False) as client:
        for method, path in (("POST", V2), ("GET", f"{V2}?generation_id=x"), ("POST", NATIVE), ("GET", "/api/events")):
            answer = client.request(method, path, headers=headers, json={"promt": MARK} if method == "POST" else None)
            assert answer.status_code == 401, path
            assert MARK not in answer.text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("page.png", "image"),
        ("truncated.png", "truncated|broken|cut off|ends early"),
        ("bomb.png", "pixels"),
        ("empty.png", "empty|no bytes|image"),
        ("metadata.png", "169.254.169.254 is not at a public address"),
        ("private.png", "10.0.0.1 is not at a public address"),
        ("file.png", "can't be fetched"),
        ("round.png", "redirects more than"),
        ("gone.png", "status 404"),
    ],
)
def test_an_image_that_is_none_fails_with_a_clear_reason(name: str, reason: str, server: Server, files: str) -> None:
    body = {**SMALL, "keyframes": {"frame1": {"type": "image", "url": f"{files}/{name}"}}}
    found = server.finished(server.create(body))
    assert found["state"] == "failed"
    assert found["assets"] is None
    assert_clear(found["failure_reason"], reason)


def assert_clear(sentence: str, reason: str) -> None:
    """A sentence for the client: it says why, and shows nothing of our inside."""
    assert re.search(reason, sentence), sentence
    assert "fault of ours" not in sentence
    assert not re.search(r"Traceback|Error\(|\.py\b|/tmp/|objects/", sentence), sentence
    assert len(sentence) < 300


@pytest.mark.parametrize("content", [PAGE, noise()[:9000], b"", bytes(5000)])
def test_an_upload_that_is_no_picture_and_no_video_is_refused(content: bytes, server: Server) -> None:
    answer = server.client.post("/api/uploads", content=content)
    assert answer.status_code == 400, answer.text
    assert_clear(answer.json()["error"]["message"], "image|picture|video|empty")
    assert not list((server.data / "objects").rglob("upload-*"))


def test_an_upload_that_is_a_bomb_is_refused(server: Server) -> None:
    answer = server.client.post("/api/uploads", content=REPLIES["/bomb.png"].body)
    assert answer.status_code == 400
    assert "pixels" in answer.json()["error"]["message"]


def test_an_image_cannot_be_used_as_a_video(server: Server, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(noise())
    upload = server.upload(tmp_path / "image.png")
    body = {"prompt": MARK, "keyframes": {"frame0": {"type": "video", "upload": upload}}}
    assert "is an image, not a video" in refused(server, NATIVE, body, 400, "keyframes.frame0.type")


@pytest.mark.parametrize("at", [0, 99])
def test_a_cut_outside_of_the_video_is_refused(at: float, server: Server, whole: str) -> None:
    body = {"prompt": MARK, "keyframes": {"frame0": {"type": "generation", "id": whole, "at": at}}}
    assert "at must be from" in refused(server, NATIVE, body, 400, "keyframes.frame0.at")


def test_a_running_generation_is_cancelled_at_once_and_frees_the_worker(server: Server, files: str) -> None:
    image = {"type": "image", "url": f"{files}/good.png"}
    long = server.create({"keyframes": {"frame0": image}, "resolution": "540p", "seconds": 600})
    while server.client.get(f"{NATIVE}/{long}").json()["progress"] == 0:
        server.client.get(f"{NATIVE}/{long}", params={"wait": "dreaming"})
    answer = server.client.post(f"{NATIVE}/{long}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert answer.json()["failure_reason"] == "cancelled"
    assert server.client.post(f"{NATIVE}/{long}/cancel").status_code == 409
    next_one = server.create({**SMALL, "keyframes": {"frame0": image}})
    soon = server.client.get(f"{NATIVE}/{next_one}", params={"wait": "completed", "timeout": 20}).json()
    assert soon["state"] == "completed"
    assert server.finished(long)["failure_reason"] == "cancelled"


def test_a_failed_generation_can_be_tried_again_once_its_image_is_there(server: Server) -> None:
    replies: dict[str, Reply] = {}
    with replying(replies) as address:
        body = {**SMALL, "keyframes": {"frame0": {"type": "image", "url": f"{address}/late.png"}}}
        id = server.create(body)
        assert server.finished(id)["state"] == "failed"
        replies["/late.png"] = Reply(body=noise())
        again = server.client.post(f"{NATIVE}/{id}/retry")
        assert (again.status_code, again.json()["state"], again.json()["failure_reason"]) == (200, "queued", None)
        assert server.completed(id)["video"]["duration"] == pytest.approx(0.25)
    assert server.client.post(f"{NATIVE}/{id}/retry").status_code == 409


def test_a_cancelled_one_can_be_tried_again(server: Server) -> None:
    opened = threading.Event()
    with replying({"/slow.png": Reply(body=noise(), opened=opened)}) as address:
        id = server.create({**SMALL, "keyframes": {"frame0": {"type": "image", "url": f"{address}/slow.png"}}})
        assert server.client.post(f"{NATIVE}/{id}/cancel").json()["failure_reason"] == "cancelled"
        assert server.client.post(f"{NATIVE}/{id}/retry").status_code == 200
        opened.set()
        assert server.finished(id)["state"] == "completed"


def test_what_is_deleted_is_gone_with_its_media(server: Server, files: str) -> None:
    found = server.make({**SMALL, "keyframes": {"frame1": {"type": "image", "url": f"{files}/good.png"}}})
    addresses = [found["assets"][name] for name in ("video", "segment", "image")]
    assert [server.client.get(address).status_code for address in addresses] == [200] * 3
    before = server.count()
    assert server.client.delete(f"{NATIVE}/{found['id']}").status_code == 204
    assert server.count() == before - 1
    assert [server.client.get(address).status_code for address in addresses] == [404] * 3
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events")):
        assert server.client.request(method, f"{NATIVE}/{found['id']}{path}").status_code == 404
