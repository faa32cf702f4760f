"""Bodies of OpenAI's protocol as they are sent: JSON, or a multipart form, whose files go to disk as they come."""

from __future__ import annotations

import hashlib
import re
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header

from longtake.errors import OrderError, StoreError, TooLargeError
from longtake.wire.door import Door, in_thread
from longtake.wire.parts import Parts
from longtake.wire.problems import NAME_LIMIT
from longtake.wire.uploads import receive

Body = TypeVar("Body", bound=BaseModel)
FORM = "multipart/form-data"
MOST_PARTS = 40
INSIDE = re.compile(r"(?P<outer>[^\[\]]+)\[(?P<inner>[^\[\]]+)\]")
"""`video[id]`: the field `id` of the object `video`."""


@dataclass(slots=True)
class Sent:
    """What a request carries."""

    data: bytes | dict[str, Any]
    """JSON as it came, or the form's texts by name, those with brackets as objects."""
    files: dict[str, Path] = field(default_factory=dict)
    """None of them is empty. They are gone when the request is answered."""
    digests: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each of them, in hexadecimal."""

    def body(self, model: type[Body]) -> Body:
        """Raises RequestValidationError."""
        try:
            if isinstance(self.data, bytes):
                return model.model_validate_json(self.data)
            return model.model_validate(self.data)
        except ValidationError as error:
            items = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_input=False)]
            raise RequestValidationError(items) from None


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


@asynccontextmanager
async def received(request: Request, door: Door, files: frozenset[str]) -> AsyncIterator[Sent]:
    """The body; `files` names the fields that may be files. Raises OrderError, TooLargeError, StoreError."""
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type == b"application/json" or content_type.endswith(b"+json"):
        yield Sent(await request.body())
        return
    if content_type != FORM.encode():
        raise OrderError(f"the body must be application/json or {FORM}", field="body")
    folder = door.front.store.work_folder or Path(tempfile.gettempdir())
    form = Form(options.get(b"boundary", b""), folder, files, most_text_bytes=door.front.max_body_bytes)
    try:
        await receive(request, form.write)
        try:
            sent = await in_thread(form.finish)
        except OSError as error:
            raise StoreError(f"could not keep what came: {error.strerror}", retryable=True) from error
        yield sent
    finally:
        await in_thread(form.remove)


class Form(Parts):
    """Keeps words in memory and writes files to `folder`."""

    def __init__(self, boundary: bytes, folder: Path, files: frozenset[str], *, most_text_bytes: int) -> None:
        super().__init__(boundary, "body")
        self._folder, self._may_be_files, self._text_bytes_left = folder, files, most_text_bytes
        self._name = ""
        self._file: BinaryIO | None = None
        self._texts: dict[str, bytes] = {}
        self._files: dict[str, Path] = {}
        self._digests: dict[str, hashlib._Hash] = {}

    def write(self, data: bytes) -> None:
        """Raises OrderError, TooLargeError, StoreError."""
        try:
            super().write(data)
        except OSError as error:
            raise StoreError(f"could not keep what came: {error.strerror}", retryable=True) from error

    def finish(self) -> Sent:
        """What came. An empty file is passed over where the field is there in words too. Raises OrderError."""
        self.check_whole()
        self._close()
        data = self._data()
        for name, path in list(self._files.items()):
            is_empty = not path.stat().st_size
            if is_empty and name not in data:
                raise OrderError(f"{name}: the file is empty", field=name)
            if not is_empty and name in data:
                raise OrderError(f"{name} is given twice: as a file, and in words", field=name)
            if is_empty:
                del self._files[name]
                path.unlink()
        return Sent(data, dict(self._files), {name: self._digests[name].hexdigest() for name in self._files})

    def remove(self) -> None:
        """What lies on disk, but for files that were moved away."""
        self._close()
        for path in self._files.values():
            path.unlink(missing_ok=True)

    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, value in self._texts.items():
            try:
                text = value.decode()
            except UnicodeDecodeError:
                raise OrderError(f"{name} must be UTF-8", field=name) from None
            inside = INSIDE.fullmatch(name)
            outer = inside["outer"] if inside else name
            if inside and isinstance(data.setdefault(outer, {}), dict):
                data[outer][inside["inner"]] = text
            elif outer in data:
                raise OrderError(f"{outer} is given twice", field=outer)
            else:
                data[name] = text
        return data

    def begin(self, name: bytes, is_file: bool, /) -> None:
        self._close()
        self._name = text = name.decode("utf-8", "replace")[:NAME_LIMIT]
        if not text:
            raise OrderError("each part of the form needs a name", field="body")
        if text in (self._files if is_file else self._texts):
            raise OrderError(f"{text} is given twice", field=text)
        if len(self._files) + len(self._texts) >= MOST_PARTS:
            raise OrderError(f"the form may have at most {MOST_PARTS} parts", field="body")
        if is_file and text not in self._may_be_files:
            raise OrderError(f"{text} can't be a file", field=text)
        if is_file:
            self._files[text] = self._folder / f"form-{uuid.uuid4()}"
            self._file, self._digests[text] = self._files[text].open("wb"), hashlib.sha256()
        else:
            self._texts[text] = b""

    def take(self, data: bytes) -> None:
        if self._file:
            self._file.write(data)
            self._digests[self._name].update(data)
            return
        self._text_bytes_left -= len(data)
        if self._text_bytes_left < 0:
            raise TooLargeError("what the form says in words is too long", field=self._name)
        self._texts[self._name] += data

    def _close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
