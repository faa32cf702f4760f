"""The main job through the HTTP API: an image becomes a video, which is appended to, prepended to, and bridged.

Starts a server of its own on a free port, speaks to it as the seed's document does, and leaves the MP4s and a
contact sheet in the folder OUT. Run it with `make demo`, or `make demo INPUT=photo.jpg`, or `INPUT=clip.mp4`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from PIL import Image
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from longtake.engines.base import Shot
from longtake.engines.motion import Motion
from longtake.media.colour import to_rgb
from longtake.media.decode import read_all
from longtake.media.keep import keep
from longtake.media.sheet import contact_sheet
from longtake.media.survey import survey
from longtake.timeline import Timeline
from longtake.video import Cell, VideoFormat

CREATE = "/v2/generate/video/luma-ai/generation"
PROMPT = "sunset over the sea"
SECONDS_AROUND_A_SEAM = Fraction(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="an image or a video of your own")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where the files go")
    parser.add_argument("--resolution", default="720p", help="540p, 720p, 1080p or 4k")
    options = parser.parse_args()
    if options.input and not options.input.is_file():
        parser.error(f"there is no file {options.input}")
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("[0-9]-*.mp4"):  # an earlier demo's
        old.unlink()
    with a_server(options.out) as (address, key), a_client(address, key) as client:
        demo = Demo(client, options.out, options.resolution, console)
        if options.input and not is_image(options.input):
            demo.from_a_clip(options.input)
        else:
            demo.from_an_image(options.input or a_picture(options.out / "picture.png"))
    demo.show()


@dataclass
class Made:
    """One result of the demo."""

    name: str
    path: Path
    answer: dict[str, Any]


class Demo:
    """Makes the requests, and keeps what came of them."""

    def __init__(self, client: httpx2.Client, out: Path, resolution: str, console: Console) -> None:
        self.client, self.out, self.resolution, self.console = client, out, resolution, console
        self.made: list[Made] = []

    def from_an_image(self, image: Path) -> None:
        """The seed's four requests, over an image that lies on a little server of our own."""
        with served(image) as url, self.bars() as bars:
            frame = {"type": "image", "url": url}
            first = self.make(bars, "image", {"prompt": PROMPT, "aspect_ratio": "16:9", "keyframes": {"frame0": frame}})
            longer = self.make(bars, "appended", extension("frame0", first))
            self.make(bars, "prepended", extension("frame1", longer))
            other = self.make(bars, "other", {"prompt": "aurora over snowy mountains", "aspect_ratio": "16:9"})
            frames = {"frame0": {"type": "generation", "id": first}, "frame1": {"type": "generation", "id": other}}
            self.make(bars, "bridged", {"prompt": PROMPT, "keyframes": frames})

    def from_a_clip(self, clip: Path) -> None:
        """An own video goes in by the native protocol; from then on it is a generation like any other."""
        with clip.open("rb") as file:
            answer = self.client.post("/api/uploads", content=file, headers={"Content-Type": "video/mp4"})
        upload = checked(answer)["id"]
        with self.bars() as bars:
            frame = {"type": "video", "upload": upload}
            first = self.make(bars, "appended", {"prompt": PROMPT, "keyframes": {"frame0": frame}}, "/api/generations")
            longer = self.make(bars, "prepended", extension("frame1", first))
            frames = {"frame0": {"type": "generation", "id": first}, "frame1": {"type": "generation", "id": longer}}
            self.make(bars, "bridged", {"prompt": PROMPT, "keyframes": frames})

    def make(self, bars: Progress, name: str, body: dict[str, Any], path: str = CREATE) -> str:
        """Creates a generation, shows how far it is, downloads it. Returns its id."""
        bar = bars.add_task(name, total=1.0)
        id: str = checked(self.client.post(path, json={**body, "resolution": self.resolution}))["id"]
        with self.client.stream("GET", f"/api/generations/{id}/events") as events:
            for line in events.iter_lines():
                if line.startswith("data:"):
                    bars.update(bar, completed=json.loads(line.removeprefix("data:"))["progress"])
        answer = checked(self.client.get(f"/api/generations/{id}"))
        if answer["state"] != "completed":
            sys.exit(f"{name} failed: {answer['failure_reason']}")
        target = self.out / f"{len(self.made) + 1}-{name}.mp4"
        with self.client.stream("GET", answer["assets"]["video"]) as video, target.open("wb") as file:
            for chunk in video.iter_bytes():
                file.write(chunk)
        bars.update(bar, completed=1.0)
        self.made.append(Made(name, target, answer))
        return id

    def bars(self) -> Progress:
        columns = (TextColumn("{task.description:10}"), BarColumn(40), TextColumn("{task.percentage:3.0f} %"))
        return Progress(*columns, TimeElapsedColumn(), console=self.console)

    def show(self) -> None:
        """The table, the contact sheet, and where they are."""
        table = Table(box=SIMPLE, pad_edge=False)
        for name in ("result", "s", "MB", "seam at", *FIGURES):
            table.add_column(name, no_wrap=True, justify="left" if name == "result" else "right")
        rows = []
        with TemporaryDirectory() as copies:
            for made in self.made:
                timeline, seams = a_timeline(made.path, Path(copies) / made.path.name), made.answer["seams"]
                cells = [[f"{seam['at']:.2f} s"] + [f"{seam[figure]:.2f}" for figure in FIGURES] for seam in seams]
                table.add_row(
                    made.path.name,
                    f"{float(timeline.seconds):.2f}",
                    f"{made.path.stat().st_size / 1e6:.1f}",
                    *("\n".join(column) for column in zip(*cells, strict=True)),
                )
                rows += around_seams(made, timeline)
        sheet = self.out / "contact-sheet.png"
        contact_sheet(rows, sheet)
        self.console.print(table)
        for made in self.made:
            for note in made.answer["notes"]:
                self.console.print(f"{made.path.name}: {note}", style="dim")
        self.console.print(f"\nVideos: {', '.join(str(made.path) for made in self.made)}\nContact sheet: {sheet}")


FIGURES = ("jump", "motion", "sharpness", "colour")


def extension(end: str, id: str) -> dict[str, Any]:
    """The seed's body for extending a generation: frame0 appends, frame1 prepends."""
    return {"prompt": PROMPT, "aspect_ratio": "19:9", "keyframes": {end: {"type": "generation", "id": id}}}


def around_seams(made: Made, timeline: Timeline) -> list[Any]:
    """A row of the contact sheet for each seam."""
    around = timeline.format.num_frames(SECONDS_AROUND_A_SEAM)
    rows = []
    for seam in made.answer["seams"]:
        start, stop = max(0, seam["frame"] - around), min(timeline.num_frames, seam["frame"] + around)
        title = f"{made.path.name}: the frames around the seam at {seam['at']:.2f} s"
        rows.append((title, read_all(timeline, start, stop, str), seam["frame"] - start))
    return rows


def a_timeline(path: Path, copy: Path) -> Timeline:
    """The video as the one segment of a timeline, which reads a copy of its packets."""
    segment, format = keep(path, survey(path), copy)
    return Timeline(format, (replace(segment, key=str(copy)),))


def a_picture(path: Path) -> Path:
    """Something to begin with, for who has no photograph at hand: a frame that the engine draws from words."""

    class Quiet:
        def progress(self, num_frames: int) -> None: ...
        def note(self, text: str) -> None: ...

    shot = Shot(Cell("nothing", "nothing"), VideoFormat(1280, 720, Fraction(24)), 1, prompt=PROMPT, seed=7)
    frames = to_rgb(next(iter(Motion().render(shot, Quiet()))))
    Image.fromarray(frames.planes[0][0]).save(path)
    return path


def is_image(path: Path) -> bool:
    try:
        with Image.open(path):
            return True
    except OSError:
        return path.suffix.lower() in {".heic", ".heif"}


def checked(answer: httpx2.Response) -> Any:
    if answer.status_code >= 400:
        told = answer.json()
        sys.exit(str(told.get("message") or told["error"]["message"]))
    return answer.json()


@contextlib.contextmanager
def a_client(address: str, key: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=address, headers=headers, timeout=120, trust_env=False) as client:
        yield client


@contextlib.contextmanager
def a_server(out: Path) -> Iterator[tuple[str, str]]:
    """`longtake serve` on a free port: its address and its key."""
    key = "demo-key-only-for-this-folder"
    environment = {**os.environ, "LONGTAKE_API_KEY": key, "LONGTAKE_FETCH_ALLOW": "127.0.0.1/32"}
    command = [sys.executable, "-m", "longtake", "serve", "--port", "0", "--data", str(out / "data")]
    with (out / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout
            for line in process.stdout:
                if found := re.match(r"Longtake\s+(http\S+)", line):
                    yield found[1], key
                    break
            else:
                sys.exit(f"the server did not start; see {out / 'server.log'}")
        finally:
            process.terminate()
            process.wait()
            if process.stdout:
                process.stdout.close()


@contextlib.contextmanager
def served(file: Path) -> Iterator[str]:
    """An address on this machine at which the file is."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    handler = functools.partial(Quiet, directory=str(file.resolve().parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{file.name}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
