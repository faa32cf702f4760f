"""Workers that die as they are told to, one after another until one lives: `python -m tests.faults.workers …`.

`poison DATA` renders what is in DATA, and dies at each shot whose prompt is "poison". `interrupted DATA` runs a
workflow of a few steps, each of which kills several workers before it succeeds. Each worker's exit code is printed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from longtake.app import House
from longtake.engines.base import Frames, Report, Shot
from longtake.engines.motion import Motion
from longtake.fetch import Fetcher
from longtake.log import set_up
from longtake.records import Records
from longtake.settings import load
from longtake.worker import Worker, sweep
from longtake.workflows import Executor, OnlyOne, Step, Workflows

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


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def poison(data: Path) -> None:
    house = House.open(load(data=data))
    only_one, workflows = OnlyOne(data / "worker.lock"), Workflows(house.url)
    records = Records(house.database, workflows.enqueue)
    sweep(records, workflows, house.store)
    worker = Worker(records, house.store, Fetcher(house.rules), engines={"motion": Poisoned()}, max_still_pixels=10**6)
    Executor(house.url, worker.run, holds=only_one).start()
    while {"queued", "dreaming"} & records.count_by_state().keys():
        time.sleep(0.01)
    os._exit(0)


def interrupted(data: Path) -> None:
    house = House.open(load(data=data))

    def run(id: str, step: Step) -> None:
        for number in range(NUM_STEPS):
            step(f"step {number}", lambda number=number: die_at_first(data / f"deaths-{number}"))  # type: ignore[misc]
        os._exit(0)

    Executor(house.url, run, holds=OnlyOne(data / "worker.lock")).start()
    time.sleep(60)


def die_at_first(tally: Path) -> int:
    deaths = len(tally.read_text()) if tally.exists() else 0
    if deaths < DEATHS_PER_STEP:
        tally.write_text("x" * (deaths + 1))
        die()
    return deaths


def main() -> None:
    set_up("json")
    ways: dict[str, Callable[[Path], None]] = {"poison": poison, "interrupted": interrupted}
    fork = multiprocessing.get_context("fork")  # so that what is imported is imported once
    for _ in range(20):
        process = fork.Process(target=ways[sys.argv[1]], args=(Path(sys.argv[2]),))
        process.start()
        process.join()
        print(process.exitcode, flush=True)
        if process.exitcode == 0:
            break


if __name__ == "__main__":
    main()
