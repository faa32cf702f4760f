"""A user's URL → bytes, safely.

Every connection goes through `GuardedBackend`: it looks a name up once, judges every answer, and connects to the
judged address itself, so that a name which answers differently the second time (DNS rebinding) gains nothing.
Only public addresses are reached, and those networks that `FetchRules.allow` opens.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import httpcore2
import httpx2

from longtake.errors import FetchError, OrderError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = (80, 443)
MAX_URL_LENGTH = 8192
RETRYABLE_STATUSES = frozenset({408, 425, 429})

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out as public addresses (IANA, IPv6 Address Space)."""

NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        # IANA special-purpose registries (RFC 6890); `is_global` of Python 3.11 knows only some of them
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        # Azure's metadata and DNS: numbered as public, answered by the machine's own host
        "168.63.129.16/32",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """What may be fetched, and how much of it."""

    max_bytes: int
    timeout_seconds: float
    """For all of it: names, connections, redirects and the last byte."""
    max_redirects: int = 5
    allow: tuple[Network, ...] = ()
    """Networks reached besides the public ones, on any port."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written to the file."""

    num_bytes: int
    content_type: str
    """As the server calls it, lower case, without parameters; empty where it doesn't say."""
    url: str
    """Where the bytes came from after redirects, query and all: not for logs. Of a `data:` URL only its type."""
    sha256: str


def parse_networks(text: str) -> tuple[Network, ...]:
    """`127.0.0.1/32, fd00::/8, 10.1.2.3` → networks. Raises ValueError that names the part that is none."""
    networks: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            network = ip_network(part, strict=False)
        except ValueError:
            raise ValueError(f"a network is written like 10.0.0.0/8 or fd00::/8, got {part!r}") from None
        if "/" in part and str(network.network_address) != str(ip_address(part.split("/")[0])):
            raise ValueError(f"a network's address has no host bits: for {part!r} write {network}")
        networks.append(network)
    return tuple(networks)


def is_allowed(address: Address, allow: Iterable[Network] = ()) -> bool:
    """Whether an address is public, or inside a network of `allow`."""
    if _is_inside(address, allow):
        return True
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return False  # so no mapped, NAT64, unique local, link-local, site-local or multicast address
    return address.is_global and not _is_inside(address, NEVER_PUBLIC)


def check_url(url: str, rules: FetchRules) -> None:
    """Refuses, without the network, a URL that could not be fetched. Raises OrderError without a field.

    A name that resolves to a private address is refused later, when it is connected to.
    """
    if url[:5].lower() == "data:":
        _decode_data(url, rules)
        return
    parsed = _parse(url)
    host = parsed.raw_host.decode("ascii")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    literal = _literal_address(host)
    name = host.rstrip(".").lower()
    is_local = name == "localhost" or name.endswith(".localhost")
    if (literal and not is_allowed(literal, rules.allow)) or (is_local and not rules.allow):
        raise OrderError(_not_public(host))
    is_open = _is_inside(literal, rules.allow) if literal else bool(rules.allow)
    if port not in PORTS and not is_open:
        raise OrderError(_wrong_port(host, port))


class Fetcher:
    """Fetches URLs to files. One instance serves any number of threads."""

    def __init__(self, rules: FetchRules, *, tls: ssl.SSLContext | None = None) -> None:
        self._rules = rules
        self._tls = tls or httpx2.create_ssl_context()

    def fetch(self, url: str, path: Path) -> Fetched:
        """Streams what `url` holds to `path`; there is nothing at `path` before the last byte is there.

        Raises FetchError: `retryable` where trying again may help. Its text names at most the URL's host. An
        OSError of the disk passes through.
        """
        part = path.with_name(path.name + ".part")
        try:
            with part.open("wb") as file:
                fetched = self._fetch(url, file)
            part.replace(path)
        except OrderError as error:
            raise FetchError(error.message) from None
        finally:
            part.unlink(missing_ok=True)
        return fetched

    def _fetch(self, url: str, file: BinaryIO) -> Fetched:
        if url[:5].lower() == "data:":
            content_type, data = _decode_data(url, self._rules)
            return _save([data], file, content_type, f"data:{content_type}")
        deadline = time.monotonic() + self._rules.timeout_seconds
        with guarded_client(self._rules, tls=self._tls) as client:
            for _ in range(self._rules.max_redirects + 1):
                check_url(url, self._rules)
                host = httpx2.URL(url).host
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    raise _too_slow(host, self._rules)
                with client.stream("GET", url, timeout=left_seconds) as response:
                    if response.has_redirect_location:
                        url = _redirect(host, response, self._rules)
                        continue
                    _require_ok(host, response)
                    content_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
                    return _save(response.iter_raw(), file, content_type, url)
        raise FetchError(f"{host} redirects more than {self._rules.max_redirects} times")


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
            raise FetchError(_not_public(host))
        if port not in PORTS and not all(_is_inside(address, self._rules.allow) for address in addresses):
            raise FetchError(_wrong_port(host, port))
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
        raise FetchError(f"{host} is not the name of any address", retryable=is_passing)
    return answer


def _parse(url: str) -> httpx2.URL:
    """Raises OrderError whose text never repeats more of the URL than its scheme and host."""
    if len(url) > MAX_URL_LENGTH:
        raise OrderError(f"url must have at most {MAX_URL_LENGTH} characters, got {len(url)}")
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]{0,19}):", url)
    if scheme is None or scheme[1].lower() not in ("http", "https"):
        got = f", got {scheme[1].lower()}:" if scheme else ""
        raise OrderError(f"url must start with https://, http:// or data:{got}")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise OrderError("url must have no spaces, control characters or backslashes; write them as %20 and so on")
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise OrderError("url is not a valid address") from None
    if not host or len(host) > 253:
        raise OrderError("url must name a host of at most 253 characters")
    if not re.fullmatch(r"[a-zA-Z0-9._:-]+", host) or not 0 < (80 if parsed.port is None else parsed.port) < 65536:
        raise OrderError("url is not a valid address")
    if parsed.userinfo:
        raise OrderError(f"url must hold no user name or password, got some for {host}")
    return parsed


def _decode_data(url: str, rules: FetchRules) -> tuple[str, bytes]:
    """A `data:` URL (RFC 2397) → its type and bytes. Base64 may lack its padding, as browsers allow."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise OrderError("a data: URL is written like data:image/png;base64,iVBOR…; this one has no comma")
    if len(body) > 3 * rules.max_bytes + 64:
        raise OrderError(f"a data: URL may hold at most {_megabytes(rules.max_bytes)}")
    data = unquote_to_bytes(body)
    content_type, *parameters = [part.strip().lower() for part in head.split(";")]
    if parameters and parameters[-1] == "base64":
        data = b"".join(data.split())
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except ValueError:
            raise OrderError("a data: URL that says base64 must hold base64") from None
    if not data:
        raise OrderError("a data: URL must hold at least one byte")
    if len(data) > rules.max_bytes:
        raise OrderError(f"a data: URL may hold at most {_megabytes(rules.max_bytes)}")
    return content_type[:100] or "text/plain", data


def _save(chunks: Iterable[bytes], file: BinaryIO, content_type: str, url: str) -> Fetched:
    digest, num_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        num_bytes += file.write(chunk)
    return Fetched(num_bytes, content_type, url, digest.hexdigest())


def _redirect(host: str, response: httpx2.Response, rules: FetchRules) -> str:
    if response.next_request is None or response.next_request.url.scheme not in ("http", "https"):
        raise FetchError(f"{host} redirects to an address that can't be fetched")
    url = str(response.next_request.url)
    try:
        check_url(url, rules)
    except OrderError as error:
        raise FetchError(f"{host} redirects to an address that can't be fetched: {error.message}") from None
    return url


def _require_ok(host: str, response: httpx2.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    after = response.headers.get("retry-after", "")
    raise FetchError(
        f"{host} answered with status {status}",
        retryable=status >= 500 or status in RETRYABLE_STATUSES,
        retry_after_seconds=float(after) if re.fullmatch(r"[0-9]{1,5}", after) else None,
    )


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
        raise _too_slow(host, rules) from None
    except httpcore2.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise FetchError(f"{host} has a TLS certificate that can't be verified") from None
        raise FetchError(f"{host} can't be connected to", retryable=True) from None
    except httpcore2.NetworkError:
        raise FetchError(f"{host} broke the connection off", retryable=True) from None
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
        raise FetchError(f"{host} ended early, or does not speak HTTP", retryable=True) from None


def _is_inside(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _literal_address(host: str) -> Address | None:
    """The address that a host is, if it is one; also 2130706433, 0x7f.1 and 0177.1, as the resolver reads them."""
    host = host.strip("[]").rstrip(".")
    with contextlib.suppress(ValueError):
        return ip_address(host)
    with contextlib.suppress(OSError, ValueError):
        return IPv4Address(socket.inet_aton(host))
    return None


def _not_public(host: str) -> str:
    return f"{host} is not at a public address; LONGTAKE_FETCH_ALLOW can open a network"


def _wrong_port(host: str, port: int) -> str:
    return f"{host} may be reached on port 80 or 443, got {port}"


def _too_large(host: str, rules: FetchRules) -> FetchError:
    return FetchError(f"{host} sends more than the {_megabytes(rules.max_bytes)} allowed")


def _too_slow(host: str, rules: FetchRules) -> FetchError:
    return FetchError(f"{host} took longer than {rules.timeout_seconds:g} s", retryable=True)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:g} MB"
