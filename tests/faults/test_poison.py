"""A generation that kills its workers is given up; what is only interrupted often is not."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from longtake.app import House
from longtake.orders import KeyFrame
from longtake.records import Turn
from longtake.settings import load
from longtake.workflows import MOST_DEATHS, Workflows
from tests.faults.workers import DEATHS_PER_STEP, NUM_STEPS, Office, run_workers


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.open(load(data=tmp_path / "data"))


def test_a_generation_that_kills_its_workers_is_given_up_and_those_behind_it_complete(house: House) -> None:
    office = Office(house)
    poison = office.submit(office.still, "poison")
    heir = office.submit(KeyFrame(type="generation", id=poison.id))
    others = [office.submit(office.still, "a harmless one") for _ in range(3)]
    assert run_workers("poison", house) == [-9] * MOST_DEATHS + [0]

    given_up = office.records.get(poison.id)
    assert (given_up.state, given_up.failure_kind) == ("failed", "fault")
    assert given_up.failure_reason == f"a fault of ours: {MOST_DEATHS} workers died while they tried to render"
    assert [office.records.get(other.id).state for other in others] == ["completed"] * 3
    failed = office.records.get(heir.id)
    assert failed.state == "failed"
    assert f"generation {poison.id} failed" in (failed.failure_reason or "")
    office.close()


def test_a_workflow_that_is_interrupted_often_but_gets_on_is_not_given_up(house: House) -> None:
    deaths = NUM_STEPS * DEATHS_PER_STEP
    assert deaths > MOST_DEATHS
    workflows = Workflows(house.url)
    with house.database.begin() as connection:
        workflows.enqueue(connection, Turn(str(uuid.uuid4()), 1, "motion", "default", 0))
    workflows.close()
    assert run_workers("interrupted", house) == [-9] * deaths + [0]
