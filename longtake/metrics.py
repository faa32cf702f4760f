"""Figures for Prometheus: what a worker counts, and what the records say of the queues.

Names and units follow https://prometheus.io/docs/practices/naming. No label names an account, a generation or a part:
each has a handful of values, so that a server's figures stay a few hundred lines. `docs/monitoring.md` lists them all.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, Protocol

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

log = structlog.get_logger("longtake.metrics")
STEPS: Final = (
    "bring",
    "match",
    "render",
    "edit",
    "measure",
    "drop",
    "sound",
    "splice",
    "poster",
)
"""The kinds of step there are: the first word of a step's name. What is none of them is counted as `other`."""
STEP_BUCKETS: Final = (0.02, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 7200)
WAIT_BUCKETS: Final = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 7200)
RATIO_BUCKETS: Final = (0.1, 0.25, 0.5, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10)
COLOUR_BUCKETS: Final = (0.25, 0.5, 1, 1.5, 2, 3, 5, 10)
CACHE_SECONDS: Final = 2.0
"""How old what the records say may be: several that scrape cost one query."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a line for each line, that nobody asks for
SHARED: Final = CollectorRegistry()
"""What every process counts: the front shows it too."""
WORKER: Final = CollectorRegistry()
"""What only a worker counts."""
ProcessCollector(registry=SHARED)

_bytes = Counter("longtake_store_bytes", "Bytes that went to or came from the store", ("direction",), registry=SHARED)
_steps = Histogram(
    "longtake_step_seconds", "Steps that were done, by kind", ("step",), buckets=STEP_BUCKETS, registry=WORKER
)
_failed_steps = Counter("longtake_step_failures", "Steps that ended in an error", ("step",), registry=WORKER)
_runs = Counter(
    "longtake_generation_runs",
    "Runs that were begun; again: taken up after another run of the same attempt was interrupted",
    ("engine", "run"),
    registry=WORKER,
)
_waits = Histogram(
    "longtake_generation_wait_seconds",
    "From the order to its first run, of orders that wait for no parent",
    ("engine",),
    buckets=WAIT_BUCKETS,
    registry=WORKER,
)
_ended = Counter(
    "longtake_generations_ended",
    "Generations that ended; kind: of a failure",
    ("engine", "state", "kind"),
    registry=WORKER,
)
_frames = Counter("longtake_frames_rendered", "New frames", ("engine",), registry=WORKER)
_slots = Gauge("longtake_worker_slots", "Generations that this worker runs at once at most", registry=WORKER)
_busy = Gauge("longtake_worker_slots_in_use", "Generations that this worker runs now", registry=WORKER)
_draining = Gauge("longtake_worker_draining", "1 from when this worker was told to stop", registry=WORKER)
_lost = Counter("longtake_workers_lost", "Dead workers whose work this one handed to others", registry=WORKER)
_taken = Counter("longtake_takeovers", "Workflows of dead workers that this one handed to others", registry=WORKER)
_webhooks = Counter("longtake_webhook_tries", "Tries to deliver a webhook", ("outcome",), registry=WORKER)
_seams = {
    name: Histogram(f"longtake_seam_{unit}", text, ("engine",), buckets=buckets, registry=WORKER)
    for name, unit, buckets, text in (
        ("jump", "jump_ratio", RATIO_BUCKETS, "Difference across a join over that between neighbouring frames"),
        ("motion", "motion_ratio", RATIO_BUCKETS, "Motion after a join over that before it"),
        ("sharpness", "sharpness_ratio", RATIO_BUCKETS, "Sharpness after a join over that before it"),
        ("colour", "colour_ciede2000", COLOUR_BUCKETS, "Difference of the mean colours on both sides of a join"),
    )
}

Waiting = Mapping[str, tuple[int, float]]
"""Engine → how many generations are queued for it, and since when the oldest of them (Unix seconds)."""


class Seen(NamedTuple):
    """What the database says of the house."""

    waiting: Waiting
    num_workers: int
    """Those that live."""


class Seam(Protocol):
    """The figures of a join, as `media.seams` defines them."""

    @property
    def jump(self) -> float: ...
    @property
    def motion(self) -> float: ...
    @property
    def sharpness(self) -> float: ...
    @property
    def colour(self) -> float: ...


Outcome = Literal["delivered", "again", "given_up"]


def step_kind(name: str) -> str:
    """`"render take 2"` → `"render"`; a name that begins with no word of `STEPS` → `"other"`."""
    kind = name.split(" ", 1)[0]
    return kind if kind in STEPS else "other"


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Around the work of a step: its seconds, or that it ended in an error."""
    started = time.perf_counter()
    try:
        yield
    except BaseException:
        _failed_steps.labels(step_kind(name)).inc()
        raise
    observe_step(name, time.perf_counter() - started)


def observe_step(name: str, seconds: float) -> None:
    """A step that is done."""
    _steps.labels(step_kind(name)).observe(seconds)


@contextlib.contextmanager
def slot() -> Iterator[None]:
    """Around the run of a generation."""
    with _busy.track_inprogress():
        yield


def open_worker(engines: Iterable[str], num_slots: int) -> None:
    """What this worker counts is there from its start: to Prometheus, what first appears at 1 has not grown."""
    _slots.set(num_slots)
    for engine in engines:
        _frames.labels(engine)
        _ended.labels(engine, "completed", "")
        for kind in ("caller", "world", "fault", "cancelled"):
            _ended.labels(engine, "failed", kind)
        for run in ("first", "again"):
            _runs.labels(engine, run)
    for outcome in ("delivered", "again", "given_up"):
        _webhooks.labels(outcome)


def set_draining() -> None:
    """This worker was told to stop."""
    _draining.set(1)


def begun(engine: str, start: int, waited_seconds: float | None = None) -> None:
    """A run. `start`: which run of this attempt it is, from 1. `waited_seconds`: since the order; None: no wait of ours
    (it waited for a parent, or it is another attempt)."""
    _runs.labels(engine, "first" if start <= 1 else "again").inc()
    if waited_seconds is not None and start <= 1:
        _waits.labels(engine).observe(max(0.0, waited_seconds))


def ended(engine: str, state: Literal["completed", "failed"], kind: str = "") -> None:
    """A generation that this worker brought to its end; `kind`: whose failure it is (caller, world, fault, cancelled).

    One that is cancelled while it is queued ends in no worker.
    """
    _ended.labels(engine, state, kind).inc()


def rendered(engine: str, num_frames: int) -> None:
    """New frames, in a part or a whole."""
    _frames.labels(engine).inc(num_frames)


def observe_seam(engine: str, seam: Seam) -> None:
    """A join that was made."""
    for name, histogram in _seams.items():
        if math.isfinite(value := getattr(seam, name)):
            histogram.labels(engine).observe(value)


def stored(num_bytes: int) -> None:
    """Went to the store."""
    _bytes.labels("written").inc(num_bytes)


def read(num_bytes: int) -> None:
    """Came from the store."""
    _bytes.labels("read").inc(num_bytes)


def took_over(num_workers: int, num_workflows: int) -> None:
    """Dead workers, and how many of their workflows were handed back to the queues."""
    _lost.inc(num_workers)
    _taken.inc(num_workflows)


def webhook_tried(outcome: Outcome) -> None:
    """`again`: it did not arrive, and is tried once more later."""
    _webhooks.labels(outcome).inc()


class Queues(Collector):
    """How long the queues are, and how many workers live, when it is asked for. Kept for `CACHE_SECONDS`.

    A database that can't be read is a figure as well (`longtake_database_up` 0), not a scrape that fails.
    """

    def __init__(
        self, look: Callable[[], Seen], engines: Iterable[str] = (), *, now: Callable[[], float] = time.time
    ) -> None:
        """`engines`: those that are shown even where nothing waits for them."""
        self._ask = look
        self._engines = tuple(engines)
        self._now = now
        self._reading = threading.Lock()
        self._read_at = -math.inf
        self._found: Seen | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        found, now = self._look(), self._now()
        num = GaugeMetricFamily("longtake_queued", "Generations that wait for a worker", labels=("engine",))
        text = "How long ago the oldest of them was ordered, or begun"
        oldest = GaugeMetricFamily("longtake_queued_oldest_seconds", text, labels=("engine",))
        if found is not None:
            for engine, (count, since) in {**dict.fromkeys(self._engines, (0, now)), **found.waiting}.items():
                num.add_metric((engine,), count)
                oldest.add_metric((engine,), max(0.0, now - since))
            yield GaugeMetricFamily("longtake_workers", "Workers that live", float(found.num_workers))
        yield from (num, oldest)
        yield GaugeMetricFamily("longtake_database_up", "1 where the records could be read", float(found is not None))

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def _look(self) -> Seen | None:
        with self._reading:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                try:
                    self._found = self._ask()
                except Exception as error:
                    log.warning("the queues can't be read", why=str(error)[:200])
                    self._found = None
                self._read_at = time.monotonic()
            return self._found


def exposition(*registries: CollectorRegistry) -> bytes:
    """All their figures, in Prometheus's text format."""
    return b"".join(generate_latest(registry) for registry in registries)


__all__ = [
    "SHARED",
    "STEPS",
    "WORKER",
    "Outcome",
    "Queues",
    "Seam",
    "Seen",
    "Waiting",
    "begun",
    "ended",
    "exposition",
    "observe_seam",
    "observe_step",
    "open_worker",
    "read",
    "rendered",
    "set_draining",
    "slot",
    "step",
    "step_kind",
    "stored",
    "took_over",
    "webhook_tried",
]
