"""Uploads in parts, by tus 1.0.0, and digests, from the outside: over a real port."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.wire_rig import KEY, OTHER_KEY, Rig, client, new_id, serving

ALL = "/api/uploads"
TUS = {"tus-resumable": "1.0.0"}
PART = {**TUS, "content-type": "application/offset+octet-stream"}
MAX_PARTIAL = 300_000


def a_picture() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


PICTURE = a_picture()
SHA256 = hashlib.sha256(PICTURE)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("resumable"), max_upload_bytes=100_000, max_partial_bytes=MAX_PARTIAL)


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


def encoded(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def begin(http: httpx2.Client, headers: dict[str, str] | None = None, *, num_bytes: int = len(PICTURE)) -> str:
    """The path of a new upload."""
    answer = http.post(ALL, headers={**TUS, "upload-length": str(num_bytes), **(headers or {})})
    assert answer.status_code == 201, answer.text
    return urlsplit(answer.headers["location"]).path


def send(http: httpx2.Client, path: str, offset: int, data: bytes, **headers: str) -> httpx2.Response:
    answer = http.patch(path, content=data, headers={**PART, "upload-offset": str(offset), **headers})
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer


def offset(http: httpx2.Client, path: str) -> int:
    answer = http.head(path, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def files(rig: Rig) -> list[str]:
    """What is on disk of unfinished uploads."""
    return sorted(path.name for path in rig.store.partial_folder.iterdir())


def refusal(answer: httpx2.Response) -> tuple[int, str | None, str]:
    body = answer.json()["error"]
    return answer.status_code, body["field"], body["message"]


class TestParts:
    def test_a_file_comes_in_parts_and_is_then_as_any_other(self, rig: Rig, http: httpx2.Client) -> None:
        metadata = f"filename {encoded('a.png')},is_draft"
        path = begin(http, {"upload-metadata": metadata})
        for start in range(0, len(PICTURE), 6000):
            answer = send(http, path, start, PICTURE[start : start + 6000])
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["upload-offset"] == str(min(start + 6000, len(PICTURE)))
        kept = http.get(path).json()
        assert kept == {
            "id": path.rpartition("/")[2],
            "kind": "image",
            "width": 80,
            "height": 60,
            "seconds": None,
            "fps": None,
        }
        assert rig.records.get_upload(kept["id"], "default").sha256 == SHA256.hexdigest()
        head = http.head(path, headers=TUS)
        assert head.headers["upload-offset"] == head.headers["upload-length"] == str(len(PICTURE))
        assert head.headers["upload-metadata"] == metadata
        assert kept["id"] not in files(rig)
        frames = {"frame0": {"type": "image", "upload": kept["id"]}}
        assert http.post("/api/generations", json={"seconds": 5, "keyframes": frames}).status_code == 201

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(cuts=st.lists(st.integers(0, len(PICTURE)), max_size=6), seed=st.integers(0, 2**16))
    def test_only_the_byte_that_is_next_is_taken(
        self, rig: Rig, http: httpx2.Client, cuts: list[int], seed: int
    ) -> None:
        path, at, rng = begin(http), 0, random.Random(seed)
        for stop in [*sorted(cuts), len(PICTURE)]:
            wrong = rng.choice([n for n in (0, at - 1, at + 1, len(PICTURE) - 1, 10**9) if n >= 0 and n != at])
            status, field, _ = refusal(send(http, path, wrong, PICTURE[at:stop]))
            assert (status, field) == (409, "Upload-Offset")
            assert offset(http, path) == at
            assert send(http, path, at, PICTURE[at:stop]).status_code == 204
            at = stop
            assert offset(http, path) == at
        assert rig.records.get_upload(path.rpartition("/")[2], "default").sha256 == SHA256.hexdigest()

    def test_the_first_part_may_come_with_the_creation(self, http: httpx2.Client) -> None:
        size = {**PART, "upload-length": str(len(PICTURE))}
        answer = http.post(ALL, headers=size, content=PICTURE[:100])
        assert answer.headers["upload-offset"] == "100"
        path = urlsplit(answer.headers["location"]).path
        assert send(http, path, 100, PICTURE[100:]).status_code == 204
        whole = http.post(ALL, headers=size, content=PICTURE)
        assert whole.headers["upload-offset"] == str(len(PICTURE))
        assert http.get(urlsplit(whole.headers["location"]).path).json()["width"] == 80

    def test_a_part_without_its_length_is_taken_up_to_the_end(self, http: httpx2.Client) -> None:
        path = begin(http)
        pieces = (PICTURE[at : at + 999] for at in range(0, len(PICTURE), 999))
        headers = {**PART, "upload-offset": "0"}
        assert http.patch(path, content=pieces, headers=headers).status_code == 204
        assert http.get(path).json()["height"] == 60

    def test_methods_may_be_named_in_a_header(self, http: httpx2.Client) -> None:
        path = begin(http)
        headers = {**PART, "upload-offset": "0", "x-http-method-override": "PATCH"}
        assert http.post(path, headers=headers, content=PICTURE[:10]).status_code == 204
        assert http.post(path, headers={**TUS, "x-http-method-override": "HEAD"}).headers["upload-offset"] == "10"
        assert http.post(path, headers={**TUS, "x-http-method-override": "DELETE"}).status_code == 204
        assert http.post(path, headers=TUS).status_code == 405
        assert http.head(path, headers=TUS).status_code == 404

    def test_what_the_server_speaks_is_told_without_a_key(self, url: str) -> None:
        with client(url, None) as nobody:
            for path in (ALL, f"{ALL}/{new_id()}"):
                answer = nobody.options(path)
                assert answer.status_code == 204
                assert answer.headers["tus-version"] == "1.0.0"
                assert answer.headers["tus-max-size"] == str(MAX_PARTIAL)
                assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"
                for extension in ("creation", "checksum", "expiration", "termination"):
                    assert extension in answer.headers["tus-extension"].split(",")
            assert nobody.post(ALL, headers={**TUS, "upload-length": "5"}).status_code == 401
            assert nobody.patch(path, headers=PART).status_code == 401

    def test_an_upload_tells_when_it_expires(self, http: httpx2.Client) -> None:
        made = http.post(ALL, headers={**TUS, "upload-length": "50"})
        left = parsedate_to_datetime(made.headers["upload-expires"]).timestamp() - time.time()
        assert 86000 < left < 86500
        part = send(http, urlsplit(made.headers["location"]).path, 0, b"12")
        assert parsedate_to_datetime(part.headers["upload-expires"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"upload-length": "5"}, 412),
            ({"upload-length": "5", "tus-resumable": "0.2.2"}, 412),
            ({**TUS}, 400),
            ({**TUS, "upload-length": "-1"}, 400),
            ({**TUS, "upload-length": "٣"}, 400),
            ({**TUS, "upload-length": "0"}, 400),
            ({**TUS, "upload-defer-length": "1"}, 400),
            ({**TUS, "upload-length": str(MAX_PARTIAL + 1)}, 413),
            ({**TUS, "upload-length": "5", "upload-metadata": "name no-base-64!"}, 400),
            ({**TUS, "upload-length": "5", "upload-metadata": "a,a"}, 400),
            ({**TUS, "upload-length": "5", "upload-metadata": f"sha256 {encoded('abc')}"}, 400),
            ({**TUS, "upload-length": "5", "repr-digest": "sha-256=abc"}, 400),
            ({**TUS, "upload-length": "5", "repr-digest": "sha-512=:YWJj:"}, 400),
        ],
    )
    def test_a_creation_that_can_not_be(self, http: httpx2.Client, headers: dict[str, str], status: int) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        answer = http.post(ALL, headers=raw)
        assert answer.status_code == status, answer.text
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert status != 412 or answer.headers["tus-version"] == "1.0.0"

    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({"content-type": "application/octet-stream"}, 415),
            ({"tus-resumable": "2.0.0"}, 412),
            ({"upload-offset": "x"}, 400),
            ({"upload-offset": "1"}, 409),
            ({"upload-checksum": "md5 YWJj"}, 400),
            ({"upload-checksum": "sha1 YWJj"}, 400),
            ({"upload-checksum": "sha1"}, 400),
        ],
    )
    def test_a_part_that_can_not_be(self, http: httpx2.Client, changed: dict[str, str], status: int) -> None:
        path = begin(http)
        headers = {**PART, "upload-offset": "0", **changed}
        assert http.patch(path, content=PICTURE[:10], headers=headers).status_code == status
        assert offset(http, path) == 0

    def test_more_than_the_length_is_refused_whether_announced_or_not(self, http: httpx2.Client) -> None:
        path = begin(http, num_bytes=20)
        assert send(http, path, 0, b"x" * 8).status_code == 204
        assert send(http, path, 8, b"x" * 13).status_code == 413
        headers = {**PART, "upload-offset": "8"}
        assert http.patch(path, content=iter([b"x" * 10, b"x" * 10]), headers=headers).status_code == 413
        assert offset(http, path) == 8

    def test_a_whole_file_that_is_no_picture_is_refused_and_its_bytes_are_gone(
        self, rig: Rig, http: httpx2.Client
    ) -> None:
        path = begin(http, num_bytes=20)
        status, _, why = refusal(send(http, path, 0, b"x" * 20))
        assert (status, "neither an image nor a video" in why) == (400, True)
        status, _, again = refusal(http.get(path))
        assert (status, why in again) == (410, True)
        assert http.head(path, headers=TUS).status_code == 410
        assert send(http, path, 0, b"x").status_code == 410
        assert (rig.store.partial_folder / path.rpartition("/")[2]).stat().st_size == 0
        assert http.delete(path, headers=TUS).status_code == 204
        assert path.rpartition("/")[2] not in files(rig)

    def test_an_upload_of_another_account_is_unknown(self, url: str, http: httpx2.Client) -> None:
        path = begin(http)
        with client(url, OTHER_KEY) as other:
            for answer in (
                other.get(path),
                other.head(path, headers=TUS),
                send(other, path, 0, b"x"),
                other.delete(path, headers=TUS),
            ):
                assert answer.status_code == 404
        assert offset(http, path) == 0

    def test_an_unfinished_upload_is_none_yet_and_can_be_ended(self, rig: Rig, http: httpx2.Client) -> None:
        path = begin(http)
        send(http, path, 0, PICTURE[:10])
        status, _, message = refusal(http.get(path))
        assert (status, f"10 of {len(PICTURE)} bytes" in message) == (409, True)
        assert http.delete(path, headers=TUS).status_code == 204
        assert http.head(path, headers=TUS).status_code == 404
        assert path.rpartition("/")[2] not in files(rig)

    def test_a_finished_upload_can_not_be_ended(self, http: httpx2.Client) -> None:
        path = begin(http)
        send(http, path, 0, PICTURE)
        assert http.delete(path, headers=TUS).status_code == 409
        assert send(http, path, 0, PICTURE).status_code == 409
        assert http.get(path).status_code == 200

    def test_so_many_unfinished_uploads_and_no_more(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("longtake.incoming.MOST_UNFINISHED", 3)
        with client(url, OTHER_KEY) as other:
            paths = [begin(other) for _ in range(3)]
            many = {**TUS, "upload-length": "5"}
            assert other.post(ALL, headers=many).status_code == 409
            send(other, paths[0], 0, PICTURE)
            assert other.post(ALL, headers=many).status_code == 201


class TestChecksums:
    @pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
    def test_a_part_is_held_to_its_checksum(self, http: httpx2.Client, algorithm: str) -> None:
        path = begin(http)
        send(http, path, 0, PICTURE[:100])
        part = PICTURE[100:5000]
        good = {"upload-checksum": f"{algorithm} {encoded(hashlib.new(algorithm, part).digest())}"}
        bad = send(http, path, 100, b"x" + part[1:], **good)
        assert (bad.status_code, bad.json()["error"]["kind"]) == (460, "checksum")
        assert offset(http, path) == 100
        assert send(http, path, 100, part, **good).headers["upload-offset"] == "5000"

    def test_a_part_may_carry_a_content_digest(self, http: httpx2.Client) -> None:
        path, part = begin(http), PICTURE[:77]
        digest = {"content-digest": f"sha-256=:{encoded(hashlib.sha256(part).digest())}:"}
        assert send(http, path, 0, part[::-1], **digest).status_code == 460
        assert send(http, path, 0, part, **digest).status_code == 204

    @pytest.mark.parametrize("where", ["metadata", "header"])
    def test_a_whole_file_is_held_to_its_digest(self, rig: Rig, http: httpx2.Client, where: str) -> None:
        told = {
            "metadata": {"upload-metadata": f"sha256 {encoded(SHA256.hexdigest())}"},
            "header": {"repr-digest": f"sha-256=:{encoded(SHA256.digest())}:"},
        }[where]
        path = begin(http, told)
        other = PICTURE[:-20] + b"x" + PICTURE[-19:]
        status, field, message = refusal(send(http, path, 0, other))
        assert (status, field) == (400, "sha256")
        assert SHA256.hexdigest() in message
        assert hashlib.sha256(other).hexdigest() in message
        assert http.get(path).status_code == 410
        good = begin(http, told)
        assert send(http, good, 0, PICTURE).status_code == 204

    @pytest.mark.parametrize("name", ["repr-digest", "content-digest"])
    def test_a_raw_body_is_held_to_its_digest(self, rig: Rig, http: httpx2.Client, name: str) -> None:
        before = set(rig.store.keys("uploads"))
        headers = {name: f"sha-512=:AAAA:, sha-256=:{encoded(SHA256.digest())}:"}
        assert http.post(ALL, content=PICTURE, headers=headers).status_code == 201
        status, field, message = refusal(http.post(ALL, content=PICTURE + b"x", headers=headers))
        assert (status, field, SHA256.hexdigest() in message) == (400, "sha256", True)
        assert len(set(rig.store.keys("uploads")) - before) == 1

    def test_a_form_s_file_is_held_to_the_part_sha256(self, http: httpx2.Client) -> None:
        for told, status in ((SHA256.hexdigest(), 201), (SHA256.hexdigest().upper(), 201), ("0" * 64, 400), ("x", 400)):
            answer = http.post(ALL, files={"file": PICTURE}, data={"sha256": told})
            assert answer.status_code == status, answer.text

    def test_a_form_is_held_to_the_digest_of_the_whole_body(self, http: httpx2.Client) -> None:
        form = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
        for body, status in ((form, 201), (form + b"\r\n", 400)):
            digest = f"sha-256=:{encoded(hashlib.sha256(form).digest())}:"
            headers = {"content-type": "multipart/form-data; boundary=b", "content-digest": digest}
            assert http.post(ALL, content=body, headers=headers).status_code == status


def crash(*_: object, **__: object) -> None:
    os.abort()


def test_a_file_that_breaks_its_reader_is_refused_and_the_server_lives(
    rig: Rig, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("longtake.uploads.normalise", crash)
        patched.setattr("longtake.uploads.probe", crash)
        path = begin(http, num_bytes=4)
        for answer in (http.post(ALL, content=b"evil"), send(http, path, 0, b"evil")):
            status, _, message = refusal(answer)
            assert (status, "breaks the program that reads it" in message) == (400, True)
    assert http.post(ALL, content=PICTURE).status_code == 201


class Hanging:
    """A PATCH that says it brings more than it does, on a connection of its own."""

    def __init__(self, url: str, path: str, at: int, data: bytes, announced: int, **headers: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=10)
        given = {**PART, "host": "x", "authorization": f"Bearer {KEY}", "upload-offset": str(at), **headers}
        lines = [f"{name}: {value}" for name, value in {**given, "content-length": str(announced)}.items()]
        self.socket.sendall("\r\n".join([f"PATCH {path} HTTP/1.1", *lines, "", ""]).encode() + data)

    def answer(self) -> str:
        found = self.socket.recv(4096).decode().partition("\r\n")[0]
        self.socket.close()
        return found


def until_there(rig: Rig, path: str, num_bytes: int) -> None:
    """Waits until so many bytes are on disk: then the request that sends them has the upload in hand."""
    file = rig.store.partial_folder / path.rpartition("/")[2]
    deadline = time.monotonic() + 10
    while not file.exists() or file.stat().st_size < num_bytes:
        assert time.monotonic() < deadline


@pytest.mark.usefixtures("written_at_once")
class TestTwoAtOnce:
    @pytest.fixture
    def written_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("longtake.wire.uploads.BATCH_BYTES", 1)

    def test_two_parts_of_one_upload_exclude_each_other(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        path = begin(http)
        hanging = Hanging(url, path, 0, PICTURE[:50], len(PICTURE))
        until_there(rig, path, 50)
        assert refusal(send(http, path, 50, PICTURE[50:]))[0] == 423
        hanging.socket.sendall(PICTURE[50:])
        assert "204" in hanging.answer()
        assert http.get(path).json()["width"] == 80

    def test_who_asks_how_far_it_is_breaks_off_a_part_that_hangs(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        path = begin(http)
        hanging = Hanging(url, path, 0, PICTURE[:50], len(PICTURE))
        until_there(rig, path, 50)
        at = offset(http, path)
        assert at == 50
        assert "408" in hanging.answer()
        assert send(http, path, at, PICTURE[at:]).status_code == 204

    def test_who_goes_away_leaves_what_he_sent(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        path = begin(http)
        hanging = Hanging(url, path, 0, PICTURE[:50], len(PICTURE))
        until_there(rig, path, 50)
        hanging.socket.close()
        at = offset(http, path)
        assert at == 50
        assert send(http, path, at, PICTURE[at:]).status_code == 204

    def test_of_a_part_with_a_checksum_that_breaks_off_nothing_is_left(
        self, rig: Rig, url: str, http: httpx2.Client
    ) -> None:
        path = begin(http)
        checksum = {"upload-checksum": f"sha256 {encoded(SHA256.digest())}"}
        hanging = Hanging(url, path, 0, PICTURE[:-1], len(PICTURE), **checksum)
        until_there(rig, path, len(PICTURE) - 1)
        assert offset(http, path) == 0
        assert "408" in hanging.answer()
        assert send(http, path, 0, PICTURE, **checksum).status_code == 204

    def test_another_account_can_not_break_off_a_part(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        path = begin(http)
        hanging = Hanging(url, path, 0, PICTURE[:50], len(PICTURE))
        until_there(rig, path, 50)
        with client(url, OTHER_KEY) as other:
            assert other.head(path, headers=TUS).status_code == 404
        hanging.socket.sendall(PICTURE[50:])
        assert "204" in hanging.answer()


class TestExpiry:
    def test_what_has_expired_is_gone_and_then_forgotten(self, tmp_path: Path) -> None:
        rig = Rig.build(tmp_path, partial_seconds=1000.0)
        with serving(rig) as url, client(url) as http:
            path = begin(http)
            send(http, path, 0, PICTURE[:50])
            incoming: Any = rig.incoming
            incoming.seconds = -1.0
            assert http.head(path, headers=TUS).status_code == 410
            assert send(http, path, 50, PICTURE[50:]).status_code == 410
            incoming.sweep()
            assert http.head(path, headers=TUS).status_code == 404
            assert files(rig) == []
