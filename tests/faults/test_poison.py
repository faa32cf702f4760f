"""A generation that kills its workers is given up; what is only interrupted often is not."""

from __future__ import annotations

import subprocess
import sys
import uuid
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from longtake.app import House, engines
from longtake.orders import KeyFrame, Order
from longtake.records import Generation, Records
from longtake.service import Service
from longtake.settings import load
from longtake.workflows import MOST_DEATHS, Workflows
from tests.faults.workers import DEATHS_PER_STEP, NUM_STEPS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.open(load(data=tmp_path / "data"))


def run_workers(way: str, house: House) -> list[int]:
    """The exit codes of the workers: -9 for one that was killed, 0 for the one that did all that was left."""
    command = [sys.executable, "-m", "tests.faults.workers", way, str(house.settings.data)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    codes = [int(line) for line in ran.stdout.split()]
    assert codes[-1:] == [0], ran.stderr[-4000:]
    return codes


def test_a_generation_that_kills_its_workers_is_given_up_and_those_behind_it_complete(house: House) -> None:
    workflows = Workflows(house.url)
    records = Records(house.database, workflows.enqueue)
    able = {"motion": engines()["motion"].capabilities}
    service = Service(
        records, house.store, engines=able, models={"ray-2": "motion"}, rules=house.rules, max_still_pixels=10**6
    )
    _, secret = house.keys.create("test")
    key = house.keys.check(secret)
    assert house.store.work_folder
    picture = house.store.work_folder / "picture.png"
    Image.linear_gradient("L").convert("RGB").resize((112, 64)).save(picture)
    upload = service.upload(key.account, picture)

    def submit(prompt: str, before: KeyFrame) -> Generation:
        order = Order(prompt=prompt, before=before, seconds=Fraction(1), short_side=64, frame_rate=Fraction(6))
        return service.submit(key, order, wire="native", request={})

    still = KeyFrame(type="image", upload=upload.id)
    poison = submit("poison", still)
    heir = submit("a child", KeyFrame(type="generation", id=poison.id))
    others = [submit("a harmless one", still) for _ in range(3)]

    assert run_workers("poison", house) == [-9] * MOST_DEATHS + [0]
    given_up = records.get(poison.id)
    assert (given_up.state, given_up.failure_kind) == ("failed", "fault")
    assert given_up.failure_reason == f"a fault of ours: {MOST_DEATHS} workers died while they tried to render"
    assert [records.get(other.id).state for other in others] == ["completed"] * 3
    failed = records.get(heir.id)
    assert failed.state == "failed"
    assert f"generation {poison.id} failed" in (failed.failure_reason or "")
    workflows.close()


def test_a_workflow_that_is_interrupted_often_but_gets_on_is_not_given_up(house: House) -> None:
    deaths = NUM_STEPS * DEATHS_PER_STEP
    assert deaths > MOST_DEATHS
    workflows = Workflows(house.url)
    with house.database.begin() as connection:
        workflows.enqueue(connection, str(uuid.uuid4()), 1)
    workflows.close()
    assert run_workers("interrupted", house) == [-9] * deaths + [0]
