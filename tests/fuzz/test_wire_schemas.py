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
EXAMPLES = 8
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415"]
CONFIG: dict[str, Any] = {
    "generation": {"allow-extra-parameters": False, "with-security-parameters": False},
    "checks": {"negative_data_rejection": {"expected-statuses": REFUSED}},
}
"""Query parameters that no call knows are passed over, as HTTP has it; unknown fields of bodies are not."""
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
LEFT_OUT = {"positive_data_acceptance", "use_after_free", "ensure_resource_availability", "ignored_auth"}
"""`ignored_auth` takes the key out of the request, and the header given here puts it in again."""
CHECKED: Any = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
ENDLESS = "/api/events"
TWICE = "/v1/luma-ai/"
"""The legacy calls once more, by the same functions."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("fuzz"), wait_seconds=0.01, fetch_seconds=0.2)


@pytest.fixture(scope="module")
def schema(rig: Rig) -> Iterator[Any]:
    with serving(rig) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json", config=schemathesis.Config.from_dict(CONFIG))


def test_every_call_with_a_lock_in_the_document_needs_a_key(schema: Any) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    open_paths = {one.path for one in operations if "security" not in one.definition.raw}
    assert open_paths == {"/media/{key}", "/media/hls/{id}/{name}", "/healthz", "/metrics"}
    for operation in operations:
        if operation.path not in open_paths:
            case = operation.Case(path_parameters={"id": "x"})
            assert case.call().status_code == 401, operation.label


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("tag", ["AI/ML API", "Longtake", "Media", "Operations"])
def test_every_call_answers_as_the_document_says(schema: Any, tag: str, mode: GenerationMode) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    chosen = [one for one in operations if tag in one.definition.raw["tags"]]
    chosen = [one for one in chosen if one.path != ENDLESS and not one.path.startswith(TWICE)]
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
