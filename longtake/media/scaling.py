"""Frames in another size: Lanczos, with chroma where H.264 has it.

Chroma of 4:2:0 lies on the left luma sample of each pair, and between two rows (ISO/IEC 14496-10, figure E-1, type 0).
FFmpeg's scaler takes it to lie in the middle both ways: each time a picture is made larger by a factor f, its colours
would move right by (f - 1) / 2 pixels of what is made. They are moved back.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from longtake.frames import Frames, Plane
from longtake.media.colour import THREADS, meaning, to_colour
from longtake.media.planes import copy_into, empty_frames, to_video_frame
from longtake.video import BT709, Colour

LANCZOS: Final = (
    Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
TAPS: Final = 3
"""Of the shift's filter, on either side."""


class Scaler:
    """Brings 4:2:0 frames to one size and colour."""

    def __init__(self, size: tuple[int, int], colour: Colour = BT709) -> None:
        """`size`: width and height, even."""
        self._width, self._height = size
        self._colour = colour
        self._scaler = VideoReformatter()

    def of(self, frames: Frames) -> Frames:
        """The same frames; where size and colour are wanted as they are, the same numbers."""
        if (frames.width, frames.height) == (self._width, self._height):
            return to_colour(frames, self._colour)
        given = meaning(frames.colour, frames.width, frames.height)
        wanted = meaning(self._colour, self._width, self._height)
        made = empty_frames(frames.num_frames, self._width, self._height, self._colour)
        for index in range(frames.num_frames):
            frame = self._scaler.reformat(
                to_video_frame(frames, index),
                width=self._width,
                height=self._height,
                format="yuv420p",
                src_colorspace=given[0],
                dst_colorspace=wanted[0],
                src_color_range=given[1],
                dst_color_range=wanted[1],
                interpolation=LANCZOS,
                threads=THREADS,
            )
            copy_into(made, index, frame)
        to_left = (self._width / frames.width - 1) / 4
        for plane in made.planes[1:] if to_left else ():
            for index in range(frames.num_frames):
                plane[index] = _moved_left(plane[index], to_left)
        return made


def _moved_left(plane: Plane, samples: float) -> Plane:
    """The plane moved by a part of a sample, or by some: Lanczos, its edge repeated."""
    whole = math.floor(samples)
    reach = TAPS + abs(whole) + 1
    places = np.arange(-reach, reach + 1) - samples
    taps = np.where(np.abs(places) < TAPS, np.sinc(places) * np.sinc(places / TAPS), 0.0)
    one = np.ones((1, 1))
    return np.asarray(
        cv2.sepFilter2D(plane, -1, (taps / taps.sum())[None], one, borderType=cv2.BORDER_REPLICATE), np.uint8
    )
