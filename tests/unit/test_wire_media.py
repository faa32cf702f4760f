"""Signed addresses, byte ranges and entity tags."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from longtake.errors import OrderError
from longtake.wire.links import Links
from longtake.wire.media import byte_range
from tests.wire_rig import LINK_SECRET, Rig, client, new_id, serving

DATA = bytes(range(256)) * 10_000
KEY = "videos/a.mp4"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("media"))
    rig.store.put(KEY, DATA)
    return rig


@pytest.fixture(scope="module")
def http(rig: Rig) -> Iterator[httpx2.Client]:
    with serving(rig) as url, client(url, None) as http:
        yield http


@pytest.fixture
def path(rig: Rig) -> str:
    return rig.links.path(KEY)


def test_the_whole_object_comes_with_its_type_and_no_key(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"].startswith("private, max-age=")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_answers_as_get_without_the_bytes(http: httpx2.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "x-request-id": "", "date": ""} == {**get.headers, "x-request-id": "", "date": ""}
    part = http.head(path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(DATA)),
        ("bytes=100-199", 100, 200),
        ("bytes=1048570-1048585", 1048570, 1048586),
        ("bytes=2559999-", 2559999, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=-99999999", 0, len(DATA)),
        ("bytes=5-99999999", 5, len(DATA)),
    ],
)
def test_a_range_answers_with_its_part(http: httpx2.Client, path: str, header: str, start: int, stop: int) -> None:
    answer = http.get(path, headers={"range": header})
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=2560000-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_outside_is_416_with_the_size(http: httpx2.Client, path: str, header: str) -> None:
    answer = http.get(path, headers={"range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "items=0-5", "bytes=", "bytes=-", "bytes=9-3", "bytes=a-b"])
def test_what_is_no_single_range_is_passed_over(http: httpx2.Client, path: str, header: str) -> None:
    assert http.get(path, headers={"range": header}).status_code == 200


def test_a_client_that_has_it_is_told_so(http: httpx2.Client, path: str) -> None:
    tag = http.get(path).headers["etag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = http.get(path, headers={"if-none-match": header})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
    assert http.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_range_of_another_version_answers_with_the_whole(http: httpx2.Client, path: str) -> None:
    tag = http.get(path).headers["etag"]
    assert http.get(path, headers={"range": "bytes=0-1", "if-range": tag}).status_code == 206
    assert http.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'}).status_code == 200


def test_a_changed_or_expired_address_is_403(http: httpx2.Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = (
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path.replace("a.mp4", "b.mp4"),
        path.replace("expires=", "expires=9"),
        path.partition("?")[0],
        path.partition("&")[0],
        path + "é",
    )
    for address in changed:
        assert http.get(address).status_code == 403, address
        assert http.head(address).status_code == 403, address
    links = Links(LINK_SECRET, 60)
    with monkeypatch.context() as patch:
        now = time.time()
        patch.setattr("longtake.wire.links.time.time", lambda: now - 1000)
        old = links.path(KEY)
    assert http.get(old).status_code == 403
    assert set(http.get(old).json()) == {"error", "request_id"}


def test_a_deleted_object_is_404(rig: Rig, http: httpx2.Client) -> None:
    key = f"videos/{new_id()}.mp4"
    rig.store.put(key, b"x")
    path = rig.links.path(key)
    assert http.get(path).status_code == 200
    rig.store.delete(key)
    assert http.get(path).status_code == 404


def test_a_download_has_a_name(http: httpx2.Client, path: str) -> None:
    assert http.get(f"{path}&download=1").headers["content-disposition"] == 'attachment; filename="longtake-a.mp4"'
    assert "content-disposition" not in http.get(path).headers


def test_an_upload_is_called_what_it_is(rig: Rig, http: httpx2.Client) -> None:
    for data, kind in (
        (b"\0\0\0\x18ftypmp42....", "video/mp4"),
        (b"\x1aE\xdf\xa3........", "video/webm"),
        (b"?", "application/octet-stream"),
    ):
        key = f"uploads/{new_id()}.video"
        rig.store.put(key, data)
        assert http.get(rig.links.path(key)).headers["content-type"] == kind


class TestLinks:
    def test_an_address_stays_the_same_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        links, now = Links(LINK_SECRET, 400), 1_000_000.0
        monkeypatch.setattr("longtake.wire.links.time.time", lambda: now)
        path = links.path(KEY)
        now += 99
        assert links.path(KEY) == path
        now += 2
        assert links.path(KEY) != path
        expires, signature = (part.partition("=")[2] for part in path.partition("?")[2].split("&"))
        now = 1_000_399.0
        assert links.seconds_left(KEY, expires, signature)
        now = 1_000_501.0
        assert links.seconds_left(KEY, expires, signature) is None

    def test_another_secret_opens_nothing(self) -> None:
        expires, signature = (part.partition("=")[2] for part in Links(b"1" * 16, 60).path(KEY)[20:].split("&"))
        assert Links(b"1" * 16, 60).seconds_left(KEY, expires, signature)
        assert Links(b"2" * 16, 60).seconds_left(KEY, expires, signature) is None

    def test_our_own_address_of_an_upload_stands_for_it(self) -> None:
        links, id = Links(LINK_SECRET, 60), new_id()
        url = links.url(f"uploads/{id}.png", "https://me")
        assert links.key_frame("image", url, "https://me", "f").upload == id
        assert links.key_frame("image", url, "http://also-me:8080", "f").upload == id
        for base_url in ("https://me/longtake", "https://me/media/longtake"):
            below = links.url(f"uploads/{id}.png", base_url)
            assert links.key_frame("image", below, base_url, "f").upload == id
        for foreign in (
            "https://other/media/a.png?signature=1&expires=2",
            url[:-1].replace("me", "other"),
            "http://[x",
        ):
            assert links.key_frame("image", foreign, "https://me", "f").url == foreign
        for bad in (url[:-1], links.url("videos/a.mp4", "https://me")):
            with pytest.raises(OrderError):
                links.key_frame("image", bad, "https://me", "f")

    def test_a_short_secret_is_refused(self) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            Links(b"short", 60)


def test_a_range_of_an_empty_object_is_empty() -> None:
    assert byte_range("bytes=0-", 0) == (0, 0)
    assert byte_range("bytes=-5", 0) == (0, 0)
