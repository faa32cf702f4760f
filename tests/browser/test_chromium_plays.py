"""A browser plays what was joined: to its end, and across each seam."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, Route, sync_playwright

from tests.conftest import missing
from tests.servers import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
JOINS = ("append", "prepend", "bridge")
PAGE = "<!doctype html><meta charset=utf-8><title>video</title><video muted preload=auto></video>"
LOAD = """address => new Promise((done, fail) => {
  const video = document.querySelector("video")
  window.faults = []
  video.addEventListener("error", () => { faults.push(video.error.message); fail(new Error(video.error.message)) })
  video.addEventListener("stalled", () => faults.push("stalled"))
  video.addEventListener("canplaythrough", () => done(
    { seconds: video.duration, width: video.videoWidth, height: video.videoHeight }), { once: true })
  video.src = address
})"""
PLAY = """() => new Promise((done, fail) => {
  const video = document.querySelector("video")
  video.addEventListener("ended", () => done({ at: video.currentTime, faults }), { once: true })
  video.playbackRate = 4
  video.play().catch(fail)
})"""
SEEK = """seconds => new Promise(done => {
  const video = document.querySelector("video")
  const draw = () => {
    const canvas = document.createElement("canvas")
    canvas.width = 96; canvas.height = 54
    const context = canvas.getContext("2d")
    context.drawImage(video, 0, 0, 96, 54)
    done({ at: video.currentTime, pixels: Array.from(context.getImageData(0, 0, 96, 54).data), faults })
  }
  video.addEventListener("seeked", () => video.requestVideoFrameCallback ? requestAnimationFrame(draw) : draw(),
    { once: true })
  video.currentTime = seconds
})"""


@pytest.fixture(scope="module")
def joined(server: Server) -> dict[str, dict[str, Any]]:
    """An appended, a prepended and a bridged video."""
    coarse = np.random.default_rng(3).integers(60, 235, (9, 16, 3), dtype=np.uint8)
    picture = cv2.imencode(".jpg", cv2.resize(coarse, (960, 540), interpolation=cv2.INTER_CUBIC))[1].tobytes()
    image = {"type": "image", "url": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"}
    small = {"resolution": "540p", "fps": 12, "seconds": 1, "seed": 1}
    parent = {"type": "generation", "id": server.create({**small, "keyframes": {"frame0": image}})}
    ends = {"append": {"frame0": parent}, "prepend": {"frame1": parent}, "bridge": {"frame0": parent, "frame1": parent}}
    ids = {join: server.create({**small, "keyframes": ends[join]}) for join in JOINS}
    return {join: server.completed(id) for join, id in ids.items()}


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    """An empty page of the server's own origin, so that a canvas may be read back."""
    if CHROMIUM is None:
        missing("chromium", "there is no chromium on the path")
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        stack.callback(browser.close)
        page = browser.new_page()
        page.set_default_timeout(30_000)

        def fulfill(route: Route) -> None:
            route.fulfill(body=PAGE, content_type="text/html")

        page.route("**/page-of-this-test", fulfill)
        page.goto(f"{server.address}/page-of-this-test")
        yield page


def load(page: Page, answer: dict[str, Any]) -> dict[str, Any]:
    page.reload()
    loaded: dict[str, Any] = page.evaluate(LOAD, answer["assets"]["video"])
    return loaded


@pytest.mark.parametrize("join", JOINS)
def test_a_browser_plays_a_joined_video_to_its_end(join: str, joined: dict[str, dict[str, Any]], page: Page) -> None:
    answer = joined[join]
    loaded = load(page, answer)
    assert loaded["seconds"] == pytest.approx(answer["video"]["duration"], abs=0.01)
    assert (loaded["width"], loaded["height"]) == (960, 540)
    ended = page.evaluate(PLAY)
    assert ended["at"] == pytest.approx(answer["video"]["duration"], abs=0.1)
    assert ended["faults"] == []


@pytest.mark.parametrize("join", JOINS)
def test_a_browser_seeks_to_both_sides_of_each_seam(join: str, joined: dict[str, dict[str, Any]], page: Page) -> None:
    answer = joined[join]
    load(page, answer)
    assert answer["seams"]
    for seam in answer["seams"]:
        sides = []
        for frame in (seam["frame"] - 1, seam["frame"]):
            seconds = (frame + 0.5) / 12
            found = page.evaluate(SEEK, seconds)
            assert found["at"] == pytest.approx(seconds, abs=0.01)
            assert found["faults"] == []
            pixels = np.array(found["pixels"], np.float64).reshape(54, 96, 4)
            assert (pixels[..., 3] == 255).all()
            assert pixels[..., :3].mean() > 60
            assert pixels[..., :3].std() > 20
            sides.append(pixels[..., :3])
        assert np.abs(sides[0] - sides[1]).mean() < 20
