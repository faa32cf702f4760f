"""BT.709 both ways, by the numbers of the standard, and without drift."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.frames import Frames
from longtake.media.colour import to_rgb, to_yuv
from tests.footage import flat, moving, same

KNOWN = [
    ((16, 128, 128), (0, 0, 0)),
    ((235, 128, 128), (255, 255, 255)),
    ((126, 128, 128), (128, 128, 128)),
    ((63, 102, 240), (255, 0, 0)),
    ((173, 42, 26), (0, 255, 0)),
    ((32, 240, 118), (0, 0, 255)),
]
"""8-bit BT.709 limited range (ITU-R BT.709-6, item 3 and 4) and RGB."""


@pytest.mark.parametrize(("yuv", "rgb"), KNOWN)
def test_known_colours_convert_to_their_known_numbers(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    made = to_rgb(flat(1, *yuv)).planes[0][0, 20, 20]
    assert np.abs(made.astype(int) - rgb).max() <= 2
    back = to_yuv(Frames((np.broadcast_to(np.array(rgb, np.uint8), (1, 48, 64, 3)).copy(),)))
    assert [abs(int(plane[0, 10, 10]) - level) <= 1 for plane, level in zip(back.planes, yuv, strict=True)] == [
        True
    ] * 3


def test_eight_trips_through_rgb_do_not_drift() -> None:
    start = moving(3, 128, 96)
    trip = start
    for _ in range(8):
        trip = to_yuv(to_rgb(trip))
    for plane, first in zip(trip.planes, start.planes, strict=True):
        assert abs(float(plane.mean()) - float(first.mean())) < 0.1


def test_frames_that_are_of_the_kind_already_come_back_as_they_are() -> None:
    yuv = moving(2)
    rgb = to_rgb(yuv)
    assert to_yuv(yuv) is yuv
    assert to_rgb(rgb) is rgb


def test_each_frame_is_converted_by_itself_and_none_is_changed() -> None:
    yuv = moving(4)
    kept = Frames(tuple(plane.copy() for plane in yuv.planes))
    together, alone = to_rgb(yuv), [to_rgb(yuv[k : k + 1]) for k in range(4)]
    assert same(yuv, kept)
    assert all(same(together[k : k + 1], alone[k]) for k in range(4))


def test_odd_rgb_has_no_420() -> None:
    with pytest.raises(ValueError, match="even width and height, got 5x4"):
        to_yuv(Frames((np.zeros((1, 4, 5, 3), np.uint8),)))
