"""Server-sent events: what changes, as it changes, resumable, and with no thread for a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi.sse import format_sse_event

from longtake.errors import DatabaseError
from longtake.records import Change, Changes
from longtake.wire.door import in_thread
from longtake.wire.waiting import Waiting

HEARTBEAT_SECONDS = 15.0
"""A comment goes out after so long a silence, so that proxies keep the connection."""
ENDS = frozenset({"generation.completed", "generation.failed"})
BATCH = 1000


async def event_stream(
    changes: Changes, waiting: Waiting, *, account: str, id: str | None, last: int | None
) -> AsyncIterator[bytes]:
    """Events of one generation, which end with it, or of all of an account.

    `last`: the event after which to go on. None: for one generation from its beginning (of the progress only where
    it stands), for an account from now on.
    """
    with waiting.listen(ids=[id] if id else [], account=None if id else account) as listener:
        yield b": connected\n\n"
        sent, is_over = last or 0, False
        if id is not None or last is not None:
            try:
                async for missed in _replay(changes, account, id, last):
                    yield _event(missed)
                    sent, is_over = missed.id, missed.type in ENDS
            except DatabaseError:
                return  # the client resumes, from the last one that it got, when the database is back
        while not (id and is_over):
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    change = await listener.next()
            except TimeoutError:
                yield b": ping\n\n"
                continue
            if change is None:
                return  # the server ends: the client resumes at another, or at its next start
            if change.id > sent:
                yield _event(change)
                sent, is_over = change.id, change.type in ENDS
            if listener.is_behind and listener.is_empty():
                return  # changes were dropped: the client resumes from the last one that it got


async def _replay(changes: Changes, account: str, id: str | None, last: int | None) -> AsyncIterator[Change]:
    after, held = last or 0, None
    while True:
        batch = await in_thread(changes.after, after, account=account, generation_id=id, limit=BATCH)
        for change in batch:
            if last is None and change.type == "generation.progress":
                held = change
                continue
            if held is not None:
                yield held
                held = None
            yield change
        if len(batch) < BATCH:
            break
        after = batch[-1].id
    if held is not None:
        yield held


def _event(change: Change) -> bytes:
    return format_sse_event(
        data_str=json.dumps(change.data, separators=(",", ":")), event=change.type, id=str(change.id)
    )
