"""The figures of a seam mean what the contract says, on any footage."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from longtake.frames import Frames
from longtake.media.cielab import ciede2000, rgb_to_lab
from longtake.media.colour import to_rgb
from longtake.media.seams import Seam, measure
from tests.footage import flat, moving

PUBLISHED = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, -0.001, 2.49), (50.0, 0.0011, -2.49), 4.7461),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (58.0, 24.0, 15.0), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""From table 1 of Sharma, Wu, Dalal 2005."""


@pytest.mark.parametrize(("first", "second", "difference"), PUBLISHED)
def test_ciede2000_gives_the_published_differences(
    first: tuple[float, ...], second: tuple[float, ...], difference: float
) -> None:
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(np.array(second), np.array(first)) == pytest.approx(difference, abs=5e-5)


def test_lab_of_known_colours() -> None:
    lab = rgb_to_lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    assert lab == pytest.approx(np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]), abs=0.02)


def test_footage_cut_nowhere_measures_as_perfect() -> None:
    footage = moving(48, 320, 180, step=2)
    seam = measure(footage[:24], footage[24:], 24)
    assert seam.frame == 24
    assert 0.7 < seam.jump < 1.4
    assert 0.8 < seam.motion < 1.25
    assert 0.8 < seam.sharpness < 1.25
    assert seam.colour < 1.5


def test_a_freeze_has_no_jump_and_no_motion_after() -> None:
    footage = moving(24, 320, 180, step=2)
    frozen = Frames(tuple(np.repeat(plane[-1:], 24, axis=0) for plane in footage.planes))
    seam = measure(footage, frozen, 24)
    assert seam.jump == 0
    assert seam.motion < 0.2


def test_a_cut_to_other_footage_jumps() -> None:
    assert measure(moving(24, 320, 180, seed=1), moving(24, 320, 180, seed=2), 24).jump > 3


def test_faster_motion_after_the_seam_shows_in_its_ratio() -> None:
    seam = measure(moving(24, 320, 180, step=1), moving(24, 320, 180, step=3), 24)
    assert 2 < seam.motion < 4.5


def test_blur_after_the_seam_shows_in_its_sharpness() -> None:
    footage = moving(24, 320, 180)
    grain = np.random.default_rng(0).integers(0, 20, footage.planes[0].shape, dtype=np.uint8)
    sharp = Frames((footage.planes[0] + grain, *footage.planes[1:]))
    soft = Frames((np.stack([cv2.GaussianBlur(y, (0, 0), 2) for y in sharp.planes[0]]), *sharp.planes[1:]))
    assert measure(sharp, soft, 24).sharpness < 0.3
    assert measure(soft, sharp, 24).sharpness > 3


def test_a_shift_of_colour_is_measured_in_ciede2000() -> None:
    seam = measure(flat(12, 120, 128, 128), flat(12, 120, 128, 140), 12)
    assert 5 < seam.colour < 30
    assert seam.sharpness == seam.motion == 1


@pytest.mark.parametrize("level", [16, 128, 235])
def test_still_footage_divides_by_no_zero(level: int) -> None:
    assert measure(flat(12, level), flat(12, level), 12) == Seam(12, 0, 1, 1, 0)


@pytest.mark.parametrize(("num_before", "num_after"), [(1, 24), (24, 1), (1, 1)])
def test_sides_of_one_frame_are_measured_by_what_there_is(num_before: int, num_after: int) -> None:
    footage = moving(num_before + num_after, 320, 180, step=2)
    seam = measure(footage[:num_before], footage[num_before:], num_before)
    assert np.isfinite([seam.jump, seam.motion, seam.sharpness, seam.colour]).all()
    assert seam.motion == 1
    if num_before + num_after > 2:
        assert 0.7 < seam.jump < 1.4


def test_rgb_frames_measure_as_yuv_ones_do() -> None:
    footage = moving(24, 320, 180, step=2)
    yuv, rgb = measure(footage[:12], footage[12:], 12), measure(to_rgb(footage[:12]), to_rgb(footage[12:]), 12)
    assert rgb.jump == pytest.approx(yuv.jump, abs=0.05)
    assert rgb.colour == pytest.approx(yuv.colour, abs=0.1)


def test_a_seam_survives_json() -> None:
    seam = measure(moving(8), moving(8, seed=4), 8)
    assert Seam.from_json(json.loads(json.dumps(seam.to_json()))) == seam


def test_sides_of_two_sizes_or_none_are_refused() -> None:
    for before, after in ((moving(3), moving(3, 32, 32)), (moving(3)[:0], moving(3))):
        with pytest.raises(ValueError, match="one size on both sides"):
            measure(before, after, 3)
