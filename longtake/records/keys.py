"""API keys: shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import AuthError, UnknownError
from longtake.records.database import insert, lock_account
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
        secret, own = secret or _new_secret(), limits or NO_LIMITS
        key = Key(_new_id(), account, name, limit, time.time(), None, own.over(self.limits))
        with self._engine.begin() as connection:
            connection.execute(sa.insert(keys).values(_row(key, own, secret)))
        return key, secret

    def create_first(self, name: str) -> str | None:
        """The secret of a new key where there is none at all, not even a revoked one; None where there is one.

        Of several processes that ask at once, one makes it.
        """
        key, secret = Key(_new_id(), FIRST_ACCOUNT, name, None, time.time(), None), _new_secret()
        with self._engine.begin() as connection:
            lock_account(connection, FIRST_ACCOUNT)
            if connection.execute(sa.select(sa.exists().select_from(keys))).scalar_one():
                return None
            connection.execute(sa.insert(keys).values(_row(key, NO_LIMITS, secret)))
        return secret

    def ensure(self, secret: str) -> Key:
        """The key with this secret, made where there is none: what `LONGTAKE_API_KEY` asks for.

        Of several processes that ask at once, one makes it. Raises AuthError where it was revoked.
        """
        query = sa.select(keys).where(keys.c.hash == _hash(secret))
        with read_only(self._engine).begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            key = Key(_new_id(), FIRST_ACCOUNT, "from the environment", None, time.time(), None)
            with self._engine.begin() as connection:
                first = insert(connection, keys).values(_row(key, NO_LIMITS, secret))
                connection.execute(first.on_conflict_do_nothing(index_elements=[keys.c.hash]))
                row = connection.execute(query).one()
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


def _new_id() -> str:
    return "key-" + secrets.token_hex(6)


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _row(key: Key, own: Limits, secret: str) -> dict[str, Any]:
    named = {name: getattr(key, name) for name in ("id", "account", "name", "credits", "created_at")}
    return {**named, "hash": _hash(secret), **asdict(own)}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
