"""Workers that die as they are told to, one after another until one lives: `python -m tests.faults.workers …`.

`poison DATA` renders what is in DATA, and dies at each shot whose prompt is "poison". `boundaries DATA` does so too,
and dies once ahead of and once behind each thing that is written. `interrupted DATA` runs a workflow of a few steps,
each of which kills several workers before it succeeds. Each worker's exit code is printed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  (all that a worker needs is imported ahead of the fork)
import sqlalchemy as sa
from PIL import Image

from longtake.app import House
from longtake.dialects import read_only
from longtake.engines.base import Frames, Report, Shot
from longtake.engines.motion import Motion
from longtake.fetch import Fetcher
from longtake.log import set_up
from longtake.lost import sweep
from longtake.orders import KeyFrame, Order
from longtake.records import Generation, Records, Result
from longtake.service import Service
from longtake.settings import load
from longtake.store import Store
from longtake.worker import Worker
from longtake.workflows import Executor, Run, Step, Workflows, locks_of

NUM_STEPS = 3
DEATHS_PER_STEP = 2


class Poisoned:
    """The motion engine, but for one prompt."""

    def __init__(self) -> None:
        self._motion = Motion()
        self.capabilities = self._motion.capabilities

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        if shot.prompt == "poison":
            die()
        return self._motion.render(shot, report)


def run_workers(way: str, house: House) -> list[int]:
    """The exit codes of the workers: -9 for one that was killed, 0 for the one that did all that was left."""
    command = [sys.executable, "-m", "tests.faults.workers", way, str(house.settings.data)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=100)
    codes = [int(line) for line in ran.stdout.split()]
    assert codes[-1:] == [0], ran.stderr[-4000:]
    return codes


class Office:
    """Takes small orders for a data folder, without a server."""

    def __init__(self, house: House) -> None:
        self._workflows = Workflows(house.url)
        self.records = Records(house.database, self._workflows.enqueue)
        self._service = Service(
            self.records,
            house.store,
            engines={"motion": Motion().capabilities},
            models={"ray-2": "motion"},
            rules=house.rules,
            max_still_pixels=10**6,
        )
        self._key = house.keys.check(house.keys.create("test")[1])
        assert house.store.work_folder
        picture = house.store.work_folder / "picture.png"
        Image.linear_gradient("L").convert("RGB").resize((112, 64)).save(picture)
        self.upload = self._service.upload(self._key.account, picture)
        self.still = KeyFrame(type="image", upload=self.upload.id)

    def submit(self, before: KeyFrame, prompt: str = "") -> Generation:
        order = Order(prompt=prompt, before=before, seconds=Fraction(1), short_side=64, frame_rate=Fraction(6))
        return self._service.submit(self._key, order, wire="native", request={})

    def close(self) -> None:
        self._workflows.close()


def nothing_to_tell(number: int, turn: int) -> None:
    """These orders name no address."""


def executor(house: House, run: Run) -> Executor:
    locks = locks_of(house.url)
    return Executor(house.url, house.database, run, nothing_to_tell, locks=locks, engines=("motion",))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def poison(data: Path) -> None:
    house = House.open(load(data=data))
    workflows = Workflows(house.url)
    records = Records(house.database, workflows.enqueue)
    sweep(records, workflows, house.store)
    worker = Worker(records, house.store, Fetcher(house.rules), engines={"motion": Poisoned()}, max_still_pixels=10**6)
    executor(house, worker.run).start()
    live = sa.text("select count(*) from workflow_status where status in ('ENQUEUED', 'PENDING')")
    while True:
        with read_only(house.database).begin() as connection:
            if not connection.scalar(live):
                os._exit(0)
        time.sleep(0.01)


def boundaries(data: Path) -> None:
    complete = Records.complete

    def dying(put: Callable[[Store, str, Any], Any]) -> Callable[[Store, str, Any], Any]:
        def put_and_die(store: Store, key: str, what: Any) -> Any:
            if key.startswith("live/"):  # of those there are many in one step: more than may kill its workers
                return put(store, key, what)
            kind, id, _ = key.split("/")  # the same, whichever run makes it
            die_once(data / f"ahead of {kind} of {id}")
            made = put(store, key, what)
            die_once(data / f"behind {kind} of {id}")
            return made

        return put_and_die

    def complete_and_die(records: Records, id: str, attempt: int, result: Result) -> bool:
        die_once(data / f"ahead of completing {id}")
        done = complete(records, id, attempt, result)
        die_once(data / f"behind completing {id}")
        return done

    Store.put, Store.put_file = dying(Store.put), dying(Store.put_file)  # type: ignore[method-assign, assignment]
    Records.complete = complete_and_die  # type: ignore[method-assign]
    poison(data)


def die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        die()


def interrupted(data: Path) -> None:
    house = House.open(load(data=data))

    def run(id: str, attempt: int, start: int, step: Step) -> None:
        for number in range(NUM_STEPS):
            step(f"step {number}", lambda number=number: die_at_first(data / f"deaths-{number}"))  # type: ignore[misc]
        os._exit(0)

    executor(house, run).start()
    time.sleep(60)


def die_at_first(tally: Path) -> int:
    deaths = len(tally.read_text()) if tally.exists() else 0
    if deaths < DEATHS_PER_STEP:
        tally.write_text("x" * (deaths + 1))
        die()
    return deaths


def main() -> None:
    set_up("json")
    ways: dict[str, Callable[[Path], None]] = {"poison": poison, "boundaries": boundaries, "interrupted": interrupted}
    fork = multiprocessing.get_context("fork")  # so that what is imported is imported once
    for _ in range(40):
        process = fork.Process(target=ways[sys.argv[1]], args=(Path(sys.argv[2]),))
        process.start()
        process.join()
        print(process.exitcode, flush=True)
        if process.exitcode == 0:
            break


if __name__ == "__main__":
    main()
