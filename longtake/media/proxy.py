"""Small pictures of luma, on which motion is measured."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from longtake.frames import Plane

LEAST_SIDE: Final = 32
"""DIS's quick presets begin at a quarter of the size with patches of 8 pixels; OpenCV's dies where one does not fit."""


def proxy(luma: Plane, width: int) -> Plane:
    """`(height, width)` of one frame brought to at most `width` columns, and to at least `LEAST_SIDE` each way.

    A view of `luma` where its size is right already, else a copy.
    """
    height, full = luma.shape
    scale = min(1.0, width / full)
    size = max(LEAST_SIDE, round(full * scale)), max(LEAST_SIDE, round(height * scale))
    # Averaging four pixels is much faster than averaging any other number.
    while not (height % 2 or full % 2) and full >= 2 * size[0] and height >= 2 * size[1]:
        height, full = height // 2, full // 2
        luma = np.asarray(cv2.resize(luma, (full, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (full, height) == size:
        return luma
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
