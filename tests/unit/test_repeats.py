"""Creates that come twice: with a key of the client's own, or as an SDK's silent retry."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from PIL import Image

from longtake.errors import DatabaseError
from longtake.orders import KeyFrame, Order
from longtake.records import Generation
from longtake.records.tables import creates
from tests.wire_rig import KEY, MODELS, OTHER_KEY, Rig, client, rig_on, serving

SEED = "/v2/generate/video/luma-ai/generation"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(request, tmp_path_factory.mktemp("repeats")) as rig:
        rig.service.models = {**MODELS, "sora-2": "motion"}
        yield rig


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as base_url:
        yield base_url


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


def create(http: httpx2.Client, prompt: str, path: str = SEED, **headers: str) -> httpx2.Response:
    return http.post(path, json={"prompt": prompt}, headers={k.replace("_", "-"): v for k, v in headers.items()})


def age(rig: Rig, seconds: float) -> None:
    """Lets time pass for what was created."""
    with rig.records._engine.begin() as connection:
        connection.execute(sa.update(creates).values(created_at=creates.c.created_at - seconds))


def test_the_same_key_makes_one_generation_however_often_it_comes(http: httpx2.Client) -> None:
    answers = [create(http, "one", idempotency_key="key-1") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert create(http, "one", idempotency_key="key-2").json()["id"] != answers[0].json()["id"]


def test_the_same_key_with_another_order_is_a_conflict_that_changes_nothing(rig: Rig, http: httpx2.Client) -> None:
    create(http, "two", idempotency_key="key-3")
    count = rig.records.count("default")
    for answer in (
        create(http, "another", idempotency_key="key-3"),
        create(http, "two", path="/api/generations", idempotency_key="key-3"),
    ):
        assert answer.status_code == 409
        assert "choose another key" in answer.text
    assert rig.records.count("default") == count


def test_a_key_holds_for_a_day_and_for_one_account(rig: Rig, url: str, http: httpx2.Client) -> None:
    first = create(http, "three", idempotency_key="key-4").json()["id"]
    with client(url, OTHER_KEY) as other:
        assert create(other, "three", idempotency_key="key-4").json()["id"] != first
    age(rig, 86_000)
    assert create(http, "three", idempotency_key="key-4").json()["id"] == first
    age(rig, 500)
    assert create(http, "four", idempotency_key="key-4").json()["id"] != first


@pytest.mark.parametrize("key", ["", "a b", "k" * 256])
def test_a_key_that_is_none_is_refused_by_name(http: httpx2.Client, key: str) -> None:
    answer = create(http, "five", idempotency_key=key)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_an_sdks_silent_retry_gets_what_the_first_try_made(rig: Rig, http: httpx2.Client) -> None:
    first = create(http, "six", x_stainless_retry_count="0").json()["id"]
    assert create(http, "six", x_stainless_retry_count="1").json()["id"] == first
    assert create(http, "six", x_stainless_retry_count="2").json()["id"] == first
    assert create(http, "seven", x_stainless_retry_count="1").json()["id"] != first
    again = create(http, "six").json()["id"]
    assert again != first, "what is asked for twice on purpose is made twice"
    age(rig, 121)
    assert create(http, "six", x_stainless_retry_count="1").json()["id"] not in (first, again)


def test_pictures_sent_inline_tell_one_order_from_another(http: httpx2.Client) -> None:
    def send(colour: str) -> str:
        file = io.BytesIO()
        Image.new("RGB", (64, 48), colour).save(file, "PNG")
        frame = {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}
        body = {"prompt": "inline", "keyframes": {"frame0": frame}}
        id: str = http.post(SEED, json=body, headers={"x-stainless-retry-count": "1"}).json()["id"]
        return id

    assert send("red") == send("red") != send("blue")


def test_a_retry_that_overtakes_its_first_try_makes_the_only_one(rig: Rig, http: httpx2.Client) -> None:
    from longtake.records import Create, Key

    key = Key("key-x", "default", "", None, 0.0, None)
    began = time.time()
    late = Create(key_id=key.id, digest="d", received_at=began)
    repeat = Create(key_id=key.id, digest="d", is_retry=True, received_at=began + 0.001)
    from longtake.orders import Order

    made = [
        rig.service.submit(key, Order(prompt="eight"), wire="native", request={}, create=one).id
        for one in (repeat, late)
    ]
    assert made[0] == made[1]
    new = Create(key_id=key.id, digest="d", received_at=time.time())
    assert rig.service.submit(key, Order(prompt="eight"), wire="native", request={}, create=new).id != made[0]


def test_creates_that_come_at_the_same_moment_make_one(rig: Rig, url: str) -> None:
    def send(_: int) -> str:
        with client(url) as http:
            id: str = create(http, "nine", idempotency_key="key-9").json()["id"]
            return id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(24)))) == 1


def test_what_was_refused_is_judged_anew(rig: Rig, http: httpx2.Client) -> None:
    body = {"prompt": "ten", "keyframes": {"frame0": {"type": "generation", "id": "0" * 8}}}
    headers = {"idempotency-key": "key-10"}
    assert http.post(SEED, json=body, headers=headers).status_code == 404
    assert create(http, "ten", idempotency_key="key-10").status_code == 201


def test_a_repeat_of_what_was_deleted_says_so(http: httpx2.Client) -> None:
    id = create(http, "eleven", idempotency_key="key-11").json()["id"]
    assert http.delete(f"/api/generations/{id}").status_code == 204
    answer = create(http, "eleven", idempotency_key="key-11")
    assert answer.status_code == 409
    assert "was deleted" in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/dream-machine/v1/generations/{id}/upscale", {"resolution": "1080p"}),
        ("/v1/videos/{id}/remix", {"prompt": "the same at night"}),
        ("/v1/videos/extensions", {"prompt": "further", "seconds": "4", "video": {"id": "{id}"}}),
    ],
)
def test_a_create_is_known_again_after_its_source_was_deleted(
    rig: Rig, http: httpx2.Client, path: str, body: dict[str, Any]
) -> None:
    source = create(http, "twelve", path="/api/generations").json()["id"]
    rig.complete(source)
    path, body = path.replace("{id}", source), json.loads(json.dumps(body).replace("{id}", source))
    headers = {"idempotency-key": f"key of {source}".replace(" ", "-")}
    first = http.post(path, json=body, headers=headers)
    assert first.status_code == 200, first.text
    assert http.delete(f"/api/generations/{source}").status_code == 204
    again = http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = {**body, next(iter(body)): "540p" if "resolution" in body else "something else"}
    assert http.post(path, json=other, headers=headers).status_code == 409
    assert http.post(path, json=body).status_code in (404, 409), "without the key it is another create"


def test_an_order_whose_answer_the_database_lost_keeps_the_file_that_came_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit went through, and its answer did not come: nobody knows that the order was taken."""
    rig, picture = Rig.build(tmp_path), io.BytesIO()
    Image.new("RGB", (96, 64), (90, 120, 30)).save(picture, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    submit = rig.records.submit

    def lose(generation: Generation, **more: Any) -> Generation:
        submit(generation, **more)
        raise DatabaseError("the database is away", retryable=True)

    monkeypatch.setattr(rig.records, "submit", lose)
    key = rig.keys.ensure(KEY)
    with pytest.raises(DatabaseError):
        rig.service.submit(key, Order(before=KeyFrame(type="image", url=url)), wire="native", request={})
    (made,) = rig.records.page(key.account)
    assert made.order.before
    assert made.order.before.upload
    assert rig.store.size(rig.records.get_upload(made.order.before.upload, key.account).key)
