"""Creates that come twice: who heard no answer sends the order again, and gets the generation of the first try."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from longtake.errors import ConflictError
from longtake.records.database import insert
from longtake.records.tables import creates

KEPT_SECONDS = 86400.0
"""How long an `Idempotency-Key` holds."""
RETRY_SECONDS = 120.0
"""How long after its first try a repeat that carries no key is known as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A create request, as far as it tells whether it came before."""

    key_id: str
    digest: str
    """Of what is asked for."""
    name: str | None = None
    """The client's `Idempotency-Key`."""
    is_retry: bool = False
    """The client says that it sent this before, and that no answer came."""
    received_at: float
    """In Unix seconds."""

    @property
    def names(self) -> tuple[str, ...]:
        """What it is kept under."""
        unnamed = f"body:{self.key_id}:{self.digest}"
        return (unnamed, f"name:{self.name}") if self.name else (unnamed,)


def made_by(connection: sa.Connection, account: str, create: Create) -> str | None:
    """The id of the generation that this create has made already; None where it is the first.

    Raises ConflictError where its name stands for another order.
    """
    where = [creates.c.account == account, creates.c.name == create.names[-1]]
    row = connection.execute(sa.select(creates).where(*where)).one_or_none()
    if row is None:
        return None
    id: str = row.generation_id
    if create.name is not None:
        if row.created_at < create.received_at - KEPT_SECONDS:
            return None
        if row.digest != create.digest:
            raise ConflictError(
                f"Idempotency-Key {create.name[:80]} came with another body before: choose another key",
                field="Idempotency-Key",
            )
        return id
    if create.is_retry:
        return id if row.created_at >= create.received_at - RETRY_SECONDS else None
    # The first try itself, overtaken by its own repeat: it was on its way for longer than its client would wait.
    return id if row.is_retry and row.created_at >= create.received_at else None


def keep(connection: sa.Connection, account: str, create: Create, generation_id: str, now: float) -> None:
    """From now on the same create makes nothing more. What is too old to matter goes."""
    mine = creates.c.account == account, creates.c.created_at < now - KEPT_SECONDS
    connection.execute(sa.delete(creates).where(*mine))
    kept = {"digest": create.digest, "generation_id": generation_id, "is_retry": create.is_retry, "created_at": now}
    rows = [{"account": account, "name": name, **kept} for name in create.names]
    place = [creates.c.account, creates.c.name]
    statement = insert(connection, creates).values(rows)
    connection.execute(statement.on_conflict_do_update(index_elements=place, set_=kept))
