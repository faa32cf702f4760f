"""OpenAI's official clients against a real server: only the address and the key are ours.

Python's sends every create as a multipart form, and takes no object where a file may stand: a video is named by its id
in `extra_body`, beside an empty file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai.types import Video
from PIL import Image

from longtake.records import Keys, Limits, open_database
from tests.footage import frame_hashes
from tests.servers import KEY, Server

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
SCRIPT = Path(__file__).parent / "openai" / "videos.js"
PROMPT = "A jellyfish drifts"
SMALL: Any = {"size": "160x90", "seconds": "4"}
COLOUR = (200, 40, 40)


def client(server: Server, key: str = KEY) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, http_client=http, max_retries=0)


@pytest.fixture(scope="module")
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with client(server) as sdk:
        yield sdk


@contextlib.contextmanager
def keys_of(server: Server) -> Iterator[Keys]:
    database = open_database(f"sqlite:///{server.data / 'longtake.db'}")
    yield Keys(database)
    database.dispose()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.new("RGB", (320, 180), COLOUR).save(path)
    return path


@pytest.fixture(scope="module")
def film(sdk: openai.OpenAI) -> Video:
    """A finished video, made from words."""
    return sdk.videos.create_and_poll(prompt=PROMPT, model="sora-2", poll_interval_ms=100, **SMALL)


@pytest.fixture(scope="module")
def film_file(sdk: openai.OpenAI, film: Video, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(sdk, film, tmp_path_factory.mktemp("film") / "film.mp4")


def save(sdk: openai.OpenAI, video: Video, path: Path, variant: Any = "video") -> Path:
    sdk.videos.download_content(video.id, variant=variant).write_to_file(path)
    return path


def completed(sdk: openai.OpenAI, video: Video) -> Video:
    video = sdk.videos.poll(video.id)
    assert (video.status, video.progress) == ("completed", 100), video.error
    return video


def check_extends(longer: Path, parent: Path) -> None:
    (whole, interval), (start, same_interval) = frame_hashes(longer), frame_hashes(parent)
    assert (whole[: len(start)], interval) == (start, same_interval)
    assert len(whole) == 2 * len(start)
    assert len(set(whole)) > len(set(start))


def test_create_and_poll_ends_with_the_finished_video(film: Video, film_file: Path) -> None:
    assert (film.object, film.status, film.progress, film.error) == ("video", "completed", 100, None)
    assert (film.model, film.prompt, film.seconds, film.size) == ("sora-2", PROMPT, "4", "160x90")
    assert film.completed_at
    assert film.completed_at >= film.created_at
    hashes, interval = frame_hashes(film_file)
    assert len(hashes) * interval == 4


def test_a_file_is_the_first_frame(sdk: openai.OpenAI, image: Path, tmp_path: Path) -> None:
    video = sdk.videos.create(prompt=PROMPT, input_reference=image, **SMALL)
    completed(sdk, video)
    with Image.open(save(sdk, video, tmp_path / "first.webp", "thumbnail")) as first:
        assert first.size == (160, 90)
        assert np.abs(np.asarray(first.convert("RGB"), np.int64) - COLOUR).mean() < 6


def test_an_extension_by_id_begins_with_every_frame_of_what_it_extends(
    sdk: openai.OpenAI, film: Video, film_file: Path, tmp_path: Path
) -> None:
    video = sdk.videos.extend(prompt=PROMPT, seconds="4", video=b"", extra_body={"video": {"id": film.id}})
    assert (video.seconds, video.size) == ("8", "160x90")
    assert completed(sdk, video).seconds == "8"
    check_extends(save(sdk, video, tmp_path / "longer.mp4"), film_file)


def test_an_uploaded_file_is_extended_likewise(sdk: openai.OpenAI, film_file: Path, tmp_path: Path) -> None:
    video = sdk.videos.extend(prompt=PROMPT, seconds="4", video=film_file)
    assert (completed(sdk, video).seconds, video.size) == ("8", "160x90")
    check_extends(save(sdk, video, tmp_path / "longer.mp4"), film_file)


def test_a_remix_is_made_of_the_same_with_other_words(sdk: openai.OpenAI, film: Video, server: Server) -> None:
    video = sdk.videos.remix(film.id, prompt="at night")
    assert (video.remixed_from_video_id, video.prompt) == (film.id, "at night")
    assert (video.seconds, video.size, video.model) == (film.seconds, film.size, film.model)
    assert sdk.videos.retrieve(video.id).remixed_from_video_id == film.id
    assert sdk.videos.delete(video.id).deleted


def test_content_comes_in_three_variants_and_by_ranges(sdk: openai.OpenAI, film: Video, film_file: Path) -> None:
    for variant, format, size in (("thumbnail", "WEBP", (160, 90)), ("spritesheet", "JPEG", (800, 360))):
        content = sdk.videos.download_content(film.id, variant=variant).read()  # type: ignore[arg-type]
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size) == (format, size)
    data = film_file.read_bytes()
    part = sdk.videos.download_content(film.id, extra_headers={"Range": "bytes=100-"})
    assert (part.response.status_code, part.read()) == (206, data[100:])
    with sdk.videos.with_streaming_response.download_content(film.id) as streamed:
        assert b"".join(streamed.iter_bytes()) == data


def test_a_list_is_gone_through_page_by_page(sdk: openai.OpenAI, film: Video, server: Server) -> None:
    other = server.create({"prompt": "of another protocol"})
    newest = [video.id for video in sdk.videos.list(limit=2)]
    assert newest[0] == "video_" + other.replace("-", "")
    assert film.id in newest
    assert [video.id for video in sdk.videos.list(limit=3, order="asc")] == newest[::-1]
    assert len(newest) == len(set(newest)) == server.count()
    page = sdk.videos.list(limit=1)
    assert (len(page.data), page.has_more, page.last_id) == (1, True, newest[0])
    assert page.get_next_page().data[0].id == newest[1]
    server.client.delete(f"/api/generations/{other}")


def test_a_video_that_is_deleted_is_gone(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(prompt=PROMPT, **SMALL)
    gone = sdk.videos.delete(video.id)
    assert (gone.id, gone.object, gone.deleted) == (video.id, "video.deleted", True)
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(video.id)


REFUSALS: list[tuple[Callable[[openai.OpenAI, str], Any], type[openai.APIStatusError], str | None, str]] = [
    (lambda sdk, _: sdk.videos.create(prompt=""), openai.BadRequestError, "prompt", "invalid_value"),
    (lambda sdk, _: sdk.videos.create(prompt="x", model="sora-9"), openai.BadRequestError, "model", "invalid_value"),
    (lambda sdk, _: sdk.videos.create(prompt="x", size="1281x720"), openai.BadRequestError, "size", "invalid_value"),  # type: ignore[arg-type]
    (
        lambda sdk, _: sdk.videos.create(prompt="x", input_reference=b"no picture"),
        openai.BadRequestError,
        "input_reference",
        "invalid_file",
    ),
    (lambda sdk, _: sdk.videos.create(prompt="x", extra_body={"n": 2}), openai.BadRequestError, "n", "invalid_value"),
    (lambda sdk, _: sdk.videos.edit(prompt="x", video=b"x"), openai.BadRequestError, None, "invalid_value"),
    (lambda sdk, _: sdk.videos.create_character(name="x", video=b"x"), openai.BadRequestError, None, "invalid_value"),
    (lambda sdk, _: sdk.videos.get_character("char_1"), openai.NotFoundError, None, "not_found"),
    (lambda sdk, _: sdk.videos.retrieve("video_1"), openai.NotFoundError, None, "not_found"),
    (lambda sdk, _: sdk.videos.list(after="video_1"), openai.NotFoundError, "after", "not_found"),
    (lambda sdk, gone: sdk.videos.download_content(gone), openai.NotFoundError, None, "not_found"),
    (
        lambda sdk, gone: sdk.videos.extend(prompt="x", seconds="4", video=b"", extra_body={"video": {"id": gone}}),
        openai.ConflictError,
        "video",
        "conflict",
    ),
]


@pytest.fixture(scope="module")
def deleted(sdk: openai.OpenAI) -> str:
    video = sdk.videos.create(prompt=PROMPT, **SMALL)
    sdk.videos.delete(video.id)
    return video.id


@pytest.mark.parametrize(("call", "kind", "param", "code"), REFUSALS)
def test_a_refusal_is_the_clients_own_exception(
    sdk: openai.OpenAI,
    deleted: str,
    call: Callable[[openai.OpenAI, str], Any],
    kind: type[openai.APIStatusError],
    param: str | None,
    code: str,
) -> None:
    with pytest.raises(kind) as caught:
        call(sdk, deleted)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.request_id


def test_keys_that_are_wrong_poor_or_too_quick_are_told_apart(server: Server) -> None:
    with keys_of(server) as keys:
        _, poor = keys.create("poor", limit=1.0)
        _, slow = keys.create("slow", limits=Limits(requests_per_minute=1))
    with client(server, "wrong") as sdk, pytest.raises(openai.AuthenticationError):
        sdk.videos.list()
    with client(server, poor) as sdk, pytest.raises(openai.PermissionDeniedError, match="credits"):
        sdk.videos.create(prompt=PROMPT, **SMALL)
    with client(server, slow) as sdk:
        sdk.videos.list()
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.videos.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.fixture(scope="module")
def javascript(
    server: Server, film: Video, image: Path, node: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the script prints, and the folder that it saves to."""
    folder = tmp_path_factory.mktemp("javascript")
    command = [node, str(SCRIPT), f"{server.address}/v1", KEY, film.id, str(image), str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


def test_javascript_makes_extends_remixes_and_deletes(
    javascript: tuple[dict[str, Any], Path], film: Video, film_file: Path
) -> None:
    found, folder = javascript
    assert (found["extended"]["status"], found["extended"]["seconds"]) == ("completed", "8")
    assert (found["created"]["seconds"], found["created"]["size"]) == ("8", "320x180")
    assert [found[name]["seconds"] for name in ("brought", "named", "remixed")] == ["8", "24", "4"]
    assert found["remixed"]["remixed_from_video_id"] == film.id
    made = [found[name]["id"] for name in ("created", "brought", "named", "remixed")]
    assert found["deleted"] == [{"id": id, "object": "video.deleted", "deleted": True} for id in made]
    assert {film.id, found["extended"]["id"], *made} <= set(found["listed"])
    assert len(found["listed"]) == len(set(found["listed"]))
    assert found["page"] == 2
    assert (folder / "film.mp4").read_bytes() == film_file.read_bytes()
    assert found["part"] == [206, "ftyp"]
    for name, format in (("film.webp", "WEBP"), ("film.jpg", "JPEG")):
        with Image.open(folder / name) as picture:
            assert picture.format == format


def test_javascript_gets_its_own_exceptions(javascript: tuple[dict[str, Any], Path]) -> None:
    assert javascript[0]["refusals"] == {
        "prompt": ["BadRequestError", 400, "prompt", "invalid_value"],
        "size": ["BadRequestError", 400, "size", "invalid_value"],
        "key": ["AuthenticationError", 401, None, "invalid_api_key"],
        "unknown": ["NotFoundError", 404, None, "not_found"],
        "conflict": ["ConflictError", 409, "video", "conflict"],
        "edit": ["BadRequestError", 400, None, "invalid_value"],
        "character": ["NotFoundError", 404, None, "not_found"],
    }
