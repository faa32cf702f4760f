"""What is written about the calls: an OpenAPI document for each protocol, and a page whose examples run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import numpy as np
import pytest
from PIL import Image

from longtake.wire.described import Describer
from longtake.wire.documents import documents
from longtake.wire.protocols import PROTOCOLS, calls
from tests.conftest import missing
from tests.footage import moving, video_frames, write_foreign
from tests.wire_rig import KEY, MODELS, Rig, client, serving

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi"
VOID = {"meta", "link", "br"}
OPTIONAL = {"html", "head", "body", "th", "td", "tr", "li", "p"}
ARTICLE = re.compile(r"<article id=(?P<id>\S+?)>(?P<body>.*?)</article>", re.DOTALL)
CURL = re.compile(r"<pre class=curl tabindex=0>(?P<command>.*?)</pre>", re.DOTALL)
ENDLESS = "longtake_events"
EXPECTED = {f"luma_{name}": 400 for name in ("modify", "image", "reframe_image", "audio")}
"""Refused by every engine that there is: their pages say so."""
EXPECTED |= {"head_download": 307}  # without following it
UNFINISHED = {"longtake_head_upload", "longtake_delete_upload", "longtake_append_upload"}


@dataclass(frozen=True)
class Served:
    rig: Rig
    url: str
    http: httpx2.Client
    folder: Path
    upload: str

    def generation(self, state: str = "completed") -> str:
        id = str(self.http.post("/api/generations", json={"prompt": "A jellyfish"}).json()["id"])
        if state == "completed":
            self.rig.complete(id)
            self.rig.store.put(f"videos/{id}.mp4", (self.folder / "video.mp4").read_bytes())
        if state == "failed":
            self.rig.records.fail(id, "the disk was full", "world")
        return id

    def unfinished_upload(self) -> str:
        headers = {"tus-resumable": "1.0.0", "upload-length": "1000000"}
        return self.http.post("/api/uploads", headers=headers).headers["location"].rpartition("/")[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("documents")
    rig = Rig.build(folder)
    rig.service.models = {**MODELS, "sora-2": "motion"}
    write_foreign(folder / "video.mp4", video_frames(moving(24, 320, 180)))
    Image.fromarray(np.full((48, 64, 3), 99, np.uint8)).save(folder / "photo.jpg")
    (folder / "part").write_bytes(b"0123456789")
    with serving(rig) as url, client(url) as http:
        upload = http.post("/api/uploads", content=(folder / "video.mp4").read_bytes()).json()["id"]
        yield Served(rig, url, http, folder, upload)


@pytest.fixture(scope="module")
def page(served: Served) -> str:
    return served.http.get("/docs").text


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return documents()


class TestDocuments:
    def test_those_that_are_committed_are_those_of_the_code(self, texts: dict[str, str]) -> None:
        assert {path.name for path in COMMITTED.glob("*.json")} == set(texts)
        for name, text in texts.items():
            assert (COMMITTED / name).read_text("utf-8") == text, "run: make openapi"

    def test_those_that_are_served_are_the_same_and_need_no_key(self, served: Served, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            with client(served.url, None) as stranger:
                assert stranger.get(f"/openapi/{name}").json() == json.loads(text)

    def test_each_call_stands_in_one_of_them(self, served: Served, texts: dict[str, str]) -> None:
        whole = [(path, method) for path, method, _ in calls(served.rig.app.openapi())]
        parts = [(path, method) for text in texts.values() for path, method, _ in calls(json.loads(text))]
        assert sorted(whole) == sorted(parts)

    @pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
    def test_each_refers_to_all_that_it_has_and_has_all_that_it_refers_to(
        self, protocol: Any, texts: dict[str, str]
    ) -> None:
        text = texts[f"{protocol.name}.json"]
        used = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
        assert used == set(json.loads(text)["components"]["schemas"])
        assert not [name for name in used if "longtake" in name]

    def test_every_call_has_a_name_a_summary_and_its_errors(self, served: Served) -> None:
        found = [call for _, _, call in calls(served.rig.app.openapi())]
        ids = [call["operationId"] for call in found]
        assert len(set(ids)) == len(ids)
        assert max(len(id) for id in ids) < 32
        for call in found:
            assert re.fullmatch("[A-Z].{3,110}[^.]", call["summary"]), call["operationId"]
            assert "422" not in call["responses"]
            assert all(answer["description"] for answer in call["responses"].values())
            if "security" in call:
                assert {"401", "429", "503"} <= set(call["responses"])
                assert "Retry-After" in call["responses"]["429"]["headers"]

    def test_unions_are_told_apart_by_their_type(self, texts: dict[str, str]) -> None:
        for name, frames, num in (
            ("native", "NativeKeyframes", 3),
            ("luma", "Keyframes", 2),
            ("aimlapi", "Keyframes", 2),
        ):
            schemas = json.loads(texts[f"{name}.json"])["components"]["schemas"]
            (union, _) = schemas[frames]["properties"]["frame0"]["anyOf"]
            assert union["discriminator"]["propertyName"] == "type"
            mapped = set(union["discriminator"]["mapping"].values())
            assert len(mapped) == num
            assert mapped == {one["$ref"] for one in union["oneOf"]}

    def test_links_lead_to_calls_that_there_are(self, served: Served) -> None:
        found = {call["operationId"]: call for _, _, call in calls(served.rig.app.openapi())}
        links = [
            link
            for call in found.values()
            for answer in call["responses"].values()
            for link in answer.get("links", {}).values()
        ]
        assert len(links) > 10
        for link in links:
            names = {one["name"] for one in found[link["operationId"]]["parameters"]}
            assert set(link["parameters"]) <= names


class Closed(HTMLParser):
    """Raises where an element that has to be closed is not."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.targets += [(value or "")[1:] for name, value in attrs if name == "href" and (value or "")[0] == "#"]
        if tag not in VOID | OPTIONAL:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in OPTIONAL:
            assert self.opened.pop() == tag


class TestPage:
    def test_it_is_whole_and_its_contents_lead_somewhere(self, page: str) -> None:
        read = Closed()
        read.feed(page)
        assert read.opened == []
        assert len(set(read.ids)) == len(read.ids)
        assert set(read.targets) <= set(read.ids)
        assert len(read.targets) > 40
        assert "<script" not in page

    def test_fields_are_shown_with_what_they_take(self, page: str) -> None:
        articles = {match["id"]: match["body"] for match in ARTICLE.finditer(page)}
        create = articles["longtake_create"]
        assert "integer, 1 to 4" in create
        assert unescape(create).count('object of type "image" | "video" | "generation"') == 1
        assert '"540p" | "720p" | "1080p" | "4k"' in unescape(create)
        assert "as keyframes.frame0" in create
        assert "<em>required</em>" in articles["aimlapi_create"]

    def test_each_protocol_s_errors_have_its_shape(self, page: str) -> None:
        articles = {match["id"]: unescape(match["body"]) for match in ARTICLE.finditer(page)}
        for id, part in (
            ("aimlapi_create", '"statusCode": 400'),
            ("luma_create", '"detail": "prompt: is required"'),
            ("openai_create", '"type": "invalid_request_error"'),
            ("longtake_create", '"kind": "order"'),
        ):
            assert part in articles[id]
            assert "429 Too Many Requests" in articles[id]

    def test_example_answers_keep_their_schema(self, served: Served) -> None:
        document = served.rig.app.openapi()
        for _, _, call in calls(document):
            for answer in call["responses"].values():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if schema:
                    value = Describer(document).example(schema)
                    jsonschema_rs.validate({**schema, "components": document["components"]}, value)

    def test_what_a_host_header_holds_is_text(self, served: Served) -> None:
        answer = served.http.get("/docs", headers={"host": "a<script>b"})
        assert "<script>" not in answer.text


def test_every_example_of_the_page_runs_as_it_stands(served: Served, page: str) -> None:
    if not shutil.which("curl"):
        missing("curl", "there is no such program")
    num_run = 0
    for article in ARTICLE.finditer(page):
        for found in CURL.finditer(article["body"]):
            command = unescape(found["command"])
            assert "{" not in command.partition("-d ")[0], command
            if article["id"] != ENDLESS:
                assert _status(served, article["id"], command) == "", command
                num_run += 1
    assert num_run > 70


def _status(served: Served, call: str, command: str) -> str:
    """Empty where it is as it should be, else what it is."""
    state = {"longtake_cancel": "queued", "longtake_retry": "failed"}.get(call, "completed")
    id = served.generation(state) if "$ID" in command or "_URL" in command else ""
    variables = {
        "LONGTAKE_KEY": KEY,
        "ID": id,
        "UPLOAD": served.unfinished_upload() if call in UNFINISHED else served.upload,
        "VIDEO_URL": served.rig.links.url(f"videos/{id}.mp4", served.url),
        "PLAYLIST_URL": served.rig.links.url(f"hls/{id}/playlist.m3u8", served.url),
    }
    done = subprocess.run(
        ["sh", "-c", command.replace("curl", "curl -sS -w '\\n%{http_code}'", 1)],
        cwd=served.folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        check=False,
    )
    status = int(done.stdout[-3:] or 0)
    expected = EXPECTED.get(call)
    is_right = status == expected if expected else 200 <= status < 300
    return "" if is_right and done.returncode == 0 else f"{done.stdout[-500:]} {done.stderr}"


def test_an_integer_may_be_written_with_a_point_as_json_schema_has_it(served: Served) -> None:
    body = {"prompt": "A jellyfish", "takes": 2.0, "seed": 7.0}
    made = served.http.post("/api/generations", json=body)
    assert made.status_code == 201
    assert json.dumps(made.json()["request"]["takes"]) == "2"
    assert served.http.post("/api/generations", json={**body, "takes": 2.5}).status_code == 400
