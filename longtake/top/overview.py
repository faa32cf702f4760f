"""What `longtake top` shows: workers, queues and what runs, at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtake.records import Running, WorkerRow


@dataclass(frozen=True, slots=True)
class WorkerLine:
    id: str
    host: str
    pid: int
    engines: tuple[str, ...]
    slots_used: int
    slots: int
    up_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True)
class QueueLine:
    engine: str
    waiting: int
    oldest_seconds: float
    """How long the one that waits longest has waited; 0 where none does."""
    running: int
    ended_last_minute: int
    failed_last_hour: int
    """Those that were cancelled are none."""


@dataclass(frozen=True, slots=True)
class RunningLine:
    id: str
    account: str
    engine: str
    stage: str
    progress: float
    """0 to 1."""
    seconds: float
    attempt: int | None
    """None where no worker runs it just now: another is about to take it up."""
    worker: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is to be seen at one moment."""

    at: float
    """In Unix seconds."""
    workers: tuple[WorkerLine, ...]
    queues: tuple[QueueLine, ...]
    running: tuple[RunningLine, ...]
    """The longest first."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def overview(
    now: float,
    workers: Sequence[WorkerRow],
    alive: Collection[str],
    runs: Mapping[str, tuple[int, str]],
    waiting: Mapping[str, tuple[int, float]],
    running: Sequence[Running],
    ended: Mapping[str, tuple[int, int]],
) -> Overview:
    """From what the records, the locks and the workflows say.

    `alive`: ids of workers. `runs`: generation id → its attempt, and the living worker that runs it. `ended`: engine →
    how many in the last minute, and how many failed in the last hour. An engine is shown where anything is known of it.
    """
    engines = {*waiting, *ended, *(one.engine for one in running)}
    engines |= {engine for worker in workers for engine in worker.engines}
    used = Counter(worker for _, worker in runs.values())
    busy = Counter(one.engine for one in running if one.id in runs)
    queues = []
    for engine in sorted(engines):
        num, since = waiting.get(engine, (0, now))
        oldest = max(0.0, now - since) if num else 0.0
        queues.append(QueueLine(engine, num, oldest, busy[engine], *ended.get(engine, (0, 0))))
    lines = [
        WorkerLine(
            id=one.id,
            host=one.host,
            pid=one.pid,
            engines=one.engines,
            slots_used=used[one.id],
            slots=one.concurrency,
            up_seconds=max(0.0, now - one.started_at),
            alive=one.id in alive,
        )
        for one in workers
    ]
    return Overview(now, tuple(lines), tuple(queues), tuple(_line(now, one, runs.get(one.id)) for one in running))


def _line(now: float, one: Running, run: tuple[int, str] | None) -> RunningLine:
    attempt, worker = run or (None, None)
    return RunningLine(
        id=one.id,
        account=one.account,
        engine=one.engine,
        stage=one.stage,
        progress=min(max(one.progress, 0.0), 1.0),
        seconds=max(0.0, now - one.started_at),
        attempt=attempt,
        worker=worker,
    )


__all__ = ["Overview", "QueueLine", "RunningLine", "WorkerLine", "overview"]
