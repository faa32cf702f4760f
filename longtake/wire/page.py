"""`/docs`: one page that shows every call of the OpenAPI document, with nothing loaded from elsewhere and no script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Any

from fastapi import Request

from longtake.wire.described import MADE_AT, Describer, Row
from longtake.wire.door import Shape
from longtake.wire.openai_answers import video_id
from longtake.wire.problems import KINDS, Problem
from longtake.wire.protocols import PROTOCOLS, WHEN, Protocol, calls, twin_of
from longtake.wire.samples import ID, SAMPLES, Sample, curl

CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
STYLE = """
:root{color-scheme:light dark;--text:#1c1f24;--soft:#5c6470;--back:#fff;--panel:#f5f6f8;--line:#dde1e7;--link:#0a58ca;
--get:#0b6e4f;--post:#8a4b00;--delete:#a4262c}
@media(prefers-color-scheme:dark){:root{--text:#e4e7eb;--soft:#9aa3af;--back:#14171b;--panel:#1d2127;--line:#333a44;
--link:#7fb2ff;--get:#5fd0a5;--post:#f0b060;--delete:#ff8f8f}}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.55 system-ui,sans-serif}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
code,pre{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}
pre{margin:.3rem 0 1rem;padding:.7rem .9rem;background:var(--panel);border:1px solid var(--line);
border-radius:6px;overflow:auto;max-height:26rem;white-space:pre-wrap;overflow-wrap:anywhere}
p code,td code,dt code{overflow-wrap:anywhere}
.frame{display:grid;grid-template-columns:19rem minmax(0,1fr);max-width:78rem;margin:0 auto}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.4rem 1rem 2rem;border-right:1px solid var(--line);
font-size:14px}
nav h2{margin:1.1rem 0 .3rem;font-size:14px}nav ul{margin:0;padding:0;list-style:none}
nav li{padding:.12rem 0;line-height:1.35}nav li a{display:block;color:var(--text);
padding-left:3.4rem;text-indent:-3.4rem}
nav b.method{display:inline-block;width:3.1rem;margin:0 .3rem 0 0;font-size:10px;text-indent:0}
nav small{display:block;text-indent:0;color:var(--soft);font:11px/1.35 ui-monospace,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
main{padding:1.4rem 2rem 6rem;min-width:0}h1{margin:.2rem 0;font-size:1.9rem}
h2{margin:3rem 0 .4rem;font-size:1.45rem}h3{margin:0;font-size:1.08rem}
h4{margin:1.1rem 0 .3rem;font-size:.8rem;color:var(--soft);text-transform:uppercase;letter-spacing:.05em}
article{margin:1.6rem 0 0;padding:1.4rem 0 0;border-top:1px solid var(--line)}
.path{margin:.25rem 0 .5rem}.path code{font-size:14px;overflow-wrap:anywhere}.soft{color:var(--soft)}
b.get,b.head{color:var(--get)}b.post,b.patch{color:var(--post)}b.delete{color:var(--delete)}
b.method{font:600 12px/1 ui-monospace,Menlo,Consolas,monospace;margin-right:.45rem}
table{width:100%;border-collapse:collapse;font-size:14px}th{font-weight:600;color:var(--soft)}
th,td{padding:.35rem .7rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
td:first-child{min-width:9rem}td:nth-child(3){white-space:nowrap}td.d1{padding-left:1rem}td.d2{padding-left:2rem}td.d3{padding-left:3rem}
em{font-style:normal;font-size:12px;color:var(--delete);white-space:nowrap}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--link);font-size:14px}
.example{margin:.5rem 0 0;font-size:14px;color:var(--soft)}
@media(max-width:56rem){.frame{display:block}
nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line)}
nav ul{display:none}nav h2{display:inline-block;margin:.2rem 0 .2rem 1rem;font-weight:400}nav{padding:1rem}
main{padding:1rem 1rem 4rem}table,tbody,tr,td{display:block;width:100%}thead{display:none}
td{border:0;padding:.1rem 0}tr{padding:.45rem 0;border-bottom:1px solid var(--line)}td:empty{display:none}
td:nth-child(3):not(:empty)::before{content:"default "}}
"""
START = """curl "{base}/api/generations" \\
  -H "Authorization: Bearer $LONGTAKE_KEY" \\
  -H 'Content-Type: application/json' \\
  -d '{{"prompt": "A jellyfish drifts into the light", "seconds": 4}}'"""
MEDIA_TYPES = ("application/json", "multipart/form-data", "application/octet-stream")


def page(document: dict[str, Any], base_url: str, shape_of: Callable[[str], Shape]) -> str:
    """HTML for an OpenAPI document; `shape_of` gives, for a path, what writes its errors."""
    made = _Page(document, base_url, shape_of)
    sections = "".join(made.section(protocol) for protocol in PROTOCOLS)
    info = document["info"]
    title = escape(info["title"])
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{title}: the calls</title><style>{STYLE}</style></head><body><div class=frame>"
        f"<nav aria-label=Contents><a href=#top><strong>{title}</strong></a> "
        f"<span class=soft>{escape(info['version'])}</span>{made.contents()}</nav>"
        f"<main id=top><h1>{title}</h1><p>{escape(info['description'])}</p>{made.start()}{sections}</main>"
        "</div></body></html>"
    )


class _Page:
    def __init__(self, document: dict[str, Any], base_url: str, shape_of: Callable[[str], Shape]) -> None:
        self._document, self._base_url, self._shape_of = document, base_url, shape_of
        self._describer = Describer(document)
        self._calls: list[tuple[str, str, dict[str, Any]]] = []
        self._twins: dict[str, list[str]] = {}
        for path, method, call in calls(document):
            if twin := twin_of(call):
                self._twins.setdefault(twin, []).append(path)
            else:
                self._calls.append((path, method, call))

    def contents(self) -> str:
        lists = []
        for protocol in PROTOCOLS:
            found = self._of(protocol)
            heads = [re.split("[:,;]", call["summary"])[0] for _, _, call in found]
            entries = "".join(
                f"<li><a href=#{call['operationId']}><b class='method {method}'>{method.upper()}</b>"
                f"{_words(head if heads.count(head) == 1 else call['summary'])}<small>{escape(path)}</small></a></li>"
                for head, (path, method, call) in zip(heads, found, strict=True)
            )
            lists.append(f"<h2><a href=#{protocol.name}>{escape(protocol.title)}</a></h2><ul>{entries}</ul>")
        return "".join(lists)

    def start(self) -> str:
        """What holds for all calls."""
        listed = ", ".join(f"<a href=/openapi/{one.name}.json>{escape(one.title)}</a>" for one in PROTOCOLS)
        return (
            "<p>The examples run as they stand in a shell that knows your key, and where they ask for one, the id of a"
            " generation (<code>ID</code>) or of an upload (<code>UPLOAD</code>):</p>"
            f"{_pre('export LONGTAKE_KEY=your-key')}{_pre(START.format(base=self._base_url))}"
            f"<p>Every create takes an <code>Idempotency-Key</code>: sent again with the same one within 24 hours, it"
            " makes nothing more.</p>"
            f"<p>For machines: <a href=/openapi.json>all calls as OpenAPI</a>, or one protocol's: {listed}.</p>"
        )

    def section(self, protocol: Protocol) -> str:
        articles = "".join(self._article(path, method, call) for path, method, call in self._of(protocol))
        title, about = escape(protocol.title), _words(protocol.about)
        return f"<section id={protocol.name}><h2>{title}</h2><p>{about}</p>{articles}</section>"

    def _of(self, protocol: Protocol) -> list[tuple[str, str, dict[str, Any]]]:
        """The first create ahead of all."""
        found = [one for one in self._calls if one[2]["tags"][0] in protocol.tags]
        return sorted(found, key=lambda one: not one[2]["operationId"].endswith("_create"))

    def _article(self, path: str, method: str, call: dict[str, Any]) -> str:
        twins = self._twins.get(call["operationId"], ())
        also = "".join(f" <span class=soft>and</span> <code>{escape(twin)}</code>" for twin in twins)
        more = call["description"].removeprefix(call["summary"]).lstrip(". ")
        return (
            f"<article id={call['operationId']}><h3>{_words(call['summary'])}</h3>"
            f"<p class=path><b class='method {method}'>{method.upper()}</b><code>{escape(path)}</code>{also}</p>"
            f"{f'<p>{_words(more)}</p>' if more else ''}{self._examples(path, method, call)}{self._fields(call)}"
            f"{self._answer(call)}{self._errors(path, call)}</article>"
        )

    def _examples(self, path: str, method: str, call: dict[str, Any]) -> str:
        samples = SAMPLES.get(call["operationId"], (Sample(),))
        shown = []
        for sample in samples:
            text = curl(sample, method.upper(), self._base_url + path, locked="security" in call)
            name = f"<p class=example>{escape(sample.title)}</p>" if sample.title != Sample().title else ""
            shown.append(name + _pre(text, "curl"))
        rest = f"<details><summary>More examples: {len(shown) - 1}</summary>{''.join(shown[1:])}</details>"
        return shown[0] + (rest if len(shown) > 1 else "")

    def _fields(self, call: dict[str, Any]) -> str:
        parts = []
        for place, title in (("path", "In the path"), ("query", "Query"), ("header", "Headers")):
            rows = [self._parameter_row(one) for one in call.get("parameters", ()) if one["in"] == place]
            if [row.name for row in rows] not in ([], ["id"]):
                parts.append(_table(title, rows))
        content = call.get("requestBody", {}).get("content", {})
        kind = next((kind for kind in MEDIA_TYPES if kind in content), None)
        if kind:
            others = [escape(other) for other in content if other != kind]
            also = f"<p class=soft>Also as {' or '.join(others)}.</p>" if others else ""
            rows = list(self._describer.rows(self._first_object(content[kind]["schema"])))
            parts.append((_table(f"Body: {kind}", rows) if rows else "") + also)
        return "".join(parts)

    def _first_object(self, schema: dict[str, Any]) -> dict[str, Any]:
        choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        first: dict[str, Any] = choices[0] if choices else schema
        return first

    def _parameter_row(self, one: dict[str, Any]) -> Row:
        schema = one["schema"]
        default = json.dumps(schema["default"]) if schema.get("default") not in (None, "") else ""
        words = one.get("description", schema.get("description", ""))
        kind = self._describer.kind(schema)
        return Row(one["name"], 0, kind, one.get("required", False), default, words)

    def _answer(self, call: dict[str, Any]) -> str:
        parts = []
        for status, answer in call["responses"].items():
            if not status.startswith(("2", "3")):
                continue
            words = answer["description"]
            parts.append(f"<h4>Answer {status}</h4>{'' if words == WHEN.get(status) else f'<p>{_words(words)}</p>'}")
            schema = answer.get("content", {}).get("application/json", {}).get("schema")
            if schema:
                text = _json(self._describer.example(schema))
                is_openai = call["operationId"].startswith("openai_")
                parts.append(_pre(text.replace(ID, video_id(ID)) if is_openai else text))
        return "".join(parts)

    def _errors(self, path: str, call: dict[str, Any]) -> str:
        errors = {status: one for status, one in call["responses"].items() if status >= "400"}
        rows = "".join(
            f"<tr><td>{status} {_phrase(status)}</td><td>{_words(one['description'])}</td></tr>"
            for status, one in errors.items()
        )
        bodies = [status for status in errors if "content" in errors[status]]
        first = next((status for status in ("400", "404", "401") if status in bodies), bodies[0] if bodies else None)
        example = f"<p class=example>As a body, with {first}</p>{_pre(self._error(path, int(first)))}" if first else ""
        table = f"<table><thead><tr><th>Status<th>When</thead><tbody>{rows}</tbody></table>"
        return f"<details><summary>Errors: {', '.join(errors)}</summary>{table}{example}</details>" if errors else ""

    def _error(self, path: str, status: int) -> str:
        """As the protocol writes it."""
        texts = {400: "is required", 404: f"there is no generation {ID}", 401: "Invalid API key is provided"}
        message = texts.get(status, _phrase(str(status)))
        errors = (("prompt", message),) if status == 400 else ()
        problem = Problem(status, KINDS.get(status, "world"), f"prompt: {message}" if errors else message, errors)
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "state": {"request_id": "9f0c2d7e"}}
        body = json.loads(bytes(self._shape_of(path)(Request(scope), problem).body))
        return _json({name: MADE_AT if name == "timestamp" else value for name, value in body.items()})


def _table(title: str, rows: list[Row]) -> str:
    lines = []
    for row in rows:
        depth = f" class=d{min(3, row.depth)}" if row.depth else ""
        if not row.kind:
            lines.append(f"<tr><td{depth} colspan=4><strong>{escape(row.name)}.</strong> {_words(row.words)}</td></tr>")
            continue
        required = " <em>required</em>" if row.is_required else ""
        default = f"<code>{escape(row.default)}</code>" if row.default else ""
        lines.append(
            f"<tr><td{depth}><code>{escape(row.name.rpartition('.')[2])}</code>{required}</td><td>{escape(row.kind)}</td>"
            f"<td>{default}</td><td>{_words(row.words)}</td></tr>"
        )
    head = "<thead><tr><th>Field<th>Takes<th>Default<th>What it is</thead>"
    return f"<h4>{escape(title)}</h4><table>{head}<tbody>{''.join(lines)}</tbody></table>"


def _words(text: str) -> str:
    """With what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _pre(text: str, kind: str = "") -> str:
    return f"<pre{f' class={kind}' if kind else ''} tabindex=0>{escape(text, quote=False)}</pre>"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _phrase(status: str) -> str:
    try:
        return HTTPStatus(int(status)).phrase
    except ValueError:
        return {"460": "Checksum Mismatch"}.get(status, "")
