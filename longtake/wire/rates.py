"""How many requests a key may send in a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from longtake.errors import LimitError
from longtake.records import Key

MINUTE_SECONDS = 60.0
MOST_KEYS = 10_000


class Rates:
    """The generic cell rate algorithm (ITU-T I.371): a key may send a minute's worth at once, and then at its rate.

    One time for each key: when what it has sent would have been sent at its rate. Held in this process alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def take(self, key: Key) -> None:
        """Counts one request. Raises LimitError where the key has to wait, and counts nothing then."""
        rate = key.limits.requests_per_minute
        if rate is None:
            return
        now, interval = self._clock(), MINUTE_SECONDS / rate
        until = max(now, self._until.get(key.id, now)) + interval
        if until - now > MINUTE_SECONDS + interval / 1e6:
            raise LimitError(
                f"the key may send {rate} requests a minute", retry_after_seconds=until - now - MINUTE_SECONDS
            )
        if len(self._until) >= MOST_KEYS:
            self._until = {id: at for id, at in self._until.items() if at > now}
        self._until[key.id] = until

    def left(self, key: Key) -> int | None:
        """How many more it may send at once; None: no limit."""
        rate = key.limits.requests_per_minute
        if rate is None:
            return None
        ahead = max(0.0, self._until.get(key.id, 0.0) - self._clock())
        return math.floor(rate * (MINUTE_SECONDS - ahead) / MINUTE_SECONDS + 1e-6)
