"""Scenes that the motion engine draws from a prompt's words."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.canvas import fractal_noise, window, yuv
from longtake.engines.motion.scene_words import read_scenery
from longtake.video import Cell, VideoFormat

PROMPTS = [
    "A jellyfish in the ocean",
    "sunset over the sea",
    "snow over a city at night",
    "green hills under a blue sky",
    "aurora over mountains",
    "red desert dunes",
    "a forest in the rain",
    "a galaxy",
    "asdf",
    "",
]


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def drawn(prompt: str, num_frames: int = 9, seed: int = 0, size: tuple[int, int] = (192, 108)) -> Frames:
    report = Notes()
    shot = Shot(Cell("nothing", "nothing"), VideoFormat(*size, Fraction(24)), num_frames, prompt=prompt, seed=seed)
    batches = list(Motion().render(shot, report))
    assert report.texts == ["No model rendered this: it is a preview drawn from the words of the prompt."]
    return Frames(tuple(np.concatenate(planes) for planes in zip(*(b.planes for b in batches), strict=True)))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_scene_moves_and_is_not_flat(prompt: str) -> None:
    luma = drawn(prompt).planes[0].astype(np.int16)
    assert np.ptp(luma[0]) > 30
    assert np.abs(luma[8] - luma[0]).max() > 4


@pytest.mark.parametrize("size", [(2, 2), (2, 64), (64, 2), (1520, 720), (90, 160)])
def test_scenes_come_in_every_shape(size: tuple[int, int]) -> None:
    for prompt in PROMPTS[:1] if size == (1520, 720) else PROMPTS:
        frames = drawn(prompt, 2, size=size)
        assert (frames.width, frames.height) == size


@pytest.mark.parametrize(
    ("prompt", "place", "hour", "weathers"),
    [
        ("A jellyfish in the ocean", "underwater", "day", set()),
        ("Sunset over the sea.", "sea", "sunset", set()),
        ("snow over a city at night", "city", "night", {"snow"}),
        ("aurora over mountains", "mountains", "night", {"aurora"}),
        ("a stormy coast", "sea", "storm", {"rain"}),
        ("asdf", "", "day", set()),
    ],
)
def test_a_prompt_is_read_for_place_hour_and_weather(prompt: str, place: str, hour: str, weathers: set[str]) -> None:
    scenery = read_scenery(prompt)
    assert (scenery.place, scenery.hour, set(scenery.weathers)) == (place, hour, weathers)


def test_a_colour_belongs_to_the_part_that_it_stands_before() -> None:
    assert set(read_scenery("green hills under a purple sky").tints) == {"ground", "sky"}
    assert set(read_scenery("something red").tints) == {"accent"}


@pytest.mark.parametrize(("colour", "plane", "sign"), [("red", 2, 1), ("blue", 1, 1), ("green", 2, -1)])
def test_the_ground_has_the_colour_that_the_prompt_gives_it(colour: str, plane: int, sign: int) -> None:
    chroma = drawn(f"{colour} hills").planes[plane][0, -8:]
    assert sign * (float(chroma.mean()) - 128) > 3


def test_the_prompt_changes_a_scene_that_names_nothing() -> None:
    assert not np.array_equal(drawn("asdf").planes[0], drawn("qwer").planes[0])


def test_noise_tiles_without_a_seam() -> None:
    tile = fractal_noise(np.random.default_rng(0), (64, 32), 1.8)
    inside = np.abs(np.diff(tile, axis=1)).mean()
    assert np.abs(tile[:, 0] - tile[:, -1]).mean() < 2 * inside
    assert np.allclose(window(tile, 1.25, 40), window(tile, 0.25, 40))


def test_white_and_black_are_the_ends_of_limited_range() -> None:
    assert yuv((255, 255, 255)) == pytest.approx((235, 128, 128))
    assert yuv((0, 0, 0)) == pytest.approx((16, 128, 128))
    assert yuv((255, 0, 0)) == pytest.approx((62.56, 102.34, 240), abs=0.01)
