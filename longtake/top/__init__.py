"""`longtake top`: workers, queues and what runs, as tables in the terminal."""

from longtake.top.command import top

__all__ = ["top"]
