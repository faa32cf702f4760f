"""The OpenAPI document as it is served: exact, with short names, and one of its own for each protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from longtake.wire.samples import SAMPLES

REF = "#/components/schemas/"
METHODS = ("post", "get", "head", "patch", "put", "delete")
NEVER = "422"
"""FastAPI declares it wherever there is something to check; what is wrong is answered with 400 here."""
ITS_OWN = ("HTTPValidationError", "ValidationError")
TOLD = "Successful Response", *(status.phrase for status in HTTPStatus), "Additional Response"
"""What stands where a route says nothing of an answer."""
WHEN = {
    "200": "As asked",
    "201": "It was made",
    "204": "Done; there is nothing to say",
    "400": "A field, or the body, can't be as it is: the answer names the field",
    "401": "There is no key, or nobody knows it",
    "403": "The key has no credits left",
    "404": "What an id names is not there, or is another account's",
    "408": "The body stopped coming",
    "409": "What is named can't be used so now, or an `Idempotency-Key` came again with another body",
    "410": "The upload has expired, or its file was refused",
    "412": "`Tus-Resumable` is missing, or names another version",
    "413": "The body is too large",
    "415": "The body is of a kind that is not taken here",
    "423": "Another request is at work on this upload",
    "460": "What came is not what its checksum says",
    "503": "Something that we need does not answer now: try again",
}
SIGNED = "The address was changed, or has expired"
LINKS = {
    "aimlapi_create": {"aimlapi_read": ("generation_id", "id")},
    "aimlapi_create_universal": {"aimlapi_read_universal": ("generation_id", "id")},
    "luma_create": {"luma_read": ("id", "id"), "luma_delete": ("id", "id")},
    "luma_reframe": {"luma_read": ("id", "id")},
    "openai_create": {"openai_read": ("id", "id"), "openai_delete": ("id", "id"), "openai_remix": ("id", "id")},
    "longtake_create": {
        "longtake_read": ("id", "id"),
        "longtake_cancel": ("id", "id"),
        "longtake_delete": ("id", "id"),
    },
    "longtake_create_upload": {"longtake_read_upload": ("id", "id")},
}
"""Calls that go on from an answer: `{create: {call: (its parameter, field of the answer)}}`."""
PREFIXES = {"AI/ML API": "aimlapi", "Luma Dream Machine": "luma", "OpenAI videos": "openai"}
SUFFIXES = (
    (re.compile("^/v1/(luma-ai|models|billing)"), "_v1"),
    (re.compile("^/dream-machine/v1/generations/video$"), "_video"),
    (re.compile("^/api/uploads"), "_upload"),
)
"""Where one function, or one name, stands at several paths."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A document of its own at `/openapi/<name>.json`."""

    name: str
    title: str
    tags: tuple[str, ...]
    about: str


PROTOCOLS = (
    Protocol("aimlapi", "AI/ML API", ("AI/ML API",), "Luma's models as AI/ML API serves them, in its three forms."),
    Protocol(
        "luma",
        "Luma Dream Machine",
        ("Luma Dream Machine",),
        "What the official `lumaai` clients speak: give them this server's `/dream-machine/v1` as their base URL.",
    ),
    Protocol(
        "openai",
        "OpenAI videos",
        ("OpenAI videos",),
        "What the official `openai` clients speak: give them this server's `/v1` as their base URL.",
    ),
    Protocol(
        "native",
        "Longtake",
        ("Longtake", "Media", "Operations"),
        "Our own protocol: any video as a keyframe, uploads, events, figures of each seam.",
    ),
)


class Application(FastAPI):
    """FastAPI whose document is `exact`."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = exact(super().openapi())
        return self.openapi_schema


def route_id(route: APIRoute) -> str:
    """`luma_create`: the protocol and the function, and what tells it from another of that name."""
    prefix = PREFIXES.get(str(route.tags[0]), str(route.tags[0]).lower()) if route.tags else "other"
    return f"{prefix}_{route.name}" + next((suffix for path, suffix in SUFFIXES if path.search(route.path)), "")


def calls(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`(path, method, operation)` of each call."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


def twin_of(call: dict[str, Any]) -> str | None:
    """The id of the same call at its first path."""
    id = str(call["operationId"])
    return next((id.removesuffix(end) for end in ("_v1", "_video") if id.endswith(end)), None)


def exact(document: dict[str, Any]) -> dict[str, Any]:
    """Only what is answered, said in our words; with examples, links, and in an order that stays."""
    schemas = document["components"]["schemas"]
    for name in ITS_OWN:
        schemas.pop(name, None)
    for _, _, call in calls(document):
        call["summary"], call["description"] = _summary(call.get("description") or call["summary"])
        call["responses"] = {
            status: _answer(status, answer, call)
            for status, answer in sorted(call["responses"].items())
            if status != NEVER
        }
        _add_links(call)
        for parameter in call.get("parameters", ()):
            parameter["schema"] = _sendable(parameter["schema"])
        examples = {one.title: {"value": one.body} for one in SAMPLES.get(call["operationId"], ()) if one.body}
        if examples:
            call["requestBody"]["content"]["application/json"]["examples"] = examples
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(schemas)}
    return cast("dict[str, Any]", _untitled(document))


def split(document: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The part of the whole document that one protocol is, with short names for its schemas."""
    paths = {
        path: {method: call for method, call in methods.items() if call["tags"][0] in protocol.tags}
        for path, methods in document["paths"].items()
    }
    paths = {path: methods for path, methods in paths.items() if methods}
    schemas = document["components"]["schemas"]
    used: set[str] = set()
    waiting = set(_names(paths))
    while waiting:
        used |= waiting
        waiting = {inner for name in waiting for inner in _names(schemas[name])} - used
    short = [name.rpartition("__")[2] for name in used]
    names = {name: last if short.count(last := name.rpartition("__")[2]) == 1 else name for name in used}
    components = {"schemas": {names[name]: schemas[name] for name in sorted(used, key=lambda name: names[name])}}
    if any("security" in call for methods in paths.values() for call in methods.values()):
        components["securitySchemes"] = document["components"]["securitySchemes"]
    info = {**document["info"], "title": f"Longtake: {protocol.title}", "description": protocol.about}
    tags = [{"name": tag} for tag in protocol.tags]
    made = {"openapi": document["openapi"], "info": info, "tags": tags, "paths": paths, "components": components}
    return cast("dict[str, Any]", _renamed(made, {REF + old: REF + new for old, new in names.items()}))


def _summary(text: str) -> tuple[str, str]:
    """The first sentence, and all of it."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip())
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0], text


def _answer(status: str, answer: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    words = answer.get("description", "")
    if words in TOLD:
        words = SIGNED if status == "403" and "security" not in call else WHEN.get(status, words)
    answer = {"description": words, **{name: part for name, part in answer.items() if name != "description"}}
    if "content" in answer:
        answer["content"] = dict(sorted(answer["content"].items()))
    return answer


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """Null can't be sent in a query or a header."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _add_links(call: dict[str, Any]) -> None:
    onward = LINKS.get(call["operationId"])
    made = next((answer for status, answer in call["responses"].items() if status in ("200", "201")), None)
    if onward and made is not None:
        made["links"] = {
            id.partition("_")[2]: {"operationId": id, "parameters": {parameter: f"$response.body#/{field}"}}
            for id, (parameter, field) in onward.items()
        }


def _untitled(value: Any, *, are_names: bool = False) -> Any:
    """Without the titles that only repeat a field's name."""
    if isinstance(value, dict):
        return {
            name: _untitled(inner, are_names=name == "properties" and not are_names)
            for name, inner in value.items()
            if are_names or name != "title" or "paths" in value or "version" in value
        }
    return [_untitled(one) for one in value] if isinstance(value, list) else value


def _names(value: Any) -> Iterator[str]:
    """Of the schemas that are referred to."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
    elif isinstance(value, str) and value.startswith(REF):
        yield value.removeprefix(REF)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _renamed(inner, names) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value
