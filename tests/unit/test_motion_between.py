"""Between two pictures of one scene: what moves is half way at half time, what stands still stays."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.between import Interpolation, interpolation
from longtake.engines.motion.frame import Box, Frame, boxes_around
from longtake.frames import Plane
from longtake.video import Cell, VideoFormat

Luma = npt.NDArray[np.float32]
RATE = Fraction(24)
SIZE = 240, 136


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def texture(width: int, height: int, seed: int = 0, grain: float = 2.0) -> Luma:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.asarray(np.clip((smooth - smooth.mean()) * 1.5 * grain + 110, 16, 200), np.float32)


def frame_of(luma: Luma) -> Frame:
    y = luma.clip(0, 255).round().astype(np.uint8)
    half = (max(1, y.shape[0] // 2), max(1, y.shape[1] // 2))
    return Frame(y, np.full(half, 120, np.uint8), np.full(half, 136, np.uint8))


def square_at(left: int, seed: int = 0) -> Frame:
    """A textured square of 40 px, brighter than the textured ground it moves over."""
    luma = texture(*SIZE, seed)
    luma[48:88, left : left + 40] = texture(40, 40, 7, 4.0) + 50
    return frame_of(luma)


def found(first: Frame, second: Frame) -> Interpolation:
    between = interpolation(first, second)
    assert between is not None
    return between


def distance(a: Plane, b: Plane) -> float:
    return float(np.mean(np.abs(a.astype(np.float32) - b)))


def render(first: Frame, second: Frame, num_frames: int) -> tuple[Frames, list[str]]:
    ends = [Frames(tuple(plane[None] for plane in frame)) for frame in (first, second)]
    width, height = first.size
    notes = Notes()
    format = VideoFormat(width, height, RATE)
    shot = Shot(Cell("still", "still"), format, num_frames, before=ends[0], after=ends[1], seed=3)
    batches = list(Motion().render(shot, notes))
    return Frames(
        tuple(np.concatenate(planes) for planes in zip(*(b.planes for b in batches), strict=True))
    ), notes.texts


def same(frames: Frames, index: int, frame: Frame) -> bool:
    return all(np.array_equal(plane[index], wanted) for plane, wanted in zip(frames.planes, frame, strict=True))


def test_a_moved_square_is_half_way_at_half_time() -> None:
    middle = found(square_at(80), square_at(92)).at(0.5)
    inside = slice(54, 82), slice(92, 120)
    assert distance(middle.y[inside], square_at(86).y[inside]) < 8
    assert distance(middle.y, square_at(86).y) < 0.5 * distance(square_at(80).y, square_at(86).y)


def test_a_pan_moves_evenly() -> None:
    wide = texture(SIZE[0] + 24, SIZE[1])
    views = [frame_of(wide[:, shift : shift + SIZE[0]]) for shift in range(25)]
    between = found(views[0], views[24])
    inside = slice(20, -20), slice(40, -40)
    for shift in (6, 12, 18):
        assert distance(between.at(shift / 24).y[inside], views[shift].y[inside]) < 3


def test_the_ground_stands_still_behind_what_moves() -> None:
    first, second = square_at(80), square_at(104)
    between = found(first, second)
    for moment in (0.25, 0.5, 0.75):
        ground = np.abs(between.at(moment).y[:, :60].astype(int) - first.y[:, :60])
        assert np.percentile(ground, 99) <= 3


def test_noise_on_what_stands_still_is_averaged_away() -> None:
    clean = texture(*SIZE)
    noise = np.random.default_rng(5).normal(0, 4, (2, *clean.shape)).astype(np.float32)
    middle = found(frame_of(clean + noise[0]), frame_of(clean + noise[1])).at(0.5)
    assert np.std(middle.y - clean) < 0.9 * np.std(noise)


def test_a_change_of_exposure_ramps_evenly_and_is_no_dissolve() -> None:
    wide = texture(SIZE[0] + 16, SIZE[1])
    first, second = frame_of(wide[:, : SIZE[0]]), frame_of(wide[:, 16:] * 0.8 - 5)
    frames, notes = render(first, second, 9)
    means = frames.planes[0].reshape(9, -1).mean(axis=1)
    steps = np.diff(means)
    assert steps.max() < 0
    assert steps.max() - steps.min() < 0.5 * abs(steps.mean())
    assert not any("dissolve" in note for note in notes)
    inside = slice(20, -20), slice(40, -40)
    wanted = (wide[:, 8 : 8 + SIZE[0]] * 0.9 - 2.5).astype(np.uint8)
    assert distance(frames.planes[0][4][inside], wanted[inside]) < 4


def test_two_scenes_have_nothing_between_them() -> None:
    rows = np.linspace(0, 60, SIZE[1], dtype=np.float32)[:, None]
    assert interpolation(frame_of(texture(*SIZE, 1)), frame_of(texture(*SIZE, 2) + rows)) is None


@pytest.mark.parametrize("seed", [0, 1], ids=["one scene", "two scenes"])
def test_stills_are_the_first_and_the_last_frame_bit_for_bit(seed: int) -> None:
    first, second = square_at(80), square_at(104, seed)
    frames, _ = render(first, second, 12)
    assert frames.num_frames == 12
    assert same(frames, 0, first)
    assert same(frames, 11, second)


def test_two_scenes_change_over_everywhere_at_once() -> None:
    """As a dissolve does: what is plain in both is no sooner through than the rest."""
    lumas = [texture(*SIZE, seed) for seed in (1, 2)]
    for luma, level in zip(lumas, (104, 112), strict=True):
        luma[:, :80] = level
        luma[:, 160:] = 30 if level == 104 else 190
    frames, notes = render(frame_of(lumas[0]), frame_of(lumas[1]), 48)
    assert any("dissolve" in note for note in notes)
    for number in (18, 24, 30):
        luma = frames.planes[0][number].astype(np.float32)
        plain, unlike = (float(luma[40:96, left : left + 40].mean()) for left in (20, 180))
        assert abs((plain - 104) / 8 - (unlike - 30) / 160) < 0.2


@pytest.mark.parametrize("size", [(2, 2), (6, 2), (2, 38), (14, 10), (34, 18)])
def test_the_smallest_pictures_work(size: tuple[int, int]) -> None:
    first, second = (frame_of(texture(*size, seed)) for seed in (1, 2))
    frames, _ = render(first, second, 5)
    assert frames.num_frames == 5
    assert same(frames, 0, first)
    assert same(frames, 4, second)
    close = found(first, Frame(first.y, first.u, first.v)).at(0.5)
    assert close.size == size


def test_the_same_pictures_give_the_same_frames() -> None:
    one, other = (found(square_at(80), square_at(104)).at(0.3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_stands_is_the_two_pictures_evenly_mixed_and_nothing_else() -> None:
    """Not sampled between pixels, which would soften it."""
    first, second = square_at(60), square_at(76)
    noisy = np.random.default_rng(3).integers(-2, 3, second.y.shape) + second.y.astype(np.int16)
    second = Frame(noisy.clip(0, 255).astype(np.uint8), second.u, second.v)
    far = np.s_[:, 180:]
    mixed = np.asarray(cv2.addWeighted(first.y, 0.5, second.y, 0.5, 0), np.uint8)
    sharper = found(first, second).at(0.5).y
    assert cv2.PSNR(np.ascontiguousarray(sharper[far]), np.ascontiguousarray(mixed[far])) > 45


def covered(boxes: list[Box], size: tuple[int, int]) -> Luma:
    """How many boxes hold each pixel."""
    count = np.zeros(size[::-1], np.float32)
    for box in boxes:
        count[box.where] += 1
    return count


@pytest.mark.parametrize("size", [(2, 2), (6, 200), (240, 136), (1280, 720), (1022, 578)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.9])
def test_boxes_hold_all_that_is_active_once(size: tuple[int, int], share: float) -> None:
    grid = (min(size[0], 240), min(size[1], 136))
    active = np.random.default_rng(1).random(grid[::-1]) < share
    boxes = boxes_around(active, size)
    count = covered(boxes, size)
    wanted = cv2.resize(active.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0
    assert count.max(initial=0) <= 1
    assert np.all(count[wanted] == 1)
    assert all(side % 2 == 0 for box in boxes for side in box)


def test_a_small_thing_takes_a_small_box() -> None:
    active = np.zeros((135, 240), np.bool_)
    active[60:66, 20:26] = active[62:64, 200:204] = True
    count = covered(boxes_around(active, (1280, 720)), (1280, 720))
    assert 0.003 < float(count.mean()) < 0.02
