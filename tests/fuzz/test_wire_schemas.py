"""Requests made up from the OpenAPI documents, right and wrong, alone and one after another, with every check on.

What breaks the schema must be refused, and what keeps it be taken: a format that a schema can only name (an aspect
ratio in range, a model that is there) is made up here. Left out is nothing but `positive_data_acceptance`, and that of
the calls in `SAYS_LESS` and of forms alone: their schemas can't say all that is asked of a request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.wire_rig import KEY, MODELS, Rig, serving

load_all_checks()
EXAMPLES = 8
CHAINS, STEPS = 16, 8
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415"]
TAKEN = ["2xx", "3xx", "401", "403", "404", "409"]
"""An id that is made up is nobody's: no schema could say which there are."""
CONFIG: dict[str, Any] = {
    "auth": {"openapi": {"HTTPBearer": {"bearer": KEY}}},
    "generation": {"allow-extra-parameters": False, "with-security-parameters": False},
    "checks": {
        "negative_data_rejection": {"expected-statuses": REFUSED},
        "positive_data_acceptance": {"expected-statuses": TAKEN},
    },
}
"""Query parameters that no call knows are passed over, as HTTP has it; unknown fields of bodies are not."""
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
FORMATS = {
    "uri": ["http://127.0.0.1:9/image1.png", "http://127.0.0.1:9/image2.png"],
    "aspect-ratio": ["16:9", "9:16", "19:9", "1:1", "21:9", "9:21"],
    "model": list(MODELS),
    "camera-move": ["zoom_in"],
    "frame-size": ["1280x720", "720x1280", "64x64"],
}
for _format, _values in FORMATS.items():
    schemathesis.openapi.format(_format, st.sampled_from(_values))
CHECKED: Any = list(CHECKS.get_all())
SAYS_LESS = {
    **dict.fromkeys(("luma_modify", "luma_image", "luma_reframe_image", "luma_audio"), "no engine can do it"),
    **dict.fromkeys(("aimlapi_read_many", "aimlapi_read_legacy"), "each of the ids may be several: 100 in all"),
    "aimlapi_upload": "something has to be at the address",
    "longtake_create_upload": "the bytes have to be a picture or a video",
    "longtake_append_upload": "a checksum has to be that of the bytes",
    "luma_reframe": "its places depend on each other and on the video",
    "luma_upscale": "it has to be larger than the video",
}
FORM = "multipart/form-data"
"""Of any call: the bytes in it have to be a picture or a video."""
ENDLESS = "/api/events"
TWICE = "/v1/luma-ai/"
"""The legacy calls once more, by the same functions."""
ASIDE = f"events$|^/media|^{TWICE}|/modify$|/image|/audio$"
"""Of what comes one after another: streams, addresses that are signed, what no engine can do."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("fuzz"), wait_seconds=0.01, fetch_seconds=0.2)
    rig.service.models = {**MODELS, "sora-2": "motion"}  # what OpenAI's protocol takes by default
    return rig


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def schema(url: str) -> Any:
    return load(f"{url}/openapi.json")


def load(address: str) -> Any:
    return schemathesis.openapi.from_url(address, config=schemathesis.Config.from_dict(CONFIG))


def checks_of(case: Any) -> list[Any]:
    is_exact = case.operation.definition.raw["operationId"] not in SAYS_LESS and case.media_type != FORM
    return [check for check in CHECKED if is_exact or check.__name__ != "positive_data_acceptance"]


def quick(max_examples: int, **more: Any) -> settings:
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_every_call_with_a_lock_in_the_document_needs_a_key(schema: Any) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    open_paths = {one.path for one in operations if "security" not in one.definition.raw}
    assert open_paths == {"/media/{key}", "/media/hls/{id}/{name}", "/healthz", "/readyz", "/metrics"}
    for operation in operations:
        if operation.path not in open_paths:
            case = operation.Case(path_parameters={"id": "x"})
            assert case.call(headers={"authorization": "Bearer nobody's"}).status_code == 401, operation.label


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("tag", ["AI/ML API", "Luma Dream Machine", "OpenAI videos", "Longtake", "Media", "Operations"])
def test_every_call_answers_as_the_document_says(schema: Any, tag: str, mode: GenerationMode) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    chosen = [one for one in operations if tag in one.definition.raw["tags"]]
    chosen = [one for one in chosen if one.path != ENDLESS and not one.path.startswith(TWICE)]
    assert chosen
    for operation in chosen:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.headers):
            continue  # there is nothing that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @quick(EXAMPLES)
        def answers_as_it_says(case: Any) -> None:
            case.call_and_validate(checks=checks_of(case), timeout=20)

        answers_as_it_says()


@pytest.mark.parametrize("name", ["aimlapi", "luma", "openai", "native"])
def test_what_one_call_made_the_next_ones_find_until_it_is_deleted(rig: Rig, url: str, name: str) -> None:
    document = load(f"{url}/openapi/{name}.json").exclude(path_regex=ASIDE)
    seen: Counter[tuple[str, bool]] = Counter()

    class Chain(document.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Each chain finds nothing: what can be drawn must not depend on those before it."""
            account = rig.keys.check(KEY).account
            for made in rig.service.page(account, limit=1000, offset=0)[0]:
                rig.service.delete(made.id, account)

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=checks_of(case), recorder=self.recorder)
            came_from = self.recorder.find_parent(case_id=case.id)
            seen[case.operation.method, bool(came_from) and response.status_code < 300] += 1

    Chain.run(settings=quick(CHAINS, stateful_step_count=STEPS))
    assert seen["get", True] or seen["head", True], seen
    if name != "aimlapi":  # which has no call that deletes
        assert seen["delete", True], seen
