"""Fetching against real servers on loopback, and names whose answers are made up by a patched resolver."""

from __future__ import annotations

import base64
import gzip
import hashlib
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake import sources
from longtake.errors import FetchError, OrderError
from longtake.fetch import Fetcher, FetchRules, check_url, guarded_client, is_allowed, parse_networks
from tests.timing import quickest, seconds_of

LOOPBACK = parse_networks("127.0.0.1/32")
PUBLIC = FetchRules(max_bytes=1_000_000, timeout_seconds=10)
OPEN = FetchRules(max_bytes=1_000_000, timeout_seconds=10, allow=LOOPBACK)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody; made once, because reading the system's authorities takes a tenth of a second."""
Answer = Callable[[socket.socket, bytes], None]


class Server:
    """A tiny HTTP server: what a connection gets is decided by `answer(connection, request)`."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}"
        self.requests: list[bytes] = []
        self._answer, self._tls = answer, tls
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(4096)
                if not received:
                    return
                request += received
            self.requests.append(request)
            with connection:
                self._answer(connection, request)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(6)


def reply(body: bytes = b"hello", *, status: str = "200 OK", **headers: str) -> Answer:
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "content_length" not in headers:
        lines.append(f"content-length: {len(body)}")
    data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return lambda connection, request: connection.sendall(data)


@contextmanager
def serving(answer: Answer, **options: Any) -> Iterator[Server]:
    server = Server(answer, **options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


def refused(url: str, path: Path, rules: FetchRules = OPEN, tls: ssl.SSLContext = TLS) -> FetchError:
    with pytest.raises(FetchError) as caught:
        Fetcher(rules, tls=tls).fetch(url, path)
    assert list(path.parent.iterdir()) == [], "nothing may be left behind"
    assert len(caught.value.message) < 400
    return caught.value


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Host → the answers of one look-up after another; the last one stays."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in answers:
            return list(real(host, port, *args, **kwargs))
        now = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in now]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


# --- what works


def test_a_file_is_fetched_with_its_size_type_and_hash(path: Path) -> None:
    with serving(reply(b"pixels", content_type="Image/PNG; charset=x")) as server:
        url = f"{server.url}/a.png?signature=1"
        fetched = Fetcher(OPEN, tls=TLS).fetch(url, path)
    assert path.read_bytes() == b"pixels"
    assert (fetched.num_bytes, fetched.content_type, fetched.url) == (6, "image/png", url)
    assert fetched.sha256 == hashlib.sha256(b"pixels").hexdigest()
    assert list(path.parent.iterdir()) == [path]


def test_the_request_asks_for_no_encoding_and_keeps_host_and_query(path: Path) -> None:
    with serving(reply()) as server:
        Fetcher(OPEN, tls=TLS).fetch(f"{server.url}/a%20b?x=1&y=2#part", path)
    (request,) = server.requests
    lines = request.decode().lower().split("\r\n")
    assert lines[0] == "get /a%20b?x=1&y=2 http/1.1"
    assert f"host: 127.0.0.1:{server.port}" in lines
    assert "accept-encoding: identity" in lines
    assert not any(line.startswith(("cookie:", "authorization:", "referer:")) for line in lines)


def test_an_existing_file_is_replaced_only_by_a_whole_one(path: Path) -> None:
    path.write_bytes(b"old")
    with serving(reply(b"half", content_length="400")) as server, pytest.raises(FetchError):
        Fetcher(OPEN, tls=TLS).fetch(server.url, path)
    assert path.read_bytes() == b"old"
    with serving(reply(b"new")) as server:
        Fetcher(OPEN, tls=TLS).fetch(server.url, path)
    assert path.read_bytes() == b"new"


def test_a_large_body_streams_through_flat_memory(path: Path) -> None:
    block, count = bytes(1 << 20), 64

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(block) * count))
        for _ in range(count):
            connection.sendall(block)

    rules = FetchRules(max_bytes=len(block) * count, timeout_seconds=60, allow=LOOPBACK)
    fetcher = Fetcher(rules, tls=TLS)
    with serving(answer) as server:
        tracemalloc.start()
        fetched = fetcher.fetch(server.url, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert fetched.num_bytes == path.stat().st_size == len(block) * count
    assert peak < 8_000_000


def test_the_environments_proxy_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(reply(b"direct")) as server:
        assert Fetcher(OPEN, tls=TLS).fetch(server.url, path).num_bytes == 6


def test_a_name_is_connected_to_at_its_address_with_its_own_host_header(
    path: Path, names: dict[str, list[list[str]]]
) -> None:
    names["files.example"] = [["127.0.0.1"]]
    with serving(reply()) as server:
        Fetcher(OPEN, tls=TLS).fetch(f"http://files.example:{server.port}/a", path)
    assert f"host: files.example:{server.port}".encode() in server.requests[0].lower()


def test_a_second_address_is_tried_where_the_first_is_dead(path: Path, names: dict[str, list[list[str]]]) -> None:
    names["files.example"] = [["127.0.0.2", "127.0.0.1"]]
    rules = FetchRules(max_bytes=100, timeout_seconds=10, allow=parse_networks("127.0.0.0/8"))
    with serving(reply(b"alive")) as server:
        Fetcher(rules, tls=TLS).fetch(f"http://files.example:{server.port}/", path)
    assert path.read_bytes() == b"alive"


@pytest.mark.parametrize(
    ("url", "content_type", "data"),
    [
        ("data:image/png;base64,aGVsbG8=", "image/png", b"hello"),
        ("DATA:Image/PNG;charset=x;BASE64,aGVsbG8", "image/png", b"hello"),
        ("data:;base64,aGVs%0AbG8%3D", "text/plain", b"hello"),
        ("data:,a%20b+c", "text/plain", b"a b+c"),
        ("data:image/svg+xml,%3Csvg/%3E", "image/svg+xml", b"<svg/>"),
    ],
)
def test_data_urls_are_decoded_here(url: str, content_type: str, data: bytes, path: Path) -> None:
    check_url(url, PUBLIC)
    fetched = Fetcher(PUBLIC, tls=TLS).fetch(url, path)
    assert path.read_bytes() == data
    assert (fetched.content_type, fetched.url) == (content_type, f"data:{content_type}")


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_survive_a_data_url(data: bytes) -> None:
    check_url(f"data:a/b;base64,{base64.b64encode(data).decode()}", PUBLIC)


# --- what is refused at the door


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "url must start with https://, http:// or data:"),
        ("/etc/passwd", "url must start with https://, http:// or data:"),
        ("file:///etc/passwd", "url must start with https://, http:// or data:, got file:"),
        ("ftp://example.com/a", "got ftp:"),
        ("gopher://example.com/a", "got gopher:"),
        ("javascript:alert(1)", "got javascript:"),
        ("http:///a", "must name a host"),
        ("https://", "must name a host"),
        (f"https://{'a' * 300}.com/", "host of at most 253"),
        ("https://example.com:99999/", "not a valid address"),
        ("https://example.com:0/", "not a valid address"),
        ("http://[fe80::1%25eth0]/", "not a valid address"),
        ("http://0177.0.0.1/", "not a valid address"),
        ("http://１２７.0.0.1/", "not a valid address"),
        ("https://[::1/", "not a valid address"),
        ("https://exa mple.com/", "no spaces"),
        ("https://example.com/a\r\nHost: b", "no spaces"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https://user:secret@example.com/", "must hold no user name or password, got some for example.com"),
        ("https://user@example.com/", "must hold no user name"),
        ("https://example.com:8443/a", "example.com may be reached on port 80 or 443, got 8443"),
        ("https://example.com:22/", "got 22"),
        (f"https://example.com/{'a' * 9000}", "at most 8192 characters, got 9020"),
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,@@@@", "must hold base64"),
        ("data:image/png;base64,aGVsb", "must hold base64"),
        ("data:image/png;base64,", "at least one byte"),
        (f"data:;base64,{'A' * 1_400_000}", "at most 1 MB"),
        (f"data:,{'A' * 4_000_000}", "at most 1 MB"),
    ],
)
def test_a_url_that_can_not_be_fetched_is_refused_at_the_door(url: str, message: str, path: Path) -> None:
    with pytest.raises(OrderError) as caught:
        check_url(url, PUBLIC)
    assert message in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.field is None
    assert message in refused(url, path, PUBLIC).message


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0", "127.0.0.1.", "017700000001"),
        *("localhost", "LOCALHOST", "localhost.", "a.localhost"),
        *("10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.1.1", "192.0.0.192", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "198.18.0.1", "240.0.0.1", "168.63.129.16", "192.88.99.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001:0:1::1]", "[fc00::1]", "[fe80::1]", "[fec0::1]", "[ff02::1]"),
        *("[fd00:ec2::254]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[100::1]"),
    ],
)
def test_no_private_address_is_reached_however_it_is_written(
    host: str, path: Path, names: dict[str, list[list[str]]]
) -> None:
    names |= {name: [["127.0.0.1"]] for name in ("localhost", "localhost.", "a.localhost", "127.0.0.1.")}
    with pytest.raises(OrderError):
        check_url(f"http://{host}/", PUBLIC)
    assert not refused(f"http://{host}/", path, PUBLIC).retryable
    with guarded_client(PUBLIC, tls=TLS) as client, pytest.raises(FetchError, match="not at a public address"):
        client.get(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png?token=1#x",
        "http://example.com:80/",
        "HTTPS://EXAMPLE.COM/",
        "https://93.184.215.14/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://bücher.example/ä?ö=ü",
    ],
)
def test_a_public_url_passes_the_door(url: str) -> None:
    check_url(url, PUBLIC)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://localhost:8000/", "http://names.example:9000/"])
def test_an_opened_network_may_be_reached_on_any_port(url: str) -> None:
    check_url(url, OPEN)


def test_an_opened_network_opens_no_other() -> None:
    for url in ("http://127.0.0.2/", "http://10.0.0.1/", "http://93.184.215.14:8080/", "http://[::1]/"):
        with pytest.raises(OrderError):
            check_url(url, OPEN)


def test_networks_are_read_from_text() -> None:
    assert parse_networks("") == ()
    assert parse_networks(" 127.0.0.1/32, fd00::/8 ,10.1.2.3,") == (
        ip_network("127.0.0.1/32"),
        ip_network("fd00::/8"),
        ip_network("10.1.2.3/32"),
    )
    with pytest.raises(ValueError, match=r"for '10\.0\.0\.1/8' write 10\.0\.0\.0/8"):
        parse_networks("10.0.0.1/8")
    with pytest.raises(ValueError, match=r"written like 10\.0\.0\.0/8 or fd00::/8, got 'intranet'"):
        parse_networks("127.0.0.1, intranet")


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_never_taken_for_public(address: Any) -> None:
    for form in (f"::ffff:{address}", f"::{address}", f"64:ff9b::{address}"):
        assert not is_allowed(ip_address(form))


# --- what is refused when it is connected to


@pytest.mark.parametrize(
    "answers",
    [["10.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"], ["::1"], ["fe80::1%lo"]],
)
def test_a_name_with_any_private_address_is_refused(
    answers: list[str], path: Path, names: dict[str, list[list[str]]]
) -> None:
    names["mixed.example"] = [answers]
    check_url("http://mixed.example/", PUBLIC)
    assert "mixed.example is not at a public address" in refused("http://mixed.example/", path, PUBLIC).message


def test_a_name_is_looked_up_once_so_that_rebinding_gains_nothing(
    path: Path, names: dict[str, list[list[str]]]
) -> None:
    names["rebind.example"] = [["127.0.0.1"], ["10.0.0.1"], ["10.0.0.2"]]
    with serving(reply(b"judged")) as server:
        Fetcher(OPEN, tls=TLS).fetch(f"http://rebind.example:{server.port}/", path)
    assert path.read_bytes() == b"judged"
    assert names["rebind.example"] == [["10.0.0.1"], ["10.0.0.2"]], "the second answer was asked for"


def test_a_redirect_back_to_a_rebound_name_is_refused(path: Path, names: dict[str, list[list[str]]]) -> None:
    names["rebind.example"] = [["127.0.0.1"], ["10.0.0.1"]]
    with serving(reply(status="302 Found", location="/again")) as server:
        error = refused(f"http://rebind.example:{server.port}/", path)
    assert "not at a public address" in error.message
    assert len(server.requests) == 1


def test_a_name_on_another_port_must_be_in_an_opened_network(path: Path, names: dict[str, list[list[str]]]) -> None:
    names["files.example"] = [["93.184.215.14"]]
    assert "port 80 or 443, got 8080" in refused("http://files.example:8080/", path).message


@pytest.mark.parametrize(
    "location",
    [
        *("http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "//[::1]/", "http://167772161/"),
        *("file:///etc/passwd", "data:,x", "ftp://example.com/", "http://user:secret@example.com/", "http://[broken"),
        *("http://127.0.0.2:80/", "https://93.184.215.14:22/", "http:// @"),
    ],
)
def test_a_redirect_is_judged_like_the_first_address(location: str, path: Path) -> None:
    with serving(reply(status="302 Found", location=location)) as server:
        error = refused(f"{server.url}/?key=secret", path)
    assert error.message.startswith("127.0.0.1 redirects to an address that can't be fetched")
    assert "secret" not in error.message
    assert not error.retryable


def test_no_location_whatever_raises_anything_but_a_fetch_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    location = b""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: " + location + b"\r\n\r\n")

    starts = st.sampled_from([b"", b"http://", b"//", b"http://[", b"https://user@", b"http://10.0.0.1:", b"?"])
    rules = FetchRules(max_bytes=100, timeout_seconds=5, max_redirects=1, allow=LOOPBACK)
    fetcher, path = Fetcher(rules, tls=TLS), tmp_path_factory.mktemp("fuzz") / "fetched"

    @given(starts, st.binary(max_size=30))
    @settings(max_examples=80, deadline=None)
    def try_it(start: bytes, rest: bytes) -> None:
        nonlocal location
        location = start + rest
        with pytest.raises(FetchError):
            fetcher.fetch(server.url, path)

    def nowhere(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "?")

    with serving(answer) as server, pytest.MonkeyPatch.context() as patch:
        real = socket.getaddrinfo
        patch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: (real if host == "127.0.0.1" else nowhere)(host, *a, **k),
        )
        try_it()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_without_cookies(status: str, path: Path) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        if b"GET /start" in request:
            reply(status=status, location="next?x=1", set_cookie="id=1; Path=/")(connection, request)
        else:
            reply(b"there")(connection, request)

    with serving(answer) as server:
        fetched = Fetcher(OPEN, tls=TLS).fetch(f"{server.url}/start", path)
    assert (path.read_bytes(), fetched.url) == (b"there", f"{server.url}/next?x=1")
    assert b"cookie" not in server.requests[1].lower()


def test_redirects_are_counted(path: Path) -> None:
    with serving(reply(status="302 Found", location="/round")) as server:
        error = refused(server.url, path)
    assert error.message == "127.0.0.1 redirects more than 5 times"
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *(("404 Not Found", False), ("403 Forbidden", False), ("204 No Content", False), ("206 Partial", False)),
        *(("500 Oops", True), ("503 Busy", True), ("429 Slow down", True), ("304 Not Modified", False)),
    ],
)
def test_another_status_is_an_error_without_the_body(status: str, retryable: bool, path: Path) -> None:
    body = b"" if status[:3] in ("204", "304") else b"private body"
    with serving(reply(body, status=status, retry_after="7")) as server:
        error = refused(f"{server.url}/secret?token=secret", path)
    assert error.message == f"127.0.0.1 answered with status {status[:3]}"
    assert error.retryable is retryable
    assert error.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("retry_after", "pauses", "is_fetched"),
    [("0", [0.5, 1.0], True), ("3", [3.0, 3.0], True), ("7", [], False)],
)
def test_a_server_is_asked_again_when_it_says_so_but_not_waited_for_long(
    retry_after: str, pauses: list[float], is_fetched: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    told: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr(sources, "time", clock)

    def answer(connection: socket.socket, request: bytes) -> None:
        busy = len(server.requests) < 3
        status = "503 Busy" if busy else "200 OK"
        reply(status=status, retry_after=retry_after)(connection, request)

    with serving(answer) as server, nullcontext() if is_fetched else pytest.raises(FetchError, match="503"):
        sources.fetch_patiently(Fetcher(OPEN, tls=TLS), server.url, path, lambda: told.append(sum(slept)))
    assert sum(slept) == pytest.approx(sum(pauses))
    assert all(later - earlier < 0.11 for earlier, later in pairwise(sorted(told))), "a cancel is heard meanwhile"
    assert path.exists() is is_fetched


def test_an_endless_body_is_cut_off(path: Path) -> None:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

    with serving(answer) as server:
        error = refused(server.url, path)
    assert error.message == "127.0.0.1 sends more than the 1 MB allowed"
    assert not error.retryable


def test_a_content_length_over_the_limit_is_refused_before_the_body(path: Path) -> None:
    with serving(reply(content_length="1000001")) as server:
        assert "more than the 1 MB" in refused(server.url, path).message


def test_a_body_that_is_shorter_than_its_content_length_is_an_error(path: Path) -> None:
    with serving(reply(b"short", content_length="50")) as server:
        error = refused(server.url, path)
    assert error.retryable
    assert "short" not in error.message


def test_a_body_that_is_longer_than_its_content_length_ends_there(path: Path) -> None:
    with serving(reply(b"exact and more", content_length="5")) as server:
        assert Fetcher(OPEN, tls=TLS).fetch(server.url, path).num_bytes == 5


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_a_compressed_body_is_refused_and_never_inflated(encoding: str, path: Path) -> None:
    with serving(reply(gzip.compress(bytes(900_000)), content_encoding=encoding)) as server:
        assert "compressed" in refused(server.url, path).message


def drip(first: bytes, drop: bytes) -> tuple[Answer, threading.Event]:
    """Sends `first`, then a drop every 20 ms until the other side is gone or the event is set."""
    stop = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(first)
        while not stop.wait(0.02):
            connection.sendall(drop)

    return answer, stop


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_slow_drip_ends_at_the_deadline(first: bytes, drop: bytes, path: Path) -> None:
    rules = FetchRules(max_bytes=1_000_000, timeout_seconds=0.3, allow=LOOPBACK)
    answer, stop = drip(first, drop)
    with serving(answer) as server:
        assert quickest(seconds_of(lambda: refused(server.url, path, rules)), below=1.5) < 1.5
        error = refused(server.url, path, rules)
        stop.set()
    assert error.message == "127.0.0.1 took longer than 0.3 s"
    assert error.retryable


def test_silence_after_the_headers_is_no_new_start_of_the_deadline(path: Path) -> None:
    wait = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        wait.wait(0.7)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        wait.wait(5)

    rules = FetchRules(max_bytes=100, timeout_seconds=0.8, allow=LOOPBACK)
    with serving(answer) as server:
        assert quickest(seconds_of(lambda: refused(server.url, path, rules)), below=1.3) < 1.3
        wait.set()


def test_the_deadline_is_for_all_redirects_together(path: Path) -> None:
    wait = threading.Event()

    def answer(connection: socket.socket, request: bytes) -> None:
        wait.wait(0.15)
        reply(status="302 Found", location="/again")(connection, request)

    rules = FetchRules(max_bytes=100, timeout_seconds=0.4, max_redirects=100, allow=LOOPBACK)
    with serving(answer) as server:
        error = refused(server.url, path, rules)
        wait.set()
    assert "took longer than 0.4 s" in error.message
    assert len(server.requests) <= 4


def test_a_resolver_that_hangs_does_not_hold_the_fetch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: release.wait(10) and [])
    rules = FetchRules(max_bytes=100, timeout_seconds=0.2)
    slow = "https://slow.example/"
    assert quickest(seconds_of(lambda: refused(slow, path, rules)), below=1.5) < 1.5
    error = refused(slow, path, rules)
    release.set()
    assert error.retryable


@pytest.mark.parametrize(("errno", "retryable"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
def test_a_name_without_address_is_an_error(
    errno: int, retryable: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_kwargs: Any) -> None:
        raise socket.gaierror(errno, "?")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    error = refused("https://nowhere.example/?token=secret", path)
    assert error.message == "nowhere.example can't be resolved"
    assert error.retryable is retryable


def test_a_closed_port_is_worth_another_try(path: Path) -> None:
    with serving(reply()) as server:
        url = server.url
    error = refused(url, path)
    assert (error.message, error.retryable) == ("127.0.0.1 can't be connected to", True)


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.6 secret\r\n", b"", b"HTTP/1.1 200 OK\r\n" + b"a" * 200_000])
def test_a_server_that_speaks_no_http_is_an_error_without_its_words(data: bytes, path: Path) -> None:
    with serving(lambda connection, request: connection.sendall(data)) as server:
        assert "secret" not in refused(server.url, path).message


def test_an_ipv6_address_can_be_opened(path: Path) -> None:
    try:
        server = Server(reply(b"six"), "::1")
    except OSError as error:
        pytest.skip(f"IPv6: this machine has no ::1 ({error})")
    try:
        assert "not at a public address" in refused(f"http://[::1]:{server.port}/", path).message
        rules = FetchRules(max_bytes=100, timeout_seconds=10, allow=parse_networks("::1"))
        assert Fetcher(rules, tls=TLS).fetch(server.url, path).num_bytes == 3
    finally:
        server.close()


def test_a_post_through_the_guarded_client_keeps_the_same_rules() -> None:
    with serving(reply(b"taken", status="202 Accepted")) as server, guarded_client(OPEN, tls=TLS) as client:
        assert client.post(server.url, json={"state": "completed"}).status_code == 202
    assert server.requests[0].startswith(b"POST / ")
    with (
        serving(reply(status="307 Temporary", location="http://10.0.0.1/")) as server,
        guarded_client(OPEN, tls=TLS) as client,
    ):
        assert client.post(server.url, content=b"{}").status_code == 307
    with guarded_client(PUBLIC, tls=TLS) as client:
        for url in ("http://127.0.0.1/", "http://93.184.215.14:25/", "ftp://example.com/"):
            with pytest.raises((FetchError, httpx2.UnsupportedProtocol)):
                client.post(url, content=b"{}")


# --- https


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key for `files.example`, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=files.example", "-addext", "subjectAltName=DNS:files.example"]
    try:
        subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl: the command is missing")
    both = folder / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    return both


def test_https_is_verified_against_the_name_and_not_the_address(
    certificate: Path, path: Path, names: dict[str, list[list[str]]]
) -> None:
    names["files.example"] = names["other.example"] = [["127.0.0.1"]]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(reply(b"sealed"), tls=context) as server:
        url = f"https://files.example:{server.port}/"
        assert Fetcher(OPEN, tls=trusting).fetch(url, path).num_bytes == 6
        path.unlink()
        for wrong, tls in ((f"https://other.example:{server.port}/", trusting), (url, TLS)):
            error = refused(wrong, path, tls=tls)
            assert "TLS certificate that can't be verified" in error.message
            assert not error.retryable
    assert asked == ["files.example", "other.example", "files.example"]
