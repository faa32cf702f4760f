"""Figures for Prometheus: names, units, bounded labels; what a worker answers to those who look after it."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from longtake import metrics
from longtake.errors import CallerError
from longtake.media.seams import Seam
from longtake.metrics import SHARED, WORKER, Queues, Seen, Waiting
from longtake.probes import Probes
from longtake.wire.access import Metrics as FrontMetrics
from longtake.workflows.liveness import FileLocks, Watch

UNITS = ("_seconds", "_bytes", "_ratio", "_ciede2000")
PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"


def value(name: str, registry: CollectorRegistry = WORKER, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


def families() -> Iterator[tuple[str, str, set[str]]]:
    """Name, type and labels of all of ours that were counted."""
    for family in text_string_to_metric_families(metrics.exposition(SHARED, WORKER).decode()):
        if family.name.startswith("longtake_"):
            yield family.name, family.type, {label for sample in family.samples for label in sample.labels}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bring frame0", "bring"),
        ("render", "render"),
        ("render take 2", "render"),
        ("render part 17 of 20", "render"),
        ("edit whole", "edit"),
        ("rendering", "other"),
        ("an account's own name", "other"),
        ("", "other"),
    ],
)
def test_a_step_is_counted_by_its_kind_however_many_parts_there_are(name: str, kind: str) -> None:
    before = value("longtake_step_seconds_count", step=kind)
    metrics.observe_step(name, 0.5)
    assert value("longtake_step_seconds_count", step=kind) == before + 1


def test_a_step_that_fails_is_a_failure_and_no_time() -> None:
    before = value("longtake_step_seconds_count", step="splice"), value("longtake_step_failures_total", step="splice")
    with pytest.raises(KeyError), metrics.step("splice"):
        raise KeyError
    after = value("longtake_step_seconds_count", step="splice"), value("longtake_step_failures_total", step="splice")
    assert after == (before[0], before[1] + 1)
    with metrics.step("splice"):
        pass
    assert value("longtake_step_seconds_count", step="splice") == before[0] + 1


def test_a_run_counts_as_first_or_again_and_only_a_first_one_has_waited() -> None:
    metrics.begun("an-engine", 1, 2.5)
    metrics.begun("an-engine", 2, 100.0)
    metrics.begun("an-engine", 1)
    assert value("longtake_generation_runs_total", engine="an-engine", run="first") == 2
    assert value("longtake_generation_runs_total", engine="an-engine", run="again") == 1
    assert value("longtake_generation_wait_seconds_count", engine="an-engine") == 1
    assert value("longtake_generation_wait_seconds_sum", engine="an-engine") == 2.5


def test_a_clock_that_was_set_back_gives_no_negative_wait() -> None:
    metrics.begun("late-engine", 1, -3.0)
    assert value("longtake_generation_wait_seconds_sum", engine="late-engine") == 0


def test_figures_of_joins_that_are_no_numbers_are_left_out() -> None:
    metrics.observe_seam("seam-engine", Seam(24, 1.1, float("nan"), float("inf"), 0.4))
    counted = {
        name: value(f"longtake_seam_{name}_count", engine="seam-engine")
        for name in ("jump_ratio", "motion_ratio", "sharpness_ratio", "colour_ciede2000")
    }
    assert counted == {"jump_ratio": 1, "motion_ratio": 0, "sharpness_ratio": 0, "colour_ciede2000": 1}


def test_slots_in_use_go_back_after_a_failure() -> None:
    before = value("longtake_worker_slots_in_use")
    with contextlib.suppress(KeyError), metrics.slot():
        assert value("longtake_worker_slots_in_use") == before + 1
        raise KeyError
    assert value("longtake_worker_slots_in_use") == before


def test_names_end_in_their_unit_and_no_label_can_grow() -> None:
    count_everything()
    for name, kind, labels in families():
        if kind == "histogram":
            assert name.endswith(UNITS), name
        assert not {"account", "id", "generation", "key"} & labels, name
        assert re.fullmatch(r"longtake_[a-z0-9_]+", name)


def test_the_page_about_monitoring_lists_each_metric_and_none_that_is_not_there() -> None:
    count_everything()
    there = {f"{name}_total" if kind == "counter" else name for name, kind, _ in families()}
    queues = CollectorRegistry()
    queues.register(Queues(lambda: Seen({"motion": (1, 0.0)}, 1)))
    there |= {family.name for family in queues.collect()}
    listed = set(re.findall(r"^\| `(longtake_[a-z0-9_]+)`", PAGE.read_text(), re.MULTILINE))
    of_the_front = {name for name in listed if re.search(rf"`{name}`.*\| front \|", PAGE.read_text())}
    assert there <= listed, sorted(there - listed)
    assert listed - there <= of_the_front, sorted(listed - there)


def count_everything() -> None:
    metrics.begun("motion", 1, 1.0)
    metrics.ended("motion", "failed", "world")
    metrics.rendered("motion", 24)
    metrics.observe_seam("motion", Seam(24, 1.0, 1.0, 1.0, 0.0))
    metrics.observe_step("render", 1.0)
    metrics.webhook_tried("again")
    metrics.took_over(1, 2)
    metrics.stored(10)
    metrics.read(20)
    metrics.open_worker(["motion"], 2)
    with pytest.raises(KeyError), metrics.step("render"):
        raise KeyError


# ---- queues


def read_queues(waiting: Waiting, now: float) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    registry.register(Queues(lambda: Seen(waiting, 2), ["motion"], now=lambda: now))
    return {
        (sample.name, sample.labels.get("engine", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_queues_are_shown_by_engine_with_the_age_of_the_oldest() -> None:
    assert read_queues({"motion": (3, 90.0), "diffusion": (1, 99.5)}, now=100.0) == {
        ("longtake_queued", "motion"): 3,
        ("longtake_queued", "diffusion"): 1,
        ("longtake_queued_oldest_seconds", "motion"): 10,
        ("longtake_queued_oldest_seconds", "diffusion"): 0.5,
        ("longtake_workers", ""): 2,
        ("longtake_database_up", ""): 1,
    }
    assert (
        read_queues({}, now=100.0).items()
        >= {
            ("longtake_queued", "motion"): 0,
            ("longtake_queued_oldest_seconds", "motion"): 0,
        }.items()
    )


def test_a_worker_shows_what_it_may_count_from_its_start() -> None:
    """Else its first fault is no growth, and no alert."""
    metrics.open_worker(["motion"], 1)
    text = metrics.exposition(WORKER).decode()
    assert 'longtake_generations_ended_total{engine="motion",kind="fault",state="failed"}' in text
    assert 'longtake_generation_runs_total{engine="motion",run="again"}' in text
    assert 'longtake_webhook_tries_total{outcome="given_up"}' in text


def test_an_order_from_a_clock_ahead_of_ours_has_not_waited() -> None:
    assert read_queues({"motion": (1, 101.0)}, now=100.0)["longtake_queued_oldest_seconds", "motion"] == 0


def test_many_scrapes_are_one_look_into_the_database() -> None:
    looks = []

    def look() -> Seen:
        looks.append(1)
        return Seen({}, 0)

    queues = Queues(look)
    for _ in range(5):
        list(queues.collect())
    assert len(looks) == 1


def test_a_database_that_is_away_is_a_figure_and_not_a_failed_scrape() -> None:
    def away() -> Seen:
        raise ConnectionError("away")

    registry = CollectorRegistry()
    registry.register(Queues(away))
    text = metrics.exposition(registry).decode()
    assert "longtake_database_up 0.0" in text
    assert "longtake_queued{" not in text


def test_many_scrapes_count_the_generations_once() -> None:
    looks = []

    def count() -> dict[str, int]:
        looks.append(1)
        return {"queued": 2, "completed": 10_000_000}

    front = FrontMetrics(count, lambda: 0)
    scrapes = [metrics.exposition(front.registry).decode() for _ in range(5)]
    assert len(looks) == 1
    assert all('longtake_generations{state="queued"} 2.0' in text for text in scrapes)


def test_generations_that_can_not_be_counted_fail_no_scrape_and_are_not_tried_at_each() -> None:
    looks = []

    def away() -> dict[str, int]:
        looks.append(1)
        raise ConnectionError("away")

    front = FrontMetrics(away, lambda: 3)
    for _ in range(3):
        text = metrics.exposition(front.registry).decode()
        assert "longtake_waiting_clients 3.0" in text
        assert "longtake_generations{" not in text
    assert len(looks) == 1


# ---- what a worker answers


@pytest.fixture
def reasons() -> list[str]:
    """Why the worker is not ready; none: it is."""
    return []


@pytest.fixture
def worker(reasons: list[str]) -> Iterator[httpx2.Client]:
    probes = Probes("127.0.0.1", 0, lambda: reasons[0] if reasons else None)
    with httpx2.Client(base_url=f"http://127.0.0.1:{probes.port}", trust_env=False) as client:
        yield client
    probes.close()


def test_a_worker_is_ready_until_it_drains_and_alive_all_the_while(worker: httpx2.Client, reasons: list[str]) -> None:
    assert worker.get("/readyz").json() == {"status": "ready"}
    reasons.append("it drains")
    answer = worker.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "it drains"})
    assert worker.get("/healthz").status_code == 200


def test_a_look_that_fails_is_not_ready_and_tells_strangers_nothing() -> None:
    def unready() -> str | None:
        raise ConnectionError("postgresql://user:secret@db/longtake is away")

    probes = Probes("127.0.0.1", 0, unready)
    try:
        answer = httpx2.get(f"http://127.0.0.1:{probes.port}/readyz", trust_env=False)
    finally:
        probes.close()
    assert answer.status_code == 503
    assert "secret" not in answer.text


def test_a_worker_shows_its_own_figures_and_those_of_its_process(worker: httpx2.Client) -> None:
    metrics.open_worker(["motion"], 3)
    answer = worker.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["longtake_worker_slots"].samples[0].value == 3
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert worker.head("/metrics").content == b""


def test_other_paths_and_methods_are_not_there(worker: httpx2.Client) -> None:
    assert worker.get("/").status_code == 404
    assert worker.post("/metrics").status_code == 501


def test_a_client_that_goes_away_harms_nothing(worker: httpx2.Client, capfd: pytest.CaptureFixture[str]) -> None:
    for request in (b"", b"GET /met", b"GET /metrics HTTP/1.0\r\n\r\n", b"\xff\x00\r\n\r\n"):
        with socket.create_connection((worker.base_url.host, worker.base_url.port or 0)) as connection:
            connection.sendall(request)
    assert worker.get("/healthz").status_code == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_worker_that_has_not_looked_at_the_database_yet_is_not_ready(tmp_path: Path) -> None:
    watch = Watch("me", FileLocks(tmp_path), list, lambda dead: None, grace_seconds=15)
    assert watch.unready() == "it has not reached the database yet"
    watch.look()
    assert watch.unready() is None


def test_a_port_that_is_taken_names_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CallerError, match="can't listen") as caught:
        Probes("127.0.0.1", taken.getsockname()[1], lambda: None)
    assert caught.value.field == "LONGTAKE_METRICS_PORT"


def test_a_worker_answers_on_version_6_too() -> None:
    try:
        probes = Probes("::1", 0, lambda: None)
    except CallerError:
        pytest.skip("this machine has no IPv6")
    try:
        assert httpx2.get(f"http://[::1]:{probes.port}/healthz", trust_env=False).status_code == 200
    finally:
        probes.close()
