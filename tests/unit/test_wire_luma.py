"""Luma Dream Machine's protocol, over a real port: every row of its table, and the texts that its clients match on."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx2
import pytest
from PIL import Image

from longtake.orders import Reframe, Upscale
from longtake.wire.luma_models import moves_named
from tests.wire_rig import OTHER_KEY, Rig, client, new_id, serving

ROOT = "/dream-machine/v1"
PROMPT = {"prompt": "A tiger walking in snow"}
IMAGE = {"type": "image", "url": "https://example.com/image1.png"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("luma"))


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url + ROOT) as http:
        yield http


def create(http: httpx2.Client, path: str = "/generations", **body: Any) -> dict[str, Any]:
    answer = http.post(path, json={**PROMPT, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refusal(answer: httpx2.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert set(error) == {"detail"}
    detail: str = error["detail"]
    return detail


def generation(id: str) -> dict[str, str]:
    return {"type": "generation", "id": id}


class TestCreate:
    @pytest.mark.parametrize("path", ["/generations", "/generations/video"])
    def test_the_answer_holds_the_body_with_its_defaults(self, http: httpx2.Client, path: str) -> None:
        made = create(http, path)
        assert set(made) == {
            "id",
            "generation_type",
            "state",
            "failure_reason",
            "created_at",
            "assets",
            "model",
            "request",
            "notes",
        }
        assert (made["state"], made["generation_type"], made["model"]) == ("queued", "video", "ray-2")
        assert made["assets"] is made["failure_reason"] is None
        assert made["request"] == {
            "generation_type": "video",
            "model": "ray-2",
            **PROMPT,
            "aspect_ratio": "16:9",
            "loop": False,
            "keyframes": None,
            "concepts": None,
            "resolution": "720p",
            "duration": "5s",
            "callback_url": None,
        }

    def test_all_that_can_be_asked_reaches_the_order(self, rig: Rig, http: httpx2.Client) -> None:
        made = create(
            http,
            model="ray-flash-2",
            aspect_ratio="9:16",
            resolution="1080p",
            duration="9s",
            loop=True,
            concepts=[{"key": "zoom_in"}],
            keyframes={"frame0": IMAGE},
            callback_url="https://example.com/hook",
        )
        order = rig.records.get(made["id"]).order
        assert (order.model, order.aspect_ratio, order.short_side) == ("ray-flash-2", (9, 16), 1080)
        assert order.seconds == 9
        assert (order.loop, order.concepts, order.callback_url) == (True, ("zoom_in",), "https://example.com/hook")
        assert order.before
        assert (order.before.type, order.before.url) == ("image", IMAGE["url"])
        assert rig.records.get(made["id"]).wire == "luma"

    @pytest.mark.parametrize(
        ("frames", "ends"),
        [
            ({"frame0": IMAGE}, ("image", None)),
            ({"frame1": IMAGE}, (None, "image")),
            ({"frame0": IMAGE, "frame1": IMAGE}, ("image", "image")),
            ({"frame0": "A"}, ("generation", None)),
            ({"frame1": "A"}, (None, "generation")),
            ({"frame0": "A", "frame1": IMAGE}, ("generation", "image")),
            ({"frame0": IMAGE, "frame1": "A"}, ("image", "generation")),
            ({"frame0": "A", "frame1": "B"}, ("generation", "generation")),
        ],
    )
    def test_every_shot_of_the_table_is_taken(
        self, rig: Rig, http: httpx2.Client, frames: dict[str, Any], ends: tuple[str | None, str | None]
    ) -> None:
        parents = {name: create(http)["id"] for name in ("A", "B")}
        given = {end: generation(parents[frame]) if isinstance(frame, str) else frame for end, frame in frames.items()}
        order = rig.records.get(create(http, keyframes=given)["id"]).order
        assert (order.before.type if order.before else None, order.after.type if order.after else None) == ends
        parent = parents["A"]
        assert all(frame.id in (parent, parents["B"], None) for _, frame in order.ends)

    def test_an_image_needs_no_prompt(self, http: httpx2.Client) -> None:
        for frames in ({"frame0": IMAGE}, {"frame1": IMAGE}, {"frame0": IMAGE, "frame1": generation(new_id())}):
            answer = http.post("/generations", json={"keyframes": frames})
            assert answer.status_code == (404 if "id" in frames.get("frame1", {}) else 201), answer.text
        body = {"keyframes": {"frame0": generation(create(http)["id"])}}
        assert refusal(http.post("/generations", json=body)) == "Prompt is required"

    def test_an_extension_shows_the_size_that_is_used(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        rig.complete(parent)
        made = create(http, keyframes={"frame0": generation(parent)}, aspect_ratio="9:16", resolution="540p")
        assert (made["request"]["aspect_ratio"], made["request"]["resolution"]) == ("16:9", "720p")

    def test_a_move_that_the_prompt_names_is_carried_out(self, rig: Rig, http: httpx2.Client) -> None:
        said = create(http, prompt="A tiger, Camera zoom in slowly")["id"]
        assert rig.records.get(said).order.concepts == ("zoom_in",)
        for prompt in ("A tiger, zoom in", "A tiger, camera pan left"):
            assert rig.records.get(create(http, prompt=prompt)["id"]).order.concepts == ()

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({}, "Prompt is required"),
            ({"prompt": None}, "Prompt is required"),
            ({"prompt": "ab"}, "Prompt is too short, minimum length is 3 characters"),
            ({"prompt": ""}, "Prompt is too short, minimum length is 3 characters"),
            ({"prompt": "a" * 5001}, "Prompt is too long, maximum length is 5000 characters"),
            (PROMPT | {"keyframes": {}}, "No keyframes provided"),
            (PROMPT | {"keyframes": {"frame0": None, "frame1": None}}, "No keyframes provided"),
        ],
    )
    def test_the_texts_that_clients_match_on_stand_alone(
        self, http: httpx2.Client, body: dict[str, Any], text: str
    ) -> None:
        assert refusal(http.post("/generations", json=body)) == text

    @pytest.mark.parametrize(
        ("first", "last", "what"),
        [
            (None, "image", "end frame"),
            ("image", "image", "keyframes"),
            (None, "clip", "extend reverse"),
            ("clip", "image", "interpolate video to image"),
            ("image", "clip", "interpolate image to video"),
            ("clip", "clip", "interpolate between two videos"),
        ],
    )
    def test_a_loop_with_an_end_is_refused_in_its_own_words(
        self, http: httpx2.Client, first: str | None, last: str, what: str
    ) -> None:
        frames = {None: None, "image": IMAGE, "clip": generation(new_id())}
        body = {**PROMPT, "loop": True, "keyframes": {"frame0": frames[first], "frame1": frames[last]}}
        assert refusal(http.post("/generations", json=body)) == f"Loop is not supported for {what}"

    def test_a_loop_with_an_open_end_is_taken(self, http: httpx2.Client) -> None:
        for keyframes in (None, {"frame0": IMAGE}, {"frame0": generation(create(http)["id"])}):
            assert create(http, loop=True, keyframes=keyframes)["request"]["loop"] is True

    def test_the_longest_and_the_shortest_prompt_are_taken(self, http: httpx2.Client) -> None:
        for prompt in ("abc", "a" * 5000):
            assert create(http, prompt=prompt)["request"]["prompt"] == prompt

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"seed": 1}, "seed"),
            ({"prompt": 5}, "prompt"),
            ({"loop": "true"}, "loop"),
            ({"model": "sora"}, "model"),
            ({"duration": "7s"}, "duration"),
            ({"resolution": "480p"}, "resolution"),
            ({"aspect_ratio": "22:9"}, "aspect_ratio"),
            ({"generation_type": "image"}, "generation_type"),
            ({"concepts": ["zoom_in"]}, "concepts.0"),
            ({"concepts": [{"key": "bolt_cam"}]}, "concepts"),
            ({"callback_url": "http://10.0.0.1/"}, "callback_url"),
            ({"keyframes": {"frame0": {"type": "video", "url": "https://a.b"}}}, "keyframes.frame0.type"),
            ({"keyframes": {"frame0": {"type": "image", "url": "http://10.0.0.1/a"}}}, "keyframes.frame0.url"),
        ],
    )
    def test_what_is_wrong_is_refused_and_named(self, http: httpx2.Client, body: dict[str, Any], field: str) -> None:
        assert refusal(http.post("/generations", json=PROMPT | body)).startswith((f"{field}: ", f"{field} must "))

    def test_a_create_that_the_client_sends_again_makes_nothing_more(self, http: httpx2.Client) -> None:
        body = PROMPT | {"aspect_ratio": "4:3"}
        first = http.post("/generations", json=body, headers={"x-stainless-retry-count": "0"})
        again = http.post("/generations", json=body, headers={"x-stainless-retry-count": "1"})
        assert again.status_code == first.status_code == 201
        assert again.json()["id"] == first.json()["id"]
        assert http.post("/generations", json=body).json()["id"] != first.json()["id"]

    def test_two_images_in_the_body_are_two_orders_though_answers_show_them_alike(self, http: httpx2.Client) -> None:
        made = []
        for count, colour in enumerate(((250, 0, 0), (0, 250, 0))):
            file = io.BytesIO()
            Image.new("RGB", (64, 48), colour).save(file, "PNG", compress_level=0)
            data = base64.b64encode(file.getvalue()).decode()
            body = {"keyframes": {"frame0": {"type": "image", "url": f"data:image/png;base64,{data}"}}}
            made.append(http.post("/generations", json=body, headers={"x-stainless-retry-count": str(count)}).json())
        assert made[0]["request"] == made[1]["request"]
        assert made[0]["id"] != made[1]["id"]

    def test_a_move_that_no_engine_can_do_is_refused_by_name(self, http: httpx2.Client) -> None:
        detail = refusal(http.post("/generations", json=PROMPT | {"concepts": [{"key": "tiny_planet"}]}))
        assert "tiny_planet" in detail
        assert "zoom_in" in detail

    def test_several_wrong_fields_are_all_named(self, http: httpx2.Client) -> None:
        detail = refusal(http.post("/generations", json={"prompt": "a", "loop": 1}))
        assert detail.startswith("Prompt is too short, minimum length is 3 characters; loop: ")
        assert refusal(http.post("/generations", content=b"{", headers={"content-type": "application/json"}))

    def test_parents_that_are_unknown_or_failed_are_told_apart(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        with client(url + ROOT, OTHER_KEY) as other:
            theirs = create(other)["id"]
        for id in (theirs, new_id()):
            body = PROMPT | {"keyframes": {"frame0": generation(id)}}
            assert id in refusal(http.post("/generations", json=body), 404)
        failed = create(http)["id"]
        rig.records.fail(failed, "no luck", "world")
        body = PROMPT | {"keyframes": {"frame1": generation(failed)}}
        assert failed in refusal(http.post("/generations", json=body), 409)


class TestReadListDelete:
    def test_a_completed_generation_has_its_addresses(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        found = http.get(f"/generations/{id}").json()
        assert (found["state"], found["notes"]) == ("completed", ["A note."])
        assert set(found["assets"]) == {"video", "image", "progress_video"}
        assert httpx2.get(found["assets"]["video"], trust_env=False).text == f"videos/{id}.mp4"

    def test_a_failed_one_says_why(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.records.fail(id, "no luck", "world")
        found = http.get(f"/generations/{id}").json()
        assert (found["state"], found["failure_reason"], found["assets"]) == ("failed", "no luck", None)

    def test_pages_hold_the_newest_first_and_say_whether_more_follow(self, rig: Rig, url: str) -> None:
        _, secret = rig.keys.create("pages", account="pages")
        with client(url + ROOT, secret) as mine:
            ids = [create(mine)["id"] for _ in range(3)][::-1]
            whole = mine.get("/generations").json()
            assert [one["id"] for one in whole["generations"]] == ids
            assert {name: whole[name] for name in whole if name != "generations"} == {
                "count": 3,
                "limit": 100,
                "offset": 0,
                "has_more": False,
            }
            first, last = (mine.get("/generations", params={"limit": 2, "offset": at}).json() for at in (0, 2))
            assert [one["id"] for one in first["generations"] + last["generations"]] == ids
            assert (first["count"], first["has_more"], last["count"], last["has_more"]) == (2, True, 1, False)
            assert refusal(mine.get("/generations", params={"limit": 0})).startswith("limit: ")

    def test_delete_removes_and_cancels(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        answer = http.delete(f"/generations/{id}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert rig.records.fail(id, "late", "world") is False  # it has ended
        assert id in refusal(http.get(f"/generations/{id}"), 404)
        refusal(http.delete(f"/generations/{id}"), 404)

    def test_another_accounts_generation_is_unknown(self, url: str, http: httpx2.Client) -> None:
        id = create(http)["id"]
        with client(url + ROOT, OTHER_KEY) as other:
            refusal(other.get(f"/generations/{id}"), 404)
            refusal(other.delete(f"/generations/{id}"), 404)
            refusal(other.post(f"/generations/{id}/upscale", json={}), 404)
            refusal(other.post(f"/generations/{id}/audio", json={}), 404)


class TestEdits:
    def test_upscale_makes_another_generation(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http, model="ray-flash-2")["id"]
        rig.complete(id)
        answer = http.post(f"/generations/{id}/upscale", json={"resolution": "4k"})
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["request"] == {"generation_type": "upscale_video", "resolution": "4k", "callback_url": None}
        record = rig.records.get(made["id"])
        assert (record.order.edit, record.order.model) == (Upscale(2160), "ray-flash-2")
        assert record.parents == (("frame0", id),)

    @pytest.mark.parametrize(
        ("media", "name"),
        [({"url": "https://8.8.8.8/a.mp4"}, "media.url"), ({"id": "", "type": "generation"}, "media.id")],
    )
    def test_an_edit_that_failed_names_the_clients_own_field(
        self, rig: Rig, http: httpx2.Client, media: dict[str, str], name: str
    ) -> None:
        source = create(http)["id"]
        media = {**media, "id": source} if "id" in media else media
        body = {"media": media, "aspect_ratio": "1:1", "generation_type": "reframe_video"}
        reframed = http.post("/generations/video/reframe", json=body).json()["id"]
        larger = http.post(f"/generations/{source}/upscale", json={"resolution": "4k"}).json()["id"]
        for id, field in ((reframed, name), (larger, "id")):
            rig.records.fail(id, "keyframes.frame0.url: there is no video in it", "caller")
            reason = http.get(f"/generations/{id}").json()["failure_reason"]
            assert reason == f"{field}: there is no video in it"
        rig.records.fail(source, "keyframes.frame0: as it is", "caller")
        assert http.get(f"/generations/{source}").json()["failure_reason"] == "keyframes.frame0: as it is"

    def test_upscale_without_a_body_makes_1080p(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        made = http.post(f"/generations/{id}/upscale").json()
        assert made["request"]["resolution"] == "1080p"
        assert rig.records.get(made["id"]).order.edit == Upscale(1080)

    def test_what_can_not_be_made_larger_is_refused(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        path = f"/generations/{id}/upscale"
        assert refusal(http.post(path, json={"resolution": "540p"})).startswith("resolution: ")
        assert refusal(http.post(path, json={"scale": 2})) == "scale: there is no such field"
        refusal(http.post(f"/generations/{new_id()}/upscale", json={}), 404)
        rig.records.fail(failed := create(http)["id"], "no luck", "world")
        assert refusal(http.post(f"/generations/{failed}/upscale", json={}), 409).startswith("id: ")

    def test_reframe_takes_every_field(self, rig: Rig, http: httpx2.Client) -> None:
        places = {
            "resized_width": 400,
            "resized_height": 300,
            "grid_position_x": 10,
            "grid_position_y": -20,
            "x_start": 30,
            "x_end": 500,
            "y_start": 40,
            "y_end": 600,
        }
        body = {
            "generation_type": "reframe_video",
            "model": "ray-flash-2",
            "media": {"url": "https://example.com/a.mp4"},
            "aspect_ratio": "1:1",
            **PROMPT,
            **places,
        }
        answer = http.post("/generations/video/reframe", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        media = {"url": "https://example.com/a.mp4", "type": None, "id": None}
        defaults = {"resolution": "720p", "first_frame": None, "callback_url": None}
        assert made["request"] == body | defaults | {"media": media}
        order = rig.records.get(made["id"]).order
        assert order.edit == Reframe(aspect_ratio=(1, 1), **places)
        assert order.before
        assert (order.before.type, order.before.url) == ("video", "https://example.com/a.mp4")

    def test_reframe_knows_its_own_videos_by_their_address(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        video = http.get(f"/generations/{id}").json()["assets"]["video"]
        for media in ({"url": video}, generation(id), {"id": id}):
            body = {"media": media, "aspect_ratio": "9:16", "resolution": "540p"}
            answer = http.post("/generations/video/reframe", json=body)
            assert answer.status_code == 201, answer.text
            assert rig.records.get(answer.json()["id"]).parents == (("frame0", id),)
        changed = video[:-1] + ("0" if video[-1] != "0" else "1")
        body = {"media": {"url": changed}, "aspect_ratio": "9:16"}
        assert refusal(http.post("/generations/video/reframe", json=body)).startswith("media.url: ")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"aspect_ratio": None}, "aspect_ratio: "),
            ({"media": None}, "media: "),
            ({"media": {}}, "media: "),
            ({"media": {"url": "https://a.b/c", "id": "x"}}, "media: "),
            ({"media": {"url": "http://10.0.0.1/a.mp4"}}, "media.url: "),
            ({"x_start": 700, "x_end": 20}, "x_end must "),
            ({"resized_width": 3}, "resized_width must "),
            ({"grid_position_x": 1.5}, "grid_position_x: "),
            ({"first_frame": {"url": "https://a.b/c.png"}}, "first_frame is not supported by the engine motion"),
            ({"format": "jpg"}, "format: there is no such field"),
        ],
    )
    def test_what_can_not_be_reframed_is_refused_and_named(
        self, http: httpx2.Client, body: dict[str, Any], said: str
    ) -> None:
        whole = {"media": {"url": "https://example.com/a.mp4"}, "aspect_ratio": "1:1"} | body
        assert refusal(http.post("/generations/video/reframe", json=whole)).startswith(said)

    def test_a_reframe_of_what_is_not_there_is_unknown(self, http: httpx2.Client) -> None:
        body = {"media": generation(new_id()), "aspect_ratio": "1:1"}
        assert refusal(http.post("/generations/video/reframe", json=body), 404).startswith("media: ")


class TestOtherCalls:
    @pytest.mark.parametrize(
        ("path", "what"),
        [
            ("/generations/video/modify", "modify"),
            ("/generations/image", "image generation"),
            ("/generations/image/reframe", "image reframe"),
            ("/generations/{id}/audio", "audio"),
        ],
    )
    def test_what_no_engine_can_do_is_refused_with_the_reason(self, http: httpx2.Client, path: str, what: str) -> None:
        path = path.format(id=create(http)["id"])
        for body in (PROMPT | {"model": "photon-1"}, None):
            assert refusal(http.post(path, json=body)) == f"{what} is not supported by the engine motion"

    def test_only_what_the_engines_can_do_is_listed(self, http: httpx2.Client) -> None:
        assert http.get("/generations/concepts/list").json() == ["zoom_in"]
        assert http.get("/generations/camera_motion/list").json() == ["camera zoom in"]

    def test_a_credit_is_a_cent_and_a_second(self, rig: Rig, url: str) -> None:
        _, secret = rig.keys.create("poor", limit=6)
        with client(url + ROOT, secret) as poor:
            assert poor.get("/credits").json() == {"credit_balance": 6.0}
            create(poor)
            assert poor.get("/credits").json() == {"credit_balance": 1.0}
            refusal(poor.post("/generations", json=PROMPT), 403)

    def test_a_key_without_a_limit_has_a_large_balance(self, http: httpx2.Client) -> None:
        assert http.get("/credits").json() == {"credit_balance": 1_000_000_000.0}

    def test_ping_answers_those_who_have_a_key(self, url: str, http: httpx2.Client) -> None:
        assert http.get("/ping").json() == {"message": "pong"}
        for key in (None, "lt-wrong"):
            with client(url + ROOT, key) as stranger:
                assert refusal(stranger.get("/ping"), 401) == "Invalid API key is provided"

    def test_paths_that_are_not_there_have_the_same_shape(self, http: httpx2.Client) -> None:
        assert refusal(http.get("/generation"), 404) == "there is no such path"
        assert refusal(http.put("/generations"), 405) == "this path does not take PUT"


class TestNulls:
    def test_nulls_stand_for_the_defaults_of_all_that_may_be_left_out(self, rig: Rig, http: httpx2.Client) -> None:
        left_out = create(http)
        names = [name for name in left_out["request"] if name != "prompt"]
        assert len(names) == 9
        nulls = http.post("/generations", json={**PROMPT, **dict.fromkeys(names)}).json()
        assert nulls["request"] == left_out["request"]
        first, second = (rig.records.get(made["id"]).order for made in (left_out, nulls))
        assert replace(first, seed=None) == replace(second, seed=None)

    def test_nulls_stand_for_the_defaults_of_edits(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        body = dict.fromkeys(("generation_type", "resolution", "callback_url"))
        made = http.post(f"/generations/{id}/upscale", json=body).json()
        assert made["request"] == {"generation_type": "upscale_video", "resolution": "1080p", "callback_url": None}
        whole = {"media": generation(id), "aspect_ratio": "1:1"}
        left_out = http.post("/generations/video/reframe", json=whole).json()["request"]
        nulls = http.post("/generations/video/reframe", json=dict.fromkeys(left_out) | whole).json()["request"]
        assert (nulls, nulls["model"], nulls["resolution"]) == (left_out, "ray-2", "720p")


class TestTexts:
    @pytest.mark.parametrize("path", ["/generations", "/generations/video/reframe"])
    def test_a_create_without_a_body_is_told_that_it_needs_one(self, http: httpx2.Client, path: str) -> None:
        assert refusal(http.post(path)) == "a JSON body is required"

    def test_a_field_is_not_named_twice(self, http: httpx2.Client) -> None:
        assert refusal(http.post("/generations", json={**PROMPT, "model": "ray-9"})).startswith("model must be one of ")
        body = {"media": {"url": "https://example.com/a.mp4"}, "aspect_ratio": "1:1", "x_start": 720}
        said = refusal(http.post("/generations/video/reframe", json=body))
        assert said == "x_start must be from 0 to 719, got 720"

    def test_what_failed_is_not_said_to_be_extended_where_it_would_be_made_larger(
        self, rig: Rig, http: httpx2.Client
    ) -> None:
        rig.records.fail(failed := create(http)["id"], "no luck", "world")
        said = refusal(http.post(f"/generations/{failed}/upscale", json={}), 409)
        assert said == f"id: generation {failed} failed (no luck): it can't be used"


@pytest.mark.parametrize(
    ("prompt", "moves"),
    [
        ("A sea, camera pan left, then Camera Zoom In", ("pan_left", "zoom_in")),
        ("camera pan leftover", ()),
        ("a videocamera pan left", ()),
        ("the camera will pan left", ()),
        ("(camera pan left)", ("pan_left",)),
    ],
)
def test_only_the_very_words_of_a_camera_move_name_it(prompt: str, moves: tuple[str, ...]) -> None:
    assert moves_named(prompt, frozenset({"pan_left", "zoom_in"})) == moves


class TestWhatOtherProtocolsMade:
    def test_its_request_says_what_it_is(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        with client(url) as other:
            made = other.post("/v1/videos", json={"prompt": "A sea", "model": "ray-2"}).json()
        id = str(UUID(made["id"].removeprefix("video_")))
        read = next(one for one in http.get("/generations").json()["generations"] if one["id"] == id)
        assert read["request"]["generation_type"] == "video"
        rig.complete(id)
        assert http.get(f"/generations/{id}").json()["request"]["generation_type"] == "video"
        assert http.post(f"/generations/{id}/upscale").json()["request"]["generation_type"] == "upscale_video"
        body = {"media": generation(id), "aspect_ratio": "1:1"}
        reframed = http.post("/generations/video/reframe", json=body).json()
        assert reframed["request"]["generation_type"] == "reframe_video"
