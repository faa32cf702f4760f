"""The promise: whatever is joined to a video, each of its frames decodes bit for bit as before.

Every file is decoded from its first packet to its last by FFmpeg alone, and frames are compared by their digests.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.footage import bring_home_start, frame_hashes, frames_and_times, moving, video_frames, write_foreign
from tests.servers import Reply, Server, replying

NEW_SECONDS = 0.4
CLIPS = {"intel_car-detection.mp4": 2.0, "mdn_flower.mp4": 1.0}
"""Each with the seconds of it that are brought. The second has 30000/1001 frames a second."""
CAR = "intel_car-detection.mp4"


def generation(id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "generation", "id": id, **fields}


@dataclass
class Extended:
    """Generations and their frames' digests, each fetched once."""

    server: Server
    folder: Path

    def order(self, frame0: dict[str, Any] | None = None, frame1: dict[str, Any] | None = None, **fields: Any) -> str:
        return self.server.create(
            {"keyframes": {"frame0": frame0, "frame1": frame1}, "seconds": NEW_SECONDS, "seed": 3, **fields}
        )

    def path(self, id: str, asset: str = "video") -> Path:
        path = self.folder / f"{id}-{asset}.mp4"
        return path if path.exists() else self.server.download(self.server.completed(id)["assets"][asset], path)

    def hashes(self, id: str, asset: str = "video") -> list[str]:
        return frame_hashes(self.path(id, asset))[0]

    def num_new(self, id: str) -> int:
        frames: int = self.server.completed(id)["new_part"]["frames"]
        return frames


@pytest.fixture(scope="module")
def extended(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Extended:
    return Extended(server, tmp_path_factory.mktemp("extended"))


@dataclass
class Brought:
    """The start of a real clip, as it is and in house format, and their uploads' ids."""

    foreign: Path
    house: Path
    foreign_id: str
    house_id: str

    @property
    def hashes(self) -> list[str]:
        return frame_hashes(self.house)[0]

    @property
    def end(self) -> dict[str, Any]:
        return {"type": "video", "upload": self.house_id}


@pytest.fixture(scope="module", params=CLIPS)
def brought(
    request: pytest.FixtureRequest, clips: Path, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Brought:
    folder, stem = tmp_path_factory.mktemp("brought"), Path(request.param).stem
    bring_home_start(clips / request.param, CLIPS[request.param], folder)
    foreign, house = folder / f"{stem}-start.mp4", folder / f"{stem}.mp4"
    return Brought(foreign, house, server.upload(foreign), server.upload(house))


@pytest.fixture(scope="module")
def appended(brought: Brought, extended: Extended) -> str:
    return extended.order(frame0=brought.end)


@pytest.fixture(scope="module")
def prepended(brought: Brought, extended: Extended) -> str:
    return extended.order(frame1=brought.end)


def test_an_append_keeps_every_frame_of_the_footage(brought: Brought, appended: str, extended: Extended) -> None:
    assert extended.hashes(appended) == brought.hashes + extended.hashes(appended, "segment")


def test_a_prepend_keeps_every_frame_of_the_footage(brought: Brought, prepended: str, extended: Extended) -> None:
    assert extended.hashes(prepended) == extended.hashes(prepended, "segment") + brought.hashes


def test_a_bridge_keeps_every_frame_of_both(
    brought: Brought, appended: str, prepended: str, extended: Extended
) -> None:
    bridged = extended.order(generation(appended), generation(prepended))
    parts = extended.hashes(appended), extended.hashes(bridged, "segment"), extended.hashes(prepended)
    assert extended.hashes(bridged) == [*parts[0], *parts[1], *parts[2]]


def test_an_append_at_a_time_keeps_every_frame_before_the_cut(
    brought: Brought, appended: str, extended: Extended
) -> None:
    rate = 1 / frame_hashes(brought.house)[1]
    cut = len(brought.hashes) // 2 + 1
    for end, whole in ((brought.end, brought.hashes), (generation(appended), extended.hashes(appended))):
        made = extended.order({**end, "at": round(float(cut / rate), 4)})
        assert extended.hashes(made) == whole[:cut] + extended.hashes(made, "segment")


def test_a_cut_inside_an_earlier_extension_keeps_all_before_it(
    brought: Brought, appended: str, extended: Extended
) -> None:
    rate, whole = 1 / frame_hashes(brought.house)[1], extended.hashes(appended)
    cut = len(whole) - 2
    made = extended.order(generation(appended, at=round(float(cut / rate), 4)))
    assert extended.hashes(made)[:cut] == whole[:cut]
    assert [part["frames"] for part in extended.server.completed(made)["timeline"]] == [
        len(brought.hashes),
        cut - len(brought.hashes),
        extended.num_new(made),
    ]


def test_a_users_own_file_is_kept_frame_for_frame_at_its_own_times(brought: Brought, extended: Extended) -> None:
    own, times = frames_and_times(brought.foreign)
    end, cut = {"type": "video", "upload": brought.foreign_id}, len(own) // 2 + 1
    appended, prepended = extended.order(end), extended.order(frame1=end)
    bridged = extended.order(generation(appended), end)
    shortened = extended.order({**end, "at": round(float(times[cut] - times[0]), 4)})
    new = {id: extended.hashes(id, "segment") for id in (appended, prepended, bridged, shortened)}
    expected = {
        appended: own + new[appended],
        prepended: new[prepended] + own,
        bridged: own + new[appended] + new[bridged] + own,
    }
    for id, frames in expected.items():
        made, made_times = frames_and_times(extended.path(id))
        assert made == frames
        start = made.index(own[0]) if id == prepended else 0
        shown = [time - made_times[start] for time in made_times[start : start + len(own)]]
        assert shown == [time - times[0] for time in times]
    made = frames_and_times(extended.path(shortened))[0]
    assert (len(made), made[cut:]) == (cut + len(new[shortened]), new[shortened])
    # What the packets can't end at because of B-frames is told, and all ahead of it is kept.
    notes = extended.server.completed(shortened)["notes"]
    told = [re.match(r"Encoded again: ([0-9]+) frames? ahead", note) for note in notes]
    num_again = next((int(found[1]) for found in told if found), 0)
    assert num_again < 16
    assert made[: cut - num_again] == own[: cut - num_again]


def test_footage_that_cant_be_joined_is_brought_home_once_and_looks_as_before(
    extended: Extended, tmp_path: Path
) -> None:
    foreign = write_foreign(tmp_path / "foreign.avi", video_frames(moving(24, 160, 96), "yuvj420p"), codec="mjpeg",
                            rate=Fraction(12), options={"b": "20M"})  # fmt: skip
    made = extended.order({"type": "video", "upload": extended.server.upload(foreign)})
    again = extended.order(generation(made))
    first, second = extended.hashes(made), extended.hashes(again)
    assert second[: len(first)] == first
    num_kept = len(first) - extended.num_new(made)
    assert num_kept == 24
    assert any("MJPEG" in note for note in extended.server.completed(made)["notes"])
    with av.open(str(foreign)) as original, av.open(str(extended.path(made))) as result:
        pairs = zip(original.decode(video=0), result.decode(video=0), strict=False)
        quality = [cv2.PSNR(as_seen(left), as_seen(right)) for left, right in pairs][: num_kept - 5]
    assert min(quality) > 34, min(quality)


def as_seen(frame: av.VideoFrame) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def test_a_chain_of_four_extensions_keeps_all_that_each_added(clips: Path, extended: Extended, tmp_path: Path) -> None:
    bring_home_start(clips / CAR, 1.0, tmp_path)
    house = tmp_path / CAR
    whole = frame_hashes(house)[0]
    ids = [extended.order({"type": "video", "upload": extended.server.upload(house)})]
    ids.append(extended.order(frame1=generation(ids[-1])))
    ids.append(extended.order(generation(ids[-1]), prompt="another take", seed=9))
    ids.append(extended.order(frame1=generation(ids[-1])))
    for id, is_append in zip(ids, (True, False, True, False), strict=True):
        new = extended.hashes(id, "segment")
        whole = whole + new if is_append else new + whole
        assert extended.hashes(id) == whole
    answer = extended.server.completed(ids[-1])
    assert len(answer["timeline"]) == 5
    assert len(answer["seams"]) == 4
    assert sum(part["frames"] for part in answer["timeline"]) == len(whole)


def test_a_chain_that_was_ordered_at_once_is_carried_out_in_order(server: Server, extended: Extended) -> None:
    image = cv2.imencode(".png", np.full((540, 960, 3), 90, np.uint8))[1].tobytes()
    opened = threading.Event()
    with replying({"/image.png": Reply(body=image, opened=opened)}) as address:
        parent = extended.order(
            {"type": "image", "url": f"{address}/image.png"}, resolution="540p", fps=12, concepts=["zoom_in"]
        )
        child = extended.order(generation(parent))
        grandchild = extended.order(generation(parent), generation(child))
        states = [server.client.get(f"/api/generations/{id}").json()["state"] for id in (parent, child, grandchild)]
        assert states[0] in {"queued", "dreaming"}
        assert states[1:] == ["queued", "queued"]
        opened.set()
        first, second, third = (extended.hashes(id) for id in (parent, child, grandchild))
    assert second == first + extended.hashes(child, "segment")
    assert third == first + extended.hashes(grandchild, "segment") + second


def test_the_child_of_a_parent_that_fails_fails_and_names_it(server: Server, extended: Extended) -> None:
    opened = threading.Event()
    with replying({"/image.png": Reply(404, opened=opened)}) as address:
        parent = extended.order({"type": "image", "url": f"{address}/image.png"}, resolution="540p", fps=12)
        child = extended.order(frame1=generation(parent))
        grandchild = extended.order(generation(child))
        opened.set()
        failed = [server.finished(id) for id in (parent, child, grandchild)]
    assert [answer["state"] for answer in failed] == ["failed"] * 3
    assert "404" in failed[0]["failure_reason"]
    assert "keyframes.frame1" in failed[1]["failure_reason"]
    assert parent in failed[1]["failure_reason"]
    assert child in failed[2]["failure_reason"]
    assert failed[1]["assets"] is None


def test_what_a_grandchild_is_made_of_outlives_its_deleted_ancestors(server: Server, extended: Extended) -> None:
    data = cv2.imencode(".png", np.random.default_rng(5).integers(0, 255, (54, 96, 3), np.uint8))[1].tobytes()
    with replying({"/image.png": Reply(body=data)}) as address:
        parent = extended.order({"type": "image", "url": f"{address}/image.png"}, resolution="540p", fps=12)
        child = extended.order(generation(parent))
        grandchild = extended.order(generation(child))
        whole = extended.hashes(grandchild)
    for id in (child, parent):
        assert server.client.delete(f"/api/generations/{id}").status_code == 204
    assert (
        frame_hashes(server.download(server.completed(grandchild)["assets"]["video"], extended.folder / "again"))[0]
        == whole
    )
    last = extended.order(generation(grandchild))
    assert extended.hashes(last) == whole + extended.hashes(last, "segment")
