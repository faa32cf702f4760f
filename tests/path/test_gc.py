"""Garbage is removed beside the real service and a real worker: what is left still plays, and can be extended."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from ipaddress import ip_network
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image

from longtake.admin import gc
from longtake.app import House
from longtake.engines.motion import Motion
from longtake.errors import CallerError, StoreError
from longtake.fetch import Fetcher, FetchRules
from longtake.footage import keys_of
from longtake.garbage import MARK, Collector, Report
from longtake.media.decode import read_all
from longtake.orders import KeyFrame, Order
from longtake.records import Generation, Keys, Records, open_database
from longtake.records.needed import Needs
from longtake.records.tables import metadata
from longtake.service import Service
from longtake.settings import load
from longtake.store import Store
from longtake.worker import Worker
from tests.stage import Steps
from tests.yard import AT_ONCE, NoWorkflows

LOST = "segments/0b6ee0f0-2d55-4b52-a2f6-0e2b2a8c1f11/1-1.mp4"


class Studio:
    """A front and a worker in one process, without workflows."""

    def __init__(self, url: str, store: Store, folder: Path) -> None:
        self.engine, self.store = open_database(url), store
        self.records = Records(self.engine, lambda *_: None)
        rules = FetchRules(max_bytes=1, timeout_seconds=1, allow=(ip_network("127.0.0.0/8"),))
        motion = Motion()
        self.service = Service(
            self.records,
            store,
            engines={"motion": motion.capabilities},
            models={"ray-2": "motion"},
            rules=rules,
            max_still_pixels=10**6,
        )
        self._worker = Worker(self.records, store, Fetcher(rules), engines={"motion": motion}, max_still_pixels=10**6)
        self._key = Keys(self.engine).create("test")[0]
        self.account = self._key.account
        Image.linear_gradient("L").convert("RGB").resize((112, 64)).save(folder / "picture.png")
        upload = self.service.upload(self.account, folder / "picture.png")
        self.upload_key, self.still = upload.key, KeyFrame(type="image", upload=upload.id)
        self._steps: dict[tuple[str, int], Steps] = {}

    def close(self) -> None:
        self.engine.dispose()

    def order(self, before: str | None = None, after: str | None = None) -> str:
        """From the still where it extends nothing."""
        ends = [KeyFrame(type="generation", id=id) if id else None for id in (before, after)]
        first, last = ends if any(ends) else (self.still, None)
        order = Order(before=first, after=last, seconds=Fraction(1), short_side=64, frame_rate=Fraction(6), seed=1)
        return self.service.submit(self._key, order, wire="native", request={}).id

    def work(self) -> None:
        """Carries out all that can be."""
        while waiting := self.records.unfinished():
            for id, attempt in waiting:
                steps = self._steps.setdefault((id, attempt), Steps())
                self._worker.run(id, attempt, 1, steps)

    def made(self, before: str | None = None, after: str | None = None) -> str:
        id = self.order(before, after)
        self.work()
        assert self.get(id).state == "completed", self.get(id).failure_reason
        return id

    def get(self, id: str) -> Generation:
        return self.records.get(id)

    def living(self) -> list[Generation]:
        return self.service.page(self.account, limit=1000)[0]

    def seen(self, id: str) -> str:
        """A digest of all its frames, as they are decoded from its segments."""
        result = self.get(id).result
        assert result
        assert self.store.size(result.video_key) == result.num_bytes
        frames = read_all(result.timeline, 0, result.timeline.num_frames, self.store.open)
        return hashlib.sha256(b"".join(plane.tobytes() for plane in frames.planes)).hexdigest()

    def collect(self, *, dry_run: bool = False) -> Report:
        needs = Needs(self.engine)
        return Collector(self.records, needs, self.store, NoWorkflows(), AT_ONCE, dry_run=dry_run).run()

    def named(self) -> set[str]:
        """What the results of all that is not deleted name, and the upload."""
        results = [each.result for each in self.living() if each.result]
        files = {key for result in results for key in (result.video_key, result.image_key)}
        return files | {key for result in results for key in keys_of(result.timeline)} | {self.upload_key}


@pytest.fixture
def studio(database_url: str, tmp_path: Path) -> Iterator[Studio]:
    store = Store.in_folder(tmp_path / "objects") if database_url.startswith("sqlite") else Store.in_memory()
    studio = Studio(database_url, store, tmp_path)
    yield studio
    studio.close()


def test_what_is_left_after_each_delete_plays_as_before_and_can_be_extended(studio: Studio) -> None:
    first = studio.made()
    second = studio.made(first)
    ahead = studio.made(None, first)
    bridge = studio.made(second, ahead)
    branch = studio.made(first)
    seen = {id: studio.seen(id) for id in (first, second, ahead, bridge, branch)}
    for id in (first, ahead, second, branch):
        studio.service.delete(id, studio.account)
        del seen[id]
        studio.collect()
        assert {id: studio.seen(id) for id in seen} == seen
        assert set(studio.store.keys()) == studio.named()
        assert studio.collect().is_empty()
    longer = studio.made(bridge)
    result = studio.get(longer).result
    assert result
    assert bridge in {segment.owner for segment in result.timeline.segments}
    for id in (bridge, longer):
        studio.service.delete(id, studio.account)
    studio.collect()
    assert set(studio.store.keys()) == {studio.upload_key}


def test_beside_a_worker_and_clients_it_breaks_no_generation(studio: Studio) -> None:
    num_removed: list[int] = []

    def collect() -> None:
        num_removed.append(sum(tally.num for tally in studio.collect().objects.values()))

    roots = [studio.made()]
    with going_on(collect) as collecting, going_on(studio.work) as working:
        order_and_delete(studio, roots, random.Random(6))
        while studio.records.unfinished() and working.is_alive() and collecting.is_alive():
            working.join(0.01)
    living = studio.living()
    assert {each.failure_reason for each in living} <= {None}
    assert len([each for each in living if each.state == "completed"]) >= 3
    studio.collect()
    assert sum(num_removed) > 0
    assert set(studio.store.keys()) == studio.named()
    for each in living:
        studio.seen(each.id)


@contextmanager
def going_on(do: Callable[[], None]) -> Iterator[threading.Thread]:
    """Does it again and again in a thread of its own; raises what it raised."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                do()
                stop.wait(0.001)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    stop.set()
    thread.join()
    assert failures == []


def order_and_delete(studio: Studio, roots: list[str], dice: random.Random) -> None:
    """Chains, branches and bridges, of parents that run or are done; of these some are deleted, by fronts that die
    ahead of removing an object."""
    for _ in range(8):
        able = [id for id in roots if not studio.records.is_deleted(id)]
        if not able:
            roots.append(studio.order())
        elif dice.random() < 0.7:
            roots.append(studio.order(dice.choice(able)))
        else:
            roots.append(studio.order(dice.choice(able), dice.choice(able)))
        done = [id for id in roots if studio.get(id).state == "completed" and not studio.records.is_deleted(id)]
        if done and dice.random() < 0.6:
            studio.records.delete(dice.choice(done), studio.account)


def test_the_command_says_what_it_would_do_and_then_does_it(tmp_path: Path) -> None:
    data, store = tmp_path / "data", Store.in_folder(tmp_path / "data" / "objects")
    House.open(load(data=data)).database.dispose()
    store.put(LOST, b"lost")

    def said(*options: str) -> str:
        ran = CliRunner().invoke(gc, ["--data", str(data), *options], catch_exceptions=False)
        assert (ran.exit_code, ran.stderr) == (0, "")
        return ran.stdout

    assert said() == "nothing removed\n"
    told = said("--dry-run", "--older-than", "0s", "-v")
    assert told == f"{LOST}  4\nsegments: 1 objects, 4 bytes would be removed\n"
    assert store.read(LOST) == b"lost"
    done = json.loads(said("--json", "--older-than", "0s"))
    assert done["objects"] == {"segments": {"num": 1, "num_bytes": 4}}
    assert done["num_strange"] == 0
    assert list(store.keys()) == [MARK]


def _refusal(data: Path, *options: str) -> str:
    with pytest.raises(CallerError) as refused:
        CliRunner().invoke(gc, ["--data", str(data), "--older-than", "0s", *options], catch_exceptions=False)
    return str(refused.value)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_store_of_another_database_is_left_alone(options: tuple[str, ...], tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    store = Store.in_folder(data / "objects")
    store.put(LOST, b"lost")
    for name in (data, other):
        House.open(load(data=name)).database.dispose()
    shutil.copy(other / "longtake.db", data / "longtake.db")
    assert "this store belongs to another database; check LONGTAKE_DATABASE_URL and" in _refusal(data, *options)
    with pytest.raises(CallerError, match="this store belongs to another database"):
        House.open(load(data=data))
    store.delete(MARK)
    assert "this store has no mark" in _refusal(data, *options)
    assert list(store.keys()) == [LOST]


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_gc_makes_nothing_in_a_database_that_no_server_has_opened(
    options: tuple[str, ...], database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.in_folder(tmp_path / "data" / "objects")
    for key in (LOST, MARK):
        store.put(key, b"x")
    engine = open_database(database_url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
    had = sa.inspect(engine).get_table_names()
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", database_url)
    assert "which no longtake serve or worker has opened" in _refusal(tmp_path / "data", *options)
    assert sa.inspect(engine).get_table_names() == had
    engine.dispose()
    missing = tmp_path / "missing.db"
    monkeypatch.setenv("LONGTAKE_DATABASE_URL", f"sqlite:///{missing}")
    assert f"there is no {missing}" in _refusal(tmp_path / "data", *options)
    assert not missing.exists()
    assert set(store.keys()) == {LOST, MARK}


def test_a_server_starts_while_its_store_is_away_and_marks_it_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: Store) -> None:
        raise StoreError("away", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "check", away)
        House.open(load(data=tmp_path)).database.dispose()
    store = Store.in_folder(tmp_path / "objects")
    assert list(store.keys()) == []
    for _ in range(2):
        House.open(load(data=tmp_path)).database.dispose()
    assert list(store.keys()) == [MARK]


@pytest.mark.parametrize("text", ["1", "h", "1w", "-1h", "1.5h", ""])
def test_an_age_without_its_unit_is_refused(text: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(gc, ["--data", str(tmp_path), "--older-than", text])
    assert ran.exit_code == 2
    assert "a number and s, m, h or d" in ran.output
