"""The motion engine's camera: each concept moves the picture as it is named, and never shows a border."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.camera import CONCEPTS, Path, view
from longtake.engines.motion.flow import optical_flow
from longtake.engines.motion.frame import frame_at, proxy, warp
from longtake.engines.motion.stills import pseudo_depth
from longtake.video import Cell, VideoFormat

SIZE = (320, 180)
RATE = Fraction(24)
FLAT = np.full((8, 8), 0.5, np.float32)
Motions = npt.NDArray[np.float32]


class Silent:
    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None: ...


def texture(size: tuple[int, int] = SIZE, seed: int = 0) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).uniform(0, 255, (size[1], size[0])).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(np.clip((smooth - smooth.mean()) * 5 + 126, 16, 235), np.uint8)


def still(size: tuple[int, int] = SIZE) -> Frames:
    chroma = np.full((1, size[1] // 2, size[0] // 2), 128, np.uint8)
    return Frames((texture(size)[None], chroma, chroma.copy()))


@cache
def moved(concept: str, cell: Cell) -> Motions:
    """How each pixel of the picture moves within ten frames: float32 (rows, columns, 2)."""
    before, after = (still() if kind == "still" else None for kind in cell)
    prompt = "green hills under a blue sky"
    shot = Shot(cell, VideoFormat(*SIZE, RATE), 48, before, after, prompt=prompt, concepts=(concept,))
    luma = np.concatenate([frames.planes[0] for frames in Motion().render(shot, Silent())])
    first = {"still": 36, "nothing": 18}[cell.before] if cell.after == "nothing" else 2
    return optical_flow(luma[first], luma[first + 10])


def middle(motion: Motions) -> npt.NDArray[np.float32]:
    rows, columns = motion.shape[:2]
    inner = motion[rows // 3 : -rows // 3, columns // 3 : -columns // 3]
    return np.asarray(np.median(inner.reshape(-1, 2), axis=0), np.float32)


def growth(motion: Motions) -> float:
    """How fast the picture's middle grows: the outward motion over the distance from the centre."""
    rows, columns = motion.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    x, y = x - columns / 2, y - rows / 2
    near = np.hypot(x, y) < rows / 3
    return float(np.sum((motion[..., 0] * x + motion[..., 1] * y)[near]) / np.sum((x * x + y * y)[near]))


def turning(motion: Motions) -> float:
    """How fast the picture turns clockwise, in radians."""
    rows, columns = motion.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    x, y = x - columns / 2, y - rows / 2
    return float(np.sum(motion[..., 1] * x - motion[..., 0] * y) / np.sum(x * x + y * y))


@cache
def noisy_depth() -> npt.NDArray[np.float32]:
    return pseudo_depth(frame_at(still(), 0))


STILL_CELLS = [Cell("still", "nothing"), Cell("nothing", "still")]
SIDEWAYS = {"truck_left": 1, "pan_left": 1, "truck_right": -1, "pan_right": -1}
UPRIGHT = {"tilt_up": 1, "pedestal_up": 1, "crane_up": 1, "tilt_down": -1, "pedestal_down": -1, "crane_down": -1}
DEPTHWISE = {"zoom_in": 1, "push_in": 1, "zoom_out": -1, "pull_out": -1}


@pytest.mark.parametrize("cell", STILL_CELLS, ids=str)
@pytest.mark.parametrize("concept", SIDEWAYS)
def test_a_camera_that_goes_left_moves_the_scene_right(concept: str, cell: Cell) -> None:
    across, down = middle(moved(concept, cell))
    assert SIDEWAYS[concept] * across > 0.25
    assert abs(down) < abs(across) / 2


@pytest.mark.parametrize("cell", STILL_CELLS, ids=str)
@pytest.mark.parametrize("concept", UPRIGHT)
def test_a_camera_that_goes_up_moves_the_scene_down(concept: str, cell: Cell) -> None:
    across, down = middle(moved(concept, cell))
    assert UPRIGHT[concept] * down > 0.15
    assert abs(across) < abs(down) / 2


@pytest.mark.parametrize("cell", [*STILL_CELLS, Cell("nothing", "nothing")], ids=str)
@pytest.mark.parametrize("concept", DEPTHWISE)
def test_a_camera_that_goes_in_makes_the_scene_grow(concept: str, cell: Cell) -> None:
    assert DEPTHWISE[concept] * growth(moved(concept, cell)) > 0.002


@pytest.mark.parametrize("cell", STILL_CELLS, ids=str)
@pytest.mark.parametrize(("concept", "sign"), [("roll_left", 1), ("roll_right", -1)])
def test_a_camera_that_rolls_left_turns_the_scene_clockwise(concept: str, sign: int, cell: Cell) -> None:
    assert sign * turning(moved(concept, cell)) > 0.002


@pytest.mark.parametrize(("concept", "sign"), [("orbit_left", 1), ("orbit_right", -1)])
def test_an_orbit_moves_near_and_far_things_against_each_other(concept: str, sign: int) -> None:
    pose = Path(concept).pose(5.0)
    near, far = (-view(pose, np.full((8, 8), depth, np.float32), SIZE)[45, 80, 0] for depth in (1.0, 0.0))
    assert sign * near > 3
    assert sign * far < -3


def test_a_dolly_zoom_magnifies_the_background_and_keeps_the_subject() -> None:
    pose = Path("dolly_zoom").pose(5.0)
    assert np.abs(view(pose, np.ones((8, 8), np.float32), SIZE)).max() < 0.01
    assert growth(-view(pose, np.zeros((8, 8), np.float32), SIZE)) > 0.1


def test_a_static_camera_shows_the_still_as_it_is() -> None:
    shot = Shot(Cell("still", "nothing"), VideoFormat(*SIZE, RATE), 30, before=still(), concepts=("static",))
    for frames in Motion().render(shot, Silent()):
        assert (frames.planes[0] == still().planes[0]).all()


def test_a_handheld_camera_sways_both_ways() -> None:
    path = Path("handheld")
    shifts = [view(path.pose(second / 4), FLAT, SIZE)[45, 80, 0] for second in range(4, 20)]
    assert max(shifts) > 0.3
    assert min(shifts) < -0.3


def test_every_concept_that_is_offered_is_tested_here() -> None:
    others = {"roll_left", "roll_right", "orbit_left", "orbit_right", "dolly_zoom", "static", "handheld"}
    assert Motion.capabilities.concepts == CONCEPTS == {*SIDEWAYS, *UPRIGHT, *DEPTHWISE} | others


@pytest.mark.parametrize("seconds", [0.5, 60.0])
@pytest.mark.parametrize("concept", ["", *sorted(CONCEPTS)])
def test_no_move_looks_beyond_the_picture(concept: str, seconds: float) -> None:
    depth = noisy_depth()
    for loop in (False, True):
        path = Path(concept, seconds, loop=loop, seed=3)
        for moment in np.linspace(-seconds, seconds, 5):
            field = view(path.pose(float(moment)), depth, SIZE)
            assert np.isfinite(field).all()
            rows, columns = field.shape[:2]
            assert (field[:, 0, 0] >= -SIZE[0] / columns).all()
            assert (field[:, -1, 0] <= SIZE[0] / columns).all()
            assert (field[0, :, 1] >= -SIZE[1] / rows).all()
            assert (field[-1, :, 1] <= SIZE[1] / rows).all()


def test_a_move_starts_at_rest_and_then_keeps_its_speed() -> None:
    """The distance between the marks of one point, from frame to frame: no jump, and steady once it moves."""
    path = Path("pan_left", 5.0)
    places = np.array([view(path.pose(index / 24), FLAT, (1280, 720))[45, 80, 0] for index in range(120)])
    speeds = np.abs(np.diff(places))
    assert speeds[0] < 0.05 * speeds[-1]
    assert np.abs(np.diff(speeds[30:])).max() < 0.05 * speeds[-1]


def test_a_picture_moved_by_whole_pixels_keeps_its_pixels() -> None:
    frame = frame_at(still(), 0)
    field = np.zeros((4, 4, 2), np.float32) + np.array([4, 2], np.float32)
    assert (warp(frame, field).y[:-2, :-4] == frame.y[2:, 4:]).all()


def test_a_proxy_is_never_larger_than_the_picture() -> None:
    assert proxy(texture((64, 48)), 480).shape == (48, 64)
    assert proxy(texture((960, 540)), 480).shape == (270, 480)
