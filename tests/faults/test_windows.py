"""The moments at which a crash could leave half of something: each is closed."""

from __future__ import annotations

import ctypes
import gc
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from longtake.app import House
from longtake.garbage import MARK
from longtake.lost import sweep
from longtake.orders import KeyFrame, Order
from longtake.records import Records, Turn
from longtake.settings import load
from longtake.store import Store
from longtake.workflows import Workflows
from tests.faults.workers import Office, run_workers
from tests.stage import generation

NUM_WORKFLOWS = sa.text("select count(*) from workflow_status")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.open(load(data=tmp_path / "data"))


def test_a_record_and_its_workflow_come_to_be_in_one_commit_or_not_at_all(house: House) -> None:
    workflows = Workflows(house.url)
    made, seen = generation(Order()), []

    def enqueue_and_crash(connection: sa.Connection, turn: Turn) -> None:
        workflows.enqueue(connection, turn)
        with house.database.execution_options(read_only=True).connect() as other:
            seen.extend([connection.scalar(NUM_WORKFLOWS), other.scalar(NUM_WORKFLOWS)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Records(house.database, enqueue_and_crash).submit(made)
    assert seen == [1, 0], "the workflow is written over our connection, and seen by others only with our commit"
    records = Records(house.database, workflows.enqueue)
    with house.database.connect() as connection:
        assert connection.scalar(NUM_WORKFLOWS) == 0
    assert records.unfinished() == []

    records.submit(made)
    with house.database.connect() as connection:
        assert connection.scalar(NUM_WORKFLOWS) == 1
    assert list(workflows.lost(records.unfinished())) == []
    workflows.close()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("delete from workflow_status", "missing"),
        ("update workflow_status set status = 'ERROR'", "error"),
        ("update workflow_status set status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'", "max_recovery_attempts_exceeded"),
    ],
)
def test_a_generation_whose_workflow_never_runs_again_is_ended_by_the_sweep(harm: str, why: str, house: House) -> None:
    workflows = Workflows(house.url)
    records = Records(house.database, workflows.enqueue)
    made = generation(Order())
    records.submit(made)
    sweep(records, workflows, house.store)
    assert records.get(made.id).state == "queued"
    with house.database.begin() as connection:
        connection.execute(sa.text(harm))
    sweep(records, workflows, house.store)
    assert records.get(made.id).state == "failed"
    assert records.get(made.id).failure_reason == f"a fault of ours: its workflow was lost ({why})"
    workflows.close()


def test_what_an_older_version_has_queued_is_begun_anew_by_the_sweep(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflows = Workflows(house.url)
    records = Records(house.database, workflows.enqueue)
    made = generation(Order())
    records.submit(made)
    monkeypatch.setattr("longtake.workflows.names.VERSION", "a later one")
    sweep(records, workflows, house.store)
    found = records.get(made.id)
    assert (found.state, found.attempt) == ("queued", 2)
    assert list(workflows.lost(records.unfinished())) == []
    workflows.close()


def test_several_workers_on_a_data_folder_are_all_ready_and_each_ends_when_it_is_told_to(house: House) -> None:
    command = [sys.executable, "-m", "longtake", "worker", "--data", str(house.settings.data)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stderr
            assert any(json.loads(line)["event"] == "worker ready" for line in iter(worker.stderr.readline, ""))
        assert len(list((house.settings.data / "workers").iterdir())) == len(workers)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(10) == 0
        assert list((house.settings.data / "workers").iterdir()) == []
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one thread of another process be sent a signal")
def test_a_worker_ends_by_a_signal_whichever_of_its_threads_the_kernel_hands_it_to(house: House) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "longtake", "worker", "--data", str(house.settings.data)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stderr
    try:
        assert any(json.loads(line)["event"] == "worker ready" for line in iter(worker.stderr.readline, ""))
        threads = [int(task.name) for task in Path(f"/proc/{worker.pid}/task").iterdir()]
        other = next(thread for thread in threads if thread != worker.pid)
        assert ctypes.CDLL(None, use_errno=True).tgkill(worker.pid, other, signal.SIGTERM) == 0
        assert worker.wait(5) == 0
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def test_a_sweep_takes_what_a_dead_process_left_and_nothing_that_a_living_one_has_in_hand(tmp_path: Path) -> None:
    living, dead = Store.in_folder(tmp_path), Store.in_folder(tmp_path)
    assert living.work_folder
    assert dead.work_folder
    kept, left = living.work_folder / "an upload", dead.work_folder / "half a video"
    kept.write_bytes(b"one")
    left.write_bytes(b"two")
    Store.in_folder(tmp_path).sweep_work()
    assert kept.exists()
    assert left.exists()
    del dead
    gc.collect()
    living.sweep_work()
    assert kept.exists()
    assert not left.parent.exists()
    living.put_file("videos/a.mp4", kept)
    living.put("images/a.jpg", b"three")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"videos/a.mp4", "images/a.jpg"} == set(living.keys())


def test_a_worker_that_dies_ahead_of_and_behind_each_thing_it_writes_leaves_one_whole_result(house: House) -> None:
    office = Office(house)
    parent = office.submit(office.still)
    child = office.submit(KeyFrame(type="generation", id=parent.id))
    codes = run_workers("boundaries", house)
    assert codes == [-9] * (len(codes) - 1) + [0]
    made = set()
    for one in (parent, child):
        result = office.records.get(one.id).result
        assert result
        made |= {result.segment_key, result.video_key, result.image_key}
    assert len(codes) - 1 == 2 * (len(made) + 2), "each thing that is written has killed two"
    assert [office.records.get(one.id).state for one in (parent, child)] == ["completed"] * 2
    with house.database.connect() as connection:
        told = sa.text("select generation_id, count(*) from events where type = 'generation.completed' group by 1")
        assert {tuple(row) for row in connection.execute(told)} == {(parent.id, 1), (child.id, 1)}
    objects = house.settings.data / "objects"
    files = {path.relative_to(objects).as_posix() for path in objects.rglob("*") if path.is_file()}
    assert files == {MARK, *made, office.upload.key}
    office.close()


def test_an_object_that_is_killed_in_the_making_is_not_there(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from longtake.store import Store, folder\n"
        "folder._flush_to_disk = lambda path: os._exit(9)\n"
        "made = Store.in_folder(Path(sys.argv[1])); made.put('images/a.jpg', b'x' * 100)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == 9
    store = Store.in_folder(tmp_path)
    assert store.size("images/a.jpg") is None
    assert list(store.keys()) == []
    store.sweep_work()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_secret_that_several_processes_make_at_once_is_one(house: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: house.secret(), range(8)))
    assert len(made) == 1
    assert len(made.pop()) == 32
    assert [path.name for path in house.settings.data.glob("secret*")] == ["secret"]
    assert (house.settings.data / "secret").stat().st_mode & 0o077 == 0
