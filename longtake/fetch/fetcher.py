"""What a user's URL holds, to a file: over the guarded client, or out of the URL itself."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import httpx2

from longtake.errors import FetchError, OrderError
from longtake.fetch.addresses import is_allowed, is_inside, literal_address
from longtake.fetch.guard import PORTS, FetchRules, guarded_client, megabytes, not_public, too_slow, wrong_port

MAX_URL_LENGTH = 8192
RETRYABLE_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written to the file."""

    num_bytes: int
    content_type: str
    """As the server calls it, lower case, without parameters; empty where it doesn't say."""
    url: str
    """Where the bytes came from after redirects, query and all: not for logs. Of a `data:` URL only its type."""
    sha256: str


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def check_url(url: str, rules: FetchRules) -> None:
    """Refuses, without the network, a URL that could not be fetched. Raises OrderError without a field.

    A name that resolves to a private address is refused later, when it is connected to.
    """
    if is_data_url(url):
        decode_data(url, rules)
        return
    parsed = _parse(url)
    host = parsed.raw_host.decode("ascii")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    literal = literal_address(host)
    name = host.rstrip(".").lower()
    is_local = name == "localhost" or name.endswith(".localhost")
    if (literal and not is_allowed(literal, rules.allow)) or (is_local and not rules.allow):
        raise OrderError(not_public(host))
    is_open = is_inside(literal, rules.allow) if literal else bool(rules.allow)
    if port not in PORTS and not is_open:
        raise OrderError(wrong_port(host, port))


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
        if is_data_url(url):
            content_type, data = decode_data(url, self._rules)
            return _save([data], file, content_type, f"data:{content_type}")
        deadline = time.monotonic() + self._rules.timeout_seconds
        with guarded_client(self._rules, tls=self._tls) as client:
            for _ in range(self._rules.max_redirects + 1):
                check_url(url, self._rules)
                host = httpx2.URL(url).host
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    raise too_slow(host, self._rules)
                try:
                    response = client.send(client.build_request("GET", url, timeout=left_seconds), stream=True)
                except ValueError:
                    # The client looks at where a redirect leads to by itself, and trips over some addresses.
                    raise FetchError(f"{host} redirects to an address that can't be fetched") from None
                with closing(response):
                    if response.has_redirect_location:
                        url = _redirect(host, response, self._rules)
                        continue
                    _require_ok(host, response)
                    content_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
                    return _save(response.iter_raw(), file, content_type, url)
        raise FetchError(f"{host} redirects more than {self._rules.max_redirects} times")


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


def decode_data(url: str, rules: FetchRules) -> tuple[str, bytes]:
    """A `data:` URL (RFC 2397) → its type and bytes. Base64 may lack its padding, as browsers allow.

    Raises OrderError without a field.
    """
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise OrderError("a data: URL is written like data:image/png;base64,iVBOR…; this one has no comma")
    if len(body) > 3 * rules.max_bytes + 64:
        raise OrderError(f"a data: URL may hold at most {megabytes(rules.max_bytes)}")
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
        raise OrderError(f"a data: URL may hold at most {megabytes(rules.max_bytes)}")
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
