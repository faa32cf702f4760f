"""What every test may ask for: real footage, and the machine's optional parts, skipped by name where they are missing.

`LONGTAKE_REQUIRE=clips,node,chromium` turns such a skip into a failure on machines that should have the part.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.postgres import database_url as database_url
from tests.postgres import empty_database_url as empty_database_url
from tests.postgres import postgres_databases as postgres_databases
from tests.postgres import postgres_url as postgres_url
from tests.postgres import sqlite_template as sqlite_template
from tests.s3 import found
from tests.s3 import s3_fixture as s3_fixture
from tests.servers import Server

hypothesis.settings.register_profile("longtake", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("longtake")
REQUIRED = {part for part in os.environ.get("LONGTAKE_REQUIRE", "").split(",") if part}
CLIPS = os.environ.get("LONGTAKE_CLIPS", "")


def pytest_report_header() -> str:
    return f"S3 server: {found() or 'none: make test installs one'}"


def missing(part: str, why: str) -> None:
    """Skips the running test because the machine lacks `part`, or fails it where the part is required."""
    if part in REQUIRED:
        pytest.fail(f"{part} is required here (LONGTAKE_REQUIRE), but {why}")
    pytest.skip(f"{part}: {why}")


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real footage that `LONGTAKE_CLIPS` names."""
    if not Path(CLIPS or "none").is_dir():
        missing("clips", "LONGTAKE_CLIPS names no folder of real footage")
    return Path(CLIPS)


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, for scripts below tests/clients: they find the packages there."""
    program = shutil.which("node")
    if program is None:
        missing("node", "there is no such program")
    elif not (Path(__file__).parent / "clients" / "node_modules" / "openai").is_dir():
        missing("node", "the packages are not installed: make test, or npm ci in tests/clients")
    return program or ""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server process for all tests that do not harm it."""
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.stop()
