"""What tells a create that comes again: the client's own key for it, or that its SDK says so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from longtake.errors import OrderError
from longtake.records import Create, Key

IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


def create_of(request: Request, key: Key, body: Mapping[str, Any], of: Sequence[str] = ()) -> Create:
    """What is known of a create before it is carried out. Raises OrderError for an Idempotency-Key that is none."""
    name = request.headers.get("idempotency-key")
    if name is not None and not IDEMPOTENCY_KEY.fullmatch(name):
        raise OrderError("must be 1 to 255 visible characters", field="Idempotency-Key")
    asked = json.dumps([request.url.path, body, *of], sort_keys=True, default=str)
    return Create(
        key_id=key.id,
        digest=hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest(),
        name=name,
        is_retry=request.headers.get("x-stainless-retry-count", "0") not in ("", "0"),
        received_at=request.state.received_at,
    )
