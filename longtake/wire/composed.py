"""Answers as bytes: made in the thread that read what they show, and once for all clients that wait for the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastapi.responses import Response
from pydantic import BaseModel

from longtake.records import Generation
from longtake.wire.answers import RANKS

JSON = "application/json"


class Composed(NamedTuple):
    """What a client is sent, and how far the generations are that it shows."""

    rank: int
    """The lowest of theirs, by `RANKS`."""
    body: bytes

    @classmethod
    def of(cls, generations: Sequence[Generation], answer: BaseModel | Sequence[BaseModel]) -> Composed:
        return cls(min(RANKS[one.state] for one in generations), as_json(answer))

    def response(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return Response(self.body, status, headers, JSON)


def as_json(answer: BaseModel | Sequence[BaseModel]) -> bytes:
    """In UTF-8."""
    if isinstance(answer, BaseModel):
        return answer.model_dump_json().encode()
    return b"[%b]" % b",".join(as_json(one) for one in answer)
