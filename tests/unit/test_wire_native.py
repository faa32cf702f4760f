"""Our own protocol, over a real port."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from PIL import Image

from longtake.wire import native
from longtake.wire.door import in_thread
from tests.footage import moving, store, video_frames, write_foreign
from tests.wire_rig import OTHER_KEY, Rig, client, events, new_id, serving

T = TypeVar("T")
ALL = "/api/generations"
MAX_UPLOAD = 3_000_000


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig.build(tmp_path_factory.mktemp("native"), max_upload_bytes=MAX_UPLOAD)


@pytest.fixture(scope="module")
def url(rig: Rig) -> Iterator[str]:
    with serving(rig) as url:
        yield url


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    with client(url) as http:
        yield http


def create(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(ALL, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refused_field(answer: httpx2.Response, status: int = 400) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert set(error) == {"error", "request_id"}
    assert set(error["error"]) == {"message", "field", "kind"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return error["error"]["field"]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "PNG")
    return file.getvalue()


class TestCreate:
    def test_all_that_can_be_asked_reaches_the_order(self, rig: Rig, http: httpx2.Client) -> None:
        made = create(
            http,
            prompt="A jellyfish",
            negative_prompt="blur",
            seconds=2.5,
            fps=29.97,
            seed=7,
            concepts=["zoom_in", {"key": "zoom_in"}],
            aspect_ratio="4:3",
            resolution="540p",
        )
        order = rig.records.get(made["id"]).order
        assert (order.seconds, order.frame_rate, order.seed) == (Fraction(5, 2), Fraction(30000, 1001), 7)
        assert (order.concepts, order.negative_prompt) == (("zoom_in", "zoom_in"), "blur")
        assert (made["request"]["seconds"], made["request"]["seed"]) == (2.5, 7)
        assert made["request"]["fps"] == 30000 / 1001
        assert (made["progress"], made["stage"], made["engine"]) == (0, "queued", "motion")
        assert (made["parents"], made["children"], made["timeline"]) == ([], [], None)

    def test_a_seed_that_was_drawn_is_shown(self, rig: Rig, http: httpx2.Client) -> None:
        made = create(http)
        assert made["request"]["seed"] == rig.records.get(made["id"]).order.seed is not None

    @pytest.mark.parametrize(("fps", "used"), [(119.99999999999, 120), (23.123456789, 1873 / 81)])
    def test_a_rate_with_many_digits_is_shown_as_it_is_used(self, http: httpx2.Client, fps: float, used: float) -> None:
        assert create(http, fps=fps)["request"]["fps"] == used

    def test_an_extension_shows_the_rate_that_is_used(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        rig.complete(parent)
        made = create(http, fps=60, keyframes={"frame0": {"type": "generation", "id": parent}})
        assert made["request"]["fps"] == 24

    def test_frames_take_videos_uploads_and_cuts(self, rig: Rig, http: httpx2.Client) -> None:
        made = create(http, keyframes={"frame0": {"type": "video", "url": "https://example.com/a.mp4", "at": 3.2}})
        before = rig.records.get(made["id"]).order.before
        assert before
        assert (before.type, before.at) == ("video", Fraction(16, 5))
        upload = http.post("/api/uploads", content=picture()).json()["id"]
        made = create(http, keyframes={"frame1": {"type": "image", "upload": upload}})
        after = rig.records.get(made["id"]).order.after
        assert after
        assert after.upload == upload

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"takes": 0}, "takes"),
            ({"takes": 5}, "takes"),
            ({"priority": 10}, "priority"),
            ({"priority": -1}, "priority"),
            ({"priority": "5"}, "priority"),
            ({"takes": "2"}, "takes"),
            ({"takes": True}, "takes"),
            ({"shots": []}, "shots"),
            ({"seconds": 0.05}, "seconds"),
            ({"seconds": 601}, "seconds"),
            ({"seconds": "4"}, "seconds"),
            ({"seconds": 4, "duration": "5s"}, "seconds"),
            ({"fps": 0}, "fps"),
            ({"callback_url": "data:text/plain,x"}, "callback_url"),
            ({"seed": -1}, "seed"),
            ({"seed": 2**32}, "seed"),
            ({"seed": 1.5}, "seed"),
            ({"concepts": ["fly"]}, "concepts"),
            ({"concepts": "zoom_in"}, "concepts"),
            ({"keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0"),
            ({"keyframes": {"frame0": {"type": "image", "url": "https://a.b", "upload": "x"}}}, "keyframes.frame0"),
            ({"keyframes": {"frame0": {"type": "image", "url": "https://a.b", "at": 1}}}, "keyframes.frame0.at"),
            ({"keyframes": {"frame0": {"type": "generation", "id": "x", "at": -1}}}, "keyframes.frame0.at"),
            ({"keyframes": {"frame0": {"type": "generation", "url": "https://a.b"}}}, "keyframes.frame0.id"),
        ],
    )
    def test_what_is_wrong_is_refused_with_its_field(self, http: httpx2.Client, body: Any, field: str) -> None:
        assert refused_field(http.post(ALL, json=body)) == field

    def test_not_a_number_is_refused(self, http: httpx2.Client) -> None:
        for text in ('{"seconds": NaN}', '{"seconds": Infinity}', '{"fps": NaN}'):
            answer = http.post(ALL, content=text, headers={"content-type": "application/json"})
            assert refused_field(answer) in ("seconds", "fps")

    def test_an_upload_of_another_kind_or_account_is_refused(self, url: str, http: httpx2.Client) -> None:
        upload = http.post("/api/uploads", content=picture()).json()["id"]
        as_video = http.post(ALL, json={"keyframes": {"frame0": {"type": "video", "upload": upload}}})
        assert refused_field(as_video) == "keyframes.frame0.type"
        with client(url, OTHER_KEY) as other:
            theirs = other.post(ALL, json={"keyframes": {"frame0": {"type": "image", "upload": upload}}})
        assert refused_field(theirs, 404) == "keyframes.frame0.upload"


class TestRead:
    def test_a_finished_extension_tells_of_its_family_and_its_timeline(self, rig: Rig, http: httpx2.Client) -> None:
        parent = create(http)["id"]
        rig.complete(parent)
        child = create(http, keyframes={"frame0": {"type": "generation", "id": parent}})["id"]
        rig.complete(child, seconds=3)
        assert http.get(f"{ALL}/{parent}").json()["children"] == [child]
        found = http.get(f"{ALL}/{child}").json()
        assert found["parents"] == [parent]
        assert found["timeline"] == [
            {"generation_id": child, "source": None, "start": 0.0, "seconds": 3.0, "frames": 72}
        ]
        assert found["seams"] == [{"frame": 24, "at": 1.0, "jump": 1.1, "motion": 1.0, "sharpness": 0.9, "colour": 0.2}]
        assert (found["timings"], found["progress"], found["preview"]) == ({"render": 0.5}, 1.0, True)

    def test_a_page_is_newest_first_and_knows_how_many_there_are(self, url: str) -> None:
        with client(url, OTHER_KEY) as http:
            ids = [create(http)["id"] for _ in range(3)]
            page = http.get(ALL, params={"limit": 2}).json()
            assert [one["id"] for one in page["generations"]] == ids[:0:-1]
            assert (page["count"], page["limit"], page["offset"], page["has_more"]) == (3, 2, 0, True)
            rest = http.get(ALL, params={"limit": 2, "offset": 2}).json()
            assert [one["id"] for one in rest["generations"]] == ids[:1]
            assert rest["has_more"] is False
            for query in ({"limit": 0}, {"offset": -1}, {"limit": "x"}):
                assert refused_field(http.get(ALL, params=query)) in ("limit", "offset")

    def test_a_long_page_goes_to_a_thread_no_more_often_than_a_short_one(
        self, rig: Rig, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[object] = []

        async def counted(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
            calls.append(function)
            return await in_thread(function, *args, **kwargs)

        monkeypatch.setattr(native, "in_thread", counted)
        _, secret = rig.keys.create("long", account="long")
        with client(url, secret) as http:
            for _ in range(4):
                rig.complete(create(http)["id"])
            times = []
            for limit in (1, 4):
                calls.clear()
                page = http.get(ALL, params={"limit": limit}).json()
                assert [bool(one["playlist"]) for one in page["generations"]] == [True] * limit
                times.append(len(calls))
        assert times == [1, 1]

    def test_a_wait_ends_with_the_state_or_its_timeout(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        waited = http.get(f"{ALL}/{id}", params={"wait": "completed", "timeout": 0.1})
        assert waited.json()["state"] == "queued"
        threading.Timer(0.1, rig.complete, [id]).start()
        assert http.get(f"{ALL}/{id}", params={"wait": "completed"}).json()["state"] == "completed"
        assert refused_field(http.get(f"{ALL}/{id}", params={"wait": "failed"})) == "wait"

    def test_cancel_retry_and_delete_move_it(self, url: str, http: httpx2.Client) -> None:
        id = create(http)["id"]
        cancelled = http.post(f"{ALL}/{id}/cancel").json()
        assert (cancelled["state"], cancelled["failure_reason"]) == ("failed", "cancelled")
        assert refused_field(http.post(f"{ALL}/{id}/cancel"), 409) is None
        assert http.post(f"{ALL}/{id}/retry").json()["state"] == "queued"
        assert refused_field(http.post(f"{ALL}/{id}/retry"), 409) is None
        with client(url, OTHER_KEY) as other:
            for call in ("/cancel", "/retry"):
                assert refused_field(other.post(f"{ALL}/{id}{call}"), 404) is None
            assert other.delete(f"{ALL}/{id}").status_code == 404
        deleted = http.delete(f"{ALL}/{id}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert http.get(f"{ALL}/{id}").status_code == 404
        assert http.delete(f"{ALL}/{id}").status_code == 404


class TestEvents:
    def test_one_generations_events_end_with_it(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.records.start(id, 1)
        for progress in (0.1, 0.2, 0.3):
            rig.records.report(id, 1, "render", progress)
        seen: list[tuple[int, str, dict[str, Any]]] = []
        with http.stream("GET", f"{ALL}/{id}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for event in events(response):
                seen.append(event)
                if event[2]["progress"] == 0.3:
                    rig.complete(id)
        kinds = [kind.removeprefix("generation.") for _, kind, _ in seen]
        assert kinds == ["updated", "updated", "progress", "completed"]
        assert [data["state"] for _, _, data in seen] == ["queued", "dreaming", "dreaming", "completed"]

    def test_a_client_resumes_after_the_last_event_it_saw(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.complete(id)
        with http.stream("GET", f"{ALL}/{id}/events") as response:
            seen = list(events(response))
        with http.stream("GET", f"{ALL}/{id}/events", headers={"last-event-id": str(seen[0][0])}) as response:
            assert list(events(response)) == seen[1:]
        over = http.get(f"{ALL}/{id}/events", headers={"last-event-id": str(seen[-1][0])})
        assert over.status_code == 204

    def test_a_retried_generation_goes_on_past_its_failure(self, rig: Rig, http: httpx2.Client) -> None:
        id = create(http)["id"]
        rig.records.fail(id, "no luck", "world")
        rig.records.retry(id, "default")
        kinds = []
        with http.stream("GET", f"{ALL}/{id}/events") as response:
            for _, kind, _ in events(response):
                kinds.append(kind.removeprefix("generation."))
                if len(kinds) == 3:
                    rig.complete(id)
        assert kinds == ["updated", "failed", "updated", "updated", "completed"]

    def test_an_accounts_events_are_its_own(self, rig: Rig, url: str, http: httpx2.Client) -> None:
        with client(url, OTHER_KEY) as other, http.stream("GET", "/api/events") as response:
            lines = response.iter_lines()
            assert next(lines).startswith(":")
            theirs, mine = create(other)["id"], create(http)["id"]
            data = next(line for line in lines if line.startswith("data: "))
            assert mine in data
            assert theirs not in data
            refused = other.get(f"{ALL}/{mine}/events")
            assert refused.status_code == 404

    def test_a_client_that_leaves_is_forgotten(self, url: str, http: httpx2.Client) -> None:
        id = create(http)["id"]

        def num_waiting() -> int:
            return int(float(http.get("/metrics").text.split("\nlongtake_waiting_clients ")[1].split()[0]))

        with client(url) as leaving, leaving.stream("GET", f"{ALL}/{id}/events") as response:
            stream = events(response)
            assert next(stream)[1] == "generation.updated"
            assert num_waiting() == 1
        for _ in range(2000):
            if num_waiting() == 0:
                break
        assert num_waiting() == 0

    def test_a_last_event_id_that_is_none_is_refused(self, http: httpx2.Client) -> None:
        answer = http.get("/api/events", headers={"last-event-id": "soon"})
        assert refused_field(answer) == "Last-Event-ID"


class TestUploads:
    def test_an_image_may_come_raw_or_in_a_form(self, rig: Rig, http: httpx2.Client) -> None:
        for request in ({"content": picture()}, {"files": {"file": ("a.png", picture(), "image/png")}}):
            answer = http.post("/api/uploads", **request)
            assert answer.status_code == 201, answer.text
            kept = answer.json()
            assert {**kept, "id": ""} == {
                "id": "",
                "kind": "image",
                "width": 64,
                "height": 48,
                "seconds": None,
                "fps": None,
            }
            assert rig.records.get_upload(kept["id"], "default").width == 64

    def test_a_video_tells_its_length(self, http: httpx2.Client, clips: Path) -> None:
        smallest = min(clips.rglob("*.mp4"), key=lambda path: path.stat().st_size)
        with smallest.open("rb") as file:
            kept = http.post("/api/uploads", files={"file": file}).json()
        assert kept["kind"] == "video"
        assert kept["seconds"] > 0
        assert kept["fps"] > 0

    def test_too_many_bytes_are_refused_whether_announced_or_not(self, rig: Rig, http: httpx2.Client) -> None:
        large = b"x" * (MAX_UPLOAD + 1)
        assert refused_field(http.post("/api/uploads", content=large), 413) is None
        chunks = (large[at : at + 65536] for at in range(0, len(large), 65536))
        assert refused_field(http.post("/api/uploads", content=chunks), 413) is None
        assert rig.store.work_folder
        assert not list(rig.store.work_folder.iterdir())

    def test_a_broken_form_is_refused_and_leaves_nothing(self, rig: Rig, http: httpx2.Client) -> None:
        form = "multipart/form-data; boundary=b"
        whole = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nabc\r\n--b--\r\n'
        other = whole.replace(b'"file"', b'"other"')
        for content_type, body in (
            (form, b""),
            (form, b"--c\r\n"),
            (form, whole[:-12]),
            (form, other),
            (form, whole[:-6] + b"\r\n" + whole[5:]),
            (form, b"--b--\r\n"),
            (form, whole),
            ("multipart/form-data", whole),
            ("application/octet-stream", b""),
            ("application/octet-stream", b"neither"),
        ):
            answer = http.post("/api/uploads", content=body, headers={"content-type": content_type})
            assert answer.status_code == 400, (content_type, body)
        assert rig.store.work_folder
        assert not list(rig.store.work_folder.iterdir())

    def test_what_is_known_of_a_video_that_is_taken_as_it_is_is_checked_at_once(
        self, http: httpx2.Client, tmp_path: Path
    ) -> None:
        store(tmp_path, "ours.mp4", moving(24))
        frames, rate, time_base = video_frames(moving(24)), Fraction(6), Fraction(1, 6)
        write_foreign(tmp_path / "kept.mkv", frames, rate=rate, time_base=time_base, max_b_frames=2)
        write_foreign(tmp_path / "decoded.mkv", frames, rate=rate, time_base=time_base, codec="ffv1")
        ours, kept, decoded = (
            http.post("/api/uploads", content=(tmp_path / name).read_bytes()).json()["id"]
            for name in ("ours.mp4", "kept.mkv", "decoded.mkv")
        )
        for upload in (ours, kept):
            frame = {"type": "video", "upload": upload}
            late = http.post(ALL, json={"keyframes": {"frame0": {**frame, "at": 4.2}}})
            assert refused_field(late) == "keyframes.frame0.at"
            made = create(http, fps=60, keyframes={"frame0": {**frame, "at": 4}})
            assert (made["request"]["fps"], made["request"]["aspect_ratio"]) == (6, "4:3")
        # how many frames come of it is not known before it is decoded
        create(http, keyframes={"frame0": {"type": "video", "upload": decoded, "at": 4.2}})


class TestOperations:
    def test_health_and_figures_need_no_key(self, url: str) -> None:
        with client(url, None) as http:
            assert http.get("/healthz").json()["status"] == "ok"
            figures = http.get("/metrics").text
        assert 'longtake_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in figures
        assert "longtake_generations{state=" in figures
        assert "longtake_http_request_seconds_bucket" in figures

    def test_the_docs_page_loads_nothing_from_elsewhere(self, url: str) -> None:
        with client(url, None) as http:
            page, document = http.get("/docs"), http.get("/openapi.json").json()
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "src=" not in page.text
        assert all(path in page.text for path in document["paths"])

    def test_an_unknown_generation_is_404(self, http: httpx2.Client) -> None:
        for path in ("", "/events"):
            assert refused_field(http.get(f"{ALL}/{new_id()}{path}"), 404) is None


def test_a_priority_is_taken_shown_and_kept(rig: Rig, http: httpx2.Client) -> None:
    made = create(http, priority=7)
    assert (made["priority"], made["request"]["priority"]) == (7, 7)
    assert rig.records.get(made["id"]).order.priority == 7
    assert create(http)["priority"] == 0
