"""Who has an unfinished upload in hand: one request at a time, which receives into it, finishes it or ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from fastapi import Request
from starlette.exceptions import HTTPException

from longtake.errors import TooLargeError
from longtake.incoming import PartialFile
from longtake.records import PartialUpload
from longtake.wire.digests import Checksum
from longtake.wire.door import Door, in_thread
from longtake.wire.uploads import receive

IDLE_SECONDS = 60.0
"""A request that brings no byte for so long is broken off; what came is kept."""
PATIENCE_SECONDS = 20.0
"""How long a question waits for the request that has the upload in hand."""


@dataclass(slots=True)
class Holding:
    """A request of this process that has an upload in hand."""

    account: str
    scope: anyio.CancelScope | None = None
    """While it receives: to break it off."""
    done: anyio.Event = field(default_factory=anyio.Event)


class Hands:
    """All of this process; against other processes the file's own lock stands."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._incoming = door.front.service.incoming
        self._holding: dict[str, Holding] = {}
        door.when_leaving(self._break_off)

    async def settle(self, partial: PartialUpload | None) -> int:
        """How much is there. What is whole, but was not kept for a kill in the midst of that, is kept now."""
        assert partial
        offset = await in_thread(self._incoming.offset, partial)
        if offset == partial.num_bytes:
            async with self.hold(partial) as (file, _):
                if file.size == partial.num_bytes:
                    await self._door.finish(partial, file)
        return offset

    @asynccontextmanager
    async def hold(self, partial: PartialUpload) -> AsyncIterator[tuple[PartialFile, Holding]]:
        """The file, locked against all others. Raises 423 where another request has it, UnknownError."""
        busy = HTTPException(423, f"another request sends to upload {partial.id}")
        if partial.id in self._holding:
            raise busy
        holding = self._holding[partial.id] = Holding(partial.account)
        try:
            file = await in_thread(self._incoming.open, partial)
            if file is None:
                raise busy
            try:
                yield file, holding
            finally:
                with anyio.CancelScope(shield=True):
                    await in_thread(file.close)
        finally:
            del self._holding[partial.id]
            holding.done.set()

    async def wait(self, id: str, account: str, *, break_off: bool) -> None:
        """Until no request of this process has the upload in hand, but not for ever. Not for other accounts."""
        holding = self._holding.get(id)
        if holding is None or holding.account != account:
            return
        if break_off and holding.scope:
            holding.scope.cancel()
        with anyio.move_on_after(PATIENCE_SECONDS):
            await holding.done.wait()

    def _break_off(self) -> None:
        for holding in self._holding.values():
            if holding.scope:
                holding.scope.cancel()

    def _patience_ends(self) -> float:
        return anyio.current_time() + (0.0 if self._door.is_leaving else IDLE_SECONDS)

    async def receive(
        self, request: Request, partial: PartialUpload, file: PartialFile, holding: Holding, checksum: Checksum | None
    ) -> None:
        """The body → the end of the file. Of one that breaks off what came is kept, unless it has a checksum."""
        start = file.size

        def take(data: bytes) -> None:
            if file.size + len(data) > partial.num_bytes:
                file.cut(start)
                raise TooLargeError(f"upload {partial.id} has {partial.num_bytes} bytes in all; more were sent")
            if checksum:
                checksum.update(data)
            file.write(data)

        length = request.headers.get("content-length", "0")
        if length.isdigit() and start + int(length[:20]) > partial.num_bytes:
            raise TooLargeError(f"upload {partial.id} has {partial.num_bytes} bytes in all; more are announced")
        if checksum:
            await in_thread(file.distrust)
        try:
            with anyio.CancelScope(deadline=self._patience_ends()) as scope:
                holding.scope = scope

                def tell() -> None:
                    scope.deadline = self._patience_ends()

                await receive(request, take, tell)
            holding.scope = None
            if scope.cancelled_caught:
                self._door.check_open()
                raise HTTPException(408, f"broken off, with {file.size} bytes there: no byte came, or another asked")
            if checksum and not checksum.is_met:
                raise HTTPException(460, f"the part's {checksum}")
            await in_thread(file.trust)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await in_thread(file.roll_back)
            raise
