"""Objects in memory, for tests and short runs."""

from __future__ import annotations

from obstore.store import MemoryStore

from longtake.store.objects import Objects


class Memory(Objects):
    """They end with the process."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
