"""What moves before a camera that stands: the scene without it, the light, the masks and the paths."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.engines.motion.foreground import SAMPLES, Tone, foreground, median_of_nine, shifted, spread
from longtake.engines.motion.frame import proxy
from longtake.engines.motion.tracks import FlowsBack, path_of, velocity_of, wobble
from longtake.engines.motion.uncover import Part

Luma = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 160, 96


def texture(seed: int = 0) -> npt.NDArray[np.float32]:
    coarse = np.random.default_rng(seed).uniform(30, 130, (HEIGHT // 6, WIDTH // 6)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)


BACK = texture()
LOOK = np.asarray(90 + 0.8 * texture(1)[:20, :24], np.float32)


def driving(num_frames: int = 40, speed: int = 2) -> list[Luma]:
    """A patch of 24 x 20 pixels that drives over a scene that stands, with a camera's noise."""
    rng = np.random.default_rng(2)
    planes = []
    for index in range(num_frames):
        luma = BACK + rng.normal(0, 1.5, BACK.shape)
        luma[40:60, 10 + speed * index : 34 + speed * index] = LOOK
        planes.append(np.clip(luma, 0, 255).astype(np.uint8))
    return planes


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from([2, 5, 256]))
def test_the_network_gives_the_median_of_nine(seed: int, rows: int, columns: int, levels: int) -> None:
    planes = np.random.default_rng(seed).integers(0, levels, (SAMPLES, rows, columns), dtype=np.uint8)
    kept = planes.copy()
    assert np.array_equal(median_of_nine(planes.__getitem__), np.median(planes, axis=0))
    assert np.array_equal(planes, kept)


@given(st.integers(1, 400))
def test_nine_places_are_spread_from_the_first_frame_to_the_last(count: int) -> None:
    places = spread(count)
    assert len(places) == SAMPLES
    assert (places[0], places[-1]) == (0, count - 1)
    assert places == sorted(places)


@given(st.floats(0.75, 1.35), st.floats(-20, 20))
def test_a_tone_is_undone(gain: float, offset: float) -> None:
    luma = np.linspace(30, 160, 256).astype(np.uint8).reshape(16, 16)
    seen = np.clip(gain * luma.astype(np.float64) + offset, 0, 255).round().astype(np.uint8)
    assert np.abs(Tone(gain, offset).undo(seen).astype(int) - luma).max() <= 2


@pytest.mark.parametrize(("gain", "offset"), [(0.8, 0.0), (1.2, -5.0), (1.0, 14.0)])
def test_a_change_of_light_is_measured_while_something_drives_by(gain: float, offset: float) -> None:
    planes = driving()
    first = np.clip(gain * planes[0].astype(np.float64) + offset, 0, 255).astype(np.uint8)
    front = foreground([first, *planes[1:]])
    assert front.tones[0].gain == pytest.approx(gain, abs=0.03)
    assert np.median(np.abs(front.lumas[0].astype(int) - planes[0])) <= 2
    assert front.tones[-1].is_same


def test_the_plate_is_the_scene_and_the_masks_are_what_drives() -> None:
    front = foreground(driving())
    assert np.abs(front.plate - BACK).mean() < 1.5
    for index in (0, 20, 39):
        there = np.zeros((HEIGHT, WIDTH), bool)
        there[40:60, 10 + 2 * index : 34 + 2 * index] = True
        found = front.masks[index] > 0
        assert np.count_nonzero(there & found) > 0.95 * np.count_nonzero(there | found) - 80
        assert np.count_nonzero(found & ~there) < 0.25 * np.count_nonzero(there)


def test_a_scene_of_noise_alone_has_nothing_before_it() -> None:
    rng = np.random.default_rng(0)
    planes = [np.clip(BACK + rng.normal(0, 4, BACK.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    assert max(np.count_nonzero(mask) for mask in foreground(planes).masks) < 0.002 * BACK.size


@pytest.mark.parametrize(("refined", "pixels"), [(False, 5.0), (True, 0.5)])
def test_a_path_leads_back_to_where_a_thing_was(refined: bool, pixels: float) -> None:
    """Over 12 frames flow alone drifts, looks do not."""
    front = foreground(driving())
    path = path_of(front.masks[-1], front, FlowsBack(front), 19, refined=refined)
    assert len(path) == 20
    assert path[12] == pytest.approx((-24, 0), abs=pixels)
    assert velocity_of(path) == pytest.approx((2, 0), abs=pixels / 10)


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(4, 30))
def test_a_frame_that_came_twice_does_not_change_a_speed(x: float, y: float, count: int) -> None:
    straight = -np.arange(count)[:, None] * np.array([[x, y]])
    assert velocity_of(straight) == pytest.approx((x, y))
    assert wobble(straight, np.array([x, y])) == pytest.approx(0, abs=1e-9)
    twice = straight.copy()
    twice[count // 2] = twice[count // 2 - 1]
    assert velocity_of(twice) == pytest.approx((x, y), abs=1e-6 if count > 6 else 5)


def test_a_mask_moves_by_whole_pixels_and_nothing_comes_in() -> None:
    mask = np.zeros((8, 10), np.uint8)
    mask[2:4, 6:10] = 1
    moved = shifted(mask, np.array([2.4, -0.6]))
    assert np.argwhere(moved).tolist() == [[1, 8], [1, 9], [2, 8], [2, 9]]
    assert not shifted(mask, np.array([20.0, 0.0])).any()


def test_what_another_light_leaves_of_black_is_black() -> None:
    assert Tone(1.0, 40.0).undo(np.array([[16, 20, 60]], np.uint8)).tolist() == [[0, 0, 20]]


@pytest.mark.parametrize("size", [(498, 280), (640, 268), (2048, 858), (704, 480), (480, 201)])
def test_any_box_of_the_grid_is_of_one_size_with_its_part_of_the_plane(size: tuple[int, int]) -> None:
    plane = np.zeros((size[1], size[0]), np.uint8)
    grid = proxy(plane, 480)
    rows, columns = grid.shape
    for left, top in ((0, 0), (columns // 3, rows // 3), (columns - 61, rows - 41)):
        for width, height in ((61, 41), (columns - left, rows - top)):
            part = Part(plane.shape, grid.shape, (left, top, width, height))
            assert part.of(np.zeros_like(grid)).shape == plane[part.where].shape
