"""A multipart form taken apart as it comes (RFC 7578): the name of each part, and its bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from longtake.errors import OrderError

HEADER_LIMIT = 8192
BOUNDARY_LIMIT = 200


class Parts(ABC):
    """Not for two threads at once. Errors that belong to no part say `field`."""

    def __init__(self, boundary: bytes, field: str) -> None:
        """Raises OrderError for a boundary that is none."""
        if not 0 < len(boundary) <= BOUNDARY_LIMIT:
            raise OrderError("a multipart form needs a boundary in its Content-Type", field=field)
        self._field = field
        self._header, self._value, self._disposition = b"", b"", b""
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": lambda data, start, stop: self.take(data[start:stop]),
                "on_end": self._end,
            },
        )

    @abstractmethod
    def begin(self, name: bytes, is_file: bool, /) -> None:
        """A part begins. Raises OrderError for one that does not belong here."""

    @abstractmethod
    def take(self, data: bytes) -> None:
        """Some of the part that was begun last."""

    def write(self, data: bytes) -> None:
        """Raises OrderError, and whatever `begin` and `take` raise."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise OrderError("the body is not a multipart form", field=self._field) from None

    def check_whole(self) -> None:
        """Raises OrderError."""
        if not self._has_ended:
            raise OrderError("the multipart form breaks off before its end", field=self._field)

    def _begin_part(self) -> None:
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
        self.begin(options.get(b"name", b""), b"filename" in options or b"filename*" in options)

    def _end(self) -> None:
        self._has_ended = True
