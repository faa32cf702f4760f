"""Digests that clients send beside their bytes: RFC 9530's headers, and those of tus."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from longtake.errors import OrderError

SHA256_HEX = re.compile("[0-9a-f]{64}")
CHECKSUMS = ("sha256", "sha1")
"""As tus names them; it wants sha1 of every server."""
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*")


def body_sha256(request: Request) -> str | None:
    """What `Content-Digest` or `Repr-Digest` say, in hexadecimal. Raises OrderError where they name no sha-256."""
    content, whole = _sha256_of(request, "Content-Digest"), _sha256_of(request, "Repr-Digest")
    if content and whole and content != whole:
        raise OrderError("Content-Digest and Repr-Digest name different digests of one body", field="Repr-Digest")
    return content or whole


def _sha256_of(request: Request, name: str) -> str | None:
    text, found = ",".join(request.headers.getlist(name)), {}
    if not text:
        return None
    for member in text.split(","):
        match = _MEMBER.fullmatch(member)
        if match is None:
            raise OrderError(f"{name} must look like sha-256=:BASE64:", field=name)
        found[match[1]] = match[2]
    if "sha-256" not in found:
        raise OrderError(f"{name} needs a sha-256, which is what is checked here", field=name)
    digest = _decoded(found["sha-256"])
    if digest is None or len(digest) != 32:
        raise OrderError(f"{name}: a sha-256 is 32 bytes in Base64", field=name)
    return digest.hex()


@dataclass(slots=True)
class Checksum:
    """What the bytes of one request must have."""

    algorithm: str
    expected: bytes
    _hash: Any = field(init=False)

    def __post_init__(self) -> None:
        self._hash = hashlib.new(self.algorithm, usedforsecurity=False)

    @classmethod
    def of(cls, request: Request) -> Checksum | None:
        """From `Upload-Checksum`, else from `Content-Digest`. Raises OrderError."""
        text = request.headers.get("upload-checksum")
        if text is None:
            content = _sha256_of(request, "Content-Digest")
            return cls("sha256", bytes.fromhex(content)) if content else None
        algorithm, _, encoded = text.strip().partition(" ")
        if algorithm not in CHECKSUMS:
            raise OrderError(f"Upload-Checksum must be one of {', '.join(CHECKSUMS)}", field="Upload-Checksum")
        digest = _decoded(encoded.strip())
        if digest is None or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
            raise OrderError(f"Upload-Checksum must be {algorithm} and its digest in Base64", field="Upload-Checksum")
        return cls(algorithm, digest)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    @property
    def is_met(self) -> bool:
        return bool(self._hash.digest() == self.expected)

    def __str__(self) -> str:
        got = base64.b64encode(self._hash.digest()).decode()
        return f"{self.algorithm} is {got}, not {base64.b64encode(self.expected).decode()} as was said"


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def metadata_of(text: str) -> dict[str, bytes]:
    """tus's `Upload-Metadata`: `key BASE64,key BASE64,key`. Raises OrderError."""
    found: dict[str, bytes] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, _, encoded = entry.partition(" ")
        value = _decoded(encoded.strip())
        if value is None or key in found or not key.isascii():
            raise OrderError(
                "Upload-Metadata must be KEY BASE64,KEY BASE64 with each key once", field="Upload-Metadata"
            )
        found[key] = value
    return found


def told_sha256(request: Request, metadata: dict[str, bytes]) -> str | None:
    """What the whole file must have, by `Repr-Digest` or by the metadata's `sha256` (64 hexadecimal digits)."""
    by_header, by_metadata = _sha256_of(request, "Repr-Digest"), None
    if "sha256" in metadata:
        by_metadata = metadata["sha256"].decode("ascii", "replace").strip().lower()
        if not SHA256_HEX.fullmatch(by_metadata):
            raise OrderError("sha256 must be 64 hexadecimal digits", field="Upload-Metadata")
        if by_header and by_header != by_metadata:
            raise OrderError("Repr-Digest and Upload-Metadata name different digests", field="Upload-Metadata")
    return by_header or by_metadata
