"""Schemas of an OpenAPI document in words: the fields of a body as rows of a table, and an answer as an example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from longtake.wire.samples import ID, PROMPT

MADE_AT = "2026-01-01T12:00:00.000Z"
LINK = "https://example.com/media/videos/755f9bbb.mp4?expires=1767270000&signature=4f1d"
USUAL: dict[str, Any] = {
    "id": ID,
    "generation_id": ID,
    "luma_generation_id": ID,
    "parents": [],
    "children": [],
    "notes": [],
    "converted": [],
    "takes": None,
    "failure_reason": None,
    "error": None,
    "errors": None,
    "reversal": None,
    "remixed_from_video_id": None,
    "expires_at": None,
    "estimate_wait_seconds": None,
    "liked": None,
    "source": None,
    "state": "completed",
    "status": "completed",
    "model": "ray-2",
    "prompt": PROMPT,
    "engine": "motion",
    "stage": "completed",
    "created_at": MADE_AT,
    "lastUpdated": MADE_AT,
    "timings": {"render": 2.4},
    "request": {"prompt": PROMPT, "aspect_ratio": "16:9", "resolution": "720p"},
    "width": 1280,
    "height": 720,
    "frames": 120,
    "frame": 120,
    "start": 5.0,
    "at": 5.0,
    "fps": 24.0,
    "duration": 10.0,
    "progress": 1.0,
    "size": "1280x720",
    "kind": "video",
    "jump": 1.1,
    "motion": 1.0,
    "sharpness": 0.9,
    "colour": 0.2,
    "limit": 100,
    "left": 88,
    "offset": 0,
    "count": 1,
    "has_more": False,
    "info": {"name": "ray-2", "developer": "motion"},
    "features": ["video/text-to-video", "video/extend-video"],
    "endpoints": ["/v2/video/generations"],
    "type": "video",
}
"""What a field of this name holds in an example, where its schema takes it."""


FIRST = {
    "type": 0,
    "user_prompt": 1,
    "prompt": 2,
    "keyframes": 3,
    "keywords": 4,
    "seconds": 5,
    "duration": 6,
    "model": 7,
}
"""Fields that are shown ahead of others, in this order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field; `depth` says how far inside others it is. Without a kind: a heading for those that follow."""

    name: str
    depth: int
    kind: str = ""
    is_required: bool = False
    default: str = ""
    words: str = ""


class Describer:
    """Reads the schemas of one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def rows(self, schema: dict[str, Any]) -> Iterator[Row]:
        """The fields of an object, those of objects inside it below them; what was shown once is not shown again."""
        yield from self._rows(schema, "", 0, {})

    def kind(self, schema: dict[str, Any]) -> str:
        """`string, 1 to 2048 characters`; values that may be sent stand as JSON."""
        schema = self._plain(schema)
        choices = schema.get("anyOf") or schema.get("oneOf", ())
        if choices and "properties" not in schema:
            tags = [self._tag(one) for one in choices]
            if all(tags):
                return f"object of type {' | '.join(json.dumps(tag) for tag in tags)}"
            kinds = [self.kind(one) for one in choices]
            return " or ".join(dict.fromkeys(sorted(kinds, key=lambda kind: kind == "null")))
        if "const" in schema or "enum" in schema:
            return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
        kind = str(schema.get("type", "any value"))
        if kind == "array":
            most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
            return f"list of: {self.kind(schema.get('items', {}))}{most}"
        if kind == "object":
            tag = self._tag(schema)
            return f"object of type {json.dumps(tag)}" if tag else "object"
        if kind == "string":
            return _string_kind(schema)
        return kind + _limits(schema)

    def example(self, schema: dict[str, Any], name: str = "") -> Any:
        """A value as an answer may hold it."""
        schema = self._plain(schema)
        if name in USUAL and self._takes(schema, USUAL[name]):
            return USUAL[name]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.example(schema[word][0], name)
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        if "properties" in schema:
            return {inner: self.example(one, inner) for inner, one in schema["properties"].items()}
        if schema.get("type") == "array":
            return [self.example(schema.get("items", {}), name)]
        if schema.get("type") == "string":
            is_address = any(word in name for word in ("url", "video", "image", "segment", "playlist", "thumbnail"))
            return LINK if is_address else {"seconds": "5"}.get(name, "…")
        if schema.get("type") in ("integer", "number"):
            number: float = {"created_at": 1767268800, "completed_at": 1767268830, "seconds": 5.0}.get(name, 100)
            return number
        return {"boolean": False, "object": {}}.get(schema.get("type", ""))

    def _rows(self, schema: dict[str, Any], prefix: str, depth: int, seen: dict[str, str]) -> Iterator[Row]:
        schema = self._plain(schema)
        required = schema.get("required", ())
        ranked = sorted(schema.get("properties", {}).items(), key=lambda item: FIRST.get(item[0], len(FIRST)))
        for name, one in ranked:
            place, branches = prefix + name, self._objects(one)
            names = " ".join(sorted(branch.get("$ref", "") for branch in branches)).strip()
            default = json.dumps(one["default"]) if one.get("default") not in (None, "", []) else ""
            words = one.get("description") or next((self._words(branch) for branch in self._values(one)), "")
            if names in seen and names:
                yield Row(place, depth, f"as {seen[names]}", name in required, default, one.get("description", ""))
                continue
            yield Row(place, depth, self.kind(one), name in required, default, words)
            if names:
                seen[names] = place
            for branch in branches:
                if len(branches) > 1:
                    yield Row(f"{place}: {self.kind(branch)}", depth + 1, words=self._words(branch))
                is_list = self._first(one).get("type") == "array"
                yield from self._rows(branch, f"{place}[]." if is_list else f"{place}.", depth + 1, seen)

    def _tag(self, schema: dict[str, Any]) -> str | None:
        """What tells an object from the others of its union."""
        found: str | None = self._plain(schema).get("properties", {}).get("type", {}).get("const")
        return found

    def _plain(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _values(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """What a field may hold, one by one, but null."""
        if "properties" in self._plain(schema):
            return [schema]
        inner = schema.get("anyOf") or schema.get("oneOf") or ()
        found = [value for one in inner for value in self._values(one)] if inner else [schema]
        return [one for one in found if one.get("type") != "null"]

    def _first(self, schema: dict[str, Any]) -> dict[str, Any]:
        return next(iter(self._values(schema)), {})

    def _objects(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        found = [one["items"] if one.get("type") == "array" and "items" in one else one for one in self._values(schema)]
        return [value for one in found for value in self._values(one) if "properties" in self._plain(value)]

    def _words(self, schema: dict[str, Any]) -> str:
        return str(self._plain(schema).get("description", ""))

    def _takes(self, schema: dict[str, Any], value: Any) -> bool:
        if value is None:
            return any(one.get("type") == "null" for one in schema.get("anyOf", ()))
        kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
        for one in self._values(schema):
            plain = self._plain(one)
            if value in plain.get("enum", [plain.get("const", value)]) and (
                plain.get("type") == kinds[type(value)] or (plain.get("type") == "number" and type(value) is int)
            ):
                return True
        return False


def _string_kind(schema: dict[str, Any]) -> str:
    if schema.get("format") == "binary":
        return "bytes"
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "examples" in schema and "pattern" in schema and most is None:
        return f"string such as {json.dumps(schema['examples'][0])}"
    if most is not None:
        return f"string, {least} to {most} characters" if least else f"string, at most {most} characters"
    return "string"


def _limits(schema: dict[str, Any]) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    ends = [f"{value:,.10g}" for value in (least, most) if value is not None]
    if below is not None:
        return f", {ends[0] + ' to ' if ends else ''}below {below:,.10g}"
    return f", {' to '.join(ends)}" if ends else ""
