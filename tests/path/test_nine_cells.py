"""All nine cells of the shot table through the API of one server: what comes out is what was asked for, exactly."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.footage import frame_hashes
from tests.servers import Server

Picture = npt.NDArray[np.uint8]
FPS, NEW_FRAMES, PARENT_FRAMES = 12, 6, 12
SMALL = {"resolution": "540p", "fps": FPS, "seconds": NEW_FRAMES / FPS, "prompt": "a red boat on the sea", "seed": 7}
AT_SECONDS, AT_FRAME = 0.4, 5
ENDS = {"nothing": None, "still": "image", "clip": "generation"}
CELLS = [(before, after) for before in ENDS for after in ENDS]


def picture(seed: int, width: int = 960, height: int = 540) -> Picture:
    coarse = np.random.default_rng(seed).integers(20, 235, (9, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def image_end(seed: int) -> dict[str, Any]:
    jpeg = cv2.imencode(".jpg", picture(seed), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return {"type": "image", "url": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"}


FIRST, LAST = image_end(1), image_end(2)


class Made:
    """Finished generations by name, with their files' digests."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._ids: dict[str, str] = {}
        self._hashes: dict[tuple[str, str], list[str]] = {}

    def order(self, name: str, keyframes: dict[str, Any] | None = None, **fields: Any) -> str:
        self._ids[name] = self.server.create({**SMALL, "keyframes": keyframes, **fields})
        return self._ids[name]

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.server.completed(self._ids[name])

    def file(self, name: str, asset: str = "video") -> Path:
        path = self._folder / f"{name}-{asset}"
        return path if path.exists() else self.server.download(self[name]["assets"][asset], path)

    def hashes(self, name: str, asset: str = "video") -> list[str]:
        if (name, asset) not in self._hashes:
            self._hashes[name, asset], interval = frame_hashes(self.file(name, asset))
            assert interval * FPS == 1
        return self._hashes[name, asset]


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Ordered all at once: each is awaited where it is looked at."""
    made = Made(server, tmp_path_factory.mktemp("made"))
    parents = {
        end: made.order(f"parent {end}", {"frame0": image}, seconds=PARENT_FRAMES / FPS)
        for end, image in (("frame0", FIRST), ("frame1", LAST))
    }
    generations = {end: {"type": "generation", "id": id} for end, id in parents.items()}
    images = {"frame0": FIRST, "frame1": LAST}
    for before, after in CELLS:
        kinds = {"frame0": before, "frame1": after}
        ends = {
            end: images[end] if kind == "still" else generations[end]
            for end, kind in kinds.items()
            if kind != "nothing"
        }
        made.order(f"{before} to {after}", ends or None)
    for name, ends in (("nothing", {}), ("still", {"frame0": FIRST}), ("clip", {"frame0": generations["frame0"]})):
        made.order(f"loop from {name}", ends, loop=True)
    made.order("append at", {"frame0": {**generations["frame0"], "at": AT_SECONDS}})
    made.order("prepend at", {"frame1": {**generations["frame1"], "at": AT_SECONDS}})
    made.order("again", {"frame0": generations["frame0"]})
    made.order("other seed", {"frame0": FIRST}, seed=8)
    made.order("two takes", {"frame0": generations["frame0"]}, takes=2)
    for concept in ("pan_left", "pan_right"):
        made.order(concept, {"frame0": FIRST}, concepts=[{"key": concept}])
    made.order("tall", {"frame0": FIRST}, aspect_ratio="9:16", seconds=0.25)
    made.order("larger", {"frame0": FIRST}, resolution="720p", seconds=0.25)
    made.order("passed over", {"frame0": generations["frame0"]}, aspect_ratio="1:1", resolution="1080p", fps=30)
    return made


def frames_of(path: Path, *places: int) -> list[Picture]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [np.asarray(frames[place].to_ndarray(format="bgr24"), np.uint8) for place in places]


def psnr(left: Picture, right: Picture) -> float:
    return float(cv2.PSNR(left, right))


@pytest.mark.parametrize(("before", "after"), CELLS)
def test_a_cell_makes_exactly_the_frames_asked_for_between_its_ends(before: str, after: str, made: Made) -> None:
    name = f"{before} to {after}"
    video, segment = made.hashes(name), made.hashes(name, "segment")
    first = made.hashes("parent frame0") if before == "clip" else []
    last = made.hashes("parent frame1") if after == "clip" else []
    assert len(segment) == NEW_FRAMES
    assert video == first + segment + last


@pytest.mark.parametrize(("before", "after"), CELLS)
def test_a_cells_answer_says_what_its_video_is(before: str, after: str, made: Made) -> None:
    answer, parents = made[f"{before} to {after}"], [made[f"parent {end}"]["id"] for end in ("frame0", "frame1")]
    extends = [id for id, kind in zip(parents, (before, after), strict=True) if kind == "clip"]
    start = PARENT_FRAMES if before == "clip" else 0
    total = NEW_FRAMES + PARENT_FRAMES * len(extends)
    assert answer["parents"] == extends
    assert answer["children"] == []
    assert (answer["video"]["width"], answer["video"]["height"]) == (960, 540)
    assert answer["video"]["duration"] == pytest.approx(total / FPS)
    assert answer["new_part"] == {"start": start / FPS, "seconds": NEW_FRAMES / FPS, "frames": NEW_FRAMES}
    owners = [*extends[: before == "clip"], answer["id"], *extends[before == "clip" :]]
    counts = [NEW_FRAMES if owner == answer["id"] else PARENT_FRAMES for owner in owners]
    assert [(part["generation_id"], part["frames"]) for part in answer["timeline"]] == list(
        zip(owners, counts, strict=True)
    )
    assert [part["start"] for part in answer["timeline"]] == pytest.approx(list(starts(counts)))
    assert [seam["frame"] for seam in answer["seams"]] == [
        *([start] if before == "clip" else []),
        *([start + NEW_FRAMES] if after == "clip" else []),
    ]
    assert answer["preview"] is (before == after == "nothing")
    assert all(isinstance(note, str) and note.endswith(".") for note in answer["notes"])
    assert len(answer["notes"]) == len(set(answer["notes"]))
    assert answer["progress"] == 1
    assert answer["request"]["seed"] == 7


def starts(counts: Iterable[int]) -> Iterable[float]:
    at = 0
    for count in counts:
        yield at / FPS
        at += count


@pytest.mark.parametrize("name", ["clip to nothing", "nothing to clip", "append at", "prepend at"])
def test_no_seam_with_an_open_end_jumps(name: str, made: Made) -> None:
    (seam,) = made[name]["seams"]
    assert {"frame", "jump", "motion", "sharpness", "colour"} <= set(seam)
    assert 0 < seam["jump"] < 2.5
    assert seam["colour"] < 5


@pytest.mark.parametrize(("before", "after"), [cell for cell in CELLS if "still" in cell])
def test_a_still_is_shown_where_it_was_given(before: str, after: str, made: Made) -> None:
    first, last = frames_of(made.file(f"{before} to {after}", "segment"), 0, -1)
    if before == "still":
        assert psnr(first, picture(1)) > 32
    if after == "still":
        assert psnr(last, picture(2)) > 32


def test_a_parent_names_its_children(made: Made) -> None:
    children = [made[f"clip to {after}"]["id"] for after in ENDS]
    assert set(children) <= set(made["parent frame0"]["children"])
    assert made["nothing to clip"]["id"] not in made["parent frame0"]["children"]
    assert made["nothing to clip"]["id"] in made["parent frame1"]["children"]


@pytest.mark.parametrize("start", ENDS)
def test_a_loop_ends_close_to_where_it_begins(start: str, made: Made) -> None:
    name = f"loop from {start}"
    answer, video = made[name], made.hashes(name)
    assert len(video) == NEW_FRAMES + (PARENT_FRAMES if start == "clip" else 0)
    closing = answer["seams"][-1]
    assert closing["frame"] == 0
    assert 0 < closing["jump"] < 2.5
    if start != "nothing":
        first, last = frames_of(made.file(name), 0, -1)
        (open_last,) = frames_of(made.file(f"{start} to nothing"), -1)
        assert psnr(last, first) > max(30, psnr(open_last, first))


def test_an_append_at_a_time_keeps_what_is_before_it(made: Made) -> None:
    video, segment = made.hashes("append at"), made.hashes("append at", "segment")
    assert video == made.hashes("parent frame0")[:AT_FRAME] + segment
    assert [seam["frame"] for seam in made["append at"]["seams"]] == [AT_FRAME]


def test_a_prepend_at_a_time_leads_up_to_that_frame(made: Made) -> None:
    video, segment = made.hashes("prepend at"), made.hashes("prepend at", "segment")
    assert video[:NEW_FRAMES] == segment
    assert len(video) == NEW_FRAMES + PARENT_FRAMES - AT_FRAME
    answer = made["prepend at"]
    assert answer["new_part"]["frames"] == NEW_FRAMES
    again = sum(video[NEW_FRAMES + k] != frame for k, frame in enumerate(made.hashes("parent frame1")[AT_FRAME:]))
    assert f"Encoded again: {again} frames between the cut and the next key frame." in answer["notes"]
    (kept,) = frames_of(made.file("prepend at"), NEW_FRAMES)
    (wanted,) = frames_of(made.file("parent frame1"), AT_FRAME)
    assert psnr(kept, wanted) > 38


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(made: Made) -> None:
    assert made.file("again", "segment").read_bytes() == made.file("clip to nothing", "segment").read_bytes()
    assert made.hashes("other seed") != made.hashes("still to nothing")


def test_a_concept_moves_the_camera_its_way(made: Made) -> None:
    moved = {}
    for concept in ("pan_left", "pan_right"):
        grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames_of(made.file(concept), 0, -1)]
        flow = cv2.DISOpticalFlow.create().calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))
        moved[concept] = float(flow[..., 0].mean())
    assert moved["pan_left"] > 0.5
    assert moved["pan_right"] < -0.5
    assert made["pan_left"]["request"]["concepts"] == ["pan_left"]


@pytest.mark.parametrize(("name", "size"), [("tall", (540, 960)), ("larger", (1280, 720))])
def test_aspect_ratio_and_resolution_are_kept(name: str, size: tuple[int, int], made: Made) -> None:
    answer, (frame,) = made[name], frames_of(made.file(name), 0)
    assert (answer["video"]["width"], answer["video"]["height"]) == size
    assert (frame.shape[1], frame.shape[0]) == size
    assert len(made.hashes(name)) == 3


def test_of_two_takes_the_one_with_the_lower_score_is_in_the_video(made: Made) -> None:
    answer, parent = made["two takes"], made.hashes("parent frame0")
    assert [take["seed"] for take in answer["takes"]] == [7, 8]
    (chosen,) = [take for take in answer["takes"] if take["chosen"]]
    assert chosen["score"] == min(take["score"] for take in answer["takes"])
    assert (chosen["seams"], chosen["reversal"]) == (answer["seams"], answer["reversal"])
    assert made.hashes("two takes") == parent + made.hashes("two takes", "segment")
    assert {"render", "measure", "render take 2", "measure take 2", "drop"} <= set(answer["timings"])
    objects = made.server.data / "objects" / "segments"
    assert len(list(objects.glob(f"{answer['id']}*"))) == 1


def test_an_extension_takes_its_parents_format_and_says_so(made: Made) -> None:
    answer = made["passed over"]
    assert (answer["video"]["width"], answer["video"]["height"]) == (960, 540)
    assert made.hashes("passed over")[:PARENT_FRAMES] == made.hashes("parent frame0")
    assert len(made.hashes("passed over")) == PARENT_FRAMES + NEW_FRAMES
    assert (answer["request"]["aspect_ratio"], answer["request"]["resolution"]) == ("16:9", "540p")
    assert any("takes its parent's size" in note for note in answer["notes"])


def test_the_picture_beside_a_video_is_its_first_frame(made: Made) -> None:
    path = made.file("clip to nothing", "image")
    shown = cv2.imread(str(path))
    assert shown is not None
    (first,) = frames_of(made.file("clip to nothing"), 0)
    smaller = cv2.resize(first, (shown.shape[1], shown.shape[0]), interpolation=cv2.INTER_AREA)
    assert psnr(np.asarray(shown, np.uint8), np.asarray(smaller, np.uint8)) > 30
