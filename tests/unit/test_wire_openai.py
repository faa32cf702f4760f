"""OpenAI's video protocol, over a real port: every row of its table, every spelling of its bodies."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from longtake.errors import CreditError, LimitError, OrderError, WorldError
from longtake.orders import Order
from longtake.records import Limits
from longtake.wire.openai import shape
from longtake.wire.openai_answers import poll_after_ms, video_id
from longtake.wire.problems import problem_of
from tests.footage import moving, store, video_frames, write_foreign
from tests.wire_rig import KEY, MODELS, OTHER_KEY, Rig, client, new_id, serving

VIDEOS = "/v1/videos"
PROMPT = {"prompt": "A jellyfish drifts"}
MAX_UPLOAD = 3_000_000
EMPTY = ("upload", b"", "application/octet-stream")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("openai"), max_upload_bytes=MAX_UPLOAD, max_body_bytes=20_000)
    rig.service.models = {**MODELS, "sora-2": "motion", "sora-2-pro": "motion"}
    return rig


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("clip")
    store(folder, "clip.mp4", moving(48))
    return (folder / "clip.mp4").read_bytes()


def picture(size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def form(http: httpx2.Client, path: str = VIDEOS, files: Any = None, **texts: Any) -> httpx2.Response:
    """A multipart form, also where it holds no file."""
    parts = [(name, (None, text)) for name, text in texts.items()]
    return http.post(path, files=[*parts, *(files or {}).items()])


def made(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    video: dict[str, Any] = answer.json()
    assert video["object"] == "video"
    return video


def plain(video: dict[str, Any]) -> str:
    """The generation's id."""
    hexadecimal = video["id"].removeprefix("video_")
    return "-".join((hexadecimal[:8], *(hexadecimal[at : at + 4] for at in (8, 12, 16)), hexadecimal[20:]))


def order_of(rig: Rig, video: dict[str, Any]) -> Order:
    return rig.records.get(plain(video)).order


def create(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    return made(http.post(VIDEOS, json={**PROMPT, **body}))


def refused(answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


def num_kept(rig: Rig) -> int:
    return len(list(rig.store.keys("uploads")))


class TestCreate:
    def test_the_answer_is_the_published_object_with_the_published_defaults(
        self, rig: Rig, http: httpx2.Client
    ) -> None:
        video = create(http)
        assert video == {
            "id": video["id"],
            "object": "video",
            "created_at": video["created_at"],
            "completed_at": None,
            "expires_at": None,
            "status": "queued",
            "model": "sora-2",
            "progress": 0,
            "prompt": "A jellyfish drifts",
            "seconds": "4",
            "size": "720x1280",
            "remixed_from_video_id": None,
            "error": None,
            "notes": [],
            "preview": False,
        }
        assert video["id"] == video_id(plain(video))
        assert isinstance(video["created_at"], int)
        record = rig.records.get(plain(video))
        assert (record.wire, record.order.seconds) == ("openai", Fraction(4))
        assert record.request["seconds"] == "4"

    def test_a_form_says_the_same_as_json(self, rig: Rig, http: httpx2.Client) -> None:
        body = {"model": "sora-2-pro", "seconds": "8", "size": "1024x1792"}
        videos = [create(http, **body), made(form(http, **PROMPT, **body)), create(http, **{**body, "seconds": 8})]
        assert [(one["model"], one["seconds"], one["size"]) for one in videos] == [tuple(body.values())] * 3
        orders = [order_of(rig, one) for one in videos]
        assert {(one.short_side, one.aspect_ratio, one.seconds) for one in orders} == {(1024, (4, 7), Fraction(8))}

    @pytest.mark.parametrize("size", ["320x180", "64x64", "1280x720", "720x1280", "178x100", "100x232", "1792x1024"])
    def test_the_size_is_the_one_asked_for_to_the_pixel(self, http: httpx2.Client, size: str) -> None:
        assert create(http, size=size)["size"] == size

    def test_a_dated_name_is_the_model_without_its_date(self, http: httpx2.Client) -> None:
        assert create(http, model="sora-2-pro-2025-10-06")["model"] == "sora-2-pro"
        assert create(http, model="motion")["model"] == "motion"

    @pytest.mark.parametrize("name", ["model", "seconds", "size", "input_reference"])
    def test_null_is_the_default(self, http: httpx2.Client, name: str) -> None:
        video = create(http, **{name: None})
        assert (video["model"], video["seconds"], video["size"]) == ("sora-2", "4", "720x1280")

    @pytest.mark.parametrize(
        ("body", "param", "words"),
        [
            ({"prompt": ""}, "prompt", "at least 1"),
            ({"prompt": "x" * 5001}, "prompt", "at most 5000"),
            ({"prompt": 3}, "prompt", "string"),
            ({"seconds": "5"}, "seconds", "'4', '8', '12'"),
            ({"seconds": 4.5}, "seconds", "12"),
            ({"seconds": True}, "seconds", "12"),
            ({"size": "1280"}, "size", "WIDTHxHEIGHT"),
            ({"size": "01280x720"}, "size", "WIDTHxHEIGHT"),
            ({"size": "1281x720"}, "size", "even"),
            ({"size": "4000x720"}, "size", "9:21"),
            ({"size": "62x62"}, "size", "short side"),
            ({"model": "sora-9"}, "model", "sora-2"),
            ({"model": ""}, "model", "at least 1"),
            ({"n": 2}, "n", "no such field"),
            ({"input_reference": "https://example.com/a.png"}, "input_reference", "object"),
            ({"input_reference": {}}, "input_reference", "not both"),
            (
                {"input_reference": {"image_url": "https://a.com/a.png", "file_id": "x"}},
                "input_reference",
                "both",
            ),
            ({"input_reference": {"image_url": "ftp://a"}}, "input_reference.image_url", "https://"),
            ({"input_reference": {"image_url": "https://10.0.0.1/a.png"}}, "input_reference", "10.0.0.1"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, rig: Rig, http: httpx2.Client, body: dict[str, Any], param: str, words: str
    ) -> None:
        before = rig.records.count("default")
        error = refused(http.post(VIDEOS, json={**PROMPT, **body}))
        assert (error["param"], error["type"], error["code"]) == (param, "invalid_request_error", "invalid_value")
        assert words in error["message"]
        assert rig.records.count("default") == before

    @pytest.mark.parametrize(
        ("headers", "content"),
        [
            ({"content-type": "application/json"}, b"{"),
            ({"content-type": "application/json"}, b"[]"),
            ({"content-type": "application/json"}, b""),
            ({"content-type": "application/json"}, b"\xff\xfe{}"),
            ({"content-type": "application/json"}, b"[" * 5000),
            ({"content-type": "text/plain"}, b"prompt=x"),
            ({"content-type": "application/x-www-form-urlencoded"}, b"prompt=x"),
            ({}, b"{}"),
            ({"content-type": "multipart/form-data"}, b"--x"),
            ({"content-type": "multipart/form-data; boundary=" + "x" * 201}, b"--x"),
            ({"content-type": "multipart/form-data; boundary=x"}, b""),
            ({"content-type": "multipart/form-data; boundary=x"}, b"not a form"),
            ({"content-type": "multipart/form-data; boundary=x"}, b'--x\r\nContent-Disposition: form-data; name="p"'),
            ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\nno name\r\n--x--\r\n"),
        ],
    )
    def test_a_body_that_is_none_is_refused(self, http: httpx2.Client, headers: dict[str, str], content: bytes) -> None:
        assert refused(http.post(VIDEOS, headers=headers, content=content))["param"] is None

    def test_only_so_much_is_read(self, http: httpx2.Client) -> None:
        assert refused(http.post(VIDEOS, json={"prompt": "x" * 21_000}), 413)["code"] == "too_large"
        assert refused(form(http, prompt="x" * 21_000), 413)["param"] == "prompt"
        files = {"input_reference": ("a.png", b"x" * (MAX_UPLOAD + 20_001))}
        assert refused(form(http, files=files, **PROMPT), 413)["code"] == "too_large"


class TestInputReference:
    def test_a_file_is_the_first_frame(self, rig: Rig, http: httpx2.Client) -> None:
        video = made(form(http, files={"input_reference": ("a.png", picture())}, **PROMPT, size="320x180"))
        before = order_of(rig, video).before
        assert before
        assert before.type == "image"
        assert rig.records.get_upload(before.upload or "", "default").width == 64

    def test_an_address_or_an_upload_is_told_in_json_and_in_parts(self, rig: Rig, http: httpx2.Client) -> None:
        upload = http.post("/api/uploads", content=picture()).json()["id"]
        for name, value in (("image_url", "https://example.com/a.png"), ("file_id", upload)):
            part = {f"input_reference[{name}]": value}
            videos = [
                create(http, input_reference={name: value}),
                made(form(http, **PROMPT, **part)),
                made(form(http, files={"input_reference": EMPTY}, **PROMPT, **part)),
            ]
            for video in videos:
                before = order_of(rig, video).before
                assert before
                assert value == (before.url if name == "image_url" else before.upload)

    def test_a_data_url_is_taken_and_not_repeated(self, rig: Rig, http: httpx2.Client) -> None:
        url = "data:image/png;base64," + base64.b64encode(picture() + b"\0" * 400).decode()
        video = create(http, input_reference={"image_url": url})
        before = order_of(rig, video).before
        assert before
        assert rig.records.get_upload(before.upload or "", "default").width == 64
        assert len(str(rig.records.get(plain(video)).request)) < 400

    def test_a_file_that_is_no_image_is_refused_and_none_is_left(
        self, rig: Rig, http: httpx2.Client, clip: bytes
    ) -> None:
        error = refused(form(http, files={"input_reference": ("a.png", b"not a picture")}, **PROMPT))
        assert (error["param"], error["code"]) == ("input_reference", "invalid_file")
        assert refused(form(http, files={"input_reference": ("a.mp4", clip)}, **PROMPT))["param"] == "input_reference"
        assert rig.store.work_folder
        assert not list(rig.store.work_folder.iterdir())

    def test_a_file_of_another_kind_is_refused_in_the_clients_own_words(self, http: httpx2.Client, clip: bytes) -> None:
        extend = f"{VIDEOS}/extensions"
        no_image = refused(form(http, files={"input_reference": ("a.mp4", clip)}, **PROMPT))
        assert no_image["message"] == "input_reference must be an image, got a video"
        no_video = refused(form(http, extend, files={"video": ("a.png", picture())}, **PROMPT, seconds="4"))
        assert (no_video["message"], no_video["param"]) == ("video must be a video, got an image", "video")
        nothing = refused(form(http, extend, files={"video": ("a.mp4", b"no video")}, **PROMPT, seconds="4"))
        assert nothing["param"] == "video"
        assert "image" not in nothing["message"]

    def test_a_prompt_of_blanks_is_none(self, http: httpx2.Client) -> None:
        for prompt in ("", "   ", "\n\t"):
            error = refused(http.post(VIDEOS, json={"prompt": prompt}))
            assert (error["param"], "at least 1 character" in error["message"]) == ("prompt", True)

    def test_what_is_wrong_elsewhere_is_told_before_the_file_is_kept(self, rig: Rig, http: httpx2.Client) -> None:
        before, files = num_kept(rig), {"input_reference": ("a.png", picture())}
        assert refused(form(http, files=files, **PROMPT, seconds="7"))["param"] == "seconds"
        assert refused(form(http, files=files, **PROMPT, model="sora-9"))["param"] == "model"
        assert num_kept(rig) == before
        assert rig.store.work_folder
        assert not list(rig.store.work_folder.iterdir())

    @pytest.mark.parametrize(
        ("files", "texts", "param"),
        [
            ({"input_reference": EMPTY}, {}, "input_reference"),
            ({"input_reference": ("a.png", b"x")}, {"input_reference[file_id]": "x"}, "input_reference"),
            ({}, {"input_reference": "x", "input_reference[file_id]": "x"}, "input_reference"),
            ({}, {"input_reference": "x"}, "input_reference"),
            ({}, {"input_reference[colour]": "red"}, "input_reference.colour"),
            ({"prompt": ("a.txt", b"x")}, {}, "prompt"),
            ({"other": ("a.txt", b"x")}, {}, "other"),
            ({}, {"prompt[a]": "x"}, "prompt"),
            ({}, {"seconds[]": "4"}, "seconds[]"),
        ],
    )
    def test_parts_that_contradict_each_other_are_refused(
        self, http: httpx2.Client, files: Any, texts: dict[str, str], param: str
    ) -> None:
        assert refused(form(http, files=files, **PROMPT, **texts))["param"] == param

    def test_an_unknown_upload_is_404(self, http: httpx2.Client) -> None:
        assert refused(http.post(VIDEOS, json={**PROMPT, "input_reference": {"file_id": new_id()}}), 404)["param"] == (
            "input_reference"
        )

    def test_a_form_with_parts_without_end_is_refused(self, http: httpx2.Client) -> None:
        assert "40 parts" in refused(form(http, **{f"a{n}": "x" for n in range(60)}))["message"]
        twice = [("prompt", (None, "x"))] * 2
        assert "twice" in refused(http.post(VIDEOS, files=twice))["message"]
        assert "UTF-8" in refused(http.post(VIDEOS, files=[("prompt", (None, b"\xff"))]))["message"]


class TestExtensions:
    @pytest.fixture
    def parent(self, rig: Rig, http: httpx2.Client) -> dict[str, Any]:
        video = create(http)
        rig.complete(plain(video), seconds=5)
        return video

    def test_every_spelling_appends_and_tells_the_total(
        self, rig: Rig, http: httpx2.Client, parent: dict[str, Any]
    ) -> None:
        path, id, words = f"{VIDEOS}/extensions", parent["id"], {**PROMPT, "seconds": "20"}
        for answer in (
            http.post(path, json={**words, "video": {"id": id}}),
            http.post(path, json={**words, "video": id, "seconds": 20}),
            http.post(path, json={**words, "video": plain(parent)}),
            form(http, path, **words, **{"video[id]": id}),
            form(http, path, **words, video=id),
            form(http, path, files={"video": EMPTY}, **words, **{"video[id]": id}),
        ):
            video = made(answer)
            order = order_of(rig, video)
            assert order.before
            assert (order.before.id, order.seconds, order.model) == (plain(parent), Fraction(20), "sora-2")
            assert (video["seconds"], video["size"]) == ("25", "1280x720")

    def test_an_uploaded_file_is_extended(self, rig: Rig, http: httpx2.Client, clip: bytes) -> None:
        path = f"{VIDEOS}/extensions"
        video = made(form(http, path, files={"video": ("clip.mp4", clip)}, **PROMPT, seconds="4"))
        before = order_of(rig, video).before
        assert before
        assert (before.type, bool(before.upload)) == ("video", True)
        assert (video["seconds"], video["size"]) == ("12", "64x48")

    def test_of_a_file_that_is_converted_first_the_length_is_told_as_it_was_brought(
        self, http: httpx2.Client, tmp_path: Path
    ) -> None:
        foreign = write_foreign(tmp_path / "a.avi", video_frames(moving(24, 64, 48)), codec="mjpeg", pix_fmt="yuvj420p")
        files = {"video": ("a.avi", foreign.read_bytes())}
        video = made(form(http, f"{VIDEOS}/extensions", files=files, **PROMPT, seconds="4"))
        assert (video["seconds"], video["size"]) == ("6", "64x48")

    def test_a_video_of_another_protocol_is_extended_with_its_own_model(self, rig: Rig, http: httpx2.Client) -> None:
        id = http.post("/api/generations", json={"prompt": "x", "model": "ray-2"}).json()["id"]
        body = {**PROMPT, "seconds": 4, "video": {"id": video_id(id)}}
        assert made(http.post(f"{VIDEOS}/extensions", json=body))["model"] == "ray-2"

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"seconds": "4"}, "video"),
            ({"video": {"id": "x"}}, "seconds"),
            ({"seconds": "5", "video": {"id": "x"}}, "seconds"),
            ({"seconds": "4", "video": {}}, "video.id"),
            ({"seconds": "4", "video": 7}, "video"),
            ({"seconds": "4", "video": ""}, "video.id"),
            ({"seconds": "4", "video": {"id": "x", "at": 3}}, "video.at"),
        ],
    )
    def test_what_is_wrong_is_named(self, http: httpx2.Client, body: dict[str, Any], param: str) -> None:
        assert refused(http.post(f"{VIDEOS}/extensions", json={**PROMPT, **body}))["param"] == param

    def test_what_can_not_be_extended_says_why(self, rig: Rig, http: httpx2.Client, parent: dict[str, Any]) -> None:
        def extend(id: str, status: int) -> dict[str, Any]:
            body = {**PROMPT, "seconds": "4", "video": {"id": id}}
            return refused(http.post(f"{VIDEOS}/extensions", json=body), status)

        for unknown in ("x", video_id(new_id())):
            error = extend(unknown, 404)
            assert (error["param"], error["code"]) == ("video", "not_found")
            assert f"there is no video {unknown}" in error["message"]
        failed = create(http)
        rig.records.fail(plain(failed), "it broke", "fault")
        error = extend(failed["id"], 409)
        assert (error["param"], error["code"]) == ("video", "conflict")
        assert error["message"] == f"video {failed['id']} failed (it broke): it can't be used"
        assert http.delete(f"{VIDEOS}/{parent['id']}").status_code == 200
        assert "was deleted" in extend(parent["id"], 409)["message"]


class TestRead:
    def test_a_video_goes_through_its_states(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        path = f"{VIDEOS}/{id}"
        answer = http.get(path)
        assert (made(answer)["status"], answer.headers["openai-poll-after-ms"]) == ("queued", "1000")
        generation = plain({"id": id})
        rig.records.start(generation, 1)
        rig.records.report(generation, 1, "render", 0.5)
        answer = http.get(path)
        video = made(answer)
        assert (video["status"], video["progress"], video["completed_at"]) == ("in_progress", 50, None)
        assert 250 <= int(answer.headers["openai-poll-after-ms"]) <= 5000
        rig.complete(generation)
        answer = http.get(path)
        video = made(answer)
        assert (video["status"], video["progress"], video["seconds"]) == ("completed", 100, "5")
        assert (video["notes"], video["preview"]) == (["A note."], True)
        assert video["completed_at"] >= video["created_at"]
        assert "openai-poll-after-ms" not in answer.headers

    def test_a_failure_is_an_error_object_in_this_protocols_words(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        child = made(http.post(f"{VIDEOS}/extensions", json={**PROMPT, "seconds": "4", "video": parent}))["id"]
        rig.records.fail(plain({"id": parent}), "the engine broke", "fault")
        video = made(http.get(f"{VIDEOS}/{parent}"))
        assert (video["status"], video["error"]) == ("failed", {"code": "server_error", "message": "the engine broke"})
        error = made(http.get(f"{VIDEOS}/{child}"))["error"]
        assert error["code"] == "invalid_request"
        assert f"video {parent} failed: the engine broke" in error["message"]

    def test_what_another_protocol_made_is_a_video_too(self, rig: Rig, http: httpx2.Client) -> None:
        image = {"type": "video", "url": "https://example.com/a.mp4"}
        for body in ({"prompt": "", "aspect_ratio": "1:1"}, {"keyframes": {"frame0": image}, "resolution": "540p"}):
            id = http.post("/api/generations", json=body).json()["id"]
            video = made(http.get(f"{VIDEOS}/{video_id(id)}"))
            assert (video["model"], video["prompt"], video["seconds"]) == ("ray-2", None, "5")
            assert video["size"] == ("720x720" if "aspect_ratio" in body else "960x540")

    @pytest.mark.parametrize("id", ["x", "video_", "video_" + "0" * 32, "video_" + "G" * 32, "extensions", "x" * 500])
    @pytest.mark.parametrize("call", ["GET", "DELETE", "GET content", "POST remix"])
    def test_what_is_not_there_is_404(self, http: httpx2.Client, id: str, call: str) -> None:
        method, _, rest = call.partition(" ")
        body = PROMPT if rest == "remix" else None
        error = refused(http.request(method, f"{VIDEOS}/{id}/{rest}".rstrip("/"), json=body), 404)
        assert (error["type"], error["code"]) == ("invalid_request_error", "not_found")
        assert f"there is no video {id[:80]}" in error["message"]

    def test_another_accounts_videos_are_not_there(self, http: httpx2.Client) -> None:
        id, headers = create(http)["id"], {"authorization": f"Bearer {OTHER_KEY}"}
        refused(http.get(f"{VIDEOS}/{id}", headers=headers), 404)
        refused(http.delete(f"{VIDEOS}/{id}", headers=headers), 404)
        assert http.get(VIDEOS, headers=headers).json()["data"] == []
        refused(http.get(VIDEOS, params={"after": id}, headers=headers), 404)

    def test_the_next_question_comes_in_half_the_time_that_is_left(self, rig: Rig, http: httpx2.Client) -> None:
        id = plain(create(http))
        rig.records.start(id, 1)
        rig.records.report(id, 1, "render", 0.25)
        one = rig.records.get(id)
        assert one.started_at
        waits = [poll_after_ms(one, one.started_at + seconds) for seconds in (0, 1, 2, 100)]
        assert waits == [250, 1500, 3000, 5000]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx2.Client, list[str]]]:
    """A client of an account with seven videos, and their ids."""
    rig = Rig.build(tmp_path_factory.mktemp("list"))
    rig.service.models = {**MODELS, "sora-2": "motion"}
    with serving(rig) as url, client(url) as http:
        yield http, [create(http)["id"] for _ in range(7)]


class TestList:
    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_pages_follow_each_other_without_a_gap(self, listed: tuple[httpx2.Client, list[str]], order: str) -> None:
        http, ids = listed
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = http.get(VIDEOS, params={"limit": 3, "order": order, **after}).json()
            found += [one["id"] for one in page["data"]]
            assert (page["object"], page["first_id"], page["last_id"]) == (
                "list",
                page["data"][0]["id"],
                page["data"][-1]["id"],
            )
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert found == (ids if order == "asc" else ids[::-1])

    def test_a_page_after_one_that_was_deleted_goes_on(self, listed: tuple[httpx2.Client, list[str]]) -> None:
        http, ids = listed
        extra = create(http)["id"]
        page = http.get(VIDEOS, params={"limit": 1}).json()
        assert (page["last_id"], page["has_more"]) == (extra, True)
        assert http.delete(f"{VIDEOS}/{extra}").json() == {"id": extra, "object": "video.deleted", "deleted": True}
        page = http.get(VIDEOS, params={"limit": 1, "after": extra}).json()
        assert page["last_id"] == ids[-1]

    def test_videos_of_one_moment_are_each_shown_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig.build(tmp_path)
        key = rig.keys.check(KEY)
        monkeypatch.setattr("longtake.service.time.time", lambda: 1e9)
        ids = {rig.service.submit(key, Order(), wire="native", request={}).id for _ in range(9)}
        for ascending in (True, False):
            found: list[str] = []
            more = True
            while more:
                page, more = rig.service.page_after(
                    "default", after=found[-1] if found else None, limit=2, ascending=ascending
                )
                found += [one.id for one in page]
            assert sorted(found) == sorted(ids)

    @pytest.mark.parametrize(
        ("query", "status", "param"),
        [
            ({"limit": 0}, 400, "limit"),
            ({"limit": 101}, 400, "limit"),
            ({"order": "up"}, 400, "order"),
            ({"after": "x"}, 404, "after"),
            ({"after": video_id(new_id())}, 404, "after"),
        ],
    )
    def test_what_is_wrong_is_named(self, http: httpx2.Client, query: dict[str, Any], status: int, param: str) -> None:
        assert refused(http.get(VIDEOS, params=query), status)["param"] == param

    def test_an_account_without_videos_has_an_empty_list(self, http: httpx2.Client) -> None:
        page = http.get(VIDEOS, headers={"authorization": f"Bearer {OTHER_KEY}"}).json()
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


class TestRemix:
    def test_all_but_the_words_stays(self, rig: Rig, http: httpx2.Client) -> None:
        image = {"type": "image", "url": "https://example.com/a.png"}
        body = {"prompt": "x", "keyframes": {"frame0": image}, "seed": 5, "concepts": ["zoom_in"], "seconds": 2}
        first = http.post("/api/generations", json={**body, "callback_url": "https://example.com/hook"}).json()["id"]
        video = made(http.post(f"{VIDEOS}/{video_id(first)}/remix", json={"prompt": "at night"}))
        assert (video["remixed_from_video_id"], video["prompt"]) == (video_id(first), "at night")
        assert made(http.get(f"{VIDEOS}/{video['id']}"))["remixed_from_video_id"] == video_id(first)
        old, new = rig.records.get(first).order, order_of(rig, video)
        assert (new.before, new.seed, new.concepts, new.seconds) == (old.before, 5, ("zoom_in",), Fraction(2))
        assert new.callback_url is None

    def test_a_remix_of_an_extension_extends_the_same_video(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        child = made(http.post(f"{VIDEOS}/extensions", json={**PROMPT, "seconds": "4", "video": parent}))["id"]
        video = made(http.post(f"{VIDEOS}/{child}/remix", json=PROMPT))
        before = order_of(rig, video).before
        assert before
        assert (before.id, video["seconds"]) == (plain({"id": parent}), "8")
        http.delete(f"{VIDEOS}/{parent}")
        error = refused(http.post(f"{VIDEOS}/{child}/remix", json={"prompt": "again"}), 409)
        assert (error["param"], error["code"]) == ("id", "conflict")

    def test_an_upscaled_video_has_no_words_to_change(self, rig: Rig, http: httpx2.Client) -> None:
        parent = http.post("/api/generations", json={"prompt": "x", "resolution": "540p"}).json()["id"]
        rig.complete(parent)
        upscaled = http.post(f"/dream-machine/v1/generations/{parent}/upscale", json={"resolution": "1080p"})
        error = refused(http.post(f"{VIDEOS}/{video_id(upscaled.json()['id'])}/remix", json=PROMPT))
        assert "made by upscale" in error["message"]

    @pytest.mark.parametrize(("body", "param"), [({}, "prompt"), ({"prompt": ""}, "prompt"), ({**PROMPT, "a": 1}, "a")])
    def test_what_is_wrong_is_named(self, http: httpx2.Client, body: dict[str, Any], param: str) -> None:
        assert refused(http.post(f"{VIDEOS}/{create(http)['id']}/remix", json=body))["param"] == param


class TestContent:
    @pytest.fixture
    def id(self, rig: Rig, http: httpx2.Client, tmp_path: Path) -> str:
        id: str = create(http)["id"]
        generation = plain({"id": id})
        rig.complete(generation)
        clip = write_foreign(tmp_path / "a.mp4", video_frames(moving(48, 320, 180)))
        rig.store.put_file(f"videos/{generation}.mp4", clip)
        return id

    def test_the_video_comes_whole_or_by_ranges(self, rig: Rig, http: httpx2.Client, id: str) -> None:
        path = f"{VIDEOS}/{id}/content"
        whole = http.get(path)
        assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
        assert whole.headers["cache-control"] == "private, no-cache"
        assert whole.content == rig.store.read(f"videos/{plain({'id': id})}.mp4")
        part = http.get(path, params={"variant": "video"}, headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
        assert http.get(path, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
        assert http.get(path, headers={"if-none-match": whole.headers["etag"]}).status_code == 304

    def test_pictures_are_drawn_once_and_gone_with_the_video(self, rig: Rig, http: httpx2.Client, id: str) -> None:
        for variant, kind, format, size, ending in (
            ("thumbnail", "image/webp", "WEBP", (320, 180), "webp"),
            ("spritesheet", "image/jpeg", "JPEG", (1600, 720), "jpg"),
        ):
            path, key = f"{VIDEOS}/{id}/content?variant={variant}", f"exports/{plain({'id': id})}.{ending}"
            whole = http.get(path)
            assert (whole.status_code, whole.headers["content-type"]) == (200, kind)
            with Image.open(io.BytesIO(whole.content)) as image:
                assert (image.format, image.size) == (format, size)
            part = http.get(path, headers={"range": "bytes=-5"})
            assert (part.status_code, part.content) == (206, whole.content[-5:])
            assert rig.store.read(key) == whole.content
        assert http.delete(f"{VIDEOS}/{id}").status_code == 200
        assert not [key for key in rig.store.keys("exports") if plain({"id": id}) in key]
        refused(http.get(f"{VIDEOS}/{id}/content"), 404)

    @pytest.mark.parametrize("variant", ["video", "thumbnail", "spritesheet"])
    def test_what_is_not_finished_is_409(self, http: httpx2.Client, variant: str) -> None:
        id = create(http)["id"]
        error = refused(http.get(f"{VIDEOS}/{id}/content", params={"variant": variant}), 409)
        assert error["message"].startswith(f"video {id} is queued")

    def test_a_video_that_is_none_is_refused(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(plain({"id": id}))  # with a video of a few bytes of text
        assert refused(http.get(f"{VIDEOS}/{id}/content?variant=thumbnail"))["code"] == "invalid_file"
        assert refused(http.get(f"{VIDEOS}/{id}/content?variant=gif"))["param"] == "variant"

    def test_who_asks_while_it_is_drawn_is_told_to_come_again(self, tmp_path: Path) -> None:
        rig = Rig.build(tmp_path, wait_seconds=0.0)
        rig.service.models = {**MODELS, "sora-2": "motion"}
        with serving(rig) as url, client(url) as http:
            id = create(http)["id"]
            rig.complete(plain({"id": id}))
            store(tmp_path, "a.mp4", moving(24))
            rig.store.put_file(f"videos/{plain({'id': id})}.mp4", tmp_path / "a.mp4")
            answer = http.get(f"{VIDEOS}/{id}/content?variant=spritesheet")
            assert refused(answer, 503)["type"] == "server_error"
            assert answer.headers["retry-after"] == "2"


class TestErrors:
    def test_no_key_and_a_wrong_one_are_401(self, url: str) -> None:
        for key in (None, "wrong"):
            with client(url, key) as http:
                answer = http.post(VIDEOS, json=PROMPT)
                assert refused(answer, 401)["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("path", ["edits", "characters"])
    def test_what_no_engine_can_is_refused_with_the_reason(self, http: httpx2.Client, path: str) -> None:
        for answer in (
            http.post(f"{VIDEOS}/{path}", json=PROMPT),
            form(http, f"{VIDEOS}/{path}", files={"video": ("a.mp4", b"x")}, **PROMPT),
        ):
            assert f"{path} are not supported by any engine here" in refused(answer)["message"]

    def test_there_are_no_characters(self, http: httpx2.Client) -> None:
        assert "characters are not supported" in refused(http.get(f"{VIDEOS}/characters/char_1"), 404)["message"]

    def test_unknown_paths_and_methods_have_this_shape_too(self, http: httpx2.Client) -> None:
        assert refused(http.get(f"{VIDEOS}/a/b/c"), 404)["code"] == "not_found"
        refused(http.put(VIDEOS), 405)
        assert "requestId" in http.get("/v1/other").json()

    @pytest.mark.parametrize(
        ("error", "status", "type", "code"),
        [
            (OrderError("x", field="duration"), 400, "invalid_request_error", "invalid_value"),
            (CreditError("x"), 403, "insufficient_quota", "insufficient_quota"),
            (LimitError("x", retry_after_seconds=3), 429, "rate_limit_error", "rate_limit_exceeded"),
            (WorldError("x", retryable=True), 503, "server_error", None),
            (RuntimeError("x"), 500, "server_error", None),
        ],
    )
    def test_each_cause_has_its_type_and_code(self, error: Exception, status: int, type: str, code: str | None) -> None:
        answer = shape(None, problem_of(error))  # type: ignore[arg-type]
        assert answer.status_code == status
        body = bytes(answer.body).decode()
        assert f'"type":"{type}"' in body
        assert (f'"code":"{code}"' if code else '"code":null') in body

    def test_a_key_that_asks_too_often_waits(self, rig: Rig, http: httpx2.Client) -> None:
        _, secret = rig.keys.create("slow", limits=Limits(requests_per_minute=1))
        headers = {"authorization": f"Bearer {secret}"}
        answers = [http.get(VIDEOS, headers=headers) for _ in range(4)]
        answer = answers[-1]
        assert refused(answer, 429)["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1


class TestRepeats:
    def test_a_create_that_comes_twice_makes_one_video(self, http: httpx2.Client) -> None:
        headers = {"idempotency-key": new_id()}
        ids = {made(http.post(VIDEOS, json=PROMPT, headers=headers))["id"] for _ in range(2)}
        assert len(ids) == 1
        refused(http.post(VIDEOS, json={"prompt": "another"}, headers=headers), 409)

    def test_a_form_with_the_same_file_is_the_same_and_with_another_it_is_not(self, http: httpx2.Client) -> None:
        headers = {"idempotency-key": new_id()}

        def send(data: bytes) -> httpx2.Response:
            parts: Any = [("prompt", (None, "x")), ("input_reference", ("a.png", data))]
            return http.post(VIDEOS, files=parts, headers=headers)

        assert made(send(picture()))["id"] == made(send(picture()))["id"]
        refused(send(picture((80, 60))), 409)


def test_the_document_holds_both_kinds_of_body(rig: Rig) -> None:
    paths = rig.app.openapi()["paths"]
    for path, file in ((VIDEOS, "input_reference"), (f"{VIDEOS}/extensions", "video")):
        content = paths[path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        assert content["multipart/form-data"]["schema"]["properties"][file]["format"] == "binary"
        assert "$ref" not in str(content)
        assert {"200", "400", "401", "403", "404", "409", "413", "429", "503"} <= set(paths[path]["post"]["responses"])
    assert "/v1/videos/edits" not in paths
    words = paths[VIDEOS]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert words["input_reference[image_url]"]["pattern"].startswith("^(?i:https?://")
    assert words["seconds"]["enum"] == ["4", "8", "12"]
