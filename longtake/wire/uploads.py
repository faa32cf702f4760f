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
from python_multipart.multipart import parse_options_header

from longtake.errors import OrderError, StoreError
from longtake.wire.digests import SHA256_HEX, body_sha256
from longtake.wire.door import in_thread
from longtake.wire.parts import HEADER_LIMIT, Parts

BATCH_BYTES = 1 << 20


class FormFile(Parts):
    """Writes the part `file`, reads `sha256`, refuses any other."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        super().__init__(boundary, "file")
        self._file = file
        self._names: list[bytes] = []
        self._told = b""

    def begin(self, name: bytes, _is_file: bool, /) -> None:
        if name not in (b"file", b"sha256"):
            raise OrderError("the form has a part named file, and may have one named sha256", field="file")
        if name in self._names:
            raise OrderError(f"the form holds one {name.decode()}; more were sent", field=name.decode())
        self._names.append(name)

    def take(self, data: bytes) -> None:
        if self._names[-1] == b"file":
            self._file.write(data)
        else:
            self._told = (self._told + data)[:HEADER_LIMIT]

    def finish(self) -> None:
        """Raises OrderError where there was no file, or the form breaks off."""
        self.check_whole()
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
            form = FormFile(options.get(b"boundary", b""), file)
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
