"""Small pictures of luma: big enough for the flow that is measured on them."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from longtake.frames import Plane
from longtake.media.proxy import LEAST_SIDE, proxy

SIZES = [(1920, 48), (1920, 360), (48, 1920), (2, 2), (4096, 16), (16, 4096), (1024, 100), (34, 30)]
MEASURE = """
import sys
import numpy as np
from longtake.frames import Frames
from longtake.media.reversal import Mirror, reversal
from longtake.media.seams import measure

for size in sys.argv[1:]:
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (4, height, width), dtype=np.uint8)
    chroma = np.full((4, height // 2, width // 2), 128, np.uint8)
    frames = Frames((luma, chroma, chroma))
    print(size, 0 <= reversal(frames, frames, 15.0) <= 1, measure(frames, frames, 4).motion)
"""


def noise(width: int, height: int) -> Plane:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def test_footage_of_any_shape_is_measured_and_kills_nobody() -> None:
    sizes = [f"{width}x{height}" for width, height in SIZES]
    # In a process of its own: OpenCV's flow dies of a picture that is too flat for it.
    done = subprocess.run([sys.executable, "-c", MEASURE, *sizes], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split("\n")[:-1]) == (0, [f"{size} True 1.0" for size in sizes])


@pytest.mark.parametrize("width", [160, 240])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_proxy_has_the_width_asked_for_at_most_and_32_pixels_each_way_at_least(
    size: tuple[int, int], width: int
) -> None:
    small = proxy(noise(*size), width)
    assert min(small.shape) >= LEAST_SIDE == 32
    assert small.shape[1] == max(32, min(width, size[0]))
    assert small.dtype == np.uint8


def test_halving_on_the_way_is_averaging() -> None:
    luma = noise(1920, 1080)
    at_once = cv2.resize(luma, (240, 135), interpolation=cv2.INTER_AREA)
    assert int(np.abs(proxy(luma, 240).astype(int) - at_once).max()) <= 2
