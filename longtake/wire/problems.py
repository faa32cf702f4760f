"""What an error is for a client, before a wire gives it its shape: the one place that decides it."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from longtake.errors import (
    AuthError,
    BucketError,
    CallerError,
    ConflictError,
    CreditError,
    LimitError,
    LongtakeError,
    MediaError,
    OrderError,
    TooLargeError,
    UnknownError,
    WorldError,
)
from longtake.wire.fields import ASPECT_RATIO_PATTERN, CALLBACK_PATTERN, NOT_BLANK_PATTERN, URL_PATTERN

MOST_ERRORS = 20
"""So many wrong fields are named in one answer."""
NAME_LIMIT = 80
"""The client's own field names are repeated no longer than this."""
STATUSES: tuple[tuple[type[CallerError], int, str], ...] = (
    (OrderError, 400, "order"),
    (MediaError, 400, "media"),
    (AuthError, 401, "auth"),
    (CreditError, 403, "credit"),
    (UnknownError, 404, "unknown"),
    (ConflictError, 409, "conflict"),
    (TooLargeError, 413, "too_large"),
    (LimitError, 429, "limit"),
)
KINDS = {400: "order", 401: "auth", 403: "forbidden", 404: "unknown", 405: "method", 408: "timeout", 409: "conflict"}
KINDS |= {
    503: "world",
    410: "gone",
    412: "version",
    413: "too_large",
    415: "media_type",
    423: "locked",
    460: "checksum",
}
MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "there is no such field",
    "json_invalid": "the body is not JSON",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "union_tag_not_found": "is required",
}
PATTERNS = {
    NOT_BLANK_PATTERN: "must have at least 1 character that is not a blank",
    URL_PATTERN: "must start with https://, http:// or data:",
    CALLBACK_PATTERN: "must start with https:// or http://",
    ASPECT_RATIO_PATTERN: 'must be W:H from 9:21 to 21:9, such as "16:9"',
}
TAGS = frozenset({"image", "generation", "video", "name", "key"})


TOO_MANY: dict[int, dict[str, Any]] = {
    429: {
        "description": "More than the key may ask for now",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    }
}
"""For the OpenAPI documents of all wires."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, before a wire gives it its shape. `message` is fit for the client."""

    status: int
    kind: str
    message: str
    errors: tuple[tuple[str, str], ...] = ()
    """`(field, message)` of each field that is wrong."""
    headers: dict[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Problem:
    """The one place that decides what an error is for the client. Nothing of the request's body is in it."""
    if isinstance(error, CallerError):
        status, kind = next((status, kind) for cls, status, kind in STATUSES if isinstance(error, cls))
        errors: tuple[tuple[str, str], ...] = ()
        if status == 400 or error.field:
            errors = ((error.field or "body", error.message),)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        if isinstance(error, LimitError):
            headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
        return Problem(status, kind, error.message, errors, headers)
    if isinstance(error, WorldError):
        log.warning("something outside failed: %s", error)
        after = {"retry-after": str(max(1, round(error.retry_after_seconds or 5)))} if error.retryable else {}
        message = BucketError.TOLD if isinstance(error, BucketError) else error.message
        return Problem(503, "world", message, (), after)
    if isinstance(error, RequestValidationError):
        errors = tuple((_field(item), _message(item)) for item in error.errors()[:MOST_ERRORS])
        return Problem(400, "order", "; ".join(f"{name}: {text}" for name, text in errors), errors)
    if isinstance(error, HTTPException):
        kind = KINDS.get(error.status_code, "order")
        errors = (("body", error.detail),) if error.status_code == 400 else ()
        return Problem(error.status_code, kind, error.detail, errors, dict(error.headers or {}))
    if isinstance(error, ClientDisconnect):
        return Problem(400, "order", "the client went away")
    is_ours = isinstance(error, LongtakeError)
    log.error("a fault of ours", exc_info=error)
    return Problem(500, "fault", str(error) if is_ours else "a fault of ours; the log has more under this request's id")


def _field(item: dict[str, Any]) -> str:
    """`("body", "keyframes", "frame0", "image", "url")` → `keyframes.frame0.url`; the tags of unions are left out."""
    place, *path = item["loc"]
    names: list[str] = []
    for index, name in enumerate(path):
        is_tag = name in TAGS and index > 0 and (path[index - 1] in ("frame0", "frame1") or path[0] == "concepts")
        is_last = index == len(path) - 1
        if item["type"] == "json_invalid" or (is_tag and not is_last):
            continue
        names.append(str(name)[:NAME_LIMIT].encode("utf-8", "replace").decode())
    if item["type"].startswith("union_tag_"):
        names.append("type")
    return ".".join(names) or str(place)


def _message(item: dict[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if item["loc"] == ("body",):
        is_missing = kind == "missing"
        return "a JSON body is required" if is_missing else "must be a JSON object, sent as application/json"
    if kind in MESSAGES:
        return MESSAGES[kind]
    if kind == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}"
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return PATTERNS[context["pattern"]]
    return re.sub(
        r"^(Value error, |[A-Z][a-z]+ should )", lambda match: "must " * match[0].endswith("should "), item["msg"]
    )
