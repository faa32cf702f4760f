"""`python -m bench.fleet`: how soon an order is begun, what one front takes, and what a fleet of workers gets done.

All is real but the engine, which yields grey: processes, HTTP on the loopback, SQLite, and a Postgres that flushes each
commit. Clients and servers share this machine: with few cores all of it is slower than where each has its own.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.__main__ import processor
from bench.fleet_front import BODY, NUM_CLIENTS, NUM_WAITING, per_second, woken
from bench.fleet_place import Office, Places, places
from bench.fleet_traffic import Watched, of_commits, of_the_bucket, of_the_database
from tests.servers import Server

KINDS = ("SQLite", "Postgres")
NUM_STARTS = 30
NUM_CREATES, NUM_READS = 500, 2000
RUNS = 3
NUM_WORKERS = (1, 2, 4)
CONCURRENCY = 4
NUM_GENERATIONS, NUM_ACCOUNTS = 40, 8
ORDER = {"prompt": "grey", "seconds": 0.5, "fps": 4, "resolution": "540p"}


def main() -> None:
    started = time.perf_counter()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with places() as all, TemporaryDirectory() as folder:
        for part in (fronts, starts, fleets, of_the_database, of_commits):
            print("\n".join(part(all)), end="\n\n", flush=True)
        print("\n".join(of_the_bucket(all, Path(folder))), end="\n\n")
    print(f"Machine: {os.cpu_count()} cores ({processor()}), Python {platform.python_version()}.", end=" ")
    print(f"Took {time.perf_counter() - started:.0f} s.")


def fronts(all: Places) -> list[str]:
    """One front process, without a worker: the medians of a few runs."""
    lines = [
        f"| one front | creates/s, {NUM_CLIENTS} clients | reads/s | {NUM_WAITING:,} wait: half know, ms | the last |"
        " connections at most |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        place = all.on(kind)
        with place.front() as front, place.office() as office:
            id = front.create(ORDER)
            watched = Watched(all, place) if place.url else None
            if watched:
                with watched.most_connections() as seen:
                    per_second(front, NUM_CREATES // RUNS, "POST", "/api/generations", BODY)
            creates, reads, half, last = [], [], [], []
            for _ in range(RUNS):
                creates.append(per_second(front, NUM_CREATES // RUNS, "POST", "/api/generations", BODY))
                reads.append(per_second(front, NUM_READS // RUNS, "GET", f"/api/generations/{id}"))
                heard = woken(front, office.records)
                half.append(heard[0])
                last.append(heard[1])
        figures = " | ".join(f"{statistics.median(values):.0f}" for values in (creates, reads, half, last))
        lines.append(f"| {kind} | {figures} | {seen[-1] if watched else ''} |")
    return lines


def starts(all: Places) -> list[str]:
    """From the sending of an order to its first run, in a worker that has nothing else to do."""
    lines = ["| | submit to engine start, median | 95th percentile |", "|---|---|---|"]
    for kind in KINDS:
        place = all.on(kind)
        with place.front() as front, place.office() as office, place.workers(1, 1):
            delays = [_delay(front, office) for _ in range(NUM_STARTS)]
        cuts = statistics.quantiles(delays, n=20)
        lines.append(f"| {kind} | {1000 * statistics.median(delays):.0f} ms | {1000 * cuts[18]:.0f} ms |")
    return lines


def _delay(front: Server, office: Office) -> float:
    sent_at = time.time()
    id = front.create(ORDER)
    front.completed(id)
    return (office.records.get(id).started_at or 0.0) - sent_at


def fleets(all: Places) -> list[str]:
    """From the first run to the last end of orders that come all at once from several accounts."""
    lines = [f"| workers, {CONCURRENCY} at a time each | generations/s on SQLite | on Postgres |", "|---|---|---|"]
    for num in NUM_WORKERS:
        rates = []
        for kind in KINDS:
            place = all.on(kind)
            with place.office() as office, place.workers(num, CONCURRENCY):
                keys = office.keys(NUM_ACCOUNTS)
                found = office.ended([office.submit(keys[n % len(keys)]) for n in range(NUM_GENERATIONS)])
                begin = min(generation.started_at or 0.0 for generation in found)
                rates.append(NUM_GENERATIONS / (max(generation.ended_at or 0.0 for generation in found) - begin))
        lines.append(f"| {num} | {rates[0]:.1f} | {rates[1]:.1f} |")
    return lines


if __name__ == "__main__":
    main()
