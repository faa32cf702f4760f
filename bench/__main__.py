"""`make bench`: what 5 new seconds at 1280x720, 24 fps cost, and that a longer parent does not change it.

Footage: `LONGTAKE_CLIPS` (a folder of real videos) where it is set, else a scene that the engine draws.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from PIL import Image

from longtake.engines.base import Shot
from longtake.engines.motion import Motion
from longtake.frames import Frames
from longtake.media.colour import to_rgb
from longtake.media.decode import read_all
from longtake.media.encode import Encoded, encode
from longtake.media.house import bring_home
from longtake.timeline import Segment, Timeline
from longtake.video import Cell, VideoFormat

FORMAT = VideoFormat(1280, 720, Fraction(24))
PARENT_SECONDS = Fraction(5)
RUNS = 3
LENGTHS = {1: "5 s", 2: "10 s", 120: "10 min", 720: "1 h"}
CASES = [
    ("append", 1),
    ("append", 2),
    ("append", 120),
    ("append", 720),
    ("prepend", 1),
    ("prepend", 120),
    ("bridge", 1),
    ("animate", 1),
    ("generate", 1),
]


def main() -> None:
    with TemporaryDirectory() as folder:
        parent, picture, footage = prepare(Path(folder))
        runs: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in CASES}
        for _ in range(RUNS):
            for case in CASES:  # in turn, so that a slow minute of the machine hits all alike
                runs[case].append(run(case, parent, picture))
                print(".", end="", file=sys.stderr, flush=True)
    print(f"\n5 s at {FORMAT}, footage: {footage}; medians of {RUNS} runs, each a process of its own.")
    print(f"Machine: {os.cpu_count()} cores ({processor()}), Python {platform.python_version()}, no GPU.\n")
    print("| | parent | seconds | new frames/s | ÷ encoding alone | join | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for (name, repeats), figures in runs.items():
        total, alone = median(figures, "total"), median(figures, "encode_alone")
        parent_length = LENGTHS[repeats] if name in {"append", "prepend", "bridge"} else "none"
        ratio = statistics.median(f["total"] / f["encode_alone"] for f in figures)
        cells = (
            name,
            parent_length,
            f"{total:.2f}",
            f"{figures[0]['frames'] / total:.0f}",
            f"{ratio:.2f} (of {alone:.2f} s)",
            f"{median(figures, 'join'):.2f} s, {figures[0]['megabytes']:.0f} MB",
            f"{median(figures, 'peak_memory'):.0f} MB",
        )
        print("| " + " | ".join(cells) + " |")
    short, long = (statistics.median(f["total"] - f["join"] for f in runs["append", repeats]) for repeats in (2, 720))
    print(f"\nBeyond the copying, an append to 1 h takes {long / short:.2f} times what one to 10 s takes.\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "bench.fleet"], check=True)


def run(case: tuple[str, int], parent: Path, picture: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.case", case[0], str(parent), str(picture), str(case[1])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def prepare(folder: Path) -> tuple[Path, Path, str]:
    """Five seconds of house format, a picture out of them, and what they are."""
    parent, picture = folder / "parent.mp4", folder / "picture.png"
    clip = Path(os.environ.get("LONGTAKE_CLIPS", ".")) / "sam2_dog.mp4"
    if clip.is_file():
        home = folder / "home.mp4"
        encoded, made, _ = bring_home(clip, home)
        in_house = encode(resized(timeline_of(home, encoded, made)), FORMAT, parent)
    else:
        num_frames = FORMAT.num_frames(PARENT_SECONDS)
        shot = Shot(Cell("nothing", "nothing"), FORMAT, num_frames, prompt="waves on the sea, clouds", seed=3)
        in_house = encode(Motion().render(shot, Quiet()), FORMAT, parent)
    first = to_rgb(read_all(timeline_of(parent, in_house, FORMAT), 0, 1, str))
    Image.fromarray(first.planes[0][0]).save(picture)
    return parent, picture, clip.name if clip.is_file() else "a drawn scene"


def resized(timeline: Timeline) -> Iterator[Frames]:
    for at in range(FORMAT.num_frames(PARENT_SECONDS)):
        rgb = to_rgb(read_all(timeline, at, at + 1, str)).planes[0][0]
        yield Frames((cv2.resize(rgb, (FORMAT.width, FORMAT.height), interpolation=cv2.INTER_AREA)[None],))


def timeline_of(path: Path, encoded: Encoded, format: VideoFormat) -> Timeline:
    return Timeline(format, (Segment("bench", str(path), 0, encoded.num_frames, encoded.key_frames),))


class Quiet:
    def progress(self, num_frames: int) -> None: ...
    def note(self, text: str) -> None: ...


def median(figures: list[dict[str, float]], name: str) -> float:
    return statistics.median(f[name] for f in figures)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    main()
