"""A camera that goes on as it moved: what is taken for one, how fast, and where it goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.motion.camera import Path
from longtake.engines.motion.ends import CameraEnd, end_of
from longtake.engines.motion.flow import optical_flow
from longtake.engines.motion.frame import Frame, frame_at, pixel_grid, sharpness, stack, stretch
from longtake.engines.motion.momentum import Course, Speed, camera_speed, course
from longtake.engines.motion.stills import MovingStill
from longtake.engines.motion.tail import usable_tail
from longtake.frames import Frames

Luma = npt.NDArray[np.uint8]
RATE = 24.0
SIZE = (320, 180)


def texture(width: int, height: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Noise at several scales, as pictures have it."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for cell in (3, 8, 24, 60):
        coarse = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += fine[:height, :width] * cell**0.5
    return np.asarray(np.clip(128 + 50 * total / total.std(), 16, 235), np.float32)


def clip_of(pictures: list[npt.NDArray[np.float32]]) -> Frames:
    y = np.stack(pictures).clip(0, 255).round().astype(np.uint8)
    chroma = np.full((len(y), y.shape[1] // 2, y.shape[2] // 2), 128, np.uint8)
    return Frames((y, chroma, chroma.copy()))


def camera(where: Callable[[int], tuple[float, float, float, float]], num_frames: int = 60) -> Frames:
    """A camera over a plane that is wider than the picture. `where`: frame → (log zoom, roll, x, y)."""
    world = texture(3 * SIZE[0], 3 * SIZE[1])
    pictures = []
    for index in range(num_frames):
        zoom, roll, x, y = where(index)
        scale = math.exp(-zoom)
        cos, sin = scale * math.cos(roll), scale * math.sin(roll)
        centre = np.array([(side - 1) / 2 for side in SIZE])
        turn = np.array([[cos, -sin], [sin, cos]])
        start = 3 * centre + 1 + np.array([x, y]) - turn @ centre
        matrix = np.column_stack([turn, start])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        pictures.append(np.asarray(cv2.warpAffine(world, matrix, SIZE, flags=flags), np.float32))
    return clip_of(pictures)


def moving_still(concept: str, num_frames: int = 62) -> Frames:
    """The last frames of an image shot of five seconds, as the engine makes it."""
    picture = frame_at(clip_of([texture(*SIZE, seed=3)]), 0)
    still = MovingStill(picture, Path(concept))
    return stack([still.at((120 - num_frames + index) / RATE) for index in range(num_frames)])


def reversed_in_time(clip: Frames) -> Frames:
    return Frames(tuple(np.ascontiguousarray(plane[::-1]) for plane in clip.planes))


def speed_of(clip: Frames) -> Speed | None:
    tail = usable_tail(clip, RATE)
    assert tail is not None
    return camera_speed(tail, RATE)


def lengths(way: Course) -> npt.NDArray[np.float64]:
    """How far each of a course's first frames is from the one before, in the middle of the picture, in pixels."""
    views = [np.zeros_like(way.view(0)), *(way.view(index) for index in range(min(len(way.zoom), 3)))]
    rows, columns = views[0].shape[0] // 4, views[0].shape[1] // 4
    middle = slice(rows, -rows), slice(columns, -columns)
    steps = [np.linalg.norm((b - a)[middle], axis=-1).mean() for a, b in pairwise(views)]
    return np.array(steps, np.float64)


def flow_length(before: Luma, after: Luma) -> float:
    rows, columns = before.shape[0] // 4, before.shape[1] // 4
    return float(np.linalg.norm(optical_flow(before, after), axis=-1)[rows:-rows, columns:-columns].mean())


@pytest.mark.parametrize(
    ("zoom", "roll", "x", "y"),
    [
        (0.0, 0.0, 1.5, 0.0),
        (0.0, 0.0, -0.3, 0.4),
        (0.0, 0.0, 6.0, -2.0),
        (0.004, 0.0, 0.0, 0.0),
        (-0.003, 0.0, 0.0, 0.0),
        (0.0, 0.002, 0.0, 0.0),
        (0.002, -0.001, 0.8, 0.0),
    ],
)
def test_the_speed_of_a_moving_camera_is_measured_within_a_tenth(zoom: float, roll: float, x: float, y: float) -> None:
    clip = camera(lambda index: (zoom * index, roll * index, x * index, y * index))
    speed = speed_of(clip)
    assert speed is not None
    # A frame's shift is seen in the picture's own pixels, which the zoom and roll up to the last frame have turned.
    turn = np.exp(-59 * zoom) * np.array(
        [[math.cos(59 * roll), -math.sin(59 * roll)], [math.sin(59 * roll), math.cos(59 * roll)]]
    )
    shift = np.linalg.solve(turn, [x, y])
    radius = 0.29 * math.hypot(*SIZE)
    expected = np.array([zoom * radius, roll * radius, *shift])
    found = np.array([speed.zoom * radius, speed.roll * radius, *speed.shift])
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_a_static_camera_before_which_a_big_thing_passes_does_not_move() -> None:
    ground, thing = texture(*SIZE, seed=1), texture(130, 110, seed=2)
    pictures = []
    for index in range(60):
        picture = ground.copy()
        picture[40:150, 2 * index : 2 * index + 130] = thing
        pictures.append(picture)
    assert speed_of(clip_of(pictures)) is None


def test_a_static_camera_over_a_bare_ground_does_not_move_with_what_passes() -> None:
    ground = 60 + 0.06 * (texture(*SIZE, seed=1) - 128)
    thing = texture(130, 150, seed=2)
    pictures = []
    for index in range(60):
        picture = ground.copy()
        picture[:150, 2 * index : 2 * index + 130] = thing
        pictures.append(picture)
    assert speed_of(clip_of(pictures)) is None


@pytest.mark.parametrize("phase", [0.0, 1.1, 2.2])
def test_a_swaying_camera_is_not_carried_on(phase: float) -> None:
    clip = camera(lambda index: (0.0, 0.0, 12 * math.sin(2.4 * index / RATE + phase), 0.0), 90)
    assert speed_of(clip) is None


def test_a_camera_that_comes_to_rest_stays_there() -> None:
    clip = camera(lambda index: (0.0, 0.0, 1.5 * min(index, 40), 0.0), 62)
    tail = usable_tail(clip, RATE)
    assert tail is None or camera_speed(tail, RATE) is None


def test_noise_is_no_camera() -> None:
    rng = np.random.default_rng(0)
    ground = texture(*SIZE)
    assert speed_of(clip_of([ground + rng.normal(0, 4, ground.shape).astype(np.float32) for _ in range(48)])) is None


@pytest.mark.parametrize(
    ("concept", "forward"),
    [(concept, True) for concept in ("pan_left", "zoom_in", "zoom_out", "push_in", "pull_out", "truck_right")]
    + [(concept, False) for concept in ("tilt_up", "zoom_in", "pull_out", "roll_left")],
)
def test_an_animated_image_goes_on_as_it_moved(concept: str, forward: bool) -> None:
    clip = moving_still(concept)
    seen = clip if forward else reversed_in_time(clip)
    end = end_of(clip, Path(), RATE, is_still=False, forward=forward, seed=1)
    # What leads up to a clip is the mirror image: the clip's frames reversed, then `away` from its first one.
    assert isinstance(end, CameraEnd)
    new = [frame for frame, _ in zip(end.away(72), range(8), strict=False)]
    before = flow_length(seen.planes[0][-9], seen.planes[0][-1])
    after = flow_length(seen.planes[0][-1], new[-1].y)
    assert after == pytest.approx(before, rel=0.15)


def test_what_leads_up_to_a_clip_is_its_way_away_reversed() -> None:
    end = end_of(moving_still("pan_left"), Path(), RATE, is_still=False, forward=False, seed=1)
    away, towards = list(end.away(12)), list(end.towards(12))
    assert all(np.array_equal(a.y, b.y) for a, b in zip(away, reversed(towards), strict=True))


MOVES = {
    "in": Speed(0.008, 0.0, (0.0, 0.0)),
    "out": Speed(-0.006, 0.0, (0.0, 0.0)),
    "pan": Speed(0.0, 0.0, (4.0, 0.0)),
    "tilt": Speed(0.0, 0.0, (0.0, -1.0)),
    "roll": Speed(0.0, 0.003, (0.0, 0.0)),
    "pull": Speed(0.0, 0.0, (0.0, 0.0), pull=0.003),
    "push": Speed(0.0, 0.0, (0.0, 0.0), pull=-0.003),
    "truck": Speed(0.001, 0.0, (1.0, 0.0), near=-0.001, parallax=(0.8, 0.0), depth=np.eye(12, dtype=np.float32)),
    "all": Speed(-0.002, 0.001, (1.0, 1.0), pull=0.001),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("hands_over", [True, False])
def test_a_course_shows_no_border(move: str, hands_over: bool) -> None:
    way = course(MOVES[move], SIZE, 120, RATE, hands_over=hands_over)
    for index in (0, 119):
        source = pixel_grid(SIZE) + stretch(way.view(index), SIZE)
        assert source.min() > -1
        assert np.all(source.max(axis=(0, 1)) < np.array(SIZE))


@pytest.mark.parametrize("move", MOVES)
def test_a_course_never_folds_the_picture(move: str) -> None:
    way = course(MOVES[move], SIZE, 120, RATE, hands_over=False)
    source = pixel_grid(SIZE) + stretch(way.view(119), SIZE)
    smooth = MOVES[move].depth.shape == (2, 2)
    if smooth:
        assert np.diff(source[..., 0], axis=1).min() > -1e-3
        assert np.diff(source[..., 1], axis=0).min() > -1e-3


@pytest.mark.parametrize("move", ["in", "out", "pan", "tilt", "roll", "pull", "push"])
def test_a_course_begins_at_the_clips_own_speed_and_never_turns_back(move: str) -> None:
    own = course(MOVES[move], SIZE, 1, RATE, hands_over=False)
    way = course(MOVES[move], SIZE, 120, RATE, hands_over=False)
    steps = lengths(way)
    assert steps[0] == pytest.approx(lengths(own)[0], rel=0.05)
    motion = np.concatenate([np.zeros((1, 8)), way.motion])
    leading = motion[:, int(np.argmax(np.abs(way.motion[0])))]
    assert np.all(np.diff(leading) * np.sign(leading[1]) >= -1e-9)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("num_frames", [24, 240])
def test_the_total_zoom_is_limited(move: str, num_frames: int) -> None:
    way = course(MOVES[move], SIZE, num_frames, RATE, hands_over=False)
    assert 1 / 1.25 < math.exp(way.zoom[-1]) <= 1.25
    assert np.abs(way.motion[:, 4]).max() <= 0.2 + 1e-9


def test_a_slow_move_is_kept_and_a_fast_one_slows_down() -> None:
    slow = course(Speed(0.0005, 0.0, (0.0, 0.0)), SIZE, 120, RATE, hands_over=False)
    fast = course(MOVES["pan"], SIZE, 120, RATE, hands_over=False)
    assert not slow.slows_down
    assert np.allclose(np.diff(slow.zoom), 0.0005)
    assert fast.slows_down
    steps = np.diff(fast.motion[:, 2])
    assert steps[-1] < 0.2 * steps[0]


def test_a_move_hands_over_within_a_second() -> None:
    way = course(MOVES["pan"], SIZE, 72, RATE, hands_over=True)
    steps = np.diff(way.motion[:, 2])
    assert steps[24] < 0.1 * MOVES["pan"].shift[0]


@pytest.mark.parametrize("forward", [True, False])
def test_a_move_that_was_asked_for_begins_with_the_clips_own_speed(forward: bool) -> None:
    picture = frame_at(clip_of([texture(*SIZE)]), 0)
    end = CameraEnd(picture, Speed(0.0, 0.0, (2.0, 0.0)), Path("zoom_in"), RATE, forward=forward)
    frames = list(end.away(48))
    own = np.zeros_like(picture.y)
    own[:, :-2] = picture.y[:, 2:]
    assert flow_length(picture.y, frames[0].y) == pytest.approx(flow_length(picture.y, own), rel=0.15)
    assert flow_length(frames[-2].y, frames[-1].y) < 1.0


def test_a_camera_is_told_from_noise_and_from_what_moves_before_it() -> None:
    clip = camera(lambda index: (0.0, 0.0, 1.2 * index, 0.0))
    pictures = clip.planes[0].astype(np.float32) + np.random.default_rng(0).normal(0, 4, clip.planes[0].shape)
    thing = 128 + 0.5 * (texture(30, 50, seed=5) - 128)
    for index, picture in enumerate(pictures):
        picture[60:110, 20 + 2 * index : 50 + 2 * index] = thing
    speed = speed_of(clip_of([np.asarray(picture, np.float32) for picture in pictures]))
    assert speed is not None
    assert speed.shift == pytest.approx((1.2, 0.0), abs=0.12)


@pytest.mark.parametrize("size", [(2, 2), (2, 64), (64, 2)])
@pytest.mark.parametrize("move", MOVES)
def test_one_frame_and_the_smallest_sizes_work(size: tuple[int, int], move: str) -> None:
    way = course(MOVES[move], size, 1, RATE, hands_over=False)
    assert np.all(np.isfinite(way.view(0)))


def test_a_magnified_picture_stays_sharp_enough_in_its_first_second() -> None:
    picture: Frame = frame_at(clip_of([texture(640, 360)]), 0)
    end = CameraEnd(picture, Speed(0.002, 0.0, (0.0, 0.0)), Path(), RATE, forward=True)
    frames = list(end.away(24))
    assert min(sharpness(frame.y) for frame in frames) > 0.85 * sharpness(picture.y)
