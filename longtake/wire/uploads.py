"""A body → a file, a chunk at a time: raw, or the part `file` of a multipart form."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from longtake.errors import OrderError
from longtake.wire.door import in_thread

BATCH_BYTES = 1 << 20
HEADER_LIMIT = 8192


class FormFile:
    """Writes the part `file` of a multipart body, and refuses any other. Not for more than one thread at a time."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self._file = file
        self._header, self._value, self._disposition = b"", b"", b""
        self._num_files = 0
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
        if not self._num_files:
            raise OrderError("the form needs a part named file", field="file")

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
        if options.get(b"name") != b"file":
            raise OrderError("the form has one part, named file; another was sent", field="file")
        self._num_files += 1
        if self._num_files > 1:
            raise OrderError("the form holds one file; more were sent", field="file")

    def _take_data(self, data: bytes, start: int, stop: int) -> None:
        self._file.write(data[start:stop])

    def _end(self) -> None:
        self._has_ended = True


async def receive_file(request: Request, path: Path) -> None:
    """Writes what the request carries to `path`. Raises OrderError for an empty or broken body."""
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    file = await in_thread(path.open, "wb")
    try:
        form = None
        if content_type == b"multipart/form-data":
            boundary = options.get(b"boundary", b"")
            if not 0 < len(boundary) <= 200:
                raise OrderError("a multipart form needs a boundary in its Content-Type", field="file")
            form = FormFile(boundary, file)
        write = form.write if form else file.write
        batch: list[bytes] = []
        num_bytes = 0
        async for chunk in request.stream():
            batch.append(chunk)
            num_bytes += len(chunk)
            if num_bytes >= BATCH_BYTES:
                await in_thread(write, b"".join(batch))
                batch, num_bytes = [], 0
        await in_thread(write, b"".join(batch))
        if form:
            form.finish()
        if not file.tell():
            raise OrderError("the file is empty", field="file")
    finally:
        await in_thread(file.close)
