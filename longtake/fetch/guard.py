"""HTTP that reaches no address that it must not.

Every connection goes through `GuardedBackend`: it looks a name up once, judges every answer, and connects to the
judged address itself, so that a name which answers differently the second time (DNS rebinding) gains nothing.
Only public addresses are reached, and those networks that `FetchRules.allow` opens.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any

import httpcore2
import httpx2

from longtake.errors import FetchError
from longtake.fetch.addresses import Address, Network, is_allowed, is_inside

PORTS = (80, 443)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """What may be fetched, and how much of it."""

    max_bytes: int
    timeout_seconds: float
    """For all of it: names, connections, redirects and the last byte."""
    max_redirects: int = 5
    allow: tuple[Network, ...] = ()
    """Networks reached besides the public ones, on any port."""
    reads: bool = True
    """Whether the answer's body is wanted: it is refused where it is too large or compressed."""


def guarded_client(rules: FetchRules, *, tls: ssl.SSLContext | None = None) -> httpx2.Client:
    """An HTTP client that keeps the rules: for webhooks as for fetching.

    No redirects, cookies, proxies, netrc or kept connections. A request's timeout is for the whole of it. All
    that fails on the way raises FetchError; the caller checks the status.
    """
    return httpx2.Client(
        transport=GuardedTransport(rules, tls or httpx2.create_ssl_context()),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=rules.timeout_seconds,
        headers={"user-agent": "Longtake", "accept-encoding": "identity"},
    )


class GuardedTransport(httpx2.BaseTransport):
    """HTTP/1.1 over guarded connections; refuses what is too large, or compressed (it might be a bomb)."""

    def __init__(self, rules: FetchRules, tls: ssl.SSLContext) -> None:
        self._rules = rules
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls, max_keepalive_connections=0, network_backend=GuardedBackend(rules)
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url, host = request.url, request.url.host
        if url.scheme not in ("http", "https"):
            raise FetchError("only http:// and https:// addresses are reached")
        assert isinstance(request.stream, httpx2.SyncByteStream)
        with _world_errors(host, self._rules):
            answer = self._pool.handle_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        response = httpx2.Response(
            answer.status, headers=answer.headers, stream=_LimitedBody(answer, host, self._rules)
        )
        try:
            if self._rules.reads:
                _require_plain(host, response, self._rules)
        except FetchError:
            response.close()
            raise
        return response

    def close(self) -> None:
        self._pool.close()


class _LimitedBody(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, host: str, rules: FetchRules) -> None:
        self._answer, self._host, self._rules = answer, host, rules

    def __iter__(self) -> Iterator[bytes]:
        num_bytes = 0
        with _world_errors(self._host, self._rules):
            for chunk in self._answer.iter_stream():
                num_bytes += len(chunk)
                if num_bytes > self._rules.max_bytes:
                    raise _too_large(self._host, self._rules)
                yield chunk

    def close(self) -> None:
        self._answer.close()


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to addresses that were judged, and gives each connection one deadline for all it does."""

    def __init__(self, rules: FetchRules) -> None:
        self._rules = rules
        self._tcp = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Raises FetchError where any of the name's addresses must not be reached."""
        seconds = self._rules.timeout_seconds if timeout is None else timeout
        deadline = time.monotonic() + seconds
        addresses = _resolve(host, port, seconds)
        if not all(is_allowed(address, self._rules.allow) for address in addresses):
            raise FetchError(not_public(host))
        if port not in PORTS and not all(is_inside(address, self._rules.allow) for address in addresses):
            raise FetchError(wrong_port(host, port))
        failure: Exception = httpcore2.ConnectTimeout()
        for num_left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = max(0.001, (deadline - time.monotonic()) / num_left)
            try:
                stream = self._tcp.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, deadline)
        raise failure


class _DeadlineStream(httpcore2.NetworkStream):
    """A connection that ends at its deadline, however the bytes drip."""

    CHUNK_BYTES = 65536

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def _left(self, timeout: float | None) -> float:
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise httpcore2.ReadTimeout
        return left_seconds if timeout is None else min(timeout, left_seconds)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), self.CHUNK_BYTES):
            self._stream.write(buffer[start : start + self.CHUNK_BYTES], self._left(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _DeadlineStream(
            self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._deadline
        )

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int, seconds: float) -> list[Address]:
    """All addresses of a name, in the resolver's order, within `seconds`; the resolver itself knows no time limit."""
    answers: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(ip_address(entry[4][0]) for entry in found)))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=look_up, name="longtake-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise httpcore2.ConnectTimeout from None
    if isinstance(answer, Exception) or not answer:
        is_passing = isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN
        raise FetchError(f"{host} can't be resolved", retryable=is_passing)
    return answer


def _require_plain(host: str, response: httpx2.Response, rules: FetchRules) -> None:
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise FetchError(f"{host} sends the file compressed, though it was asked not to")
    length = response.headers.get("content-length", "")
    if re.fullmatch(r"[0-9]{1,18}", length) and int(length) > rules.max_bytes:
        raise _too_large(host, rules)


@contextlib.contextmanager
def _world_errors(host: str, rules: FetchRules) -> Iterator[None]:
    """What httpcore2 raises → FetchError. Its own texts are left out: some quote what the server sent."""
    try:
        yield
    except httpcore2.TimeoutException:
        raise too_slow(host, rules) from None
    except httpcore2.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise FetchError(f"{host} has a TLS certificate that can't be verified") from None
        raise FetchError(f"{host} can't be connected to", retryable=True) from None
    except httpcore2.NetworkError:
        raise FetchError(f"{host} broke the connection off", retryable=True) from None
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
        raise FetchError(f"{host} ended early, or does not speak HTTP", retryable=True) from None


def not_public(host: str) -> str:
    return f"{host} is not at a public address: only those are reached here"


def wrong_port(host: str, port: int) -> str:
    return f"{host} may be reached on port 80 or 443, got {port}"


def _too_large(host: str, rules: FetchRules) -> FetchError:
    return FetchError(f"{host} sends more than the {megabytes(rules.max_bytes)} allowed")


def too_slow(host: str, rules: FetchRules) -> FetchError:
    return FetchError(f"{host} took longer than {rules.timeout_seconds:g} s", retryable=True)


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:g} MB"
