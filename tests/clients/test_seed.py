"""The four examples of the document that this project started from, run as they are printed.

Only what a reader has to fill in is filled in: the address, the key, the image's address and the generation's id.
(The document's Python lacks the colon after `def main()`; it is mended in the copies.)
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.conftest import missing
from tests.footage import frame_hashes
from tests.servers import KEY, Server, served

EXAMPLES = Path(__file__).parent / "seed"
PRINTED_ID = "0f3ea4aa-10e7-4dae-af0b-263ab4ac45f9"
SHAPES = {
    "image.js": (1520, 720, 120),
    "image.py": (1280, 720, 120),
    "generation.js": (1140, 540, 12 + 60),
    "generation.py": (960, 540, 12 + 60),
}
"""Width, height and frames: 5 s of 720p at 24 fps by default, and of an extension what its parent has (540p and 12 fps
here, which is quick). The JavaScript examples ask for 19:9, the Python ones for 16:9."""
V2 = "/v2/generate/video/luma-ai/generation"


def run(example: str, folder: Path, server: Server, image: str, parent: str | None) -> str:
    """What the example prints."""
    code = (EXAMPLES / example).read_text()
    for printed, mine in (
        ("https://api.aimlapi.com", server.address),
        ("my_key", KEY),
        ("https://example.com/image1.png", image),
        (PRINTED_ID, parent or ""),
    ):
        code = code.replace(printed, mine)
    (folder / example).write_text(code)
    program = sys.executable
    if example.endswith(".js"):
        found = shutil.which("node")
        if found is None:
            missing("node", "the JavaScript examples need it")
        program = str(found)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [program, str(folder / example)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed_id(example: str, printed: str) -> str:
    """The id in what was printed: JavaScript's console shows an object in its own way, Python a dictionary."""
    assert printed.startswith("Generation: "), printed
    if example.endswith(".py"):
        generation = ast.literal_eval(printed.removeprefix("Generation: "))
        assert generation["state"] in {"queued", "dreaming"}
        assert generation["request"]["prompt"] == "Flying jellyfish"
        return str(generation["id"])
    assert "prompt: 'A jellyfish in the ocean'" in printed
    assert re.search(r"state: '(queued|dreaming)'", printed), printed
    found = re.search(r"\bid: '([0-9a-f-]{36})'", printed)
    assert found, printed
    return found[1]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a picture."""
    folder = tmp_path_factory.mktemp("images")
    coarse = np.random.default_rng(1).integers(0, 255, (9, 19, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "image1.png"), cv2.resize(coarse, (1520, 720), interpolation=cv2.INTER_CUBIC))
    with served(folder) as address:
        yield f"{address}/image1.png"


@pytest.fixture(scope="module")
def parents(image: str, server: Server) -> dict[str, str]:
    """The ids of videos that the examples extend; they may still be rendered then."""
    body = {"keyframes": {"frame0": {"type": "image", "url": image}}, "resolution": "540p", "seconds": 1, "fps": 12}
    ratios = {"generation.js": "19:9", "generation.py": "16:9"}
    return {example: server.create({**body, "aspect_ratio": ratio}) for example, ratio in ratios.items()}


@pytest.fixture(scope="module")
def ids(
    image: str, parents: dict[str, str], server: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The ids of what the examples made."""
    folder = tmp_path_factory.mktemp("examples")
    return {
        example: printed_id(example, run(example, folder, server, image, parents.get(example)))
        for example in SHAPES
        if example.endswith(".py") or shutil.which("node")
    }


@pytest.fixture(scope="module")
def videos(ids: dict[str, str], server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The videos, awaited and fetched as the protocol does it."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        example: server.download(waited(server, id)["assets"]["video"], folder / f"{example}.mp4")
        for example, id in ids.items()
    }


def waited(server: Server, id: str) -> dict[str, Any]:
    """The generation once it is completed, by the seed's protocol."""
    found: dict[str, Any] = {"state": "queued"}
    while found["state"] in {"queued", "dreaming"}:
        answer = server.client.get(V2, params={"generation_id": id, "state": "completed"})
        assert answer.status_code == 200, answer.text
        found = answer.json()
    assert found["state"] == "completed", found["failure_reason"]
    return found


@pytest.mark.parametrize("example", SHAPES)
def test_an_example_runs_as_printed_and_its_video_has_the_shape_asked_for(
    example: str, ids: dict[str, str], videos: dict[str, Path], server: Server
) -> None:
    if example not in ids:
        missing("node", "the JavaScript examples need it")
    generation, (width, height, num_frames) = waited(server, ids[example]), SHAPES[example]
    hashes, interval = frame_hashes(videos[example])
    assert (generation["video"]["width"], generation["video"]["height"]) == (width, height)
    assert generation["request"]["aspect_ratio"] == ("19:9" if example.endswith(".js") else "16:9")
    assert len(hashes) == num_frames
    assert generation["video"]["duration"] == pytest.approx(float(num_frames * interval))
    with av.open(str(videos[example])) as container:
        decoded = container.streams.video[0]
        assert (decoded.width, decoded.height) == (width, height)


@pytest.mark.parametrize("example", ["generation.js", "generation.py"])
def test_an_extended_video_begins_with_every_frame_of_what_it_extends(
    example: str, ids: dict[str, str], parents: dict[str, str], videos: dict[str, Path], server: Server, tmp_path: Path
) -> None:
    if example not in ids:
        missing("node", "the JavaScript examples need it")
    extended = server.download(waited(server, parents[example])["assets"]["video"], tmp_path / "parent.mp4")
    (whole, interval), parent = frame_hashes(videos[example]), frame_hashes(extended)
    assert (whole[: len(parent[0])], interval) == parent
    assert len(set(whole)) > len(set(parent[0]))


def test_the_copies_hold_what_the_document_prints() -> None:
    for example in SHAPES:
        code = (EXAMPLES / example).read_text()
        assert f"https://api.aimlapi.com{V2}" in code
        assert "my_key" in code
        assert (PRINTED_ID in code) == example.startswith("generation")
        assert ("https://example.com/image1.png" in code) == example.startswith("image")
