"""What tells a create that comes again: the client's own key for it, or that its SDK says so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from longtake.errors import OrderError
from longtake.orders import Order
from longtake.records import Create, Key
from longtake.tracing import current_traceparent

TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)
"""W3C Trace Context, level 1, section 3.2.2: version, trace, span, flags."""
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


def create_of(
    request: Request, key: Key, body: Mapping[str, Any], order: Order | None = None, digests: Sequence[str] = ()
) -> Create:
    """What is known of a create before it is carried out. Raises OrderError for an Idempotency-Key that is none.

    What tells it from others is its path, its body, and its `order`, which holds what the body as it is shown leaves
    out. An order that depends on what has to be looked up first is left out: that may be gone when the create comes
    again. In the place of an order that names a file that came with it stand the `digests` of such files.
    """
    name = request.headers.get("idempotency-key")
    if name is not None and not IDEMPOTENCY_KEY.fullmatch(name):
        raise OrderError("must be 1 to 255 visible characters", field="Idempotency-Key")
    what: list[Any] = [*digests, *([order.to_json()] if order else [])]
    asked = json.dumps([request.url.path, body, *what], sort_keys=True, default=str)
    return Create(
        key_id=key.id,
        digest=hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest(),
        name=name,
        is_retry=request.headers.get("x-stainless-retry-count", "0") not in ("", "0"),
        received_at=request.state.received_at,
    )


def trace_of(request: Request) -> str | None:
    """The trace that a create belongs to, as W3C's `traceparent` names it: the span of ours that is open, or else the
    client's own; a header that is none, or came twice, is passed over. Of later versions the part that is known stays.
    """
    given = request.headers.getlist("traceparent")
    match = TRACEPARENT.fullmatch(given[0].strip()) if len(given) == 1 else None
    if match and match["version"] == "00" and match["more"]:
        match = None
    return current_traceparent() or (f"00-{match['ids']}" if match else None)
