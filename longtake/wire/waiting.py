"""Who waits for what: one watcher thread for a process, however many clients wait."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from longtake.records import Change, Changes

T = TypeVar("T")
MOST_UNREAD = 2000
"""So many changes are kept for a client that does not read; after that it is let go, and may resume."""
RETRY_SECONDS = 1.0
STOP_SECONDS = 3.0
"""A watcher that waits for a database that does not answer is left behind: its thread ends with the process."""

log = logging.getLogger(__name__)


class Listener:
    """One client's changes, in order."""

    def __init__(self) -> None:
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self.is_behind = False
        """True where the client read so slowly that changes were dropped."""

    def put(self, change: Change) -> None:
        if self._changes.qsize() >= MOST_UNREAD:
            self.is_behind = True
        else:
            self._changes.put_nowait(change)

    def let_go(self) -> None:
        self._changes.put_nowait(None)

    async def next(self) -> Change | None:
        """None: it was let go, after all that came before."""
        return await self._changes.get()

    def is_empty(self) -> bool:
        return self._changes.empty()


class Waiting:
    """Wakes clients when a process, ours or another, has committed a change. One for an event loop."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._listeners: set[Listener] = set()
        self._by_id: defaultdict[str, set[Listener]] = defaultdict(set)
        self._by_account: defaultdict[str, set[Listener]] = defaultdict(set)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._delivered = 0
        """Batches of changes."""
        self._looks: dict[tuple[Hashable, int], asyncio.Task[Any]] = {}
        self._is_over = False

    @property
    def num_waiting(self) -> int:
        return len(self._listeners)

    def let_go(self) -> None:
        """From now on nobody waits: streams end after what they have got, long polls answer with what is there."""
        self._is_over = True
        for listener in self._listeners:
            listener.let_go()

    def start(self) -> None:
        """Must be called in the event loop that the clients are served by."""
        loop = asyncio.get_running_loop()
        self._stop.clear()
        self._last = self._changes.last_id()
        self._thread = threading.Thread(target=self._watch, args=(loop,), name="longtake-changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=STOP_SECONDS)
            self._thread = None

    @contextmanager
    def listen(self, *, ids: Iterable[str] = (), account: str | None = None) -> Iterator[Listener]:
        """Changes of these generations, or of all of an account, from now on."""
        listener = Listener()
        places = [(self._by_id, id) for id in ids]
        if account is not None:
            places.append((self._by_account, account))
        for place, name in places:
            place[name].add(listener)
        self._listeners.add(listener)
        if self._is_over:
            listener.let_go()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            for place, name in places:
                place[name].discard(listener)
                if not place[name]:
                    place.pop(name, None)

    async def until(
        self,
        name: Hashable,
        ids: Iterable[str],
        look: Callable[[], Coroutine[Any, Any, T]],
        is_done: Callable[[T], bool],
        *,
        seconds: float,
    ) -> T:
        """What `look` finds as soon as it `is_done`, or after `seconds`. Looks again at each change of state of `ids`.

        Clients that give the same `name` share their looks, and so what is made of what was found: `look` must find
        the same for all of them.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self.listen(ids=ids) as listener:
            found = await self._shared(name, look)
            while not is_done(found):
                try:
                    async with asyncio.timeout_at(deadline):
                        while (change := await listener.next()) and change.type == "generation.progress":
                            pass
                except TimeoutError:
                    change = None
                found = await self._shared(name, look)
                if change is None:
                    break
        return found

    async def _shared(self, name: Hashable, look: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One look for all who ask while it runs and nothing has changed since it began."""
        at = (name, self._delivered)
        task: asyncio.Task[T] | None = self._looks.get(at)
        if task is None:
            task = self._looks[at] = asyncio.create_task(look())

            def forget(done: asyncio.Task[T]) -> None:
                del self._looks[at]
                if not done.cancelled():
                    done.exception()  # those who wait raise it; where nobody does any more, it is not worth a warning

            task.add_done_callback(forget)
        return await asyncio.shield(task)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell(batch: list[Change]) -> None:
            self._last = max(self._last, batch[-1].id)  # what commits late comes late, with a smaller number
            loop.call_soon_threadsafe(self._deliver, batch)

        while not self._stop.is_set():
            try:
                self._changes.watch(tell, self._stop, after=self._last)
            except Exception:
                if loop.is_closed():
                    return
                log.exception("the watcher of changes failed and begins again")
                self._stop.wait(RETRY_SECONDS)

    def _deliver(self, batch: list[Change]) -> None:
        self._delivered += 1
        for change in batch:
            for listener in self._by_id.get(change.generation_id, ()):
                listener.put(change)
            for listener in self._by_account.get(change.account, ()):
                listener.put(change)
