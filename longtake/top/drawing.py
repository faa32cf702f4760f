"""`longtake top` as a picture: three tables that fit the terminal."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from longtake.top.overview import Overview, QueueLine, RunningLine, WorkerLine

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NARROW: Final = 100
"""Columns below which a terminal is shown less."""
ROOMY: Final = 130
"""Columns from which ids are shown whole."""
ID_LENGTH: Final = 8
NOBODY: Final = "no worker"
"""Where a stage would stand: its worker is dead, and another has not taken it up yet."""


def drawn(seen: Overview, *, width: int, height: int, source: str = "", hint: str = "") -> RenderableType:
    """The tables, in so many columns and lines: what does not fit is counted. Dead workers come first."""
    from rich.console import Group
    from rich.text import Text

    # A title, three tables with a line of headings each, and an empty line ahead of each.
    room = max(3, height - 1 - 3 * 2)
    workers = sorted(seen.workers, key=lambda one: (one.alive, -one.up_seconds))
    of_queues = min(max(1, len(seen.queues)), max(1, room // 4))
    of_workers = min(max(1, len(workers)), max(1, (room - of_queues) // 3))
    of_running = max(1, room - of_queues - of_workers)
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at))
    title = Text.assemble(("longtake top", "bold"), f"  {clock}  {_plain(source)}", no_wrap=True, overflow="ellipsis")
    if hint:
        title.append(f"  {hint}", "dim")
    wide = width >= NARROW
    return Group(
        title,
        Text(""),
        _workers(workers, of_workers, wide),
        Text(""),
        _queues(seen.queues, of_queues),
        Text(""),
        _running(seen.running, {one.id for one in workers if one.alive}, of_running, width),
    )


def _workers(workers: Sequence[WorkerLine], most: int, wide: bool) -> Table:
    num_dead = sum(not one.alive for one in workers)
    title = f"WORKERS {len(workers)}" + (f", {num_dead} dead" if num_dead else "")
    table = _table(title, *(("HOST",) if wide else ()), "ENGINES")
    _numbers(table, *(("PID",) if wide else ()), "SLOTS", "UP")
    table.add_column("", no_wrap=True)
    rows = [
        (
            _plain(one.id),
            *((_plain(one.host),) if wide else ()),
            _plain(" ".join(one.engines)),
            *((str(one.pid),) if wide else ()),
            f"{one.slots_used}/{one.slots}",
            _short(one.up_seconds),
            "alive" if one.alive else "DEAD",
        )
        for one in workers
    ]
    styles = ["" if one.alive else "bold red" for one in workers]
    return _filled(table, rows, styles, most, "no worker: nothing is rendered")


def _queues(queues: Sequence[QueueLine], most: int) -> Table:
    table = _table("QUEUE")
    _numbers(table, "WAITING", "OLDEST", "RUNNING", "ENDED/MIN", "FAILED/H")
    rows = [
        (
            _plain(one.engine),
            str(one.waiting),
            _short(one.oldest_seconds) if one.waiting else "-",
            str(one.running),
            str(one.ended_last_minute),
            str(one.failed_last_hour),
        )
        for one in queues
    ]
    styles = ["yellow" if one.failed_last_hour else "" for one in queues]
    return _filled(table, rows, styles, most, "no engine")


def _running(running: Sequence[RunningLine], alive: Collection[str], most: int, width: int) -> Table:
    """What no living worker works on is dim, and says so in its stage's place."""
    from rich.progress_bar import ProgressBar

    table = _table(
        f"RUNNING {len(running)}", "ACCOUNT", "ENGINE", "STAGE", most=36 if width >= NARROW else 12, expand=True
    )
    table.add_column("", ratio=1)
    _numbers(table, "%", "FOR", "TRY")
    rows = [
        (
            one.id if width >= ROOMY else one.id[:ID_LENGTH],
            _plain(one.account),
            _plain(one.engine),
            _plain(one.stage if one.worker in alive else NOBODY),
            ProgressBar(total=1.0, completed=one.progress, complete_style="cyan", finished_style="cyan"),
            f"{100 * one.progress:.0f}",
            _short(one.seconds),
            "-" if one.attempt is None else str(one.attempt),
        )
        for one in running
    ]
    styles = ["" if one.worker in alive else "dim" for one in running]
    return _filled(table, rows, styles, most, "nothing")


def _table(*columns: str, most: int = 40, expand: bool = False) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=expand, header_style="bold cyan")
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=most)
    return table


def _numbers(table: Table, *columns: str) -> None:
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)


def _filled(table: Table, rows: Sequence[Sequence[Any]], styles: Sequence[str], most: int, empty: str) -> Table:
    """With so many lines at most: the last one counts those that are left out."""
    num = len(rows) if len(rows) <= most else most - 1
    for row, style in zip(rows[:num], styles, strict=False):
        table.add_row(*row, style=style)
    if not rows:
        table.add_row(empty, style="dim")
    elif num < len(rows):
        table.add_row(f"+ {len(rows) - num} more", style="dim")
    return table


def _plain(text: str) -> Any:
    """As it stands, without what a terminal would take as a command."""
    from rich.text import Text

    return Text("".join(letter if letter.isprintable() else "\ufffd" for letter in text))


def _short(seconds: float) -> str:
    """`42s`, `3m07s`, `2h05m`, `4d03h`."""
    whole = max(0, int(seconds))
    for unit, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // part:02d}{part_name}"
    return f"{whole}s"


__all__ = ["drawn"]
