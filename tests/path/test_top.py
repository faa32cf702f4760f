"""`longtake top`: what it reads, what it shows, and that it fits the terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from rich.console import Console

from longtake.cli import main
from longtake.orders import Order
from longtake.records import Generation, Records, WorkerRow, migrate, open_database
from longtake.top import top
from longtake.top.command import _keys, _typed
from longtake.top.drawing import drawn
from longtake.top.overview import Overview, QueueLine, RunningLine, WorkerLine, overview
from longtake.workflows import Workflows, migrate_workflows
from longtake.workflows.recovery import _table

HOLDS = """
import sys
from longtake.workflows import locks_of
locks = locks_of(sys.argv[1])
locks.hold(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


class Place:
    """A database with workers and generations in it, which nobody renders."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.data = folder
        migrate_workflows(url)
        self.database = open_database(url)
        migrate(self.database)
        self.workflows = Workflows(url)
        self.workflows.open_queues(["motion", "diffusion"])
        self.records = Records(self.database, self.workflows.enqueue)

    def close(self) -> None:
        self.workflows.close()
        self.database.dispose()

    @property
    def variables(self) -> dict[str, str]:
        return {"LONGTAKE_DATABASE_URL": self.url, "LONGTAKE_DATA": str(self.data / "no-such-folder")}

    def top(self, *arguments: str) -> Result:
        return CliRunner().invoke(top, arguments, env=self.variables, catch_exceptions=False)

    def seen(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.top("--json").output))

    def worker(self, id: str, *, slots: int = 2, engine: str = "motion") -> None:
        self.records.workers.add(WorkerRow(id, "a-host", 4711, (engine,), slots, time.time() - 3700))

    def order(self, *, engine: str = "motion", account: str = "acme", ago: float = 0.0) -> str:
        at = time.time() - ago
        generation = Generation(
            id=str(uuid.uuid4()),
            account=account,
            key_id="k",
            wire="native",
            request={},
            order=Order(prompt="a boat"),
            engine=engine,
            credits=1.0,
            created_at=at,
            updated_at=at,
        )
        return self.records.submit(generation).id

    def run(self, id: str, worker: str, progress: float) -> None:
        """As if `worker` rendered it."""
        self.records.start(id, 1)
        self.records.report(id, 1, "render", progress)
        table = _table(self.database.dialect)
        mine = sa.update(table).where(table.c.workflow_uuid == f"{id}.1")
        with self.database.begin() as connection:
            assert connection.execute(mine.values(status="PENDING", executor_id=worker, owner_xid="x")).rowcount == 1


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Iterator[Place]:
    with closing(Place(database_url, tmp_path)) as place:
        yield place


@contextmanager
def alive(url: str, id: str) -> Iterator[None]:
    """A process that holds this worker's lock."""
    command = [sys.executable, "-c", HOLDS, url, id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def test_it_tells_what_stands_in_the_database(place: Place) -> None:
    place.worker("lives")
    place.worker("died", slots=1, engine="diffusion")
    first, second = place.order(ago=50), place.order(account="others")
    place.order(engine="diffusion", ago=90)
    place.order(engine="diffusion", ago=20)
    place.run(first, "lives", 0.25)
    place.records.start(second, 1)  # begun, and no worker runs it now
    for kind in ("world", "fault", "cancelled"):
        place.records.fail(place.order(), "a reason", kind)
    with alive(place.url, "lives"):
        seen = place.seen()
    assert {one["id"]: (one["alive"], one["slots_used"], one["slots"]) for one in seen["workers"]} == {
        "lives": (True, 1, 2),
        "died": (False, 0, 1),
    }
    assert all(3700 <= one["up_seconds"] < 3800 for one in seen["workers"])
    diffusion, motion = seen["queues"]
    assert (diffusion["engine"], diffusion["waiting"], diffusion["running"]) == ("diffusion", 2, 0)
    assert 90 <= diffusion["oldest_seconds"] < 150
    assert (motion["waiting"], motion["running"]) == (1, 1), "what was begun, and is in no worker's hands"
    assert (motion["ended_last_minute"], motion["failed_last_hour"]) == (3, 2)
    rows = {one["id"]: one for one in seen["running"]}
    assert (rows[first]["stage"], rows[first]["progress"]) == ("render", 0.25)
    assert (rows[first]["attempt"], rows[first]["worker"]) == (1, "lives")
    assert (rows[second]["account"], rows[second]["attempt"], rows[second]["worker"]) == ("others", None, None)


def test_a_worker_that_dies_is_marked_at_the_next_look(place: Place) -> None:
    place.worker("lives")
    with alive(place.url, "lives"):
        assert place.seen()["workers"][0]["alive"]
    while place.seen()["workers"][0]["alive"]:  # Postgres notices by itself, a moment later
        pass
    assert "DEAD" in place.top("--once").output


def test_an_empty_house_says_so(place: Place) -> None:
    answer = place.top("--once")
    assert answer.exit_code == 0
    for words in ("no worker: nothing is rendered", "no engine", "nothing"):
        assert words in answer.output


def test_where_there_is_no_server_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    variables = {"LONGTAKE_DATA": str(tmp_path / "none"), "LONGTAKE_DATABASE_URL": None}
    answer = CliRunner().invoke(top, ["--once"], env=variables)
    assert "there is no database" in str(answer.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_nobody_is_a_sentence(empty_database_url: str, tmp_path: Path) -> None:
    variables = {"LONGTAKE_DATABASE_URL": empty_database_url, "LONGTAKE_DATA": str(tmp_path)}
    answer = CliRunner().invoke(top, ["--once"], env=variables)
    assert "no tables of this version" in str(answer.exception)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from longtake.top.command import _address

    monkeypatch.setenv("LONGTAKE_DATABASE_URL", "postgresql+psycopg://me:secret@db.internal:5432/films?sslmode=require")
    assert _address(None)[1] == "postgresql://db.internal:5432/films"
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", "postgres://me:se/cret@[::1]/films?password=secret")
    assert _address(None)[1] == "postgresql://[::1]/films"


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("me:secret@db:x/films", "is no address of a database, its port is no number"),
        ("me:sec@secret@db/films", "an @ in the password"),
        ("me:secret@127.0.0.1:1/films?foo=1", "knows no option 'foo'"),
        ("me:secret@127.0.0.1:1/films?sslmode=bad", 'invalid sslmode value: "bad"'),
        ("me:secret@127.0.0.1:1/films?connect_timeout=bad", "bad value for connect_timeout"),
        ("me:secret@127.0.0.1:1/films", "Connection refused"),
    ],
)
def test_a_database_that_can_not_be_used_says_why_and_no_password(end: str, why: str, tmp_path: Path) -> None:
    variables = {"LONGTAKE_DATABASE_URL": f"postgresql://{end}", "LONGTAKE_DATA": str(tmp_path)}
    answer = CliRunner().invoke(main, ["top", "--once"], env=variables)
    (line,) = answer.output.splitlines()
    assert line.startswith("Error: ")
    assert why in line
    assert "sec" not in line
    assert "no tables" not in line


def test_a_wrong_password_is_told_and_not_shown(postgres_url: str, tmp_path: Path) -> None:
    address = sa.make_url(postgres_url).set(username="nobody-of-ours", password="sesame")
    url = address.render_as_string(hide_password=False)
    answer = CliRunner().invoke(main, ["keys", "list"], env={"LONGTAKE_DATABASE_URL": url, "LONGTAKE_DATA": "x"})
    assert answer.output.startswith("Error: ")
    assert "nobody-of-ours" in answer.output
    assert "sesame" not in answer.output


# ---- as a picture

MANY = Overview(
    at=1.7e9,
    workers=tuple(
        WorkerLine(f"render-{n}-41{n:02}-9f3a0c1d", f"render-{n}", 4100 + n, ("motion",), n % 3, 2, 977.0 * n, n != 7)
        for n in range(40)
    ),
    queues=tuple(QueueLine(f"engine-{n}", 100 * n, 60.0 * n, n, n, n % 2) for n in range(9)),
    running=tuple(
        RunningLine(str(uuid.UUID(int=n)), f"an-account-{n}" * 3, "motion", "measure", n / 90, 41.0 * n, 1, "w")
        for n in range(90)
    ),
)


def picture(seen: Overview, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=StringIO(), record=True, force_terminal=True)
    console.print(drawn(seen, width=width, height=height, source="postgresql://db/longtake", hint="q leaves"))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (60, 16), (250, 70)])
def test_it_fits_the_terminal_and_counts_what_does_not(width: int, height: int) -> None:
    lines = picture(MANY, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    left_out = [int(line.split()[1]) for line in lines if line.startswith("+ ")]
    shown = sum(line.startswith(("render-", "engine-", "00000000")) for line in lines)
    assert sum(left_out) + shown == len(MANY.workers) + len(MANY.queues) + len(MANY.running)
    assert "DEAD" in next(line for line in lines if line.startswith("render-"))  # ahead of those that are well


def test_what_is_there_is_all_shown_where_there_is_room() -> None:
    assert not [line for line in picture(MANY, 140, 200) if line.startswith("+ ")]


def test_names_can_not_command_the_terminal() -> None:
    nasty = RunningLine("0" * 36, "[red]a\x1b]0;title\x07[/red]", "motion", "render", 0.5, 1.0, 1, None)
    (line,) = [line for line in picture(Overview(0.0, (), (), (nasty,)), 140, 24) if line.startswith("0000")]
    assert "[red]a" in line
    assert "\x1b]" not in line
    assert "\x07" not in line


def test_what_a_dead_worker_had_begun_says_that_nobody_works_on_it() -> None:
    workers = tuple(WorkerLine(id, "h", 1, ("motion",), 1, 1, 9.0, id == "lives") for id in ("lives", "died"))
    running = tuple(
        RunningLine(id * 36, "acme", "motion", "render", 0.5, 1.0, 1, worker)
        for id, worker in (("1", "lives"), ("2", "died"), ("3", None))
    )
    lines = {
        line[0]: line
        for line in picture(Overview(0.0, workers, (), running), 80, 24)
        if line.startswith(("111", "222", "333"))
    }
    assert [("render" in lines[id], "no worker" in lines[id]) for id in "123"] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_times_read_at_a_glance() -> None:
    ages = (0.4, 59, 60, 187, 7500, 356_400, -1)
    workers = tuple(WorkerLine(f"w{n}", "h", 1, ("motion",), 0, 1, age, True) for n, age in enumerate(ages))
    lines = {
        line.split()[0]: line.split()[-2] for line in picture(Overview(0, workers, (), ()), 80, 40) if "alive" in line
    }
    assert lines == {"w0": "0s", "w1": "59s", "w2": "1m00s", "w3": "3m07s", "w4": "2h05m", "w5": "4d03h", "w6": "0s"}


def test_a_clock_ahead_of_ours_gives_no_negative_times() -> None:
    seen = overview(100.0, [WorkerRow("w", "h", 1, ("motion",), 1, 105.0)], {"w"}, {}, {"motion": (1, 103.0)}, [], {})
    assert (seen.workers[0].up_seconds, seen.queues[0].oldest_seconds) == (0, 0)


# ---- on a terminal


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs us in the background has it ignored


def on_a_terminal(variables: dict[str, str], until: Callable[[str], bool], keys: bytes) -> tuple[str, int, bool]:
    """What is written before `keys` are pressed, the exit code, and whether the terminal is as it was."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LONGTAKE_")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from longtake.top import top; top()"],
        env={**environment, **variables, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    try:
        written = ""
        while not until(written):
            if select.select([ours], [], [], 0.1)[0]:
                written += os.read(ours, 65536).decode(errors="replace")
            else:
                assert process.poll() is None, written
        os.write(ours, keys)
        code = process.wait(timeout=30)
        return written, code, termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("keys", [b"q", b"\x03", b"\x1b[A\x1b[Bq"])
def test_q_and_an_interrupt_leave_the_terminal_as_it_was(keys: bytes, place: Place) -> None:
    place.worker("lives")
    written, code, same = on_a_terminal(place.variables, lambda text: "RUNNING 0" in text, keys)
    assert "WORKERS 1, 1 dead" in written
    assert (code, same) == (0, True)


NO_CHARACTERS = {
    "arrows": b"\x1b[A\x1b[B",
    "F2, keypad": b"\x1bOQ\x1bOq",
    "with modifiers": b"\x1b[1;5Q\x1b[24~",
    "Linux console": b"\x1b[[A",
    "letters": "axé".encode(),
    "escape": b"\x1b",
}


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The terminal's other side."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


@pytest.mark.parametrize("name", NO_CHARACTERS)
def test_q_leaves_after_any_other_key_and_those_do_not(name: str, keyboard: int) -> None:
    with _keys() as leaves:
        for _ in range(2):
            os.write(keyboard, NO_CHARACTERS[name])
            assert not leaves(0.02)
        os.write(keyboard, NO_CHARACTERS[name] + b"q")
        assert leaves(30)


def test_a_key_that_comes_in_two_halves_is_one() -> None:
    for whole in (b"\x1bOQ", b"\x1b[1;5Q", b"\x1b[[Q"):
        for at in range(1, len(whole)):
            typed, rest = _typed(whole[:at])
            assert (typed, _typed(rest + whole[at:])) == (b"", (b"", b""))
    assert _typed(b"a\x1b") == (b"a", b"\x1b")
    assert _typed(b"\x1bq")[0].endswith(b"q"), "who has pressed escape may press q at once"
