"""A file that comes in parts, wherever it grows."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from longtake.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer

ID = re.compile(r"[0-9a-f-]{36}")


class PartialFile(ABC):
    """A file that grows, open. Not for two threads at a time."""

    size: int
    """How many bytes are there, from the first on without a gap."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Appends. Raises StoreError, with as much written as went."""

    @abstractmethod
    def distrust(self) -> None:
        """What is written from now on counts only after `trust`: a kill, or `roll_back`, takes it away."""

    @abstractmethod
    def trust(self) -> None:
        """What was written is good, and outlives a power cut."""

    @abstractmethod
    def roll_back(self) -> None:
        """Takes away what was written since `distrust`; without that, all that was written is there."""

    @abstractmethod
    def cut(self, size: int) -> None:
        """Takes away what was written, since it was opened, beyond `size` bytes; some before that may go too."""

    @abstractmethod
    def empty(self) -> None:
        """Takes away all of its bytes, whoever brought them; it stays open."""

    @abstractmethod
    def remove(self) -> None:
        """All of it; nobody else opens it until `close`, where others can be kept off."""

    @abstractmethod
    def whole(self) -> AbstractContextManager[Path]:
        """All of its bytes as a file that may be moved away: this one is still there after a kill."""

    @abstractmethod
    def close(self) -> None: ...


class Place(Protocol):
    """Where they grow. Ids are the uploads'."""

    def open(self, id: str) -> PartialFile | None:
        """Makes it where it is missing. None where another request, of any process, is known to have it open."""

    def size(self, id: str) -> int:
        """How many bytes are there, from the first on without a gap."""

    def touched_at(self, id: str) -> float:
        """When its last byte came, in Unix seconds; 0 where none has."""

    def ids(self) -> Collection[str]:
        """Of all of which something is there."""

    def sweep(self) -> None:
        """Removes what processes that died had in hand."""


@contextmanager
def told(message: str = "could not keep what came") -> Iterator[None]:
    """Turns what this machine's disk raises into StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{message}: {error.strerror}", retryable=True) from error
