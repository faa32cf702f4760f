"""A worker without a workflow, an engine that does as its seed says, and footage whose way on is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

import numpy as np

from longtake.engines.base import Capabilities, Frames, Report, Shot
from longtake.fetch import Fetcher, FetchRules
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.records import Generation, Upload
from longtake.video import VideoFormat
from longtake.worker import Worker
from tests.footage import moving
from tests.wire_rig import Rig, new_id

T = TypeVar("T")
CLIP = VideoFormat(160, 96, Fraction(12))
NUM_GIVEN, NUM_NEW = 24, 12
FREEZE, ON, BACK = 7, 8, 9


def walking(num_frames: int) -> Frames:
    """A textured square that walks over a standing background."""
    background = moving(1, CLIP.width, CLIP.height, seed=1)
    thing = moving(1, 40, 40, seed=2)
    planes = []
    for shrink, back, front in zip((1, 2, 2), background.planes, thing.planes, strict=True):
        plane = np.repeat(back, num_frames, axis=0)
        for number in range(num_frames):
            left = (4 + 3 * number) // shrink
            plane[number, 32 // shrink : 72 // shrink, left : left + 40 // shrink] = front[0]
        planes.append(plane)
    return Frames(tuple(planes))


class Director:
    """Goes on as the footage does for the seed `ON`, stands still for `FREEZE`, and runs back for `BACK`."""

    capabilities = Capabilities(name="motion", context_seconds=Fraction(2))

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.rendered: list[int] = []
        self.plays = {FREEZE: FREEZE, ON: ON, BACK: BACK}
        self.after: Callable[[int], None] = lambda seed: None

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        self.rendered.append(shot.seed)
        for number in range(shot.num_frames):
            place = {ON: NUM_GIVEN + number, FREEZE: NUM_GIVEN - 1, BACK: NUM_GIVEN - 2 - number}[self.plays[shot.seed]]
            yield self._frames[place : place + 1]
            report.progress(number + 1)
        self.after(shot.seed)


class Dead(Exception):
    """Stands for a kill: nothing of ours catches it on its way."""


class Steps:
    """Durable steps in memory, where a result is JSON; the process dies ahead of the one named."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.dies_at = ""

    def __call__(self, name: str, function: Callable[[], T]) -> T:
        if name not in self.kept:
            if name == self.dies_at:
                raise Dead
            self.kept[name] = json.dumps(function())
        value: T = json.loads(self.kept[name])
        return value


def generation(order: Order, id: str = "") -> Generation:
    """Queued just now, without a parent."""
    now = time.time()
    return Generation(
        id=id or new_id(),
        account="default",
        key_id="none",
        wire="native",
        request={},
        order=order,
        engine="motion",
        credits=1.0,
        created_at=now,
        updated_at=now,
    )


class Stage:
    """A worker, without a workflow, for one order that extends an uploaded clip."""

    def __init__(self, folder: Path, order: Order) -> None:
        self.rig = Rig.build(folder)
        self.footage = walking(NUM_GIVEN + NUM_NEW)
        self.engine = Director(self.footage)
        encoded = encode([self.footage[:NUM_GIVEN]], CLIP, folder / "clip.mp4")
        now = time.time()
        self.rig.store.put_file("uploads/clip.video", folder / "clip.mp4")
        size = self.rig.store.size("uploads/clip.video") or 0
        self.rig.records.add_upload(
            Upload("clip", "default", "video", "uploads/clip.video", CLIP.width, CLIP.height, 2, 12, size, "", now)
        )
        assert encoded.num_frames == NUM_GIVEN
        made = replace(order, before=KeyFrame(type="video", upload="clip"), seconds=Fraction(1))
        self.id = new_id()
        self.rig.records.submit(generation(made, self.id))
        rules = FetchRules(max_bytes=1, timeout_seconds=1, allow=(ip_network("127.0.0.0/8"),))
        engines = {"motion": self.engine}
        self.worker = Worker(self.rig.records, self.rig.store, Fetcher(rules), engines=engines, max_still_pixels=10**6)

    @property
    def generation(self) -> Generation:
        return self.rig.records.get(self.id)

    def segments(self) -> list[str]:
        return sorted(self.rig.store.keys("segments"))
