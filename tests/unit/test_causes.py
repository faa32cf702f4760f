"""One table: what may go wrong × the protocols. The same cause has the same status on each, in that one's own shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from longtake.errors import WorldError
from longtake.records import Limits
from tests.wire_rig import MODELS, OTHER_KEY, Rig, client, new_id, serving


@dataclass(frozen=True)
class Wire:
    """A protocol, as far as the table needs it. `{id}` in paths stands for a generation's id as it writes it."""

    create: str
    body: dict[str, Any]
    read: str
    extend: Callable[[str], tuple[str, dict[str, Any]]]
    shape: Callable[[Any, int], bool]
    """Whether an answer's JSON is this protocol's error of this status."""
    id: Callable[[str], str] = str


def seeds(body: Any, status: int) -> bool:
    errors = body.get("errors")
    return (
        set(body) - {"errors"} == {"requestId", "statusCode", "timestamp", "path", "message"}
        and body["statusCode"] == status
        and (status != 400 or (bool(errors) and body["message"].startswith("Body validation error")))
    )


def lumas(body: Any, _: int) -> bool:
    return list(body) == ["detail"] and isinstance(body["detail"], str) and bool(body["detail"])


def openais(body: Any, _: int) -> bool:
    return list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}


def natives(body: Any, _: int) -> bool:
    return set(body) == {"error", "request_id"} and set(body["error"]) == {"message", "field", "kind"}


PROMPT = {"prompt": "a lighthouse at dusk"}
JSON = {"content-type": "application/json"}


def extending(path: str) -> Callable[[str], tuple[str, dict[str, Any]]]:
    return lambda one: (path, {**PROMPT, "keyframes": {"frame0": {"type": "generation", "id": one}}})


SEED, LUMA = "/v2/generate/video/luma-ai/generation", "/dream-machine/v1/generations"
WIRES = {
    "aimlapi": Wire(SEED, PROMPT, SEED + "?generation_id={id}", extending(SEED), seeds),
    "luma": Wire(LUMA, PROMPT, LUMA + "/{id}", extending(LUMA), lumas),
    "openai": Wire(
        "/v1/videos",
        PROMPT,
        "/v1/videos/{id}",
        lambda one: ("/v1/videos/extensions", {**PROMPT, "seconds": "4", "video": {"id": one}}),
        openais,
        lambda one: f"video_{one.replace('-', '')}",
    ),
    "native": Wire("/api/generations", PROMPT, "/api/generations/{id}", extending("/api/generations"), natives),
}


@dataclass
class Scene:
    """What a cause is made from."""

    rig: Rig
    url: str
    wire: Wire
    http: httpx2.Client

    def made(self, **headers: str) -> str:
        """The id of a new generation, as records know it."""
        answer = self.http.post(self.wire.create, json=self.wire.body, headers=headers)
        assert answer.is_success, answer.text
        return self.rig.records.page("default", limit=1)[0].id

    def read(self, id: str) -> httpx2.Response:
        return self.http.get(self.wire.read.format(id=self.wire.id(id)))

    def extend(self, id: str) -> httpx2.Response:
        path, body = self.wire.extend(self.wire.id(id))
        return self.http.post(path, json=body)

    def create(self, **changes: Any) -> httpx2.Response:
        return self.http.post(self.wire.create, json={**self.wire.body, **changes})

    def limited(self, credits: float | None = None, **limits: int) -> httpx2.Client:
        _, secret = self.rig.keys.create("limited", limit=credits, limits=Limits(**limits))
        return client(self.url, secret)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("causes"), max_body_bytes=10_000)
    rig.service.models = {**MODELS, "sora-2": "motion"}
    return rig


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(params=list(WIRES))
def scene(request: pytest.FixtureRequest, rig: Rig, url: str) -> Iterator[Scene]:
    with client(url) as http:
        yield Scene(rig, url, WIRES[request.param], http)


def without_a_key(scene: Scene) -> httpx2.Response:
    with client(scene.url, None) as http:
        return http.post(scene.wire.create, json=scene.wire.body)


def with_a_wrong_key(scene: Scene) -> httpx2.Response:
    with client(scene.url, "lt-wrong") as http:
        return http.get(scene.wire.read.format(id=scene.wire.id(new_id())))


def of_another_account(scene: Scene) -> httpx2.Response:
    id = scene.made()
    with client(scene.url, OTHER_KEY) as http:
        return http.get(scene.wire.read.format(id=scene.wire.id(id)))


def of_a_failed_parent(scene: Scene) -> httpx2.Response:
    id = scene.made()
    scene.rig.records.fail(id, "no luck", "world")
    return scene.extend(id)


def of_a_deleted_parent(scene: Scene) -> httpx2.Response:
    id = scene.made()
    scene.rig.service.delete(id, "default")
    return scene.extend(id)


def without_credits(scene: Scene) -> httpx2.Response:
    with scene.limited(credits=1.0) as http:
        return http.post(scene.wire.create, json=scene.wire.body)


def too_many_requests(scene: Scene) -> httpx2.Response:
    with scene.limited(requests_per_minute=1) as http:
        http.get(scene.wire.read.format(id=scene.wire.id(new_id())))
        return http.get(scene.wire.read.format(id=scene.wire.id(new_id())))


def too_many_at_once(scene: Scene) -> httpx2.Response:
    with scene.limited(generations_at_once=1) as http:
        http.post(scene.wire.create, json=scene.wire.body)
        return http.post(scene.wire.create, json=scene.wire.body)


def of_a_name_that_stands_for_another(scene: Scene) -> httpx2.Response:
    scene.made(**{"idempotency-key": f"a-name-{scene.wire.create}"})
    body = {**scene.wire.body, "prompt": "another"}
    return scene.http.post(scene.wire.create, json=body, headers={"idempotency-key": f"a-name-{scene.wire.create}"})


CAUSES: dict[str, tuple[int, Callable[[Scene], httpx2.Response]]] = {
    "no key": (401, without_a_key),
    "a wrong key": (401, with_a_wrong_key),
    "an id that nobody has": (404, lambda scene: scene.read(new_id())),
    "an id that is none": (404, lambda scene: scene.read("no-id")),
    "an id of another account": (404, of_another_account),
    "a parent that nobody has": (404, lambda scene: scene.extend(new_id())),
    "a parent that failed": (409, of_a_failed_parent),
    "a parent that was deleted": (409, of_a_deleted_parent),
    "a prompt that is too long": (400, lambda scene: scene.create(prompt="x" * 5001)),
    "a prompt that is a number": (400, lambda scene: scene.create(prompt=5)),
    "a field that there is not": (400, lambda scene: scene.create(nonsense=1)),
    "a model that there is not": (400, lambda scene: scene.create(model="sora-9")),
    "no JSON": (400, lambda scene: scene.http.post(scene.wire.create, content=b"{", headers=JSON)),
    "a list for a body": (400, lambda scene: scene.http.post(scene.wire.create, json=[])),
    "a body that is too large": (413, lambda scene: scene.create(prompt="x" * 20_000)),
    "an Idempotency-Key that is none": (
        400,
        lambda scene: scene.http.post(scene.wire.create, json=scene.wire.body, headers={"idempotency-key": "a b"}),
    ),
    "an Idempotency-Key of another order": (409, of_a_name_that_stands_for_another),
    "no credits": (403, without_credits),
    "too many requests": (429, too_many_requests),
    "too many generations at once": (429, too_many_at_once),
    "a path that there is not": (404, lambda scene: scene.http.get(scene.wire.create + "/no/such/path")),
    "a method that the path does not take": (405, lambda scene: scene.http.patch(scene.wire.create)),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_same_cause_has_the_same_status_in_each_protocols_own_shape(scene: Scene, cause: str) -> None:
    status, send = CAUSES[cause]
    count = scene.rig.records.count("default")
    answer = send(scene)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert scene.wire.shape(answer.json(), status), answer.text
    assert ("retry-after" in answer.headers) == (status == 429)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    if status == 400:
        assert scene.rig.records.count("default") == count


@pytest.mark.parametrize(
    ("error", "status"), [(WorldError("the disk is full", retryable=True), 503), (RuntimeError("a secret"), 500)]
)
def test_what_is_not_the_callers_fault_says_so_and_tells_no_secrets(
    scene: Scene, error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(scene.rig.service, "submit", fails)
    answer = scene.create()
    assert answer.status_code == status
    assert scene.wire.shape(answer.json(), status), answer.text
    assert "a secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
