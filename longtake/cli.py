"""The command line. Each command imports what it needs when it runs, so that `--help` is there at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from longtake.admin import gc, keys, webhooks
from longtake.errors import DatabaseError, LongtakeError
from longtake.making import animate, bridge, extend, generate
from longtake.top import top


class Commands(click.Group):
    """A group that shows our own errors as one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LongtakeError as error:
            raise click.ClickException(_told(error)) from error

    def list_commands(self, _: click.Context) -> list[str]:
        """In the order in which they are written below: the likeliest first."""
        return list(self.commands)


def _told(error: LongtakeError) -> str:
    """With its cause where the database can't be used: on the command line whoever reads it may mend it."""
    why = str(error.__cause__ or "").partition("\n")[0].strip() if isinstance(error, DatabaseError) else ""
    return f"{error}: {why}" if why and why not in str(error) else str(error)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="longtake", message="longtake %(version)s")
def main() -> None:
    """Makes any video longer: after its end, before its start, or across the gap to another.

    \b
    The frames that were there are never touched. Some ways to begin:
      longtake extend holiday.mp4 -o longer.mp4
      longtake extend holiday.mp4 -o longer.mp4 --before --seconds 3
      longtake animate photo.jpg -o moving.mp4
      longtake bridge one.mp4 two.mp4 -o both.mp4
      longtake serve
    """


for command in (extend, animate, bridge, generate):
    main.add_command(command)


@main.command()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="The port to listen on; 0 takes a free one.  [default: 8000]")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The folder for everything that is kept."
)
@click.option("--no-worker", is_flag=True, help="Only answer; render nothing here.")
def serve(host: str | None, port: int | None, data: Path | None, no_worker: bool) -> None:
    """Serve the API. Prints the API key that it makes at its first start."""
    from longtake.app import House
    from longtake.log import set_up
    from longtake.serving import serve as run
    from longtake.settings import load

    settings = load(host=host, port=port, data=data)
    set_up(settings.log_format)
    house = House.open(settings)
    secret = house.first_key()

    def tell(address: str) -> None:
        if secret:
            click.echo(f"API key   {secret}   (shown only now; longtake keys create makes others)")
        else:
            another = "longtake keys create" + ("" if settings.database_url else f" --data {settings.data}")
            known = "LONGTAKE_API_KEY" if settings.api_key else "the one shown at the first start"
            click.echo(f"API key   {known}   ({another} makes another)")
        click.echo(f"Longtake  {address}")
        click.echo(f"Docs      {address}/docs")
        if not (settings.database_url and settings.store_url):
            click.echo(f"Data      {settings.data.resolve()}")
        sys.stdout.flush()

    run(house, with_worker=not no_worker, tell=tell)


@main.command(short_help="Render what servers take in; any number may run.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--engines", help="Render only what is for these, as in motion,diffusion.  [default: all there are]")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many generations to render at a time, of all engines together.",
)
@click.option("--parent-on-stdin", is_flag=True, hidden=True)
def worker(data: Path | None, engines: str | None, concurrency: int, parent_on_stdin: bool) -> None:
    """Render what servers on the same database take in (serve starts one by itself); any number may run."""
    able = tuple(name.strip() for name in engines.split(",")) if engines is not None else ()
    if not all(able):
        raise click.BadParameter("an engine's name is empty; names are separated by commas.", param_hint="--engines")
    from longtake.app import House
    from longtake.log import set_up
    from longtake.serving import work
    from longtake.settings import load

    settings = load(data=data)
    set_up(settings.log_format)
    work(House.open(settings), able=able, concurrency=concurrency, parent_on_stdin=parent_on_stdin)


for command in (keys, webhooks, top, gc):
    main.add_command(command)


@main.command("settings")
def show_settings() -> None:
    """List every setting: its variable, its default, what it does."""
    from longtake.settings import PREFIX, Settings

    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"  [default: {field.default}]"
        click.echo(f"{PREFIX}{name.upper()}{default}\n    {field.description}")
