"""API keys: shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from longtake.errors import AuthError, UnknownError
from longtake.records.database import read_only
from longtake.records.tables import generations, keys

PREFIX = "lt-"
FIRST_ACCOUNT = "default"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored: without its secret."""

    id: str
    account: str
    name: str
    credits: float | None
    """How many it may use in all; None: no limit."""
    created_at: float
    revoked_at: float | None


class Keys:
    """Makes, checks and revokes keys."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(
        self, name: str, *, account: str = FIRST_ACCOUNT, limit: float | None = None, secret: str | None = None
    ) -> tuple[Key, str]:
        """A new key with its secret, which is not stored. `limit`: credits it may use. `secret`: a given one."""
        secret = secret or PREFIX + secrets.token_urlsafe(32)
        key = Key("key-" + secrets.token_hex(6), account, name, limit, time.time(), None)
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(keys).values(
                    id=key.id,
                    account=account,
                    name=name,
                    hash=_hash(secret),
                    credits=limit,
                    created_at=key.created_at,
                )
            )
        return key, secret

    def ensure(self, secret: str) -> Key:
        """The key with this secret, made where there is none: what `LONGTAKE_API_KEY` asks for.

        Raises AuthError where it was revoked.
        """
        with read_only(self._engine).begin() as connection:
            row = connection.execute(sa.select(keys).where(keys.c.hash == _hash(secret))).one_or_none()
        if row is None:
            return self.create("from the environment", secret=secret)[0]
        if row.revoked_at is not None:
            raise AuthError(f"the key {row.id} was revoked")
        return _key(row)

    def check(self, secret: str) -> Key:
        """The key that `secret` opens. Raises AuthError.

        A plain SHA-256 is right here: the secrets are 256 random bits, which nobody can guess or tabulate.
        """
        with read_only(self._engine).begin() as connection:
            row = connection.execute(
                sa.select(keys).where(keys.c.hash == _hash(secret), keys.c.revoked_at.is_(None))
            ).one_or_none()
        if row is None:
            raise AuthError("Invalid API key is provided")
        return _key(row)

    def all(self) -> list[Key]:
        with read_only(self._engine).begin() as connection:
            return [_key(row) for row in connection.execute(sa.select(keys).order_by(keys.c.created_at))]

    def revoke(self, id: str) -> None:
        """From now on the key opens nothing. Raises UnknownError."""
        with self._engine.begin() as connection:
            revoked = connection.execute(
                sa.update(keys).where(keys.c.id == id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
            )
        if not revoked.rowcount:
            raise UnknownError(f"there is no key {id} that is not revoked")

    def used(self, id: str) -> float:
        """The credits that the key's generations took; a failed one takes none."""
        total = sa.select(sa.func.coalesce(sa.func.sum(generations.c.credits), 0.0)).where(
            generations.c.key_id == id, generations.c.state != "failed"
        )
        with read_only(self._engine).begin() as connection:
            return float(connection.execute(total).scalar_one())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    data = row._mapping
    return Key(data["id"], data["account"], data["name"], data["credits"], data["created_at"], data["revoked_at"])
