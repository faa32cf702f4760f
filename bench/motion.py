"""`make bench-motion`: how far the engine without weights is from the truth, and from what everybody has.

Each clip of the folder `LONGTAKE_CLIPS` is cut in two; the engine continues the first part and is measured against
the second. Writes tables to standard output, and `figures.json`, contact sheets and slices to `bench-out/motion/`:
a figure that improves while the picture gets worse is a defect of the figure, so look at them.
`python -m bench.motion NAME` takes only clips whose name contains NAME.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.__main__ import processor
from bench.motion_between import Between, between, speed
from bench.motion_extend import ClipResult, continue_clip, tail_of
from bench.motion_footage import Clip, folder, load, paths
from bench.motion_pictures import draw, overview
from bench.motion_still import FULL_HD, HD, append_cost, still
from bench.motion_table import between_table, clip_table, cost_table, extension_table
from longtake.engines.motion import Motion
from longtake.errors import MediaError

OUT = Path("bench-out/motion")
COSTED = 2
"""So many of the clips with the most pixels are timed at 720p, the first at 1080p too."""


def main(only: str = "") -> None:
    started = time.perf_counter()
    found = paths(folder(), only)
    results, betweens = measure(found)
    if not results:
        sys.exit(f"no clip of {folder()} could be measured")
    overview([result.name for result in results], OUT)
    lines = [*extension_table(results), *clip_table(results)]
    largest = sorted(results, key=lambda result: -result.pixels)[:COSTED]
    timed = [load(next(path for path in found if path.stem == result.name)) for result in largest]
    with TemporaryDirectory() as work:
        lines += between_table(betweens, speed(timed[0], Motion(), Path(work)))
        lines += cost_table(dict(_costs(timed, Path(work))), still(timed[0], Motion(), Path(work)))
    print("\n".join(lines))
    print(f"\nMachine: {os.cpu_count()} cores ({processor()}), Python {platform.python_version()}.", end=" ")
    print(f"Took {time.perf_counter() - started:.0f} s. Pictures: {OUT}/")
    kept = {"clips": [result.to_json() for result in results], "between": [asdict(item) for item in betweens]}
    (OUT / "figures.json").write_text(json.dumps(kept, indent=1))
    (OUT / "tables.md").write_text("\n".join(lines) + "\n")


def measure(found: list[Path]) -> tuple[list[ClipResult], list[Between]]:
    """Every clip, as many at once as there are cores; nothing here is timed."""
    results: list[ClipResult] = []
    betweens: list[Between] = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for outcome in pool.map(measure_clip, found):
            print("." if outcome else "-", end="", file=sys.stderr, flush=True)
            if outcome is not None:
                results.append(outcome[0])
                betweens.extend(outcome[1])
    print(file=sys.stderr)
    return results, betweens


def measure_clip(path: Path) -> tuple[ClipResult, list[Between]] | None:
    """One clip's figures; its pictures are written. None, with a sentence, where it cannot be used."""
    try:
        clip = load(path)
    except MediaError as error:
        print(f"{path.name} is left out: {error}", file=sys.stderr)
        return None
    engine = Motion()
    result = continue_clip(clip, engine)
    draw(result, tail_of(clip, engine), clip.rate, OUT)
    result.extensions.clear()
    return result, between(clip, engine)


def _costs(timed: list[Clip], work: Path) -> Iterator[tuple[str, dict[str, float]]]:
    for clip in timed:
        yield f"{clip.name}, 720p", append_cost(clip, HD, work)
    yield f"{timed[0].name}, 1080p", append_cost(timed[0], FULL_HD, work)


if __name__ == "__main__":
    main(*sys.argv[1:])
