"""`/docs`: one page that lists every call of the OpenAPI document, with nothing loaded from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem}code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#8881;padding:.6rem;overflow:auto}
b{display:inline-block;min-width:4.5rem}summary{cursor:pointer}"""
CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
EXAMPLES = {
    "CreateBody": {
        "prompt": "Flying jellyfish",
        "keyframes": {"frame0": {"type": "image", "url": "https://example.com/image1.png"}},
    },
    "UniversalBody": {"model": "luma/ray-2", "prompt": "Flying jellyfish", "duration": 5},
    "LegacyBody": {"user_prompt": "Flying jellyfish"},
    "FileBody": {"url": "https://example.com/image1.png"},
    "NativeBody": {"seconds": 4, "keyframes": {"frame0": {"type": "video", "upload": "UPLOAD_ID", "at": 3.2}}},
}


def page(document: dict[str, Any], base_url: str) -> str:
    """HTML for an OpenAPI document."""
    by_tag: dict[str, list[str]] = {}
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            tag = (call.get("tags") or ["Other"])[0]
            by_tag.setdefault(tag, []).append(_call(path, method.upper(), call, base_url))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(calls)}" for tag, calls in by_tag.items())
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(document['info'].get('description', ''))}</p>"
        f"<p>The machine-readable form is at <a href=/openapi.json>/openapi.json</a>.</p>{sections}</html>"
    )


def _call(path: str, method: str, call: dict[str, Any], base_url: str) -> str:
    parts = ["curl", *{"GET": [], "HEAD": ["-I"]}.get(method, ["-X", method])]
    parts.append(f"'{base_url}{path}'")
    if call.get("security"):
        parts.append("-H 'Authorization: Bearer KEY'")
    content = call.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        name = content["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        parts.append(f"--json '{json.dumps(EXAMPLES.get(name, {}))}'")
    elif "multipart/form-data" in content:
        parts.append("-F file=@video.mp4")
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code></summary>"
        f"<p>{escape(call.get('description', ''))}</p><pre>{escape(' '.join(parts))}</pre></details>"
    )
