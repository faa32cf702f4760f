"""Requests made up from the OpenAPI document, right and wrong: no fault of ours, no answer that it does not declare.

What breaks the schema must be refused. What keeps it may still be refused for what a schema can't say (an address
that is not public, an aspect ratio out of range, a model that is not there), so `positive_data_acceptance` is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.wire_rig import KEY, Rig, serving

load_all_checks()
EXAMPLES = 10
LEFT_OUT = {"positive_data_acceptance", "use_after_free", "ensure_resource_availability"}
CHECKED: Any = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
ENDLESS = "/api/events"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("fuzz"), wait_seconds=0.01)


@pytest.fixture(scope="module")
def schema(rig: Rig) -> Iterator[Any]:
    with serving(rig) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("tag", ["AI/ML API", "Longtake", "Media", "Operations"])
def test_every_call_answers_as_the_document_says(schema: Any, tag: str, mode: GenerationMode) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    chosen = [one for one in operations if tag in one.definition.raw["tags"] and one.path != ENDLESS]
    assert chosen
    for operation in chosen:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.headers):
            continue  # there is nothing that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def answers_as_it_says(case: Any) -> None:
            case.call_and_validate(headers={"authorization": f"Bearer {KEY}"}, checks=CHECKED, timeout=20)

        answers_as_it_says()
