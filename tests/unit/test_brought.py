"""What comes with a create, as a file or inside of its body: kept once where the order is taken, and not otherwise."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from PIL import Image

from longtake.fetch import Fetcher, FetchRules
from longtake.footage import Run
from longtake.orders import KeyFrame, Order
from longtake.records import Create, Generation, Limits, Upload
from longtake.records.tables import generations, uploads
from longtake.worker import Worker
from tests.footage import moving, store
from tests.wire_rig import KEY, MODELS, Rig, client, new_id, serving

SEED = "/v2/generate/video/luma-ai/generation"
OURS = "/api/generations"
VIDEOS = "/v1/videos"
PROMPT = {"prompt": "A jellyfish drifts"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig.build(tmp_path_factory.mktemp("brought"))
    rig.service.models = {**MODELS, "sora-2": "motion"}
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


def picture(colour: str = "red", size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def inline(data: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


def image_frame(data: bytes) -> dict[str, str]:
    return {"type": "image", "url": inline(data)}


def kept(rig: Rig) -> tuple[int, int, int]:
    """Objects and rows of uploads, and files under way."""
    with rig.records._engine.begin() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(uploads)).scalar_one()
    assert rig.store.work_folder
    return len(list(rig.store.keys("uploads"))), rows, len(list(rig.store.work_folder.iterdir()))


def send(http: httpx2.Client, name: str, data: bytes, path: str = VIDEOS, **texts: str) -> httpx2.Response:
    headers = {"idempotency-key": texts.pop("key")} if "key" in texts else {}
    parts = [(word, (None, text)) for word, text in {**PROMPT, **texts}.items()]
    return http.post(path, files=[*parts, (name, ("file", data))], headers=headers)


class TestFiles:
    @pytest.mark.parametrize(
        ("limit", "limits", "status"),
        [(0, Limits(), 403), (None, Limits(seconds_per_day=3.0), 403), (None, Limits(generations_at_once=0), 429)],
    )
    def test_of_a_create_that_is_refused_no_file_is_kept(
        self, rig: Rig, url: str, clip: bytes, limit: float | None, limits: Limits, status: int
    ) -> None:
        _, secret = rig.keys.create("poor", limit=limit, limits=limits)
        before = kept(rig)
        with client(url, secret) as http:
            assert send(http, "input_reference", picture()).status_code == status
            assert send(http, "video", clip, f"{VIDEOS}/extensions", seconds="4").status_code == status
            body = {**PROMPT, "keyframes": {"frame0": image_frame(picture()), "frame1": image_frame(picture("blue"))}}
            assert http.post(SEED, json=body).status_code == status
        assert kept(rig) == before

    def test_of_a_file_of_the_wrong_kind_nothing_is_kept(self, rig: Rig, http: httpx2.Client, clip: bytes) -> None:
        before = kept(rig)
        assert send(http, "input_reference", clip).json()["error"]["param"] == "input_reference"
        answer = send(http, "video", picture(), f"{VIDEOS}/extensions", seconds="4")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "video")
        assert kept(rig) == before

    def test_a_create_that_comes_again_keeps_its_file_once(self, rig: Rig, http: httpx2.Client, clip: bytes) -> None:
        objects, rows, work = kept(rig)
        extensions = {"path": f"{VIDEOS}/extensions", "seconds": "4"}
        for count in (1, 2):
            first = send(http, "input_reference", picture(), key="files-1").json()["id"]
            assert first == send(http, "input_reference", picture(), key="files-1").json()["id"]
            longer = send(http, "video", clip, key="files-2", **extensions).json()
            assert longer == send(http, "video", clip, key="files-2", **extensions).json()
            assert kept(rig) == (objects + 2, rows + 2, work), count

    def test_the_same_key_with_another_file_is_a_conflict_that_keeps_nothing(
        self, rig: Rig, http: httpx2.Client
    ) -> None:
        assert send(http, "input_reference", picture(), key="files-3").status_code == 200
        before = kept(rig)
        answer = send(http, "input_reference", picture("blue"), key="files-3")
        assert (answer.status_code, "choose another key" in answer.text) == (409, True)
        assert kept(rig) == before

    def test_a_repeat_that_overtakes_leaves_one_file(self, rig: Rig, tmp_path: Path) -> None:
        """Both find no repeat, and both keep the file: the second is known again as it is recorded."""
        key, before, made = rig.keys.check(KEY), kept(rig), list[Generation]()
        create = Create(key_id=key.id, digest="d", name="overtaken", received_at=time.time())

        def submit(name: str, order_of: Callable[[Upload], tuple[Order, dict[str, Any]]]) -> Generation:
            (tmp_path / name).write_bytes(picture())
            return rig.service.submit_file(key, tmp_path / name, order_of, wire="native", create=create)

        def order_of(upload: Upload) -> tuple[Order, dict[str, Any]]:
            return Order(before=KeyFrame(type="image", upload=upload.id)), {}

        def overtaken(upload: Upload) -> tuple[Order, dict[str, Any]]:
            made.append(submit("second", order_of))
            return order_of(upload)

        made.append(submit("first", overtaken))
        assert made[0].id == made[1].id
        assert made[0].order.before
        assert rig.records.find_upload(made[0].order.before.upload or "", key.account)
        assert kept(rig) == (before[0] + 1, before[1] + 1, before[2])


class TestInline:
    def test_its_bytes_become_an_upload_and_stand_in_no_record(self, rig: Rig, http: httpx2.Client) -> None:
        data = picture("green", (320, 200)) + b"\0" * 50_000
        made = http.post(SEED, json={**PROMPT, "keyframes": {"frame1": image_frame(data)}})
        assert made.status_code == 201, made.text
        assert made.json()["request"]["keyframes"]["frame1"]["url"] == (
            f"data:image/png;base64,… ({len(inline(data))} characters)"
        )
        after = rig.records.get(made.json()["id"]).order.after
        assert after
        assert (after.type, after.url) == ("image", None)
        upload = rig.records.get_upload(after.upload or "", "default")
        assert (upload.kind, upload.width, upload.height) == ("image", 320, 200)
        with rig.records._engine.begin() as connection:
            row = connection.execute(sa.select(generations).where(generations.c.id == made.json()["id"])).one()
        assert len(str(row)) < 5_000

    def test_a_video_is_known_at_the_door(self, rig: Rig, http: httpx2.Client, clip: bytes) -> None:
        def order(at: float) -> httpx2.Response:
            frame = {"type": "video", "url": inline(clip, "video/mp4"), "at": at}
            return http.post(OURS, json={**PROMPT, "keyframes": {"frame0": frame}})

        made = rig.records.get(order(1).json()["id"])
        assert made.extent
        assert made.extent.format.width == 64
        before = kept(rig)
        assert order(9).status_code == 400
        assert kept(rig) == before

    @pytest.mark.parametrize("type", ["image", "video"])
    def test_what_is_of_another_kind_is_refused_by_name(
        self, rig: Rig, http: httpx2.Client, clip: bytes, type: str
    ) -> None:
        before = kept(rig)
        for data in (b"not a picture", clip if type == "image" else picture()):
            frame = {"type": type, "url": inline(data)}
            answer = http.post(OURS, json={**PROMPT, "keyframes": {"frame0": frame}})
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["field"] == "keyframes.frame0.url"
        assert kept(rig) == before

    def test_of_two_ends_one_of_which_is_wrong_none_is_kept(self, rig: Rig, http: httpx2.Client) -> None:
        before = kept(rig)
        frames = {"frame0": image_frame(picture()), "frame1": image_frame(b"not a picture")}
        answer = http.post(SEED, json={**PROMPT, "keyframes": frames})
        assert answer.json()["errors"][0]["field"] == "keyframes.frame1.url"
        assert kept(rig) == before

    def test_a_repeat_is_known_by_the_bytes_and_keeps_none(self, rig: Rig, http: httpx2.Client) -> None:
        def order(colour: str) -> httpx2.Response:
            body = {**PROMPT, "keyframes": {"frame0": image_frame(picture(colour))}}
            return http.post(SEED, json=body, headers={"idempotency-key": "inline-1"})

        first, before = order("red").json()["id"], kept(rig)
        assert order("red").json()["id"] == first
        assert order("blue").status_code == 409
        assert kept(rig) == before

    def test_a_record_that_holds_the_bytes_themselves_is_still_carried_out(self, rig: Rig) -> None:
        """From before they became uploads."""
        frame, now = KeyFrame(type="image", url=inline(picture())), time.time()
        old = Generation(
            id=new_id(), account="default", key_id="none", wire="native", request={}, order=Order(before=frame),
            engine="motion", credits=5.0, created_at=now, updated_at=now,
        )  # fmt: skip
        rig.records.submit(old)
        fetcher = Fetcher(FetchRules(max_bytes=1_000_000, timeout_seconds=1))
        worker = Worker(rig.records, rig.store, fetcher, engines={}, max_still_pixels=10**6)
        found = rig.records.get(old.id)
        assert found.order.before == frame
        still = worker._bringing.bring(Run(old.id), found, "frame0", frame, lambda *_: None)["still"]
        assert (still["width"], still["height"]) == (64, 48)

    def test_what_was_brought_for_one_that_failed_or_was_deleted_goes(self, rig: Rig, http: httpx2.Client) -> None:
        worker = Worker(rig.records, rig.store, Fetcher(FetchRules(max_bytes=1, timeout_seconds=1)), engines={},
                        max_still_pixels=10**6)  # fmt: skip
        ids = [http.post(SEED, json=PROMPT).json()["id"] for _ in range(2)]
        rig.records.fail(ids[0], "no luck", "world")
        assert http.delete(f"/api/generations/{ids[1]}").status_code == 204
        keys = [key for id in ids for key in (f"stills/{id}/1-1-frame0.png", f"sources/{id}/1-1-frame0.mp4")]
        for key in keys:
            rig.store.put(key, b"late")
        for id in ids:
            worker._clean_up(Run(id))
        assert not [key for key in keys if rig.store.size(key) is not None]
