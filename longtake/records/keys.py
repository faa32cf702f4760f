"""API keys: shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from longtake.errors import AuthError, UnknownError
from longtake.records.database import read_only
from longtake.records.limits import NO_LIMITS, Limits, Usage, usage
from longtake.records.tables import keys

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
    limits: Limits = NO_LIMITS
    """Its own, and where it has none, those of the house."""


class Keys:
    """Makes, checks and revokes keys. `limits` hold for keys that have none of their own."""

    def __init__(self, engine: sa.Engine, limits: Limits | None = None) -> None:
        self._engine = engine
        self.limits = limits or NO_LIMITS

    def create(
        self,
        name: str,
        *,
        account: str = FIRST_ACCOUNT,
        limit: float | None = None,
        limits: Limits | None = None,
        secret: str | None = None,
    ) -> tuple[Key, str]:
        """A new key with its secret, which is not stored. `limit`: credits it may use. `secret`: a given one."""
        secret, own = secret or PREFIX + secrets.token_urlsafe(32), limits or NO_LIMITS
        id = "key-" + secrets.token_hex(6)
        key = Key(id, account, name, limit, time.time(), None, own.over(self.limits))
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(keys).values(
                    id=key.id,
                    account=account,
                    name=name,
                    hash=_hash(secret),
                    credits=limit,
                    created_at=key.created_at,
                    **asdict(own),
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
        return self._key(row)

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
        return self._key(row)

    def all(self) -> list[Key]:
        with read_only(self._engine).begin() as connection:
            return [self._key(row) for row in connection.execute(sa.select(keys).order_by(keys.c.created_at))]

    def revoke(self, id: str) -> None:
        """From now on the key opens nothing. Raises UnknownError."""
        with self._engine.begin() as connection:
            revoked = connection.execute(
                sa.update(keys).where(keys.c.id == id, keys.c.revoked_at.is_(None)).values(revoked_at=time.time())
            )
        if not revoked.rowcount:
            raise UnknownError(f"there is no key {id} that is not revoked")

    def usage(self, id: str) -> Usage:
        """What the key's generations take."""
        with read_only(self._engine).begin() as connection:
            return usage(connection, id, time.time())

    def _key(self, row: sa.Row[tuple[object, ...]]) -> Key:
        data = row._mapping
        own = Limits(**{name: data[name] for name in Limits.__dataclass_fields__})
        named = ("id", "account", "name", "credits", "created_at", "revoked_at")
        return Key(**{name: data[name] for name in named}, limits=own.over(self.limits))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
