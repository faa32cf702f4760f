"""Headers of uploads, made up: a value that can be used, or a refusal that names the header. Nothing else."""

from __future__ import annotations

import base64
import hashlib

from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import OrderError
from longtake.wire.digests import Checksum, body_sha256, metadata_of, told_sha256

NAMES = ("Content-Digest", "Repr-Digest", "Upload-Checksum")
LATIN = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=60)
DIGEST = st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())
LIKELY = st.one_of(
    LATIN,
    st.tuples(st.sampled_from(["sha-256", "sha-512"]), DIGEST).map(lambda pair: f"{pair[0]}=:{pair[1]}:"),
    st.tuples(st.sampled_from(["sha1", "sha256", "crc32"]), DIGEST).map(" ".join),
)


def asked(headers: dict[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "PATCH", "headers": raw})


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(headers=st.dictionaries(st.sampled_from(NAMES), LIKELY), metadata=st.one_of(LATIN, LIKELY))
def test_a_header_is_read_or_refused_by_its_name(headers: dict[str, str], metadata: str) -> None:
    request = asked(headers)
    for read in (
        lambda: body_sha256(request),
        lambda: Checksum.of(request),
        lambda: told_sha256(request, metadata_of(metadata)),
    ):
        found: object = None
        field: str | None = "Upload-Metadata"
        try:
            found = read()
        except OrderError as error:
            field = error.field
        assert field in (*NAMES, "Upload-Metadata")
        assert not isinstance(found, str) or len(bytes.fromhex(found)) == 32


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.from_regex("[a-z_]{1,12}", fullmatch=True), st.binary(max_size=30), max_size=5))
def test_metadata_is_read_as_it_was_written(values: dict[str, bytes]) -> None:
    text = ",".join(f"{key} {base64.b64encode(value).decode()}".strip() for key, value in values.items())
    assert metadata_of(text) == values


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=100), st.binary(max_size=100), st.sampled_from(["sha1", "sha256"]))
def test_a_checksum_is_met_by_its_bytes_alone(data: bytes, other: bytes, algorithm: str) -> None:
    digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    checksum = Checksum.of(asked({"Upload-Checksum": f"{algorithm} {digest}"}))
    assert checksum
    checksum.update(other)
    assert checksum.is_met == (data == other)
