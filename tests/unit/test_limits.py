"""What a key may use: requests a minute, generations at once, seconds of video a day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from longtake.errors import LimitError
from longtake.records import Key, Keys, Limits, count_request, open_database, seconds_ahead
from longtake.records.tables import generations
from longtake.wire.rates import Rates, SharedRates
from tests.wire_rig import Rig, client, rig_on, serving

SEED = "/v2/generate/video/luma-ai/generation"
BODY = {"prompt": "a lighthouse at dusk"}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(request, tmp_path_factory.mktemp("limits")) as rig:
        yield rig


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as base_url:
        yield base_url


def key_with(rig: Rig, url: str, **limits: float) -> tuple[Key, httpx2.Client]:
    key, secret = rig.keys.create("limited", account="limited", limits=Limits(**limits))  # type: ignore[arg-type]
    return key, client(url, secret)


def test_more_generations_at_once_than_the_key_may_have_are_refused_until_one_ends(rig: Rig, url: str) -> None:
    _, http = key_with(rig, url, generations_at_once=2)
    with http:
        ids = [http.post(SEED, json=BODY).json()["id"] for _ in range(2)]
        refused = http.post(SEED, json=BODY)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["message"] == ("the key may have 2 generations at once, and has 2: wait for one to end")
        rig.complete(ids[0])
        assert http.post(SEED, json=BODY).status_code == 201


def test_seconds_of_video_a_day_come_back_as_the_day_passes(rig: Rig, url: str) -> None:
    key, http = key_with(rig, url, seconds_per_day=12)
    with http:
        ids = [http.post(SEED, json=BODY).json()["id"] for _ in range(2)]
        refused = http.post(SEED, json=BODY)
        assert refused.status_code == 429
        assert refused.json()["message"] == "the key may order 12 s of video a day, and 2 s of it are left"
        assert 86300 < int(refused.headers["retry-after"]) <= 86400
        usage = http.get("/api/usage").json()
        assert usage["seconds_per_day"] == {"limit": 12, "used": 10, "left": 2}
        assert usage["credits"] == {"limit": None, "used": 10, "left": None}
        with rig.records._engine.begin() as connection:
            yesterday = sa.update(generations).where(generations.c.id == ids[0])
            connection.execute(yesterday.values(ordered_at=generations.c.ordered_at - 86_401))
        assert http.post(SEED, json=BODY).status_code == 201
        too_long = http.post("/api/generations", json={**BODY, "seconds": 13})
        assert too_long.status_code == 403
        assert rig.keys.usage(key.id).generations_at_once == 3


def test_a_failed_generation_gives_back_what_it_took(rig: Rig, url: str) -> None:
    _, http = key_with(rig, url, seconds_per_day=5, generations_at_once=1)
    with http:
        id = http.post(SEED, json=BODY).json()["id"]
        assert http.post(SEED, json=BODY).status_code == 429
        http.delete(f"/api/generations/{id}")
        assert http.post(SEED, json=BODY).status_code == 201


def test_a_retry_of_a_failed_one_is_held_to_the_limits_too(rig: Rig, url: str) -> None:
    _, http = key_with(rig, url, generations_at_once=1)
    with http:
        id = http.post(SEED, json=BODY).json()["id"]
        rig.records.fail(id, "no luck", "world")
        assert http.post(SEED, json=BODY).status_code == 201
        assert http.post(f"/api/generations/{id}/retry").status_code == 429


def test_a_retry_is_on_the_account_of_the_key_that_asks_for_it(rig: Rig, url: str) -> None:
    """Of the same account: its own limits hold, and it is the one that pays."""
    cheap, first = key_with(rig, url)
    dear, second = key_with(rig, url, seconds_per_day=8)
    with first, second:
        id = first.post(SEED, json=BODY).json()["id"]
        rig.records.fail(id, "no luck", "world")
        assert second.post(SEED, json=BODY).status_code == 201
        refused = second.post(f"/api/generations/{id}/retry")
        assert refused.status_code == 429
        assert "3 s of it are left" in refused.text
        assert first.post(f"/api/generations/{id}/retry").status_code == 200
        rig.records.fail(id, "no luck", "world")
        wide, third = key_with(rig, url, seconds_per_day=8)
        with third:
            assert third.post(f"/api/generations/{id}/retry").status_code == 200
        assert [rig.keys.usage(key.id).credits for key in (cheap, dear, wide)] == [0, 5, 5]


def test_a_retry_counts_on_the_day_on_which_it_was_asked_for(rig: Rig, url: str) -> None:
    key, http = key_with(rig, url, seconds_per_day=8)
    with http:
        made = http.post(SEED, json=BODY).json()
        rig.records.fail(made["id"], "no luck", "world")
        with rig.records._engine.begin() as connection:
            old = sa.update(generations).where(generations.c.id == made["id"])
            connection.execute(old.values(created_at=generations.c.created_at - 90_000, ordered_at=0.0))
        assert rig.keys.usage(key.id).seconds_per_day == 0
        assert http.post(f"/api/generations/{made['id']}/retry").status_code == 200
        assert rig.keys.usage(key.id).seconds_per_day == 5
        refused = http.post(SEED, json=BODY)
        assert (refused.status_code, int(refused.headers["retry-after"]) > 86_300) == (429, True)


def test_what_a_key_uses_is_read_from_an_index_alone(tmp_path: Path) -> None:
    """A key's whole history is summed at each create: its rows, with their orders, are not read for it."""
    rig = Rig.build(tmp_path)
    seen: list[tuple[str, object]] = []

    def look(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        if "FROM generations" in statement:
            seen.append((statement, parameters))

    engine = rig.records._engine
    sa.event.listen(engine, "before_cursor_execute", look)
    try:
        rig.keys.usage("some key")
    finally:
        sa.event.remove(engine, "before_cursor_execute", look)
    assert seen
    with engine.begin() as connection:
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()  # type: ignore[arg-type]
            steps = [row[-1] for row in plan]
            assert sum("SEARCH generations USING COVERING INDEX generations_by_key" in step for step in steps) == 3
            assert not any("USING INDEX" in step or "SCAN generations" in step for step in steps), steps


def test_requests_beyond_the_rate_are_refused_by_every_wire_in_its_own_shape(rig: Rig, url: str) -> None:
    _, http = key_with(rig, url, requests_per_minute=3)
    with http:
        assert [http.get("/v1/billing/balance").status_code for _ in range(4)] == [200, 200, 200, 429]
        seeds, ours = http.get(SEED, params={"generation_id": "x"}), http.get("/api/generations")
        assert (seeds.status_code, ours.status_code) == (429, 429)
        assert seeds.json()["statusCode"] == 429
        assert ours.json()["error"]["kind"] == "limit"
        assert 1 <= int(ours.headers["retry-after"]) <= 20


def test_a_keys_own_limits_go_before_those_of_the_house(tmp_path: Path) -> None:
    rig = Rig.build(tmp_path)
    house = Keys(rig.records._engine, Limits(requests_per_minute=60, generations_at_once=4))
    _, plain = house.create("plain")
    _, own = house.create("own", limits=Limits(generations_at_once=9, seconds_per_day=30.0))
    assert house.check(plain).limits == Limits(60, 4, None)
    assert house.check(own).limits == Limits(60, 9, 30.0)


@given(st.integers(1, 600), st.lists(st.floats(0, 90), max_size=300))
def test_no_key_sends_more_than_two_minutes_worth_in_any_minute(rate: int, pauses: list[float]) -> None:
    """A burst of a minute's worth, and a minute's worth at the rate."""
    now, sent = 0.0, list[float]()
    rates = Rates(lambda: now)
    key = replace(Key("k", "a", "", None, 0.0, None), limits=Limits(requests_per_minute=rate))
    for pause in pauses:
        now += pause
        left = rates.left(key)
        try:
            rates.take(key)
        except LimitError as error:
            assert left == 0
            now += error.retry_after_seconds + 1e-6
            rates.take(key)
        sent.append(now)
        assert sum(now - 60 < at for at in sent) <= 2 * rate


def test_two_fronts_hold_a_key_to_one_rate(database_url: str) -> None:
    engines, now = [open_database(database_url) for _ in range(2)], 1_700_000_000.0
    fronts = [SharedRates(partial(count_request, one), partial(seconds_ahead, one), lambda: now) for one in engines]
    key = replace(Key("k", "a", "", None, 0.0, None), limits=Limits(requests_per_minute=4))
    for number in range(4):
        assert [front.left(key) for front in fronts] == [4 - number] * 2
        asyncio.run(fronts[number % 2].count(key))
    for front in fronts:
        with pytest.raises(LimitError, match="4 requests a minute") as caught:
            asyncio.run(front.count(key))
        assert caught.value.retry_after_seconds == pytest.approx(15, abs=1e-3)
        assert asyncio.run(front.room(key)) == 0
    now += 15.1
    asyncio.run(fronts[0].count(key))
    unlimited = replace(key, id="u", limits=Limits())
    asyncio.run(fronts[0].count(unlimited))
    assert asyncio.run(fronts[0].room(unlimited)) is None
    for engine in engines:
        engine.dispose()
