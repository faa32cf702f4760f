"""What edits do to pictures: scaling leaves colours where they are, and around a picture there is no line."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.motion.frame import Box
from longtake.engines.motion.surround import Surround
from longtake.frames import Frames
from longtake.media.scaling import Scaler
from longtake.video import BT709, Colour
from tests.footage import flat, moving, same

FULL_RANGE = Colour(1, 1, 1, 2)


def blobs(width: int, height: int) -> Frames:
    """A spot of light and colour, its chroma sampled as H.264 has it: on the left luma sample, between two rows."""

    def bump(x: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
        away = (x - 0.4 * width) ** 2 + (y[:, None] - 0.45 * height) ** 2
        return np.asarray(np.round(60 + 140 * np.exp(-away / (2 * (0.09 * width) ** 2))), np.uint8)

    luma = bump(np.arange(width) + 0.5, np.arange(height) + 0.5)
    chroma = bump(2 * np.arange(width // 2) + 0.5, 2 * np.arange(height // 2) + 1.0)
    return Frames((luma[None], chroma[None], chroma[None].copy()))


def off(made: Frames, wanted: Frames) -> list[float]:
    """The mean difference of each plane, in levels."""
    pairs = zip(made.planes, wanted.planes, strict=True)
    return [float(np.abs(a.astype(float) - b.astype(float)).mean()) for a, b in pairs]


class TestScaler:
    @pytest.mark.parametrize("size", [(256, 192), (384, 288), (512, 384), (64, 48), (256, 96)])
    def test_light_and_colour_stay_where_they_are(self, size: tuple[int, int]) -> None:
        stretched = size[0] * 96 != size[1] * 128
        if stretched:
            made = Scaler(size).of(blobs(128, 96))
            back = Scaler((128, 96)).of(made)
            assert max(off(back, blobs(128, 96))) < 0.6
        else:
            assert max(off(Scaler(size).of(blobs(128, 96)), blobs(*size))) < 0.35

    def test_frames_of_that_size_and_colour_are_the_same_numbers(self) -> None:
        frames = moving(2)
        assert same(Scaler((64, 48)).of(frames), frames)

    def test_full_range_becomes_limited_range(self) -> None:
        white = Frames(flat(1, 255).planes, FULL_RANGE)
        made = Scaler((128, 96)).of(white)
        assert made.colour == BT709
        assert abs(int(made.planes[0][0, 40, 40]) - 235) <= 1


class TestSurround:
    def test_the_picture_itself_is_as_it_was(self) -> None:
        frames, kept = moving(2), Box(20, 40, 84, 88)
        made = Surround((128, 160), kept).of(frames)
        assert [plane.shape for plane in made.planes] == [(2, 160, 128), (2, 80, 64), (2, 80, 64)]
        boxes = (kept, kept.halved(), kept.halved())
        inside = tuple(plane[(slice(None), *box.where)] for plane, box in zip(made.planes, boxes, strict=True))
        assert same(Frames(inside), frames)

    def test_there_is_no_line_at_its_edge(self) -> None:
        """Across the edge the picture changes no more than from one of its own rows to the next."""
        frames = moving(1, 320, 180, seed=3)
        luma = Surround((320, 560), Box(0, 190, 320, 370)).of(frames).planes[0][0].astype(float)
        steps = np.abs(np.diff(luma, axis=0)).mean(axis=1)
        assert max(steps[189], steps[369]) <= np.quantile(steps[190:369], 0.9)

    def test_the_farther_away_the_more_it_is_blurred(self) -> None:
        noise = np.random.default_rng(0).integers(30, 220, (1, 180, 320), np.uint8)
        frames = Frames((noise, *flat(1, 100, width=320, height=180).planes[1:]))
        luma = Surround((320, 560), Box(0, 190, 320, 370)).of(frames).planes[0][0]
        detail = np.abs(cv2.Laplacian(luma, cv2.CV_32F)).mean(axis=1)
        near, far, farther = (float(detail[190 - away : 192 - away].mean()) for away in (2, 8, 60))
        assert near > 4 * far > 6 * farther
        assert farther < 2  # of what hides the steps of eight bits

    def test_what_stands_still_stands_still_around_it_too(self) -> None:
        frames = Frames(tuple(np.repeat(plane, 3, axis=0) for plane in moving(1).planes))
        made = Surround((64, 128), Box(0, 40, 64, 88)).of(frames)
        assert all((plane == plane[:1]).all() for plane in made.planes)

    def test_a_flat_picture_stays_flat(self) -> None:
        made = Surround((128, 128), Box(32, 40, 96, 88)).of(flat(1, 77, 99, 140))
        for plane, level in zip(made.planes, (77, 99, 140), strict=True):
            assert np.abs(plane.astype(int) - level).max() <= 1

    def test_a_picture_of_two_pixels_fills_a_canvas(self) -> None:
        made = Surround((64, 48), Box(30, 20, 32, 22)).of(flat(1, 77, width=2, height=2))
        assert abs(int(made.planes[0][0, 0, 0]) - 77) <= 1
