"""Multipart forms, made up and mangled: what was sent is what is read, however it is cut; all else is refused."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import OrderError, TooLargeError
from longtake.wire.openai_forms import Form, Sent

BOUNDARY = b"the-boundary"
FILES = frozenset({"video", "input_reference"})
FIXED = settings(max_examples=150, deadline=None, derandomize=True, database=None)
NAMES = st.one_of(
    st.sampled_from(["prompt", "seconds", "video", "video[id]", "input_reference", "input_reference[image_url]"]),
    st.from_regex(r"[a-z]{1,6}(\[[a-z]{1,4}\])?", fullmatch=True),
)
DATA = st.binary(max_size=60).filter(lambda data: BOUNDARY not in data)
Parts = list[tuple[str, bool, bytes]]
PARTS = st.lists(st.tuples(NAMES, st.booleans(), st.one_of(st.text(max_size=20).map(str.encode), DATA)), max_size=6)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def body(parts: Parts) -> bytes:
    written = b""
    for name, is_file, data in parts:
        file = b'; filename="a"' if is_file else b""
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        written += b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return written + b"--" + BOUNDARY + b"--\r\n"


def read(folder: Path, chunks: list[bytes], most_text_bytes: int = 1000) -> tuple[Any, dict[str, bytes]] | str:
    """What the form says, and the files in it; or the field that was refused. Nothing is left on disk."""
    form = Form(BOUNDARY, folder, FILES, most_text_bytes=most_text_bytes)
    try:
        for chunk in chunks:
            form.write(chunk)
        sent: Sent = form.finish()
        return sent.data, {name: path.read_bytes() for name, path in sent.files.items()}
    except (OrderError, TooLargeError) as error:
        return str(error.field)
    finally:
        form.remove()
        assert not list(folder.iterdir())


def cut(data: bytes, places: list[int]) -> list[bytes]:
    stops = [*sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


@FIXED
@given(parts=PARTS, places=st.lists(st.integers(0, 10_000), max_size=8))
def test_where_the_bytes_are_cut_changes_nothing(folder: Path, parts: Parts, places: list[int]) -> None:
    whole = body(parts)
    assert read(folder, cut(whole, places)) == read(folder, [whole])


@FIXED
@given(parts=PARTS)
def test_a_form_is_read_as_it_was_written_or_refused(folder: Path, parts: Parts) -> None:
    found = read(folder, [body(parts)])
    if isinstance(found, str):
        assert found in {"body"} | {part for name, *_ in parts for part in (name, name.partition("[")[0])}
        return
    data, files = found
    assert files == {name: sent for name, is_file, sent in parts if is_file and sent}
    for name, is_file, sent in parts:
        outer, inner = re.fullmatch(r"([^\[]+)(?:\[(.+)\])?", name).groups()  # type: ignore[union-attr]
        if not is_file:
            assert (data[outer][inner] if inner else data[outer]) == sent.decode()


@FIXED
@given(parts=PARTS, drawn=st.data())
def test_a_form_that_breaks_off_or_is_mangled_never_breaks_us(folder: Path, parts: Parts, drawn: Any) -> None:
    whole = body(parts)
    stop = drawn.draw(st.integers(0, len(whole) - len(b"--\r\n") - 1))
    assert isinstance(read(folder, [whole[:stop]]), str)
    at = drawn.draw(st.integers(0, len(whole) - 1))
    mangled = whole[:at] + drawn.draw(st.binary(min_size=1, max_size=4)) + whole[at + 1 :]
    assert read(folder, [mangled]) is not None


@FIXED
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_form_are_refused(folder: Path, data: bytes) -> None:
    assert isinstance(read(folder, [data]), str)


@FIXED
@given(texts=st.lists(DATA, min_size=1, max_size=5), most=st.integers(0, 100))
def test_words_have_a_limit_together_and_files_have_none_here(folder: Path, texts: list[bytes], most: int) -> None:
    parts = [(f"a{number}", False, text) for number, text in enumerate(texts)]
    found = read(folder, [body([*parts, ("video", True, b"x" * 200)])], most)
    if sum(map(len, texts)) > most:
        assert isinstance(found, str)
    elif all(_is_text(text) for text in texts):
        assert found == ({name: text.decode() for name, _, text in parts}, {"video": b"x" * 200})


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
