"""Objects in a bucket of S3, or of what speaks its protocol: seen by all machines, by their whole key or not at all."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from longtake.errors import BucketError, CallerError, LongtakeError, StoreError, UnknownError
from longtake.store.objects import Objects
from longtake.store.ranged import FIRST_BYTES

if TYPE_CHECKING:
    from obstore.store import ClientConfig

PART_BYTES = 8 << 20
"""Larger files are uploaded in parts of so many bytes, or of more where they would be too many."""
MOST_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PARTS_AT_ONCE = 4
REQUEST_SECONDS, CONNECT_SECONDS, CHECK_SECONDS = 60, 5, 5
READ_PATIENCE_SECONDS, WRITE_PATIENCE_SECONDS = 30, 180
"""How long a request is tried again: what was rendered for minutes is worth more waiting than an answer."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""The first of these variables that is set says where the server is; without any it is Amazon's."""
PATH_STYLE = "AWS_S3_FORCE_PATH_STYLE"
"""False: the bucket's name stands in the server's name (`bucket.host`), not in the path."""
_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9._-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9][A-Za-z0-9._=-]*)*)/?")
_CODE, _STATUS = re.compile(r"<Code>(\w+)</Code>"), re.compile(r"status code: (\d{3})")
_WHY = re.compile(r'message: "([\w .,-]+)"|error: "(failed to lookup[^"]*)"')


class Bucket(Objects):
    """`url` is `s3://bucket` or `s3://bucket/prefix`; where and with which keys, the `AWS_…` variables say.

    Raises CallerError for another URL, and for an endpoint that is no address.
    """

    largest_range: ClassVar[int] = 4 << 20

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if not found:
            raise CallerError(f"the store's URL must be s3://bucket or s3://bucket/prefix, got {_shown(url)}")
        self._bucket, self._prefix = found["bucket"], found["prefix"].strip("/")
        self._endpoint = _endpoint(self._bucket)
        super().__init__(self._open(READ_PATIENCE_SECONDS))
        self._patient = self._open(WRITE_PATIENCE_SECONDS)
        self._once = self._open(0)

    def put_file(self, key: str, path: Path) -> None:
        part = max(PART_BYTES, -(-path.stat().st_size // MOST_PARTS))
        obstore.put(self._patient, key, path, chunk_size=part, max_concurrency=PARTS_AT_ONCE)
        path.unlink()

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._patient, key, data, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def open(self, key: str) -> BinaryIO:
        """Its first bytes and its size come with one request."""
        try:
            got = obstore.get(self._store, key, options={"range": (0, FIRST_BYTES)})
        except obstore.exceptions.BaseError as error:
            if _answer(error)[0] == 416:  # it is empty: no range of it can be had
                return io.BytesIO()
            raise
        return self._ranged(key, int(got.meta["size"]), bytes(got.bytes()))

    def size(self, key: str) -> int:
        try:
            return super().size(key)
        except FileNotFoundError:  # a HEAD does not say whether it is the object that is missing, or the bucket
            return len(self.read_range(key, 0, 1))

    def delete(self, keys: Sequence[str]) -> None:
        obstore.delete(self._patient, keys)

    def check(self) -> None:
        """Lists a path at which nothing ever is: that tells of the server, the bucket, the keys and their rights."""
        next(iter(obstore.list(self._once, "check")), None)

    def cause(self, error: BaseException, message: str, *, putting: bool = False) -> LongtakeError:
        """What the server answered may quote what was signed, and so is never passed on."""
        if isinstance(error, OSError) and error.errno is not None:  # of this machine's disk
            return StoreError(f"{message}: {error.strerror}", retryable=True)
        status, code = _answer(error)
        at = f"bucket {self._bucket} at {urlsplit(self._endpoint).netloc if self._endpoint else 'Amazon S3'}"
        if code == "NoSuchBucket" or (putting and isinstance(error, FileNotFoundError)):
            names = f"LONGTAKE_STORE_URL and {ENDPOINTS[1]}"
            return BucketError(f"{message}: there is no {at}; check {names}", retryable=False)
        if isinstance(error, FileNotFoundError):
            return UnknownError(f"{message}: there is no such object")
        refused = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
        if isinstance(error, refused) or status in (401, 403):
            names = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the rights that go with them"
            return BucketError(f"{message}: {at} refuses us ({code or status}); check {names}", retryable=False)
        if status:
            retryable = status >= 500 or status in (408, 409, 412, 429)
            return BucketError(f"{message}: {at} answered {status} {code}".rstrip(), retryable=retryable)
        if "/latest/" in str(error) and "169.254." in str(error):
            return BucketError(f"{message}: no keys for {at}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return BucketError(f"{message}: {at} does not answer ({_why(error)}); check {ENDPOINTS[1]}", retryable=True)

    def _open(self, patience_seconds: float) -> S3Store:
        seconds = REQUEST_SECONDS if patience_seconds else CHECK_SECONDS
        client: ClientConfig = {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "allow_http": self._endpoint.startswith("http://"),
        }
        where: dict[str, str | bool] = {}
        if self._endpoint:
            where = {"endpoint": self._endpoint, "aws_endpoint_url_s3": self._endpoint}
        if _is_virtual_hosted():
            where["virtual_hosted_style_request"] = True
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            client_options=client,
            retry_config={
                "max_retries": 20 if patience_seconds else 0,
                "retry_timeout": timedelta(seconds=patience_seconds or 1),
                "backoff": {"max_backoff": timedelta(seconds=5)},
            },
            **where,  # type: ignore[arg-type]
        )


def _endpoint(bucket: str) -> str:
    """The server's address, or "" for Amazon's. Raises CallerError."""
    name = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if name is None:
        return ""
    address = os.environ[name].rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
        raise CallerError(f"{name} must be http://host[:port] or https://host[:port], got {_shown(address)}")
    if _is_virtual_hosted() and PATH_STYLE in os.environ:
        return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
    return address


def _is_virtual_hosted() -> bool:
    return os.environ.get(PATH_STYLE, "").lower() in ("0", "false", "no")


def _shown(address: str) -> str:
    """Without what may be a password in it."""
    return repr(re.sub(r"//[^/]*@", "//…@", address)[:100])


def _answer(error: BaseException) -> tuple[int, str]:
    """The status and the code that the server answered; 0 and "" where it answered nothing."""
    status, code = _STATUS.search(str(error)), _CODE.search(str(error))
    return int(status[1]) if status else 0, code[1] if code else ""


def _why(error: BaseException) -> str:
    found = _WHY.search(str(error))
    return next((text for text in found.groups() if text), "") if found else type(error).__name__
