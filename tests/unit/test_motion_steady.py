"""Before a camera that is held by hand, too, what passes goes on in layers, and the hand sways on."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.passing import Passing, passing
from longtake.engines.motion.steady import Steady, Sway, SwayingLayers, steadied
from longtake.engines.motion.tail import Tail, usable_tail
from longtake.video import Cell, VideoFormat

Map = npt.NDArray[np.float32]
RATE, WIDTH, HEIGHT, ROOM = 24, 240, 136, 40
NUM_FRAMES = 60
LAST = NUM_FRAMES - 1
SPEED = 1.7
IN_LAYERS = "each thing a layer of its own"


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def noise(width: int, height: int, cells: tuple[int, ...], seed: int) -> Map:
    """Noise at several scales, as pictures have it: mean 0, spread 1."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width), np.float32)
    for cell in cells:
        coarse = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += fine[:height, :width] * cell**0.5
    return np.asarray(total / total.std(), np.float32)


WIDE = np.clip(90 + 28 * noise(WIDTH + 2 * ROOM, HEIGHT + 2 * ROOM, (4, 10, 30), 1), 16, 160).astype(np.float32)
THING = np.clip(215 + 30 * noise(26, 26, (4, 8), 2), 170, 250).astype(np.float32)


def hand(index: int) -> tuple[float, float]:
    """Where the view stands (x, y) in the wide scene, from its middle."""
    seconds = index / RATE
    return 4 * np.sin(2.6 * seconds + 1) + 1.2 * np.sin(7 * seconds), 3 * np.sin(2.1 * seconds) + np.sin(6 * seconds)


def scene(index: int, speed: float) -> Map:
    """The wide scene with the thing in it, which goes by `speed` pixels a frame."""
    size = (WIDE.shape[1], WIDE.shape[0])
    shift = np.array([[1, 0, ROOM + 40 + speed * index], [0, 1, ROOM + 55.0]], np.float64)
    cover = cv2.warpAffine(np.ones_like(THING), shift, size)
    moved = cv2.warpAffine(THING, shift, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(WIDE + cover * (moved - WIDE), np.float32)


def looked_at(index: int, place: tuple[float, float], speed: float = SPEED) -> Map:
    view = np.array([[1, 0, ROOM + place[0]], [0, 1, ROOM + place[1]]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(scene(index, speed), view, (WIDTH, HEIGHT), flags=flags), np.float32)


def movie(pictures: Iterator[Map]) -> Frames:
    rng = np.random.default_rng(5)
    y = np.stack([np.clip(each + rng.normal(0, 1.2, each.shape), 0, 255).astype(np.uint8) for each in pictures])
    chroma = np.full((len(y), HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return Frames((y, chroma, chroma))


@cache
def held_by_hand() -> Frames:
    return movie(looked_at(index, hand(index)) for index in range(NUM_FRAMES))


def tail_of(clip: Frames) -> Tail:
    tail = usable_tail(clip, RATE)
    assert tail is not None
    return tail


@cache
def registered() -> tuple[Steady, Sway]:
    found = steadied(tail_of(held_by_hand()), RATE)
    assert found is not None
    return found


def taken(clip: Frames) -> Passing | None:
    return passing(tail_of(clip), RATE, 0)


@cache
def continued(*, ahead: bool = False) -> tuple[Frames, str]:
    clip, report = held_by_hand(), Notes()
    cell = Cell("nothing", "clip") if ahead else Cell("clip", "nothing")
    before, after = (None, clip) if ahead else (clip, None)
    shot = Shot(cell, VideoFormat(WIDTH, HEIGHT, Fraction(RATE)), 36, before, after)
    batches = list(Motion().render(shot, report))
    planes = tuple(np.concatenate([batch.planes[channel] for batch in batches]) for channel in range(3))
    return Frames(planes), " ".join(report.texts)


def moved(look: Map, luma: npt.NDArray[np.uint8], near: tuple[float, float]) -> tuple[float, float]:
    """Where `look` stands in a picture, seen from its place `near`."""
    apart = cv2.matchTemplate(luma.astype(np.float32), look, cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(apart)
    return left - near[0], top - near[1]


def test_frames_are_laid_over_the_last_one() -> None:
    steady, _ = registered()
    inner = (slice(95, 125), slice(20, 220))
    last = steady.picture(-1).y[inner].astype(np.float32)
    for index in (0, 20, 40):
        before = tail_of(held_by_hand()).picture(index).y[inner]
        assert np.mean((steady.picture(index).y[inner] - last) ** 2) < 8
        assert np.mean((before - last) ** 2) > 16


def test_the_hand_starts_at_its_own_speed_and_never_goes_far() -> None:
    _, sway = registered()
    first = np.array(hand(LAST + 1)) - hand(LAST)
    assert sway.at(0) == pytest.approx(np.zeros(4))
    assert sway.at(1)[2:] == pytest.approx(first, abs=0.35)
    way = np.array([sway.at(steps)[2:] for steps in range(500)])
    assert np.abs(way).max() < 0.04 * WIDTH
    assert np.abs(np.diff(way, axis=0)).max() < 3 * max(0.3, float(np.linalg.norm(first)))


def test_a_hand_that_trembles_goes_on_trembling() -> None:
    _, sway = registered()
    way = np.array([sway.at(steps)[2:] for steps in range(100, 300)])
    assert np.ptp(way, axis=0).max() > 0.3


def test_what_passes_before_a_camera_held_by_hand_goes_on_at_its_speed() -> None:
    pictures, said = continued()
    assert IN_LAYERS in said
    _, sway = registered()
    x, y = 40 + SPEED * LAST - hand(LAST)[0], 55 - hand(LAST)[1]
    for steps in (1, 8, 16, 24):
        _, _, right, down = sway.at(steps)
        expected = (SPEED * steps - right, -down)
        assert moved(THING, pictures.planes[0][steps - 1], (x, y)) == pytest.approx(expected, abs=2.0)


def test_what_it_uncovers_is_the_scene_behind_it() -> None:
    luma, (_, sway) = continued()[0].planes[0], registered()
    x, y = hand(LAST)
    left, top = round(40 + SPEED * LAST - x), round(55 - y)
    for steps in (24, 36):
        _, _, right, down = sway.at(steps)
        truth = looked_at(LAST + steps, (x + right, y + down))
        part = (slice(top, top + 26), slice(left, left + 26))
        assert np.mean((luma[steps - 1][part] - truth[part]) ** 2) < 80


def test_what_leads_up_to_it_comes_from_further_back() -> None:
    pictures, said = continued(ahead=True)
    assert IN_LAYERS in said
    x = 40 - hand(0)[0]
    assert moved(THING, pictures.planes[0][-16], (x, 0))[0] == pytest.approx(-SPEED * 16, abs=4)


def test_who_stands_before_a_camera_held_by_hand_does_not_pass() -> None:
    assert taken(movie(looked_at(index, hand(index), 0.0) for index in range(NUM_FRAMES))) is None


def test_a_camera_that_stands_is_left_alone() -> None:
    clip = movie(looked_at(index, (0, 0)) for index in range(NUM_FRAMES))
    parts = taken(clip)
    assert steadied(tail_of(clip), RATE) is None
    assert parts is not None
    assert not isinstance(parts.layers, SwayingLayers)


def test_a_camera_that_goes_far_is_not_taken_for_a_hand() -> None:
    clip = movie(looked_at(index, (index - 30.0, 0)) for index in range(NUM_FRAMES))
    assert steadied(tail_of(clip), RATE) is None


def test_a_picture_that_is_asked_for_twice_is_the_same() -> None:
    found = steadied(tail_of(held_by_hand()), RATE)
    assert found is not None
    assert all(np.array_equal(a, b) for a, b in zip(found[0].picture(3), registered()[0].picture(3), strict=True))
    assert found[0].picture(3) is found[0].picture(3 - len(found[0].proxies))
