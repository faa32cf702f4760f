"""One measured run, in a process of its own so that its peak memory is its own: prints one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from longtake.engines.motion import Motion
from longtake.footage import Footage, Run, work_file
from longtake.joining import join, measure_seams, timeline_of
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.media.keep import keep
from longtake.media.survey import survey
from longtake.orders import KeyFrame, Order
from longtake.rendering import render
from longtake.scene import Scene
from longtake.sources import keep_still
from longtake.store import Store
from longtake.timeline import Timeline

VIDEO, IMAGE = KeyFrame(type="video", url="-"), KeyFrame(type="image", url="-")
ORDERS = {
    "append": Order(before=VIDEO, seconds=Fraction(5), seed=1),
    "prepend": Order(after=VIDEO, seconds=Fraction(5), seed=1),
    "bridge": Order(before=VIDEO, after=VIDEO, seconds=Fraction(5), seed=1),
    "animate": Order(before=IMAGE, seconds=Fraction(5), seed=1),
    "generate": Order(prompt="sunset over the sea", seconds=Fraction(5), seed=1),
}


def main(name: str, parent: Path, picture: Path, repeats: int) -> None:
    """`parent`: five seconds of house format; `repeats`: how many of them make up the video that is extended."""
    order = ORDERS[name]
    with TemporaryDirectory() as folder:
        store = Store.in_folder(Path(folder))
        key = "sources/parent.mp4"
        with work_file(store, key) as copy:
            segment, format = keep(parent, survey(parent), copy)
            store.put_file(key, copy)
        # Each repeat is a generation of its own, as in a chain of extensions.
        segments = tuple(replace(segment, owner=str(n), key=key) for n in range(repeats))
        footage = Footage(Timeline(format, segments))
        still = keep_still(picture, "stills/p.png", store, max_pixels=10**8)
        before, after = (
            None if frame is None else still if frame.type == "image" else footage
            for frame in (order.before, order.after)
        )
        engine = Motion()
        started = time.perf_counter()
        scene = Scene.of(Run("new"), order, before, after, engine.capabilities, store)
        planned, rendered = scene.plan, render(scene, engine)
        rendered_at = time.perf_counter()
        timeline, start = timeline_of(planned, rendered)
        _, num_bytes, _ = join(Run("new"), timeline, store)
        joined_at = time.perf_counter()
        measure_seams(scene, timeline)
        done = time.perf_counter()
        peak = peak_memory()
        frames = read_all(timeline, start, start + planned.outline.num_frames, store.open)
        encode_started = time.perf_counter()
        encode(iter([frames]), timeline.format, Path(folder) / "again.mp4")
        figures = {
            "render": rendered_at - started,
            "join": joined_at - rendered_at,
            "measure": done - joined_at,
            "total": done - started,
            "encode_alone": time.perf_counter() - encode_started,
            "frames": planned.outline.num_frames,
            "megabytes": num_bytes / 1e6,
            "peak_memory": peak,
        }
    print(json.dumps(figures))


def peak_memory() -> float:
    """MiB. What starts a process hands its own peak on to it, so that ru_maxrss would be the parent's, if larger."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
