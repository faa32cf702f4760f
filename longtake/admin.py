"""Commands for those who run a server: keys and webhooks. Each imports what it needs when it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longtake.errors import CallerError

if TYPE_CHECKING:
    from longtake.app import House
    from longtake.records import Keys, Limits, Records
    from longtake.settings import Settings


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("create")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--name", default="", help="What the key is for.")
@click.option("--account", default="default", show_default=True, help="Whose generations it sees and makes.")
@click.option("--credits", "limit", type=float, help="Seconds of video that it may render in all; none: no limit.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="How many requests it may send.")
@click.option("--at-once", type=click.IntRange(1), help="How many of its generations may be queued or rendered.")
@click.option("--seconds-per-day", type=click.FloatRange(0, min_open=True), help="Of video that it may order.")
def create_key(
    data: Path | None,
    name: str,
    account: str,
    limit: float | None,
    requests_per_minute: int | None,
    at_once: int | None,
    seconds_per_day: float | None,
) -> None:
    """Make a key. It is shown once and stored as a hash.

    Where no limit is given, those of the server's settings hold.
    """
    from longtake.records import Limits

    limits = Limits(requests_per_minute, at_once, seconds_per_day)
    _, secret = _keys(data).create(name, account=account, limit=limit, limits=limits)
    click.echo(secret)


@keys.command("list")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
def list_keys(data: Path | None) -> None:
    """List the keys, without their secrets."""
    from datetime import UTC, datetime

    for key in _keys(data).all():
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        limit = ("no limit" if key.credits is None else f"{key.credits:g} credits") + _own(key.limits)
        click.echo(
            f"{key.id}  {'revoked' if key.revoked_at else 'active ':7}  {made}  {key.account}  {limit}  {key.name}"
        )


def _own(limits: Limits) -> str:
    """A key's own limits in words."""
    words = {
        "requests_per_minute": "{:g} requests/min",
        "generations_at_once": "{:g} at once",
        "seconds_per_day": "{:g} s/day",
    }
    given = ((text, getattr(limits, name)) for name, text in words.items())
    return "".join(f", {text.format(value)}" for text, value in given if value is not None)


@keys.command("revoke")
@click.argument("id")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
def revoke_key(id: str, data: Path | None) -> None:
    """Let the key ID open nothing from now on."""
    _keys(data).revoke(id)
    click.echo(f"{id} is revoked")


@click.group(short_help="What clients' own addresses were told; send it again.")
def webhooks() -> None:
    """What was told to clients' own addresses: list it, send it again, show what it is signed with."""


@webhooks.command("list")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--state", type=click.Choice(["waiting", "delivered", "given_up"]), help="Only those.")
@click.option("--generation", "generation_id", help="Only those of this generation.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many, the newest.")
def list_webhooks(data: Path | None, state: Any, generation_id: str | None, limit: int) -> None:
    """List webhooks, newest first: what was told, where to, and what the last try met."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    with _records(data) as records:
        found = records.webhooks.page(state=state, generation_id=generation_id, limit=limit)
    table = Table("number", "generation", "event", "state", "tries", "next try", "address", "problem", box=None)
    for one in found:
        next_try = "" if one.next_at is None else _local_time(one.next_at)
        told = (one.generation_id, one.event, one.state, str(one.tries), next_try)
        table.add_row(str(one.number), *told, escape(one.url), escape(one.problem or ""))
    Console(width=None if sys.stdout.isatty() else 250).print(table)


@webhooks.command("redeliver")
@click.argument("numbers", type=int, nargs=-1)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--given-up", is_flag=True, help="All that were given up.")
def redeliver(numbers: tuple[int, ...], data: Path | None, given_up: bool) -> None:
    """Send the webhooks NUMBERS once more; a worker does it as soon as one runs."""
    if not numbers and not given_up:
        raise CallerError("name the webhooks by their numbers (longtake webhooks list), or say --given-up")
    with _records(data) as records:
        if given_up:
            numbers += tuple(one.number for one in records.webhooks.page(state="given_up", limit=100_000))
        for number in numbers:
            records.webhooks.get(number)  # none is sent where one of them is not there
        for number in dict.fromkeys(numbers):
            records.webhooks.redeliver(number)
            click.echo(f"webhook {number} is on its way")


@webhooks.command("secret")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--account", default="default", show_default=True, help="Whose orders name the addresses.")
@click.option("--house", is_flag=True, help="What is sent to LONGTAKE_WEBHOOK_URL, instead.")
def show_secret(data: Path | None, account: str, house: bool) -> None:
    """Show the secret that webhooks are signed with: receivers check their signatures by it."""
    import base64

    from longtake.webhooks import SECRET_PREFIX, secret_of

    secret = secret_of(_house(data).webhook_secret(), "" if house else account)
    click.echo(SECRET_PREFIX + base64.b64encode(secret).decode())


def _keys(data: Path | None) -> Keys:
    from longtake.records import Keys, migrate, open_database

    database = open_database(_settings(data).database)
    migrate(database)
    return Keys(database)


def _house(data: Path | None) -> House:
    from longtake.app import House

    return House.open(_settings(data), marks=False)


def _settings(data: Path | None) -> Settings:
    """Those of a server that was started before, so that a typo makes no new one."""
    from longtake.settings import load

    settings = load(data=data)
    if settings.database_url is None and not settings.data.is_dir():
        raise CallerError(f"there is no data folder {settings.data}; longtake serve makes one, --data names another")
    return settings


@contextmanager
def _records(data: Path | None) -> Iterator[Records]:
    """Those of a server, which may run meanwhile."""
    from longtake.records import Records
    from longtake.workflows import Workflows

    house = _house(data)
    workflows = Workflows(house.url)
    try:
        yield Records(house.database, workflows.enqueue, workflows.enqueue_webhook)
    finally:
        workflows.close()
        house.database.dispose()


def _local_time(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """`90s`, `15m`, `1h`, `30d` → seconds."""
    number, unit = text[:-1], {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(text[-1:])
    if unit is None or not number.isdecimal():
        raise click.BadParameter(f"a number and s, m, h or d, such as 90s, 1h or 30d; got {text!r}")
    return int(number) * unit


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be removed.")
@click.option(
    "--older-than",
    callback=_seconds,
    default="1h",
    show_default=True,
    help="Objects that were put so long ago. Less than a few minutes takes uploads that are put and not yet recorded.",
)
@click.option(
    "--events-older-than", callback=_seconds, default="30d", show_default=True, help="Events of what ended before."
)
@click.option("--json", "as_json", is_flag=True, help="Say it as one line of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Name each object.")
def gc(
    data: Path | None, dry_run: bool, older_than: float, events_older_than: float, as_json: bool, verbose: bool
) -> None:
    """Remove what no video and no record needs any more. Safe while the server runs, on any machine.

    Objects that nothing names; events of generations that ended long ago, but the last of each; workflows that ended
    7 days ago; generations that were deleted 30 days ago and that nobody has extended.
    """
    import json
    from contextlib import closing

    from rich.console import Console

    from longtake.app import House
    from longtake.garbage import Ages, Collector
    from longtake.records import Records
    from longtake.records.needed import Needs
    from longtake.workflows.history import History

    house = House.open_marked(_settings(data), migrates=not dry_run)
    console = Console(stderr=True, quiet=verbose)  # its line would stand among the names
    with closing(History(house.url)) as history, console.status("looking") as status:
        report = Collector(
            Records(house.database, lambda *_: None),
            Needs(house.database),
            house.store,
            history,
            Ages(objects=older_than, events=events_older_than),
            dry_run=dry_run,
            tell=lambda one: click.echo(f"{one.key}  {one.num_bytes}", err=as_json) if verbose else None,
            look=lambda so_far: status.update(f"{so_far.num_seen:,} objects looked at"),
        ).run()
    house.database.dispose()
    click.echo(json.dumps(report.to_json()) if as_json else "\n".join(report.lines(dry_run=dry_run)))
    if report.num_stuck:
        raise SystemExit(1)
