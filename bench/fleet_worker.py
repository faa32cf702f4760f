"""`python -m bench.fleet_worker CONCURRENCY`: a real worker whose engine costs nothing: what is left is the fleet's."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from longtake import app
from longtake.engines.base import Engine, Frames, Report, Shot
from longtake.engines.motion import Motion
from longtake.log import set_up
from longtake.serving import work
from longtake.settings import load


class Grey:
    """Stands where the motion engine does, and yields grey."""

    def __init__(self) -> None:
        self.capabilities = Motion().capabilities

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        width, height = shot.format.width, shot.format.height
        sizes = (height, width), (height // 2, width // 2), (height // 2, width // 2)
        for number in range(shot.start, shot.num_frames):
            yield Frames(tuple(np.full((1, *size), 128, np.uint8) for size in sizes))
            report.progress(number + 1)


def grey() -> dict[str, Engine]:
    return {"motion": Grey()}


if __name__ == "__main__":
    set_up("json")
    app.engines = grey  # type: ignore[attr-defined]
    work(app.House.open(load()), concurrency=int(sys.argv[1]))
