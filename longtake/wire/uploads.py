"""A body → a file, a chunk at a time: raw, or the part `file` of a multipart form.

What the client says that the bytes' SHA-256 is, it is held to: `Content-Digest` and `Repr-Digest` (RFC 9530) speak of
the body, which is the whole form where one is sent; the form's part `sha256` speaks of the file in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import anyio
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from longtake.errors import OrderError, StoreError
from longtake.wire.digests import SHA256_HEX, body_sha256
from longtake.wire.door import in_thread

BATCH_BYTES = 1 << 20
HEADER_LIMIT = 8192


class FormFile:
    """Writes the part `file` of a multipart body, reads `sha256`, refuses any other. Not for two threads at once."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self._file = file
        self._header, self._value, self._disposition = b"", b"", b""
        self._names: list[bytes] = []
        self._told = b""
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take_data,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Raises OrderError."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise OrderError("the body is not a multipart form", field="file") from None

    def finish(self) -> None:
        """Raises OrderError where there was no file, or the form breaks off."""
        if not self._has_ended:
            raise OrderError("the multipart form breaks off before its end", field="file")
        if b"file" not in self._names:
            raise OrderError("the form needs a part named file", field="file")

    @property
    def sha256(self) -> str | None:
        """What the form says that the file's digest is. Raises OrderError where it is none."""
        if b"sha256" not in self._names:
            return None
        told = self._told.decode("ascii", "replace").strip().lower()
        if not SHA256_HEX.fullmatch(told):
            raise OrderError("sha256 must be 64 hexadecimal digits", field="sha256")
        return told

    def _begin(self) -> None:
        self._header, self._value, self._disposition = b"", b"", b""

    def _take_header(self, data: bytes, start: int, stop: int) -> None:
        self._header = (self._header + data[start:stop])[:HEADER_LIMIT]

    def _take_value(self, data: bytes, start: int, stop: int) -> None:
        self._value = (self._value + data[start:stop])[:HEADER_LIMIT]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")
        if name not in (b"file", b"sha256"):
            raise OrderError("the form has a part named file, and may have one named sha256", field="file")
        if name in self._names:
            raise OrderError(f"the form holds one {name.decode()}; more were sent", field=name.decode())
        self._names.append(name)

    def _take_data(self, data: bytes, start: int, stop: int) -> None:
        if self._names[-1] == b"file":
            self._file.write(data[start:stop])
        else:
            self._told = (self._told + data[start:stop])[:HEADER_LIMIT]

    def _end(self) -> None:
        self._has_ended = True


async def receive_file(request: Request, path: Path) -> str | None:
    """Writes what the request carries to `path`. Returns the SHA-256 that it says the file has, in hexadecimal.

    Raises OrderError for an empty or broken body, and for one that is not what its digest says.
    """
    told = body_sha256(request)
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    file = await in_thread(path.open, "wb")
    try:
        form = None
        if content_type == b"multipart/form-data":
            boundary = options.get(b"boundary", b"")
            if not 0 < len(boundary) <= 200:
                raise OrderError("a multipart form needs a boundary in its Content-Type", field="file")
            form = FormFile(boundary, file)
        # A raw body is the file, whose digest is taken anyway.
        body = hashlib.sha256() if form and told else None
        write = form.write if form else file.write

        def take(data: bytes) -> None:
            if body:
                body.update(data)
            try:
                write(data)
            except OSError as error:
                raise StoreError(f"could not keep what came: {error.strerror}", retryable=True) from error

        await receive(request, take)
        if body and body.hexdigest() != told:
            raise OrderError(f"the body's SHA-256 is {body.hexdigest()}, not {told} as was said", field="sha256")
        if form:
            form.finish()
        if not file.tell():
            raise OrderError("the file is empty", field="file")
        return form.sha256 if form else told
    finally:
        await in_thread(file.close)


async def receive(request: Request, take: Callable[[bytes], object], tell: Callable[[], object] = lambda: None) -> None:
    """Hands the body to `take`, in a thread and in batches. `tell` is called as each chunk comes.

    However it ends, by the client's going away too, what came was taken.
    """
    batch: list[bytes] = []
    num_bytes = 0
    try:
        async for chunk in request.stream():
            tell()
            batch.append(chunk)
            num_bytes += len(chunk)
            if num_bytes >= BATCH_BYTES:
                # Cleared first: a cancel reaches us only once the thread has taken it.
                data, num_bytes = b"".join(batch), 0
                batch.clear()
                await in_thread(take, data)
    finally:
        if batch:
            with anyio.CancelScope(shield=True):
                await in_thread(take, b"".join(batch))
