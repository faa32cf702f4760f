"""Workers on Postgres, and Postgres itself ends without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longtake.workflows import migrate_workflows
from tests.faults.fleet import Fleet, soon
from tests.postgres import GIVEN, PostgresServer, binaries


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    if GIVEN or binaries() is None:
        from tests.conftest import missing

        missing("postgres", "a server of ours is needed, that may be killed")
    server = PostgresServer().start()
    yield server
    server.remove()


@pytest.mark.timeout(120)
def test_after_postgres_was_killed_all_goes_on_by_itself_and_no_step_is_repeated(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.url()
    migrate_workflows(url)
    fleet = Fleet(url, tmp_path)
    try:
        ids = [fleet.order(account, steps=2, wait=[0]) for account in "ab"]
        fleet.worker(concurrency=1, grace=2.0)
        fleet.worker(concurrency=1, grace=2.0)
        soon(lambda: len(fleet.begun()) == 2, "both have begun")
        server.kill9()
        fleet.release(ids[0], 0)  # ends while there is no database: what it gave is kept until there is one
        server.start()
        fleet.release(ids[1], 0)
        later = fleet.order("c")
        soon(lambda: fleet.is_done(*ids, later), "all are done")
        assert sorted((one.step, one.start) for one in fleet.begun()) == [(0, 1), (0, 1), (0, 1), (1, 1), (1, 1)]
        assert [fleet.ended(id) for id in ids] == ["", ""]
    finally:
        fleet.close()
