"""How long work learns that nobody waits for it any more.

Rendering works in a thread of its own, which nobody can stop from outside: it has to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, local

from longtake.errors import Cancelled

_OF_THREAD = local()


@contextmanager
def stopping(event: Event) -> Iterator[None]:
    """While this lasts, `go_on` in this thread raises Cancelled once `event` is set. Other threads hear nothing."""
    outer = event_of_thread()
    _OF_THREAD.event = event
    try:
        yield
    finally:
        _OF_THREAD.event = outer


def event_of_thread() -> Event | None:
    """What `stopping` holds this thread to, so that it can hold those that work for it to the same."""
    event: Event | None = getattr(_OF_THREAD, "event", None)
    return event


def go_on() -> None:
    """What each loop that can run for more than some 50 ms asks at each turn; it costs 0.1 µs.

    Raises Cancelled where the rendering that this thread works for was given up. Let it pass: who catches it, goes on.
    """
    event = event_of_thread()
    if event is not None and event.is_set():
        raise Cancelled("the rendering was given up")
