"""A browser plays what was joined to footage of each kind: to its end, and it finds the frames on both sides of a seam.

The footage gets brighter from frame to frame, so that the mean of what is on the screen says which frame it is. What
each frame's mean is says FFmpeg. The rows of docs/formats.md say what Chromium can decode: it is asked here.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from longtake.engines.base import Capabilities, Frames, Report, Shot
from longtake.footage import Run
from longtake.joining import join, timeline_of
from longtake.media.nal import parameter_set_ids
from longtake.media.planes import empty_frames
from longtake.orders import KeyFrame, Order
from longtake.rendering import render
from longtake.scene import Scene
from longtake.sources import keep_footage
from longtake.store import Store
from longtake.timeline import Timeline
from tests.browser.test_chromium_plays import ARGUMENTS, CHROMIUM
from tests.conftest import missing
from tests.kinds import BY_NAME, KEPT, STEP, names

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
PLAYS, SEEKS_FAIL, CAN_NOT = "plays", "plays; seeks fail, as in the source", "can't decode it"
LOAD = """async data => {
  const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
  document.body.innerHTML = "<video muted preload=auto></video>"
  const video = document.querySelector("video")
  window.faults = []
  return await new Promise(done => {
    setTimeout(() => done(null), PATIENCE)
    video.addEventListener("error", () => { faults.push(video.error.message); done(null) })
    video.addEventListener("canplaythrough", () => done(
      { seconds: video.duration, size: [video.videoWidth, video.videoHeight] }), { once: true })
    video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }))
  })
}"""
PLAY = """() => new Promise((done, fail) => {
  const video = document.querySelector("video")
  setTimeout(() => done({ at: video.currentTime, faults: ["it does not end in time"] }), PATIENCE)
  video.addEventListener("ended", () => done({ at: video.currentTime, faults }), { once: true })
  video.addEventListener("error", () => done({ at: -1, faults }), { once: true })
  video.playbackRate = 8
  video.play().catch(fail)
})"""
SEEK = """([seconds, patience]) => new Promise(done => {
  const video = document.querySelector("video")
  setTimeout(() => done({ mean: -1, faults: ["it does not get there in time"] }), patience)
  window.draw = () => {
    const canvas = document.createElement("canvas")
    canvas.width = video.videoWidth; canvas.height = video.videoHeight
    const context = canvas.getContext("2d")
    context.drawImage(video, 0, 0)
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data
    let sum = 0
    for (let k = 0; k < data.length; k += 4) sum += data[k] + data[k + 1] + data[k + 2]
    return { mean: sum / data.length * 4 / 3, faults }
  }
  video.addEventListener("seeked", () => requestAnimationFrame(() => done(draw())), { once: true })
  video.currentTime = seconds
})"""
PATIENCE = 6_000
"""Milliseconds."""
LOOKS = 20
LOAD, PLAY = (script.replace("PATIENCE", str(PATIENCE)) for script in (LOAD, PLAY))
VIDEO = KeyFrame(type="video", url="-")


class Darkening:
    """Renders shades that get darker from frame to frame."""

    capabilities = Capabilities(name="darkening", context_seconds=Fraction(1, 4))

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        frames = empty_frames(shot.num_frames, shot.format.width, shot.format.height)
        for plane in frames.planes:
            plane[:] = 128
        frames.planes[0][:] = np.clip(205 - 6 * np.arange(shot.num_frames), 40, 205).astype(np.uint8).reshape(-1, 1, 1)
        yield frames


@dataclass
class Joined:
    """Two stretches of footage with a new part between them."""

    path: Path
    timeline: Timeline
    seams: tuple[int, int]
    """The first frame of the new part, and the first after it."""
    shades: list[float]
    """What is to be seen of each frame on average, 0 to 255."""

    def frame_at(self, seconds: float) -> int:
        starts = [float(self.timeline.time_of(number)) for number in range(self.timeline.num_frames)]
        return bisect_right(starts, seconds + 1e-6) - 1


def joined(first: str, last: str, folder: Path) -> Joined:
    """The end of one kind's file and the start of another's, of the same format, with a second between them."""
    store = Store.in_folder(folder / "store")
    before, after = (
        keep_footage(BY_NAME[kind].make(folder), f"sources/{end}", end, store, lambda stage, part: None)
        for end, kind in (("before", first), ("after", last))
    )
    seconds = max(Fraction(1, 2), 12 / before.timeline.format.frame_rate)
    order = Order(before=VIDEO, after=VIDEO, seconds=seconds)
    scene = Scene.of(Run("made"), order, before, after, Darkening.capabilities, store)
    timeline, start = timeline_of(scene.plan, render(scene, Darkening()))
    path = store.open(join(Run("made"), timeline, store)[0])
    assert isinstance(path, str)
    return Joined(Path(path), timeline, (start, start + scene.plan.outline.num_frames), shades_in(Path(path)))


def alone(kind: str, folder: Path) -> Joined:
    """The source itself, for comparison."""
    path, store = BY_NAME[kind].make(folder), Store.in_folder(folder / "alone")
    footage = keep_footage(path, "sources/it", "it", store, lambda stage, part: None)
    return Joined(path, footage.timeline, (1, 1), shades_in(path))


def shades_in(path: Path) -> list[float]:
    """The mean of each frame as it is to be shown: what is grey on average does not depend on the matrix."""
    shades = []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            is_full = frame.format.name.startswith("yuvj") or frame.color_range == 2
            bits = frame.format.components[0].bits
            plane = np.frombuffer(frame.planes[0], np.uint16 if bits > 8 else np.uint8)  # type: ignore[call-overload]
            mean = plane.reshape(frame.height, -1)[:, : frame.width].mean() / 2 ** (bits - 8)
            shades.append(float(mean if is_full else (mean - 16) * 255 / 219))
    return shades


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        missing("chromium", "there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def load(page: Page, made: Joined) -> Any:
    return page.evaluate(LOAD, base64.b64encode(made.path.read_bytes()).decode())


def check_plays(page: Page, made: Joined) -> None:
    """It plays to its end without a fault."""
    loaded = load(page, made)
    assert loaded is not None, page.evaluate("faults")
    one_frame = float(1 / made.timeline.format.frame_rate)
    assert loaded["seconds"] == pytest.approx(float(made.timeline.seconds), abs=one_frame)
    assert loaded["size"] == shown_size(made)
    ended = page.evaluate(PLAY)
    assert ended["faults"] == []
    assert ended["at"] == pytest.approx(loaded["seconds"], abs=0.05)


def wrong_seeks(page: Page, made: Joined, wanted: Iterable[int], patience: int = PATIENCE) -> Iterator[int]:
    """The frames that are not shown when their time is sought."""
    starts = [made.timeline.time_of(number) for number in range(made.timeline.num_frames + 1)]
    for number in sorted(wanted, key=lambda number: (number * 7) % 5):  # back and forth
        seen = page.evaluate(SEEK, [float(starts[number] + starts[number + 1]) / 2, patience])
        for _ in range(LOOKS):  # a busy machine paints it a little later
            if seen["faults"] or abs(seen["mean"] - made.shades[number]) <= 0.45 * STEP:
                break
            page.wait_for_timeout(50)
            seen = page.evaluate("draw()")
        if seen["faults"] or abs(seen["mean"] - made.shades[number]) > 0.45 * STEP:
            yield number


def beside_the_seams(made: Joined) -> set[int]:
    """The first frame and the last, those at each seam, and those a tenth of a second before and after."""
    at_seams = [float(made.timeline.time_of(seam)) for seam in made.seams]
    near = {made.frame_at(seconds + step) for seconds in at_seams for step in (-0.1, 0.1)}
    return near | {0, made.timeline.num_frames - 1, *(seam + step for seam in made.seams for step in (-1, 0))}


def shown_size(made: Joined) -> list[int]:
    """Upright, and in square pixels: one side is stretched where they are not."""
    format = made.timeline.format
    width = Fraction(format.width) * format.pixel_aspect if format.pixel_aspect > 1 else Fraction(format.width)
    height = Fraction(format.height) / format.pixel_aspect if format.pixel_aspect < 1 else Fraction(format.height)
    return [round(width), round(height)]


def rows() -> dict[str, str]:
    """What the page says of each kind that is kept: the last cell of its row."""
    lines = (line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|"))
    said = {cells[0].strip(): cells[-1].strip() for cells in lines}
    return {kind: said[kind] for kind in names(KEPT)}


@pytest.mark.parametrize("kind", [kind for kind, said in rows().items() if said == PLAYS])
def test_chromium_plays_what_was_joined_and_seeks_across_its_seams(kind: str, page: Page, tmp_path: Path) -> None:
    made = joined(kind, kind, tmp_path)
    check_plays(page, made)
    assert list(wrong_seeks(page, made, beside_the_seams(made))) == []


@pytest.mark.parametrize("kind", [kind for kind, said in rows().items() if said == SEEKS_FAIL])
def test_where_seeks_fail_they_fail_in_the_source_too(kind: str, page: Page, tmp_path: Path) -> None:
    made, source = joined(kind, kind, tmp_path), alone(kind, tmp_path)
    check_plays(page, made)
    check_plays(page, source)
    assert any(wrong_seeks(page, source, (0, 10, 37), patience=1500))


@pytest.mark.parametrize("kind", [kind for kind, said in rows().items() if said == CAN_NOT])
def test_chromium_can_not_decode_what_the_page_says_it_can_not(kind: str, page: Page, tmp_path: Path) -> None:
    made = joined(kind, kind, tmp_path)
    assert load(page, made) is None
    assert load(page, alone(kind, tmp_path)) is None


def test_chromium_plays_two_encoders_footage_whose_parameter_sets_clash(page: Page, tmp_path: Path) -> None:
    made = joined("H.264 without B-frames", "H.264 Constrained Baseline", tmp_path)
    with av.open(str(made.path)) as container:
        record = bytes(container.streams.video[0].codec_context.extradata or b"")
    assert len(parameter_set_ids(record)[0]) == 1  # one header can't hold both: they are in band
    check_plays(page, made)
    assert list(wrong_seeks(page, made, beside_the_seams(made))) == []


def test_each_row_says_something_of_chromium_that_is_looked_at_here() -> None:
    assert set(rows().values()) <= {PLAYS, SEEKS_FAIL, CAN_NOT, "not tried"}
