"""The trace that a create belongs to, by W3C Trace Context: kept with the generation, whatever the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import httpx2
import pytest

from tests.wire_rig import Rig, client, serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"
CREATES = ("/api/generations", "/v2/generate/video/luma-ai/generation", "/dream-machine/v1/generations", "/v1/videos")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("traces"))
    rig.service.models = {**rig.service.models, "sora-2": "motion"}
    return rig


@pytest.fixture(scope="module")
def http(rig: Rig) -> Iterator[httpx2.Client]:
    with serving(rig) as url, client(url) as http:
        yield http


def kept(rig: Rig, http: httpx2.Client, *headers: tuple[str, str], path: str = CREATES[0]) -> str | None:
    answer = http.post(path, json={"prompt": "A jellyfish"}, headers=list(headers))
    assert answer.status_code in (200, 201), answer.text
    return rig.records.get(str(UUID(answer.json()["id"].removeprefix("video_")))).trace


@pytest.mark.parametrize("path", CREATES)
def test_a_generation_keeps_the_trace_of_its_create(rig: Rig, http: httpx2.Client, path: str) -> None:
    assert kept(rig, http, ("traceparent", GIVEN), path=path) == GIVEN
    assert kept(rig, http, path=path) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no trace",
        GIVEN.upper(),
        f"{GIVEN}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
    ],
)
def test_a_header_that_is_none_is_passed_over(rig: Rig, http: httpx2.Client, value: str) -> None:
    assert kept(rig, http, ("traceparent", value)) is None


def test_two_headers_name_no_trace(rig: Rig, http: httpx2.Client) -> None:
    assert kept(rig, http, ("traceparent", GIVEN), ("traceparent", GIVEN)) is None


def test_of_a_later_version_stays_what_is_known(rig: Rig, http: httpx2.Client) -> None:
    assert kept(rig, http, ("traceparent", f"01-{TRACE}-{SPAN}-01-more")) == GIVEN
