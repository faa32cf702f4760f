"""How many requests a key may send in a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import anyio.to_thread

from longtake.errors import LimitError
from longtake.records import Key
from longtake.records.rates import MINUTE_SECONDS

MOST_KEYS = 10_000


class Rates:
    """The generic cell rate algorithm (ITU-T I.371): a key may send a minute's worth at once, and then at its rate.

    One time for each key: when what it has sent would have been sent at its rate. Held in this process alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    async def count(self, key: Key) -> None:
        """`take`, from the event loop."""
        self.take(key)

    async def room(self, key: Key) -> int | None:
        """`left`, from the event loop."""
        return self.left(key)

    def take(self, key: Key) -> None:
        """Counts one request. Raises LimitError where the key has to wait, and counts nothing then."""
        rate = key.limits.requests_per_minute
        if rate is None:
            return
        wait = self._take(key.id, rate, self._clock())
        if wait > 0:
            raise LimitError(f"the key may send {rate} requests a minute", retry_after_seconds=wait)

    def left(self, key: Key) -> int | None:
        """How many more it may send at once; None: no limit."""
        rate = key.limits.requests_per_minute
        if rate is None:
            return None
        ahead = self._ahead(key.id, self._clock())
        return max(0, math.floor(rate * (MINUTE_SECONDS - ahead) / MINUTE_SECONDS + 1e-6))

    def _take(self, key_id: str, rate: int, now: float) -> float:
        """How many seconds the key has to wait; 0: not at all, and the request is counted."""
        interval = MINUTE_SECONDS / rate
        until = max(now, self._until.get(key_id, now)) + interval
        if until - now > MINUTE_SECONDS + interval / 1e6:
            return until - now - MINUTE_SECONDS
        if len(self._until) >= MOST_KEYS:
            self._until = {id: at for id, at in self._until.items() if at > now}
        self._until[key_id] = until
        return 0.0

    def _ahead(self, key_id: str, now: float) -> float:
        """How many seconds' worth of its rate the key has sent ahead."""
        return max(0.0, self._until.get(key_id, 0.0) - now)


class SharedRates(Rates):
    """The same, counted in the database that all fronts share; by their clocks, which must agree to a second or so."""

    def __init__(
        self,
        count_request: Callable[[str, int, float], float],
        seconds_ahead: Callable[[str, float], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`records.count_request` and `records.seconds_ahead` on that database: both block."""
        super().__init__(clock)
        self._count_request = count_request
        self._seconds_ahead = seconds_ahead

    async def count(self, key: Key) -> None:
        if key.limits.requests_per_minute is not None:
            await anyio.to_thread.run_sync(self.take, key)

    async def room(self, key: Key) -> int | None:
        return await anyio.to_thread.run_sync(self.left, key)

    def _take(self, key_id: str, rate: int, now: float) -> float:
        return self._count_request(key_id, rate, now)

    def _ahead(self, key_id: str, now: float) -> float:
        return self._seconds_ahead(key_id, now)
