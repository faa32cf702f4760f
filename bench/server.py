"""`python -m bench.server [VIDEO …]`: the peak memory of a real worker that appends 5 s, by the length of the parent.

A server of its own for each parent, in a temporary folder: the parent is uploaded, the result is waited for, and the
peaks (`VmHWM`) of its processes are read: of the worker, of its child that opens the parent, of the front. VIDEO: MP4s
of some seconds that the parents are made of by repeating them; else those of `bench`. Needs Linux.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from bench.__main__ import FORMAT, prepare
from longtake.media.keep import keep
from longtake.media.splice import splice
from longtake.media.survey import survey
from longtake.timeline import Timeline

KEY = "a-key-of-the-benchmark"
SECONDS = {"10 s": 10, "10 min": 600}


def main(*videos: str) -> None:
    print(f"Append of 5 s at {FORMAT}, in a server of its own for each.\n")
    print("| footage | parent | worker at rest | worker's peak | its child's | front's | worker's processor time |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        for video in [Path(video) for video in videos] or [prepare(work)[0]]:
            for name, seconds in SECONDS.items():
                parent = work / f"{seconds}.mp4"
                repeat(video, seconds, parent, work / "copy.mp4")
                *megabytes, used = figures(parent, work / f"{video.stem}-{seconds}")
                cells = " | ".join(f"{figure:.0f} MB" for figure in megabytes)
                print(f"| {video.stem} | {name} | {cells} | {used:.1f} s |", flush=True)


def repeat(video: Path, seconds: int, path: Path, copy: Path) -> None:
    """The video again and again, for about so many seconds; packets are copied."""
    segment, format = keep(video, survey(video), copy)
    times = max(1, round(seconds / float(format.seconds(segment.num_frames))))
    segments = (replace(segment, owner=str(n), key=str(copy), sound=None) for n in range(times))
    splice(Timeline(format, tuple(segments)), str, path)


def figures(parent: Path, data: Path) -> tuple[float, float, float, float, float]:
    """MiB: the worker's peak before and after an append of 5 s to `parent`, its child's, and the front's; and the
    seconds of processor time that the worker took for it."""
    with server(data) as (client, front):
        (worker,) = children(front)
        with parent.open("rb") as file:
            upload = answer_of(client.post("/api/uploads", content=file, headers={"Content-Type": "video/mp4"}))["id"]
        at_rest, before = peak(worker), processor_seconds(worker)
        order = {"prompt": "-", "duration": "5s", "keyframes": {"frame0": {"type": "video", "upload": upload}}}
        id = answer_of(client.post("/api/generations", json=order))["id"]
        with client.stream("GET", f"/api/generations/{id}/events") as events:
            for _ in events.iter_lines():
                pass
        made = answer_of(client.get(f"/api/generations/{id}"))
        if made["state"] != "completed":
            sys.exit(f"the append failed: {made['failure_reason']}")
        used, child = processor_seconds(worker) - before, max(map(peak, children(worker)), default=0.0)
        return at_rest, peak(worker), child, peak(front), used


@contextmanager
def server(data: Path) -> Iterator[tuple[httpx2.Client, int]]:
    """A client of `longtake serve` on a free port, and the process's number; ended at the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
    command = [sys.executable, "-m", "longtake", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        command, env={**kept, "LONGTAKE_API_KEY": KEY}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            found = next(filter(None, (re.match(r"Longtake\s+(http\S+)", line) for line in process.stdout)), None)
            if found is None:
                sys.exit("the server did not start")
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx2.Client(base_url=found[1], headers=headers, timeout=600, trust_env=False) as client:
                yield client, process.pid
        finally:
            process.terminate()


def answer_of(answer: httpx2.Response) -> dict[str, Any]:
    if answer.is_error:
        sys.exit(f"{answer.request.method} {answer.request.url.path}: {answer.text}")
    found: dict[str, Any] = answer.json()
    return found


def children(process: int) -> list[int]:
    """Those of any of its threads."""
    return [
        int(child) for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()
    ]


def processor_seconds(process: int) -> float:
    """That it has taken, without its children."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")


def peak(process: int) -> float:
    """MiB that a process, without its children, has held at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
