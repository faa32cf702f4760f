"""Something passes in pictures of all sizes that films come in, whatever their proxies are."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.video import Cell, VideoFormat

RATE = 12


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def driving(width: int, height: int, num_frames: int) -> Frames:
    """A light box that drives to the right over a textured ground."""
    rng = np.random.default_rng(1)
    coarse = rng.normal(size=(height // 12 + 2, width // 12 + 2)).astype(np.float32)
    ground = 90 + 18 * cv2.resize(coarse, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)[:height, :width]
    side, step = height // 4, width / 90
    y = np.empty((num_frames, height, width), np.uint8)
    for index in range(num_frames):
        picture = ground.copy()
        left = round(width * 0.1 + step * index)
        box = picture[height // 2 : height // 2 + side, left : left + side]
        box[:] = 190 + 20 * np.sin(np.arange(box.shape[1]) / 3)
        y[index] = np.clip(picture, 0, 255)
    chroma = np.full((num_frames, height // 2, width // 2), 128, np.uint8)
    return Frames((y, chroma, chroma))


@pytest.mark.parametrize("size", [(1280, 536), (720, 406), (704, 480), (498, 280), (1998, 1080), (540, 404)])
def test_what_passes_goes_on_in_pictures_of_any_size(size: tuple[int, int]) -> None:
    report = Notes()
    shot = Shot(Cell("clip", "nothing"), VideoFormat(*size, Fraction(RATE)), 8, before=driving(*size, 40), seed=1)
    assert sum(batch.num_frames for batch in Motion().render(shot, report)) == 8
    assert "layer" in report.texts[0]
