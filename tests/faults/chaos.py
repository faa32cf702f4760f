"""A whole fleet in a storm: workers, fronts and Postgres are killed and frozen at random, and nothing may be lost.

    python -m tests.faults.chaos --seconds 240 --generations 300 --seed 1

Three workers and two fronts, each a process under a supervisor, on Postgres and S3 (or a folder); ten accounts order
chains, bridges, prepends and branches of tiny videos. It prints what was counted. The exit code is 1 where anything
of what must hold did not; then the folder with all logs stays, and the seed is told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from longtake.records import Keys, open_database
from tests import s3
from tests.faults.audit import Audit, spread
from tests.faults.clients import Client
from tests.faults.members import Member, Victim, leftovers
from tests.faults.service import CONCURRENCY, START_SECONDS, Service, until
from tests.faults.watcher import Watcher
from tests.receivers import Received, Receiver, receiving

END_SECONDS = 60.0
"""After SIGTERM: more than a worker takes to drain."""
STILL_SECONDS = 120.0
"""When the storm is over, something ends at least so often until all has."""
REFUSED = 0.05
"""Of the webhooks: their receiver is away just then."""


@dataclass(frozen=True, slots=True)
class Storm:
    """How bad it gets."""

    seed: int
    seconds: float = 240.0
    generations: int = 300
    accounts: int = 10
    workers: int = 3
    fronts: int = 2
    pause_seconds: float = 4.0
    """From one fault to the next, on average."""
    frozen_seconds: tuple[float, float] = (1.0, 20.0)
    grace_seconds: float = 15.0
    part_seconds: float = 2.0
    in_bucket: bool = True
    rolls: bool = True
    """All processes are ended in order and started again, one after another, half way through."""


@dataclass(frozen=True, slots=True)
class Fault:
    what: str
    whom: Victim
    at: float


@dataclass
class Chaos:
    """One run of it."""

    storm: Storm
    folder: Path
    faults: list[Fault] = field(default_factory=list)
    rolled: list[float] = field(default_factory=list)
    """How long each process took to end when it was told to."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.storm.seed)
        self.stack = contextlib.ExitStack()
        self._thawing: list[threading.Timer] = []
        self._began = time.time()
        self._counting = threading.Lock()
        self.num_refused = 0

    def _rng(self) -> random.Random:
        return random.Random(self.rng.getrandbits(32))

    # ---- the fleet

    def set_up(self) -> None:
        """Everything at once, on an empty database: who comes first makes the tables."""
        storm = self.storm
        self.service = Service(
            self.folder, self._rng(), self.stack, workers=storm.workers, fronts=storm.fronts, in_bucket=storm.in_bucket,
            worker_grace_seconds=storm.grace_seconds, part_seconds=storm.part_seconds,
        )  # fmt: skip
        self.service.start()
        self.engine = open_database(self.service.url)
        self.stack.callback(self.engine.dispose)
        self.watcher = Watcher(self.service.url, self.service.database)
        self.watcher.start()
        self.stack.callback(self.watcher.stop)
        self.receiver = self.stack.enter_context(receiving(Receiver(self._answer(self._rng()))))
        self.clients = [self._client(number) for number in range(storm.accounts)]

    def _client(self, number: int) -> Client:
        rng, account = self._rng(), f"account-{number}"
        _, key = Keys(self.engine).create("chaos", account=account)
        client = Client(account, key, self.service.fronts, f"{self.receiver.address}/{account}", rng)
        client.bring(self.folder, with_image=number < 2)
        return client

    def _answer(self, rng: random.Random) -> Any:
        def answer(_: Received) -> tuple[int, dict[str, str]]:
            is_away = rng.random() < REFUSED
            with self._counting:
                self.num_refused += is_away
            return (503 if is_away else 200), {}

        return answer

    # ---- the storm

    def rage(self) -> None:
        """Orders come for two thirds of the time, faults all the time."""
        storm, threads = self.storm, []
        each, more = divmod(storm.generations, storm.accounts)
        for number, client in enumerate(self.clients):
            work = (each + (number < more), storm.seconds * 0.67)
            threads += [threading.Thread(target=client.work, args=work), threading.Thread(target=client.follow)]
        self._working, self._following = threads[::2], threads[1::2]
        for thread in threads:
            thread.daemon = True
            thread.start()
        for client in self.clients:
            self.stack.callback(client.close)
        start, has_rolled = time.monotonic(), not storm.rolls
        while (now := time.monotonic() - start) < storm.seconds:
            if not has_rolled and now > storm.seconds / 2:
                self.roll()
                has_rolled = True
            pause_seconds = min(self.rng.expovariate(1 / storm.pause_seconds), 3 * storm.pause_seconds)
            if pause_seconds > storm.seconds - now:
                break
            time.sleep(pause_seconds)
            self._harm()
        for timer in self._thawing:
            timer.join()

    def _harm(self) -> None:
        """One fault, of one that is well."""
        rng = self.rng
        kind = rng.choices(("worker", "front", "postgres"), (55, 27, 18))[0]
        what = rng.choices(("kill", "freeze", "end"), (55, 35, 10))[0]
        some: list[Victim] = (
            [self.service.database] if kind == "postgres" else [one for one in self.service.members if one.kind == kind]
        )
        whom, seconds = rng.choice(some), rng.uniform(*self.storm.frozen_seconds)
        if not whom.is_well:
            return
        self.watcher.remember()
        fault = Fault("kill" if kind == "postgres" and what == "end" else what, whom, time.time())
        self.say(f"{fault.what} {whom.name}" + f" {seconds:.1f} s" * (what == "freeze"))
        self.faults.append(fault)
        if fault.what == "freeze":
            whom.freeze()
            self._thawing.append(threading.Timer(seconds, whom.thaw))
            self._thawing[-1].start()
        elif isinstance(whom, Member) and what == "end":
            whom.end()
        else:
            pid = whom.pid
            whom.kill()
            if isinstance(whom, Member) and whom.kind == "worker":
                for line in whom.lines("worker ready"):
                    if line["pid"] == pid:
                        self.watcher.killed(line["worker"], fault.at)

    def roll(self) -> None:
        """SIGTERM to one after another; the next one's turn comes when its follower is there."""
        for timer in self._thawing:
            timer.join()
        self.service.until_well()
        for member in self.service.members:
            pid, start = member.pid, time.monotonic()
            self.say(f"end {member.name} (rolling restart)")
            self.faults.append(Fault("end", member, time.time()))
            member.end()
            until(partial(_has_ended, member, pid), END_SECONDS, f"{member.name} has ended")
            self.rolled.append(time.monotonic() - start)
            until(partial(getattr, member, "is_well"), START_SECONDS, f"{member.name}'s follower is ready")

    # ---- the end

    def settle(self) -> None:
        """Nothing more is harmed: all that was accepted ends."""
        self.service.until_well()
        num_ended, changed = -1, time.monotonic()
        while any(thread.is_alive() for thread in self._working) and time.monotonic() - changed < STILL_SECONDS:
            if (now := sum(len(client.states) for client in self.clients)) != num_ended:
                num_ended, changed = now, time.monotonic()
            time.sleep(0.05)
        for client, thread in zip(self.clients, self._working, strict=True):
            assert not thread.is_alive(), f"{client.name} still waits: {self._left()}"
            assert client.failure is None, f"{client.name}: {client.failure!r}"
        rest = "select count(*) from webhooks where state = 'waiting'"
        live = "select count(*) from dbos.workflow_status where status in ('ENQUEUED', 'DELAYED', 'PENDING')"
        audit = self.audit = Audit(self.clients, self.service, self.engine)
        until(lambda: audit.rows(rest)[0][0] == 0 and audit.rows(live)[0][0] == 0, 120, "webhooks are delivered")
        until(lambda: all(client.has_heard_all() for client in self.clients), 40, "streams have told of all")

    def judge(self) -> list[str]:
        audit, front = self.audit, self.service.fronts[0].address
        audit.check_records()
        audit.check_streams()
        audit.check_creates()
        audit.check_files(front)
        hit = {("kill", "worker"): CONCURRENCY, ("freeze", "worker"): CONCURRENCY, ("end", "worker"): CONCURRENCY}
        everything = CONCURRENCY * self.storm.workers
        hit |= {(what, "postgres"): everything for what in ("kill", "freeze")}
        audit.check_steps(self.watcher, sum(hit.get((fault.what, fault.whom.kind), 0) for fault in self.faults))
        audit.check_webhooks(self.receiver.came, self.num_refused)
        audit.check_exits(self.service.database.was_away)
        audit.check_objects()
        for member in self.service.members:
            member.close()
        until(lambda: not leftovers(self.folder), 10, "no process is left over")
        audit.complaints += [f"not taken over: {one}" for one in self.watcher.takeovers if one.taken_at is None]
        return audit.complaints

    def say(self, what: str) -> None:
        print(f"{time.time() - self._began:7.1f} s  {what}", flush=True)

    def _left(self) -> str:
        audit = Audit(self.clients, self.service, self.engine)
        query = "select id, state, stage from generations where state not in ('completed', 'failed')"
        return str(audit.rows(query)[:10])

    def table(self, seconds: float) -> dict[str, Any]:
        """What is told of the run."""
        harm = Counter(f"{fault.whom.kind}: {fault.what}" for fault in self.faults)
        returned, taken = self.watcher.seconds()
        counts: Counter[str] = sum((client.counts for client in self.clients), Counter())
        clear = f"{len(taken)} of {len(self.watcher.takeovers)} without Postgres being away"
        return {
            "seed": self.storm.seed,
            "objects in": f"S3 ({s3.found()})" if self.storm.in_bucket else "a folder",
            **dict(sorted(harm.items())),
            "seconds to end after SIGTERM in the rolling restart, median / max": spread(self.rolled),
            **self.audit.figures,
            "creates and reads sent again, by reason": dict(counts),
            "takeovers": len(self.watcher.takeovers),
            f"seconds from kill to the queue, median / max ({clear})": spread(returned),
            "seconds from kill to takeover, median / max": spread(taken),
            "wall seconds": round(seconds),
        }


def _has_ended(member: Member, pid: int) -> bool:
    return bool(member.exits) and member.exits[-1].pid == pid


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """Removed at the end, unless something failed."""
    made = Path(tempfile.mkdtemp(prefix="longtake-chaos-")) if folder is None else folder
    yield made
    if folder is None:
        shutil.rmtree(made)


def run(storm: Storm, folder: Path | None = None) -> dict[str, Any]:
    """The figures. Raises AssertionError with all complaints."""
    start = time.monotonic()
    with workplace(folder) as place:
        print(f"seed {storm.seed}, logs in {place}", flush=True)
        chaos = Chaos(storm, place)
        with chaos.stack:
            chaos.set_up()
            chaos.say("all are ready")
            chaos.rage()
            chaos.say("the storm is over")
            chaos.settle()
            chaos.say("all has ended")
            complaints = chaos.judge()
            table = chaos.table(time.monotonic() - start)
        print("\n".join(f"| {name} | {value} |" for name, value in table.items()), flush=True)
        assert not complaints, f"seed {storm.seed}, logs in {place}:\n" + "\n".join(complaints[:40])
    return table


def main() -> None:
    default = Storm(seed=random.SystemRandom().randrange(2**32))
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--generations", type=int, default=default.generations)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--grace", type=float, default=default.grace_seconds)
    parser.add_argument("--folder", action="store_true", help="objects in a folder, not in S3")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    storm = Storm(given.seed, given.seconds, given.generations, grace_seconds=given.grace, in_bucket=not given.folder)
    table = run(storm)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
