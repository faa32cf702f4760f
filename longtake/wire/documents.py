"""`python -m longtake.wire.documents FOLDER`: the OpenAPI document of each protocol, as files."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from longtake.fetch import Fetcher, FetchRules
from longtake.records import Changes, Keys, Records, open_database
from longtake.service import Service
from longtake.store import Store
from longtake.wire.http import Front, build
from longtake.wire.links import Links
from longtake.wire.protocols import PROTOCOLS, split


def documents() -> dict[str, str]:
    """`{"luma.json": text}` of each. Nothing that a setting says is in them."""
    with tempfile.TemporaryDirectory() as folder:
        document = build(_front(Path(folder))).openapi()
    return {f"{protocol.name}.json": text(split(document, protocol)) for protocol in PROTOCOLS}


def text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _front(folder: Path) -> Front:
    """One that is never asked anything."""
    engine, rules = open_database(f"sqlite:///{folder / 'none.db'}"), FetchRules(max_bytes=1, timeout_seconds=1)
    store, records = Store.in_folder(folder), Records(engine, lambda *_: None)
    service = Service(
        records,
        store,
        engines={},
        models={},
        rules=rules,
        max_still_pixels=1,
        max_partial_bytes=1,
        partial_seconds=1,
    )
    return Front(
        service=service,
        changes=Changes(engine),
        keys=Keys(engine),
        store=store,
        links=Links(bytes(16), 1),
        fetcher=Fetcher(rules),
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m longtake.wire.documents FOLDER")
    for name, content in documents().items():
        (Path(sys.argv[1]) / name).write_text(content, encoding="utf-8")
