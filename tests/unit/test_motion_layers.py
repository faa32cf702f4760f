"""What passes before a camera that stands goes on forwards in layers; what it uncovers is the scene behind it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.passing import Passing, passing
from longtake.engines.motion.tail import usable_tail
from longtake.video import Cell, VideoFormat

Map = npt.NDArray[np.float32]
Luma = npt.NDArray[np.uint8]
Scene = Callable[[int], Map]
RATE = 24
WIDTH, HEIGHT = 192, 108
NUM_FRAMES = 48
LAST = NUM_FRAMES - 1
IN_LAYERS = "each thing a layer of its own"


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def texture(width: int, height: int, seed: int = 1) -> Map:
    """Dim noise at several scales, as pictures have it: 16 to 180 levels."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for cell in (3, 8, 24, 60):
        coarse = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += fine[:height, :width] * cell**0.5
    return np.asarray(np.clip(97 + 30 * total / total.std(), 16, 180), np.float32)


def square(side: int, seed: int) -> Map:
    """A pattern of brighter checks that is like no other place."""
    checks = np.random.default_rng(seed).uniform(90, 250, (side // 4, side // 4)).astype(np.float32)
    return np.asarray(cv2.resize(checks, (side, side), interpolation=cv2.INTER_CUBIC).clip(80, 250), np.float32)


BACK = texture(WIDTH, HEIGHT)
LARGE, SMALL = square(24, 9), square(20, 11)


def laid(look: Map, x: float, y: float, back: Map = BACK) -> Map:
    """`look` centred at (x, y), to the fraction of a pixel, before `back`."""
    rows, columns = look.shape
    shift = np.array([[1, 0, x - columns / 2], [0, 1, y - rows / 2]], np.float64)
    size = (back.shape[1], back.shape[0])
    cover = cv2.warpAffine(np.ones_like(look), shift, size)
    moved = cv2.warpAffine(look, shift, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back + cover * (moved - back), np.float32)


def movie(scene: Scene, num_frames: int = NUM_FRAMES) -> Frames:
    """With a camera's noise; nobody can write to it."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1.5, (num_frames, HEIGHT, WIDTH))
    y = np.clip(np.stack([scene(index) for index in range(num_frames)]) + noise, 0, 255).astype(np.uint8)
    chroma = np.full((num_frames, HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    for plane in (y, chroma):
        plane.flags.writeable = False
    return Frames((y, chroma, chroma))


def made(clip: Frames, num_frames: int, *, ahead: bool = False, seed: int = 0) -> tuple[Frames, str]:
    """What is appended, or where `ahead` prepended, to a clip, and what is said of it."""
    report = Notes()
    cell = Cell("nothing", "clip") if ahead else Cell("clip", "nothing")
    before, after = (None, clip) if ahead else (clip, None)
    shot = Shot(cell, VideoFormat(clip.width, clip.height, Fraction(RATE)), num_frames, before, after, seed=seed)
    batches = list(Motion().render(shot, report))
    planes = tuple(np.concatenate([batch.planes[channel] for batch in batches]) for channel in range(3))
    return Frames(planes), " ".join(report.texts)


def taken(clip: Frames) -> Passing | None:
    tail = usable_tail(clip, RATE)
    assert tail is not None
    return passing(tail, RATE, 0)


def place(look: Map, luma: Luma) -> tuple[float, float]:
    """Where in a picture `look` is."""
    apart = cv2.matchTemplate(luma.astype(np.float32), look, cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(apart)
    return left + look.shape[1] / 2, top + look.shape[0] / 2


def psnr(luma: Luma, truth: Map) -> float:
    return float(10 * np.log10(255**2 / np.mean((luma - truth) ** 2)))


def driving(index: int) -> Map:
    return laid(LARGE, 30 + 1.7 * index, 60)


@cache
def driven() -> tuple[Frames, str]:
    return made(movie(driving), 60)


@pytest.mark.parametrize("steps", [1, 6, 12, 24, 30])
def test_a_square_that_drives_goes_on_at_its_speed(steps: int) -> None:
    pictures, said = driven()
    assert IN_LAYERS in said
    assert place(LARGE, pictures.planes[0][steps - 1]) == pytest.approx((30 + 1.7 * (LAST + steps), 60), abs=1.5)


def test_what_it_uncovers_and_leaves_behind_is_the_background() -> None:
    luma, uncovered = driven()[0].planes[0], (slice(44, 76), slice(94, 126))
    assert psnr(luma[59], BACK) > 30
    assert all(psnr(luma[steps - 1], driving(LAST + steps)) > 30 for steps in (1, 12, 24, 48))
    assert psnr(luma[59][uncovered], BACK[uncovered]) > 30


def test_what_is_uncovered_has_the_colours_of_the_background() -> None:
    colour = cv2.resize(texture(48, 27, 6), (WIDTH // 2, HEIGHT // 2)).astype(np.uint8)
    clip = movie(driving)
    luma, u = clip.planes[0], np.stack([colour] * NUM_FRAMES)
    for index in range(NUM_FRAMES):
        left = round((30 + 1.7 * index) / 2) - 6
        u[index, 24:36, left : left + 12] = 220
    pictures, _ = made(Frames((luma, u, u)), 60)
    assert psnr(pictures.planes[1][59], colour.astype(np.float32)) > 35
    assert pictures.planes[1][11, 30, round((30 + 1.7 * (LAST + 12)) / 2)] == pytest.approx(220, abs=3)


def test_two_things_that_pass_each_other_each_go_on_in_their_own_direction() -> None:
    luma = made(movie(lambda index: laid(LARGE, 26 + 1.8 * index, 36, laid(SMALL, 170 - 1.5 * index, 78))), 36)[
        0
    ].planes[0]
    for steps in (6, 12, 24, 36):
        assert place(LARGE, luma[steps - 1]) == pytest.approx((26 + 1.8 * (LAST + steps), 36), abs=1.5)
        assert place(SMALL, luma[steps - 1]) == pytest.approx((170 - 1.5 * (LAST + steps), 78), abs=1.5)


def test_a_thing_close_to_another_one_does_not_vanish() -> None:
    def scene(index: int) -> Map:
        return laid(LARGE, 30 + 1.7 * index, 60, laid(SMALL, 190 - 1.7 * index, 60))

    luma = made(movie(scene, 40), 24)[0].planes[0]
    assert place(SMALL, luma[23]) == pytest.approx((190 - 1.7 * 63, 60), abs=2)


def test_half_a_thing_that_still_comes_in_is_not_carried_on() -> None:
    assert taken(movie(lambda index: laid(square(48, 3), 1.4 * (index - 42), 54))) is None


def test_half_a_thing_that_leaves_goes_on_out() -> None:
    clip = movie(lambda index: laid(LARGE, 92 + 2 * index, 60))
    assert taken(clip) is not None
    assert psnr(made(clip, 16)[0].planes[0][15], BACK) > 30


def test_what_sways_on_the_spot_does_not_pass() -> None:
    assert taken(movie(lambda index: laid(LARGE, 96 + 8 * np.sin(index / 5), 54))) is None


@pytest.mark.parametrize("last", range(48, 96, 12))
def test_what_swings_to_and_fro_never_flies_off(last: int) -> None:
    """Far and slowly: for half a second it passes in a straight line."""
    assert taken(movie(lambda index: laid(LARGE, 96 + 24 * np.sin(2 * np.pi * (index + last) / 48), 54))) is None


def test_what_circles_never_flies_off() -> None:
    def scene(index: int) -> Map:
        turn = 2 * np.pi * index / 31
        return laid(LARGE, 96 + 30 * np.cos(turn), 54 + 24 * np.sin(turn))

    assert taken(movie(scene, 72)) is None


def test_where_the_camera_moves_nothing_is_taken_apart() -> None:
    wide = texture(2 * WIDTH, HEIGHT)
    assert taken(movie(lambda index: laid(LARGE, 30 + 2 * index, 54, wide[:, index : index + WIDTH]))) is None


def test_only_what_passes_after_the_last_cut_is_looked_at() -> None:
    other = np.asarray(250 - 0.5 * texture(WIDTH, HEIGHT, 7), np.float32)
    dark = np.asarray(0.4 * SMALL - 20, np.float32)

    def scene(index: int) -> Map:
        return laid(LARGE, 170 - 3 * index, 30) if index < 24 else laid(dark, 26 + 2 * (index - 24), 72, other)

    parts = taken(movie(scene, 64))
    assert parts is not None
    assert [round(actor.velocity[0]) for actor in parts.layers.actors] == [2]
    luma = made(movie(scene, 64), 24)[0].planes[0]
    assert psnr(luma[23], scene(63 + 24)) > 30


@pytest.mark.parametrize(
    "dim", [lambda luma, share: luma * (0.85 + 0.15 * share), lambda luma, share: luma + 12 * share]
)
def test_the_light_of_the_last_frame_stays_on_what_is_uncovered(dim: Callable[[Map, float], Map]) -> None:
    clip = movie(lambda index: dim(laid(LARGE, 30 + 1.7 * index, 60), index / LAST))
    pictures, said = made(clip, 24)
    assert IN_LAYERS in said
    assert psnr(pictures.planes[0][23], dim(laid(LARGE, 30 + 1.7 * (LAST + 24), 60), 1.0)) > 30


def rolling(index: int, turned: int = 0) -> Map:
    """A cart that drives, with a wheel that goes round once in 12 frames."""
    cart = np.asarray(np.clip(cv2.resize(LARGE, (36, 28)), 120, 250), np.float32)
    rows, columns = np.mgrid[-18:10, -18:18]
    side = np.cos(np.arctan2(rows, columns) - 2 * np.pi * (index + turned) / 12) > 0
    wheel = np.where(side, 40, 235)
    return laid(np.where(np.hypot(rows, columns) < 9, wheel, cart).astype(np.float32), 24 + 2 * index, 54)


def test_a_wheel_turns_on_while_its_cart_drives_on() -> None:
    clip = movie(rolling)
    parts = taken(clip)
    assert parts is not None
    (cart,) = parts.layers.actors
    assert len(cart.looks) in (12, 24)
    luma = made(clip, 24)[0].planes[0]

    def phase(steps: int) -> int:
        """By how many frames its wheel is ahead of the truth."""
        apart = {by: float(np.abs(luma[steps - 1] - rolling(LAST + steps, by)).mean()) for by in range(-6, 6)}
        return min(apart, key=lambda by: apart[by])

    phases = [phase(steps) for steps in range(1, 25)]
    assert phases.count(0) >= 18
    assert set(phases) <= {-2, -1, 0, 1}


def test_looks_are_shown_in_the_order_in_which_they_were_seen() -> None:
    parts = taken(movie(rolling))
    assert parts is not None
    (cart,) = parts.layers.actors
    shown = [cart.look(steps)[1].frame for steps in range(1, 2 * len(cart.looks) + 1)]
    assert shown == 2 * list(range(-len(cart.looks), 0))
    assert all(cart.look(steps)[2] <= cart.look(steps + 1)[2] for steps in range(1, len(cart.looks)))


def test_a_path_starts_at_the_latest_speed_and_goes_on_without_a_jump() -> None:
    parts = taken(movie(driving))
    assert parts is not None
    (actor,) = parts.layers.actors
    ways = np.array([actor.place(steps) for steps in range(60)])
    steps = np.diff(ways, axis=0)
    assert ways[0] == pytest.approx((0, 0))
    assert steps[0] == pytest.approx(actor.latest, abs=0.3)
    assert steps[-1] == pytest.approx(actor.velocity, abs=0.01)


def test_no_frame_of_the_clip_is_written_to() -> None:
    clip = movie(driving)
    kept = [plane.copy() for plane in clip.planes]
    for ahead in (False, True):
        made(clip, 30, ahead=ahead)
    assert all(np.array_equal(plane, was) for plane, was in zip(clip.planes, kept, strict=True))


def test_what_comes_ahead_of_a_clip_comes_from_further_back() -> None:
    pictures, said = made(movie(lambda index: laid(LARGE, 75 + 2.3 * index, 60)), 24, ahead=True)
    assert "comes in" in said
    for steps in (1, 6, 12, 24):
        assert place(LARGE, pictures.planes[0][-steps]) == pytest.approx((75 - 2.3 * steps, 60), abs=1.5)


def test_a_prepend_is_an_append_in_the_mirror_of_time() -> None:
    clip = movie(driving, 40)
    mirrored = Frames(tuple(plane[::-1] for plane in clip.planes))
    there, back = made(clip, 20)[0], made(mirrored, 20, ahead=True)[0]
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(there.planes, back.planes, strict=True))


@pytest.mark.parametrize("after", [0.4, 0.8])
@pytest.mark.parametrize("turned", [0, -1], ids=["stops", "turns round"])
def test_what_has_just_changed_its_way_is_not_carried_on_at_its_old_speed(after: float, turned: int) -> None:
    """`after`: seconds before the clip's end."""
    change = LAST - round(after * RATE)

    def scene(index: int) -> Map:
        return laid(LARGE, 30 + 2 * (min(index, change) + turned * max(index - change, 0)), 60)

    luma = made(movie(scene), 24)[0].planes[0]
    furthest = max(place(LARGE, luma[steps - 1])[0] for steps in (6, 12, 18, 24))
    assert furthest < 30 + 2 * change + 3
