"""Luma Dream Machine's official clients, Python's and JavaScript's, against a real server process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx2
import lumaai
import numpy as np
import pytest
from lumaai import LumaAI
from lumaai.types import Generation

from longtake.records import Keys, open_database
from longtake.records.limits import Limits
from tests.footage import frame_hashes, moving, store
from tests.servers import KEY, Server, served

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Those that the client prints of itself."""

NOBODY = "00000000-0000-4000-8000-000000000000"
PROMPT = "A tiger walking in snow"
SIZE, RATE, NEW = (64, 48), 6, 30
"""Of what is extended here, and how many frames 5 s of it are: renderings take what their parents have, so they are
quick, though the least that this protocol can ask for is 540p."""


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[LumaAI]:
    with luma(server) as client:
        yield client


def luma(server: Server, key: str = KEY, **settings: Any) -> LumaAI:
    return LumaAI(base_url=f"{server.address}/dream-machine/v1", auth_token=key, **settings)


@pytest.fixture(scope="module")
def new_key(server: Server) -> Iterator[Callable[..., str]]:
    """Makes a key beside the running server, as `longtake keys create` does it."""
    database = open_database(f"sqlite:///{server.data / 'longtake.db'}")
    keys = Keys(database)
    yield lambda name, **settings: keys.create(name, account=name, **settings)[1]
    database.dispose()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a picture."""
    folder = tmp_path_factory.mktemp("images")
    coarse = np.random.default_rng(1).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "image1.png"), cv2.resize(coarse, (540, 540), interpolation=cv2.INTER_CUBIC))
    with served(folder) as address:
        yield f"{address}/image1.png"


@pytest.fixture(scope="module")
def parents(server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two small videos made here."""
    folder = tmp_path_factory.mktemp("parents")
    ids = []
    for seed in (1, 2):
        store(folder, f"{seed}.mp4", moving(12, *SIZE, seed=seed))
        frame = {"type": "video", "upload": server.upload(folder / f"{seed}.mp4")}
        ids.append(server.make({"seconds": 0.5, "keyframes": {"frame0": frame}})["id"])
    return ids


@pytest.fixture(scope="module")
def made(server: Server, client: LumaAI, parents: list[str], image: str) -> dict[str, Generation]:
    """One of each kind, all asked for before any is waited for."""
    first, second = ({"type": "generation", "id": id} for id in parents)
    picture: Any = {"type": "image", "url": image}
    shots: dict[str, Any] = {
        "append": {"frame0": first},
        "prepend": {"frame1": first},
        "bridge": {"frame0": first, "frame1": second},
        "append to an image": {"frame0": first, "frame1": picture},
        "prepend from an image": {"frame0": picture, "frame1": first},
    }
    asked = {
        name: client.generations.create(model="ray-2", prompt=PROMPT, keyframes=keyframes)
        for name, keyframes in shots.items()
    }
    asked["upscale"] = client.generations.upscale(parents[0], resolution="540p")
    asked["reframe"] = client.generations.video.reframe(
        generation_type="reframe_video",
        model="ray-2",
        aspect_ratio="9:16",
        media={"url": video_of(client.generations.get(parents[0]))},
        extra_body={"resolution": "540p"},
    )
    asked["image"] = client.generations.video.create(
        model="ray-flash-2", aspect_ratio="1:1", resolution="540p", duration="5s", keyframes={"frame0": picture}
    )
    return {name: finished(server, client, generation) for name, generation in asked.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def finished(server: Server, client: LumaAI, generation: Generation) -> Generation:
    """The generation as the client sees it once it has ended."""
    assert generation.state in {"queued", "dreaming"}
    assert generation.assets is None
    assert generation.id
    server.completed(generation.id)
    return client.generations.get(generation.id)


def video_of(generation: Generation) -> str:
    assert generation.assets
    assert generation.assets.video
    return generation.assets.video


def frames_of(server: Server, generation: Generation, folder: Path) -> list[str]:
    return frame_hashes(server.download(video_of(generation), folder / f"{generation.id}.mp4"))[0]


def detail_of(error: lumaai.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    detail: str = error.body["detail"]
    return detail


def test_a_video_starts_at_an_image(server: Server, made: dict[str, Generation], folder: Path) -> None:
    generation = made["image"]
    assert (generation.model, generation.generation_type) == ("ray-flash-2", "video")
    assert generation.created_at
    assert generation.created_at.tzinfo
    assert generation.request
    assert generation.request.model_dump()["resolution"] == "540p"
    path = server.download(video_of(generation), folder / "image.mp4")
    assert len(frame_hashes(path)[0]) == 120
    assert size_of(path) == (540, 540)
    assert generation.assets
    assert httpx2.get(generation.assets.image or "", trust_env=False).headers["content-type"] == "image/jpeg"


def size_of(path: Path) -> tuple[int, int]:
    capture = cv2.VideoCapture(str(path))
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    return size


@pytest.mark.parametrize("shot", ["append", "append to an image", "prepend", "prepend from an image"])
def test_an_extended_video_holds_every_frame_that_was_there(
    shot: str, server: Server, client: LumaAI, parents: list[str], made: dict[str, Generation], folder: Path
) -> None:
    old = frames_of(server, client.generations.get(parents[0]), folder)
    whole = frames_of(server, made[shot], folder)
    assert len(whole) == len(old) + NEW
    assert (whole[: len(old)] if shot.startswith("append") else whole[NEW:]) == old


def test_a_bridge_holds_every_frame_of_both(
    server: Server, client: LumaAI, parents: list[str], made: dict[str, Generation], folder: Path
) -> None:
    first, second = (frames_of(server, client.generations.get(id), folder) for id in parents)
    whole = frames_of(server, made["bridge"], folder)
    assert len(whole) == len(first) + NEW + len(second)
    assert (whole[: len(first)], whole[len(first) + NEW :]) == (first, second)


def test_an_upscaled_video_is_as_long_and_larger(
    server: Server, client: LumaAI, parents: list[str], made: dict[str, Generation], folder: Path
) -> None:
    num_frames = len(frames_of(server, client.generations.get(parents[0]), folder))
    assert len(frames_of(server, made["upscale"], folder)) == num_frames
    assert size_of(folder / f"{made['upscale'].id}.mp4") == (720, 540)


def test_a_reframed_video_is_as_long_and_of_the_shape_asked_for(
    server: Server, client: LumaAI, parents: list[str], made: dict[str, Generation], folder: Path
) -> None:
    num_frames = len(frames_of(server, client.generations.get(parents[0]), folder))
    assert len(frames_of(server, made["reframe"], folder)) == num_frames
    assert size_of(folder / f"{made['reframe'].id}.mp4") == (540, 960)


def test_images_at_both_ends_are_taken_and_an_order_can_be_deleted(client: LumaAI, image: str) -> None:
    picture: Any = {"type": "image", "url": image}
    ends: tuple[Any, ...] = ({"frame1": picture}, {"frame0": picture, "frame1": picture})
    for keyframes in ends:
        generation = client.generations.create(model="ray-2", keyframes=keyframes)
        assert generation.state in {"queued", "dreaming"}
        assert generation.id
        client.generations.delete(generation.id)
        with pytest.raises(lumaai.NotFoundError):
            client.generations.get(generation.id)


def test_pages_hold_the_newest_first(server: Server, new_key: Callable[..., str]) -> None:
    with luma(server, new_key("luma-pages")) as client:
        ids = [client.generations.create(model="ray-2", prompt=PROMPT, resolution="540p").id for _ in range(3)]
        first, last = (client.generations.list(limit=2, offset=offset) for offset in (0, 2))
        assert [one.id for one in first.generations + last.generations] == ids[::-1]
        assert (first.count, first.has_more, last.count, last.has_more) == (2, True, 1, False)
        for id in ids:
            assert id
            client.generations.delete(id)
        assert client.generations.list().generations == []


@pytest.mark.parametrize(
    ("keyframes", "what"),
    [
        (("", "image"), "end frame"),
        (("image", "image"), "keyframes"),
        (("", "generation"), "extend reverse"),
        (("generation", "image"), "interpolate video to image"),
        (("image", "generation"), "interpolate image to video"),
        (("generation", "generation"), "interpolate between two videos"),
    ],
)
def test_a_loop_with_an_end_is_refused(client: LumaAI, keyframes: tuple[str, str], what: str) -> None:
    frames: dict[str, Any] = {
        "image": {"type": "image", "url": "https://example.com/a.png"},
        "generation": {"type": "generation", "id": NOBODY},
    }
    given: Any = {f"frame{end}": frames[kind] for end, kind in enumerate(keyframes) if kind}
    with pytest.raises(lumaai.BadRequestError) as refused:
        client.generations.create(model="ray-2", prompt=PROMPT, loop=True, keyframes=given)
    assert detail_of(refused.value) == f"Loop is not supported for {what}"


def test_errors_are_the_clients_own_classes(
    server: Server, client: LumaAI, parents: list[str], new_key: Callable[..., str]
) -> None:
    with pytest.raises(lumaai.BadRequestError) as refused:
        client.generations.create(model="ray-2", prompt="ab")
    assert detail_of(refused.value) == "Prompt is too short, minimum length is 3 characters"
    with luma(server, "wrong") as stranger, pytest.raises(lumaai.AuthenticationError) as refused_key:
        stranger.ping.check()
    assert detail_of(refused_key.value) == "Invalid API key is provided"
    with pytest.raises(lumaai.NotFoundError):
        client.generations.get(NOBODY)
    with pytest.raises(lumaai.ConflictError):
        client.with_options(max_retries=0).generations.create(
            model="ray-2", prompt=PROMPT, keyframes={"frame0": {"type": "generation", "id": failed(server)}}
        )
    with luma(server, new_key("luma-limited", limits=Limits(requests_per_minute=1)), max_retries=0) as limited:
        limited.ping.check()
        with pytest.raises(lumaai.RateLimitError) as too_many:
            limited.ping.check()
    assert int(too_many.value.response.headers["retry-after"]) > 0
    with pytest.raises(lumaai.BadRequestError) as unsupported:
        client.generations.audio(parents[0], prompt="Rain")
    assert detail_of(unsupported.value) == "audio is not supported by the engine motion"


def failed(server: Server) -> str:
    """The id of a generation that was taken back."""
    id = server.create({"prompt": PROMPT, "resolution": "540p"})
    server.client.post(f"/api/generations/{id}/cancel")
    assert server.finished(id)["state"] == "failed"
    return id


def test_every_move_that_is_listed_can_be_asked_for(client: LumaAI) -> None:
    concepts = client.generations.concepts.list()
    assert {"pan_left", "zoom_in", "static"} <= set(concepts)
    assert "tiny_planet" not in concepts
    generation = client.generations.create(
        model="ray-2", prompt=PROMPT, concepts=[{"key": concepts[0]}], resolution="540p"
    )
    assert generation.id
    client.generations.delete(generation.id)
    with pytest.raises(lumaai.BadRequestError, match="tiny_planet"):
        client.generations.create(model="ray-2", prompt=PROMPT, concepts=[{"key": "tiny_planet"}])


def test_credits_are_cents_and_ping_answers(server: Server, client: LumaAI, new_key: Callable[..., str]) -> None:
    assert client.ping.check().message == "pong"
    with luma(server, new_key("luma-poor", limit=123)) as poor:
        assert poor.credits.get().credit_balance == 123.0


def run(node: str, script: str, server: Server, *arguments: str) -> dict[str, Any]:
    """What the script prints, as JSON."""
    path = Path(__file__).parent / "luma" / script
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [node, str(path), f"{server.address}/dream-machine/v1", KEY, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_javascript_client_makes_videos_longer(server: Server, parents: list[str], node: str) -> None:
    found = run(node, "flow.js", server, *parents)
    assert {name: one["state"] for name, one in found["done"].items()} == dict.fromkeys(
        ("append", "prepend", "bridge", "upscale", "reframe"), "completed"
    )
    assert all(one["assets"]["video"] for one in found["done"].values())
    assert len(found["page"]["generations"]) == found["page"]["count"] == 2
    assert found["page"]["has_more"] is True
    assert server.client.get(f"/api/generations/{found['unwanted']}").status_code == 404
    assert "zoom_in" in found["concepts"]
    assert found["credits"] == {"credit_balance": 1e9}
    assert found["ping"] == {"message": "pong"}


def test_the_javascript_client_knows_the_errors(server: Server, node: str, new_key: Callable[..., str]) -> None:
    limited = new_key("luma-limited-too", limits=Limits(requests_per_minute=2))
    found = run(node, "errors.js", server, failed(server), limited)
    assert {name: one[:2] for name, one in found.items()} == {
        "short": ["BadRequestError", 400],
        "empty": ["BadRequestError", 400],
        "modify": ["BadRequestError", 400],
        "image": ["BadRequestError", 400],
        "audio": ["BadRequestError", 400],
        "key": ["AuthenticationError", 401],
        "unknown": ["NotFoundError", 404],
        "conflict": ["ConflictError", 409],
        "limit": ["RateLimitError", 429],
    }
    assert found["short"][2] == "Prompt is too short, minimum length is 3 characters"
    assert found["empty"][2] == "No keyframes provided"
    assert found["modify"][2] == "modify is not supported by the engine motion"
    assert found["key"][2] == "Invalid API key is provided"
