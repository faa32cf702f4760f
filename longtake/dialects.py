"""SQLite and Postgres: how each is addressed, and what is said to them alike by all who open a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa

from longtake.errors import CallerError

POSTGRES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")
FIELD: Final = "LONGTAKE_DATABASE_URL"
EXAMPLE: Final = "one looks like postgresql://USER:PASSWORD@HOST:5432/DATABASE"


class Keepalives(NamedTuple):
    """How soon a peer is noticed that has vanished without a word: idle + probes × interval."""

    idle_seconds: int
    interval_seconds: int
    num_probes: int
    unacknowledged_milliseconds: int
    """The same while something is sent and not acknowledged: TCP does not probe then."""

    def of_server(self) -> dict[str, str]:
        """Settings of a session, by which the server notices that we have."""
        idle, interval, num = map(str, self[:3])
        return {"tcp_keepalives_idle": idle, "tcp_keepalives_interval": interval, "tcp_keepalives_count": num}

    def of_client(self) -> dict[str, int]:
        """Words of libpq, by which we notice that the server has."""
        return {
            "keepalives_idle": self.idle_seconds,
            "keepalives_interval": self.interval_seconds,
            "keepalives_count": self.num_probes,
            "tcp_user_timeout": self.unacknowledged_milliseconds,
        }


def is_postgres(url: str) -> bool:
    return url.startswith(POSTGRES)


def address_of(url: str) -> sa.URL:
    """`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE` in its parts; of Postgres the driver is psycopg.

    Raises CallerError, which names the setting and tells no password.
    """
    try:
        address = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except (ValueError, sa.exc.ArgumentError):  # whose texts may hold a password
        if is_postgres(url):
            raise _no_address("postgresql://… is no address of a database, its port is no number") from None
        raise _no_address("must be postgresql://… or sqlite:///…") from None
    kind = address.get_backend_name()
    if kind not in ("postgresql", "sqlite"):
        raise _no_address(f"must be postgresql://… or sqlite:///…, got {kind}://…")
    if "@" in (address.host or ""):
        raise _no_address("an @ in the password is to be written %40")
    if not address.database:
        raise _no_address(f"must name the database: {kind}://…/NAME")
    if kind == "sqlite":
        return address
    _check_options(address)
    return address.set(drivername="postgresql+psycopg")


def session_options(address: sa.URL, settings: Mapping[str, str]) -> str:
    """libpq's `options`: a session opened with these settings, and with those of the address, which go before them."""
    given = address.query.get("options", "")
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"{ours} {given if isinstance(given, str) else ' '.join(given)}".rstrip()


def read_only(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read.

    On SQLite they never wait for a writer. On Postgres each statement is its own transaction, and one round trip.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(read_only=True)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _check_options(address: sa.URL) -> None:
    from psycopg import pq  # loads libpq, which SQLite needs not

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name in address.query:
        if name not in known:
            raise _no_address(f"Postgres knows no option {name!r}")


def _no_address(why: str) -> CallerError:
    return CallerError(f"{FIELD}: {why}; {EXAMPLE}", field=FIELD)
