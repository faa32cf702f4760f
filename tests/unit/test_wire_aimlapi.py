"""The published protocol, over a real port: every row of its table, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from PIL import Image

from longtake.wire.door import MOST_FETCHES
from tests.servers import Reply, replying
from tests.timing import quickest, seconds_of
from tests.wire_rig import OTHER_KEY, Rig, client, new_id, serving

V2 = "/v2/generate/video/luma-ai"
PROMPT = {"prompt": "A jellyfish in the ocean"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("aimlapi"), wait_seconds=1.5)


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


def create(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(f"{V2}/generation", json={**PROMPT, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refusal(http: httpx2.Client, body: Any, path: str = f"{V2}/generation", status: int = 400) -> dict[str, str]:
    """`field → message` of an answer that refuses."""
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert set(error) - {"errors"} == {"requestId", "statusCode", "timestamp", "path", "message"}
    assert error["statusCode"] == status
    assert error["path"] == path
    assert error["requestId"] == answer.headers["x-request-id"]
    assert error["message"].startswith("Body validation error") == (status == 400)
    return {entry["field"]: entry["message"] for entry in error.get("errors", [])}


def image_frame(url: str = "https://example.com/image1.png") -> dict[str, str]:
    return {"type": "image", "url": url}


class TestCreate:
    def test_the_published_image_example_is_taken(self, http: httpx2.Client) -> None:
        made = create(http, aspect_ratio="19:9", keyframes={"frame0": image_frame()})
        assert made["state"] == made["status"] == "queued"
        assert made["generation_type"] == "video"
        assert made["version"] == "v2"
        assert made["assets"] is made["video"] is made["video_url"] is made["failure_reason"] is None
        assert made["created_at"].endswith("Z")
        assert len(made["created_at"]) == 24
        assert made["request"] == {
            **PROMPT,
            "aspect_ratio": "19:9",
            "loop": False,
            "keyframes": {"frame0": image_frame(), "frame1": None},
            "model": "ray-2",
            "resolution": "720p",
            "duration": "5s",
            "generation_type": "video",
            "callback_url": None,
        }

    def test_the_published_generation_example_is_taken(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http, aspect_ratio="16:9")["id"]
        made = create(http, aspect_ratio="19:9", keyframes={"frame1": {"type": "generation", "id": parent}})
        assert rig.records.get(made["id"]).parents == (("frame1", parent),)

    def test_keywords_is_another_name_for_keyframes(self, http: httpx2.Client) -> None:
        made = create(http, keywords={"frame0": image_frame()})
        assert made["request"]["keyframes"]["frame0"] == image_frame()
        assert "keywords" not in made["request"]
        both = {"keyframes": None, "keywords": {"frame0": image_frame()}}
        assert "two names" in refusal(http, PROMPT | both)["keywords"]

    def test_nulls_stand_for_the_defaults(self, http: httpx2.Client) -> None:
        nulls = dict.fromkeys(("keyframes", "resolution", "duration", "callback_url"))
        assert create(http, **nulls)["request"] == create(http)["request"]
        assert create(http, keyframes={"frame0": None, "frame1": None})["request"]["resolution"] == "720p"

    @pytest.mark.parametrize("duration", [9, "9", "9s"])
    def test_a_duration_has_three_spellings(self, rig: Rig, http: httpx2.Client, duration: Any) -> None:
        made = create(http, duration=duration)
        assert made["request"]["duration"] == "9s"
        assert rig.records.get(made["id"]).order.seconds == 9

    def test_an_extension_shows_the_size_that_is_used(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        rig.complete(parent)
        frame = {"type": "generation", "id": f"{parent}:luma/ray-2"}
        made = create(http, keyframes={"frame0": frame}, aspect_ratio="9:16", resolution="540p")
        assert (made["request"]["aspect_ratio"], made["request"]["resolution"]) == ("16:9", "720p")
        assert "fps" not in made["request"]

    def test_the_bytes_of_a_data_url_are_not_repeated(self, rig: Rig, http: httpx2.Client) -> None:
        file = io.BytesIO()
        Image.new("RGB", (64, 48)).save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue().ljust(3000, b"\0")).decode()
        made = create(http, keyframes={"frame0": image_frame(url)})
        assert made["request"]["keyframes"]["frame0"]["url"] == "data:image/png;base64,… (4022 characters)"
        before = rig.records.get(made["id"]).order.before
        assert before
        assert rig.records.get_upload(before.upload or "", "default").width == 64

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "prompt"),
            ({"prompt": ""}, "prompt"),
            ({"prompt": "a" * 2049}, "prompt"),
            ({"prompt": 5}, "prompt"),
            (PROMPT | {"loop": "true"}, "loop"),
            (PROMPT | {"loop": None}, "loop"),
            (PROMPT | {"seed": 1}, "seed"),
            (PROMPT | {"aspect_ratio": "22:9"}, "aspect_ratio"),
            (PROMPT | {"aspect_ratio": "0:0"}, "aspect_ratio"),
            (PROMPT | {"aspect_ratio": "wide"}, "aspect_ratio"),
            (PROMPT | {"resolution": "480p"}, "resolution"),
            (PROMPT | {"duration": "7s"}, "duration"),
            (PROMPT | {"duration": 5.5}, "duration"),
            (PROMPT | {"duration": True}, "duration"),
            (PROMPT | {"model": "sora"}, "model"),
            (PROMPT | {"generation_type": "image"}, "generation_type"),
            (PROMPT | {"callback_url": "http://10.0.0.1/"}, "callback_url"),
            (PROMPT | {"callback_url": "data:text/plain,x"}, "callback_url"),
            (PROMPT | {"keyframes": {"frame2": None}}, "keyframes.frame2"),
            (PROMPT | {"keyframes": {"frame0": image_frame() | {"at": 1}}}, "keyframes.frame0.at"),
            (PROMPT | {"keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0.url"),
            (PROMPT | {"keyframes": {"frame0": {"type": "video", "url": "https://a.b"}}}, "keyframes.frame0.type"),
            (PROMPT | {"keyframes": {"frame1": {"url": "https://a.b"}}}, "keyframes.frame1.type"),
            (PROMPT | {"keyframes": {"frame0": image_frame("file:///etc/passwd")}}, "keyframes.frame0.url"),
            (PROMPT | {"keyframes": {"frame0": image_frame("http://169.254.169.254/")}}, "keyframes.frame0.url"),
            (PROMPT | {"loop": True, "keyframes": {"frame1": image_frame()}}, "loop"),
            ([], "body"),
            ("text", "body"),
            (None, "body"),
        ],
    )
    def test_what_is_wrong_is_refused_with_its_field(self, http: httpx2.Client, body: Any, field: str) -> None:
        assert list(refusal(http, body)) == [field]

    def test_every_wrong_field_is_named(self, http: httpx2.Client) -> None:
        wrong = refusal(http, {"prompt": "", "loop": 1, "x": 2})
        assert set(wrong) == {"prompt", "loop", "x"}
        assert wrong["x"] == "there is no such field"

    def test_a_parent_that_is_not_there_or_of_another_account_is_unknown(self, url: str, http: httpx2.Client) -> None:
        with client(url, OTHER_KEY) as other:
            theirs = create(other)["id"]
        for id in (theirs, new_id(), "no-id"):
            refusal(http, PROMPT | {"keyframes": {"frame0": {"type": "generation", "id": id}}}, status=404)

    def test_a_failed_parent_is_a_conflict(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        rig.records.fail(parent, "no luck", "world")
        refusal(http, PROMPT | {"keyframes": {"frame0": {"type": "generation", "id": parent}}}, status=409)

    def test_a_key_without_credits_is_refused(self, rig: Rig, url: str) -> None:
        _, secret = rig.keys.create("poor", limit=6)
        with client(url, secret) as poor:
            create(poor)
            refusal(poor, PROMPT, status=403)
            balance = poor.get("/v1/billing/balance").json()
            assert (balance["balance"], balance["lowBalance"]) == (1.0, True)


class TestRead:
    def test_a_completed_generation_has_its_addresses(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        found = http.get(f"{V2}/generation", params={"generation_id": f"{id}:luma/ray-2"}).json()
        assert found["state"] == "completed"
        assert found["video_url"] == found["video"]["url"] == found["assets"]["video"]
        assert {name: found["video"][name] for name in ("width", "height", "duration")} == {
            "width": 1280,
            "height": 720,
            "duration": 5.0,
        }
        assert found["assets"]["progress_video"] is None
        assert (found["notes"], found["preview"]) == (["A note."], True)
        for address, prefix in ((found["video_url"], "videos"), (found["assets"]["segment"], "segments")):
            assert httpx2.get(address, trust_env=False).text == f"{prefix}/{id}.mp4"

    def test_an_unknown_id_is_404_and_a_missing_one_400(self, http: httpx2.Client) -> None:
        assert http.get(f"{V2}/generation", params={"generation_id": new_id()}).status_code == 404
        assert http.get(f"{V2}/generation").status_code == 400

    @pytest.mark.parametrize("name", ["state", "status"])
    def test_a_wait_ends_with_the_state(self, rig: Rig, http: httpx2.Client, name: str) -> None:
        id = create(http)["id"]
        threading.Timer(0.1, rig.complete, [id]).start()
        found = http.get(f"{V2}/generation", params={"generation_id": id, name: "completed"}).json()
        assert found["state"] == "completed"

    def test_a_wait_ends_when_the_generation_fails(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        threading.Timer(0.1, rig.records.fail, [id, "no luck", "world"]).start()
        found = http.get(f"{V2}/generation", params={"generation_id": id, "state": "completed"}).json()
        assert (found["state"], found["failure_reason"]) == ("failed", "no luck")

    def test_a_wait_has_an_end(self, http: httpx2.Client) -> None:
        id, started = create(http)["id"], time.monotonic()
        found = http.get(f"{V2}/generation", params={"generation_id": id, "state": "dreaming"})
        assert (found.status_code, found.json()["state"]) == (200, "queued")
        assert 0.3 < time.monotonic() - started < 5

    @pytest.mark.parametrize("path", ["/generation?generation_id", "/generations?generation_ids"])
    @pytest.mark.parametrize("states", ["state=streaming&status=completed", "state=completed&status=dreaming"])
    def test_of_two_states_the_later_one_is_waited_for(
        self, rig: Rig, http: httpx2.Client, path: str, states: str
    ) -> None:
        id = create(http)["id"]
        rig.records.start(id, 1)
        threading.Timer(0.1, rig.complete, [id]).start()
        found = http.get(f"{V2}{path}={id}&{states}").json()
        assert (found[0] if isinstance(found, list) else found)["state"] == "completed"

    def test_the_document_allows_the_ids_that_are_served(self, http: httpx2.Client) -> None:
        (parameter,) = (
            one
            for one in http.get("/openapi.json").json()["paths"][f"{V2}/generations"]["get"]["parameters"]
            if one["name"] == "generation_ids"
        )
        pattern = parameter["schema"]["items"]["pattern"]
        one, two = new_id(), f"{new_id()}:luma/ray-2"
        for items in (one, two, f"{one},{two}", f"{two},{one}"):
            assert re.search(pattern, items), items
        for items in ("", ",", f"{one},", "no id"):
            assert not re.search(pattern, items), items

    def test_an_unknown_state_answers_at_once_and_failed_can_not_be_waited_for(self, http: httpx2.Client) -> None:
        id = create(http)["id"]

        def ask() -> None:
            for state in ("streaming", "queued", ""):
                assert http.get(f"{V2}/generation", params={"generation_id": id, "state": state}).status_code == 200

        assert quickest(seconds_of(ask), below=0.3) < 0.3
        for states in ("state=failed", "status=failed", "state=completed&status=failed"):
            answer = http.get(f"{V2}/generation?generation_id={id}&{states}")
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["field"] == "state"

    def test_several_come_in_the_order_asked_for_in_every_spelling(self, http: httpx2.Client) -> None:
        one, two = create(http)["id"], create(http)["id"]
        for query in (
            f"generation_ids={two}&generation_ids={one}",
            f"generation_ids[]={two}&generation_ids[]={one}",
            f"generation_ids[1]={one}&generation_ids[0]={two}",
            f"generation_ids={two},{one}",
            f"generation_ids%5B0%5D={two}%3Aluma/ray-2&generation_ids%5B1%5D={one}",
        ):
            answer = http.get(f"{V2}/generations?{query}")
            assert answer.status_code == 200, query
            assert [found["id"] for found in answer.json()] == [two, one], query
        assert http.get(f"{V2}/generations?generation_ids={one},{new_id()}").status_code == 404
        assert http.get(f"{V2}/generations").status_code == 400
        assert http.get(f"{V2}/generations?generation_ids={'x,' * 101}").status_code == 400

    def test_a_wait_for_several_ends_when_all_are_there(self, rig: Rig, http: httpx2.Client) -> None:
        ids = [create(http)["id"] for _ in range(2)]
        rig.complete(ids[0])
        threading.Timer(0.1, rig.complete, [ids[1]]).start()
        found = http.get(f"{V2}/generations", params={"generation_ids": ",".join(ids), "status": "completed"}).json()
        assert [entry["state"] for entry in found] == ["completed", "completed"]


class TestOtherForms:
    def test_the_universal_form_goes_from_queued_to_completed(self, rig: Rig, http: httpx2.Client) -> None:
        answer = http.post("/v2/video/generations", json={"model": "luma/ray-flash-2", "duration": "5", **PROMPT})
        assert answer.status_code == 200
        made = answer.json()
        id, _, model = made["id"].partition(":")
        assert model == "luma/ray-flash-2"
        assert made == {"id": made["id"], "status": "queued", "video": None, "error": None, "meta": None}
        rig.records.start(id, 1)
        params = {"generation_id": made["id"]}
        assert http.get("/v2/video/generations", params=params).json()["status"] == "generating"
        rig.complete(id)
        done = http.get("/v2/video/generations", params=params).json()
        assert done["status"] == "completed"
        assert done["video"]["url"].startswith("http")
        assert done["meta"] == {"usage": {"credits_used": 5.0}}

    def test_the_universal_form_says_why_it_failed(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.records.fail(id, "no luck", "world")
        failed = http.get("/v2/video/generations", params={"generation_id": id}).json()
        assert failed["status"] == "error"
        assert failed["error"] == {"name": "Unavailable", "message": "no luck"}

    def test_every_listed_model_can_be_asked_for(self, http: httpx2.Client) -> None:
        listed = http.get("/models").json()
        assert listed == http.get("/v1/models").json()
        names = [model["id"] for model in listed["data"]]
        assert {"luma/ray-2", "luma/ray-flash-2", "luma/ray-1-6", "motion"} == set(names)
        for name in names:
            answer = http.post("/v2/video/generations", json={"model": name, **PROMPT})
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"].endswith(f":{name}")
        refused = refusal(http, {"model": "ray-9", **PROMPT}, "/v2/video/generations")
        assert all(name in refused["model"] for name in names)
        assert list(refusal(http, PROMPT, "/v2/video/generations")) == ["model"]

    @pytest.mark.parametrize("root", ["/luma-ai", "/v1/luma-ai"])
    def test_the_legacy_form_makes_extends_lists_and_reads(self, rig: Rig, http: httpx2.Client, root: str) -> None:
        body = {"user_prompt": "A jellyfish", "aspect_ratio": "4:3", "expand_prompt": True, "image_url": None}
        made = http.post(f"{root}/generations", json=body).json()
        assert (made["state"], made["prompt"], made["video"]) == ("pending", "A jellyfish", None)
        assert {"id", "created_at", "estimate_wait_seconds", "liked"} < set(made)
        rig.complete(made["id"])
        longer = http.post(f"{root}/generations/{made['id']}/extend", json={"user_prompt": "On and on"}).json()
        assert rig.records.get(longer["id"]).parents == (("frame0", made["id"]),)
        universal = http.post(f"{root}/generations/{made['id']}:luma/ray-2/extend", json={"user_prompt": "On and on"})
        assert rig.records.get(universal.json()["id"]).parents == (("frame0", made["id"]),)
        longer = universal.json()
        newest = http.get(f"{root}/generations").json()[0]
        assert newest == {"luma_generation_id": longer["id"], "prompt": "On and on"}
        for query in (f"ids[0]={longer['id']}&ids[1]={made['id']}", f"ids={longer['id']},{made['id']}"):
            read = http.get(f"{root}/generation?{query}").json()
            assert [entry["state"] for entry in read] == ["pending", "completed"]
            assert set(read[1]["video"]) == {"url", "width", "height", "thumbnail"}

    def test_the_legacy_form_names_its_own_fields(self, http: httpx2.Client) -> None:
        path = "/luma-ai/generations"
        assert list(refusal(http, {"prompt": "x"}, path)) == ["user_prompt", "prompt"]
        bad = {"user_prompt": "x", "image_end_url": "http://10.0.0.1/a.png"}
        assert list(refusal(http, bad, path)) == ["image_end_url"]
        extend = {"user_prompt": "x", "image_url": "https://example.com/a.png"}
        assert list(refusal(http, extend, f"{path}/{new_id()}/extend")) == ["image_url"]
        refusal(http, {"user_prompt": "x"}, f"{path}/{new_id()}/extend", 404)

    def test_a_file_that_was_uploaded_can_be_a_frame(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (64, 48), "red").save(picture, "PNG")
        rig.store.put("pictures/red.png", picture.getvalue())
        answer = http.post("/luma-ai/generations/file-upload", json={"url": rig.links.url("pictures/red.png", url)})
        assert answer.status_code == 200, answer.text
        (kept,) = answer.json()
        assert set(kept) == {"id", "presigned_url", "public_url"}
        made = create(http, keyframes={"frame0": image_frame(kept["public_url"])})
        before = rig.records.get(made["id"]).order.before
        assert before
        assert (before.upload, before.url) == (kept["id"], None)
        changed = kept["public_url"][:-1] + ("0" if kept["public_url"][-1] != "0" else "1")
        assert list(refusal(http, PROMPT | {"keyframes": {"frame0": image_frame(changed)}})) == ["keyframes.frame0.url"]
        with client(url, OTHER_KEY) as other:
            refusal(other, PROMPT | {"keyframes": {"frame0": image_frame(kept["public_url"])}}, status=404)

    def test_slow_addresses_do_not_keep_uploads_waiting(self, http: httpx2.Client) -> None:
        class Gate(threading.Event):
            arrived = threading.Semaphore(0)

            def wait(self, timeout: float | None = None) -> bool:
                self.arrived.release()
                return super().wait(timeout)

        file, gate = io.BytesIO(), Gate()
        Image.new("RGB", (64, 48), "red").save(file, "PNG")
        with (
            replying({"/slow.png": Reply(body=file.getvalue(), opened=gate)}) as files,
            ThreadPoolExecutor(MOST_FETCHES) as pool,
        ):
            body, path = {"url": f"{files}/slow.png"}, "/luma-ai/generations/file-upload"
            slow = [pool.submit(http.post, path, json=body) for _ in range(MOST_FETCHES)]
            try:
                assert all(gate.arrived.acquire(timeout=5) for _ in slow)
                answer = http.post("/api/uploads", content=file.getvalue(), timeout=5)
            finally:
                gate.set()
            assert answer.status_code == 201
            assert [one.result().status_code for one in slow] == [200] * MOST_FETCHES

    def test_a_file_that_is_none_is_refused_and_leaves_nothing(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        rig.store.put("pictures/text.png", b"not a picture")
        path = "/luma-ai/generations/file-upload"
        assert list(refusal(http, {"url": rig.links.url("pictures/text.png", url)}, path)) == ["url"]
        assert list(refusal(http, {"url": f"{url}/media/pictures/none.png"}, path)) == ["url"]
        assert list(refusal(http, {"url": "http://10.0.0.1/"}, path)) == ["url"]
        assert rig.store.work_folder
        assert not list(rig.store.work_folder.iterdir())

    @pytest.mark.parametrize("path", ["/v2/billing", "/v1/billing/balance"])
    def test_a_key_without_a_limit_has_a_large_balance(self, http: httpx2.Client, path: str) -> None:
        balance = http.get(path).json()
        assert balance["balance"] == 1_000_000_000
        assert set(balance) == {
            "balance",
            "lowBalance",
            "lowBalanceThreshold",
            "lastUpdated",
            "autoDebitStatus",
            "status",
            "statusExplanation",
        }
