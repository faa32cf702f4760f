"""The command `longtake top`. Imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from longtake.errors import CallerError, WorldError

if TYPE_CHECKING:
    from longtake.top.overview import Overview

REFRESH_SECONDS: Final = 1.0
PIPE_COLUMNS: Final = 140
ALL_LINES: Final = 1_000_000
QUIT: Final = frozenset(b"qQ\x03")
_SEQUENCE: Final = re.compile(rb"\x1b(?:\[\[[@-~]|\[[0-?]*[ -/]*[@-Z\\-~]|O[0-?]*[@-~])")
"""Of a key that is no character (ECMA-48, 5.4; xterm's SS3; `[[` is the Linux console's)."""
_BEGUN: Final = re.compile(rb"\x1b(?:\[\[|\[[0-?]*[ -/]*|O[0-?]*)?\Z")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server.")
@click.option("--once", is_flag=True, help="Print it once, all of it, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print it once, as JSON.")
def top(data: Path | None, once: bool, as_json: bool) -> None:
    """Show workers, queues and what runs, anew every second; q leaves.

    Reads the database alone: it may run wherever that can be reached, and shows workers of all machines.
    """
    url, name = _address(data)
    from longtake.top.reading import looking

    with looking(url) as looker:
        if as_json:
            click.echo(json.dumps(looker.look().to_json(), indent=2))
        elif once or not sys.stdout.isatty():
            _print(looker.look(), name)
        else:
            _watch(looker.look, name)


def _address(data: Path | None) -> tuple[str, str]:
    """Of the database, and what it is called on the screen: without a password. Raises CallerError."""
    from longtake.settings import load

    settings = load(data=data)
    if settings.database_url:
        return settings.database_url, _name(settings.database_url)
    file = (settings.data / "longtake.db").resolve()
    if not file.is_file():
        raise CallerError(f"there is no database {file}; longtake serve makes one, --data names another folder")
    return f"sqlite:///{file}", str(file)


def _name(url: str) -> str:
    """Where the database is: kind, host, port and name, and nothing that is secret. Raises CallerError."""
    from longtake.dialects import address_of, is_postgres

    if not is_postgres(url):
        return url
    address = address_of(url)
    host = f"[{address.host}]" if ":" in (address.host or "") else address.host or ""
    return f"postgresql://{host}{f':{address.port}' if address.port else ''}/{address.database or ''}"


def _print(seen: Overview, name: str) -> None:
    from rich.console import Console

    from longtake.top.drawing import drawn

    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    console.print(drawn(seen, width=console.width, height=ALL_LINES, source=name))


def _watch(look: Callable[[], Overview], name: str) -> None:
    """Until q. While the database is away, what was seen last stays, and the title says so."""
    from rich.console import Console
    from rich.live import Live

    from longtake.top.drawing import drawn

    seen, console = look(), Console()
    with _keys() as leaves, Live(console=console, screen=True, auto_refresh=False) as live:
        hint = "q leaves"
        while True:
            size = console.size
            live.update(drawn(seen, width=size.width, height=size.height, source=name, hint=hint), refresh=True)
            if leaves(REFRESH_SECONDS):
                return
            try:
                seen, hint = look(), "q leaves"
            except WorldError as error:
                hint = f"AWAY: {error}"


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Waits so many seconds, or until q is pressed or the terminal is gone: whether it was."""
    if not sys.stdin.isatty():

        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield wait
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def leaves(seconds: float) -> bool:
        until, rest = time.monotonic() + seconds, b""
        while (left := until - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
            data = os.read(descriptor, 1024)  # what sys.stdin buffers, select knows nothing of
            typed, rest = _typed(rest + data)
            if not data or not QUIT.isdisjoint(typed):
                return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield leaves
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _typed(data: bytes) -> tuple[bytes, bytes]:
    """The characters that were typed, and what is the beginning of a key that is none."""
    typed = _SEQUENCE.sub(b"", data)
    begun = _BEGUN.search(typed)
    return (typed[: begun.start()], begun[0]) if begun else (typed, b"")


__all__ = ["top"]
