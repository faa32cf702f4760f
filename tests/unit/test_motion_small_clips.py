"""Any clip at all: the smallest, the shortest, black ones and pure noise give what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.video import Cell, VideoFormat

Luma = npt.NDArray[np.float64]
ENDS: tuple[Literal["nothing", "still", "clip"], ...] = ("nothing", "still", "clip")
CELLS = [cell for cell in itertools.starmap(Cell, itertools.product(ENDS, repeat=2)) if "clip" in cell]
APPEND, PREPEND, BRIDGE = Cell("clip", "nothing"), Cell("nothing", "clip"), Cell("clip", "clip")


class Silent:
    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        assert text.endswith(".")


def checks(width: int, height: int, rng: np.random.Generator) -> Luma:
    small = rng.uniform(16, 235, (max(2, height // 4), max(2, width // 4)))
    return np.asarray(np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255), np.float64)


def black(width: int, height: int, count: int, _rng: np.random.Generator) -> Luma:
    return np.zeros((count, height, width))


def noise(width: int, height: int, count: int, rng: np.random.Generator) -> Luma:
    return rng.uniform(0, 255, (count, height, width))


def stills(width: int, height: int, count: int, rng: np.random.Generator) -> Luma:
    return np.stack([checks(width, height, rng)] * count)


def flashes(width: int, height: int, count: int, _rng: np.random.Generator) -> Luma:
    return np.stack([np.full((height, width), 20.0 if index % 7 else 230.0) for index in range(count)])


def pan(width: int, height: int, count: int, rng: np.random.Generator) -> Luma:
    wide = checks(width + 2 * count, height, rng)
    return np.stack([wide[:, 2 * index : 2 * index + width] for index in range(count)])


def passer(width: int, height: int, count: int, rng: np.random.Generator) -> Luma:
    luma = stills(width, height, count, rng) * 0.6 + rng.normal(0, 1, (count, height, width))
    side, speed = max(1, min(width, height) // 3), rng.uniform(-3, 3, 2)
    for index, frame in enumerate(luma):
        x, y = (np.array([width, height]) / 2 + speed * (index - count + 1)).astype(int)
        frame[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] += 90
    return luma


def growth(width: int, height: int, count: int, rng: np.random.Generator) -> Luma:
    rows, columns = np.mgrid[:height, :width]
    back, far = checks(width, height, rng), np.hypot(rows - height / 2, columns - width / 2)
    return np.stack([np.where(far < index / 2, 220.0, back) for index in range(count)])


KINDS: list[Callable[..., Luma]] = [black, noise, stills, flashes, pan, passer, growth]


def clip(kind: Callable[..., Luma], width: int, height: int, count: int, seed: int = 0) -> Frames:
    """Nobody can write to it."""
    rng = np.random.default_rng(seed)
    luma = np.clip(kind(width, height, count, rng), 0, 255).astype(np.uint8)
    chroma = rng.integers(0, 256, (count, height // 2, width // 2), dtype=np.uint8)
    for plane in (luma, chroma):
        plane.flags.writeable = False
    return Frames((luma, chroma, chroma))


def end(clip: Frames, kind: str, still: int) -> Frames | None:
    return {"nothing": None, "still": clip[still : still + 1], "clip": clip}[kind]


def check(cell: Cell, first: Frames, second: Frames, num_frames: int, rate: Fraction, seed: int = 0) -> None:
    """Renders a shot, and sees that it is what was asked for."""
    before, after = end(first, cell.before, first.num_frames - 1), end(second, cell.after, 0)
    made = VideoFormat(first.width, first.height, rate)
    batches = list(Motion().render(Shot(cell, made, num_frames, before, after, seed=seed), Silent()))
    assert sum(batch.num_frames for batch in batches) == num_frames
    assert {(batch.width, batch.height) for batch in batches} == {(first.width, first.height)}
    assert all(plane.dtype == np.uint8 for batch in batches for plane in batch.planes)
    if cell.before == "still" and before is not None:
        assert all(np.array_equal(new[0], old[0]) for new, old in zip(batches[0].planes, before.planes, strict=True))
    if cell.after == "still" and after is not None:
        assert all(np.array_equal(new[-1], old[0]) for new, old in zip(batches[-1].planes, after.planes, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(2, 2), (16, 16), (64, 2), (18, 50)], ids=str)
@pytest.mark.parametrize("count", [1, 8, 31])
def test_small_clips_go_on(kind: Callable[..., Luma], size: tuple[int, int], count: int) -> None:
    for cell in (APPEND, PREPEND):
        check(cell, clip(kind, *size, count), clip(kind, *size, count), 9, Fraction(24))


@pytest.mark.parametrize("rate", [1, 12, 24, 60])
@pytest.mark.parametrize("count", [2, 7, 9, 12, 13, 17])
def test_clips_of_few_frames_go_on_at_any_rate(rate: int, count: int) -> None:
    check(APPEND, clip(passer, 48, 32, count), clip(passer, 48, 32, count), 5, Fraction(rate))


@pytest.mark.parametrize("rate", [8, 12])
def test_eight_frames_of_a_slow_clip_go_on(rate: int) -> None:
    check(APPEND, clip(passer, 48, 32, 8), clip(passer, 48, 32, 8), 5, Fraction(rate))


def test_a_single_frame_that_ends_at_a_still_is_the_still() -> None:
    check(Cell("clip", "still"), clip(pan, 32, 32, 30), clip(noise, 32, 32, 1), 1, Fraction(24))


@pytest.mark.parametrize("size", [(64, 14), (40, 12), (1920, 48)], ids=str)
def test_low_and_wide_clips_go_on(size: tuple[int, int]) -> None:
    check(APPEND, clip(pan, *size, 30), clip(pan, *size, 30), 3, Fraction(24))


def test_a_single_frame_is_bridged() -> None:
    for one, other in ((1, 1), (1, 30), (30, 1)):
        check(BRIDGE, clip(pan, 32, 32, one), clip(pan, 32, 32, other, 1), 10, Fraction(24))


SIDES = st.integers(1, 32).map(lambda half: 2 * half)


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(CELLS),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    size=st.tuples(SIDES, SIDES),
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    num_frames=st.integers(1, 30),
    rate=st.sampled_from([Fraction(24), Fraction(30000, 1001), Fraction(60), Fraction(8)]),
    seed=st.integers(0, 9),
)
def test_any_small_clip_gives_exactly_what_is_asked_for(
    cell: Cell,
    kinds: tuple[Callable[..., Luma], Callable[..., Luma]],
    size: tuple[int, int],
    counts: tuple[int, int],
    num_frames: int,
    rate: Fraction,
    seed: int,
) -> None:
    if cell.after == "still":
        num_frames = max(num_frames, 2)
    first, second = (clip(kind, *size, count, seed) for kind, count in zip(kinds, counts, strict=True))
    check(cell, first, second, num_frames, rate, seed)


@settings(max_examples=20, deadline=None)
@given(
    cell=st.sampled_from([APPEND, PREPEND, BRIDGE]),
    size=st.tuples(st.integers(12, 64), st.integers(12, 64)),
    count=st.integers(12, 60),
    num_frames=st.integers(1, 30),
    rate=st.sampled_from([8, 12, 24, 60]),
    seed=st.integers(0, 99),
)
def test_whatever_passes_gives_exactly_what_is_asked_for(
    cell: Cell, size: tuple[int, int], count: int, num_frames: int, rate: int, seed: int
) -> None:
    shown = clip(passer, 2 * size[0], 2 * size[1], count, seed)
    check(cell, shown, shown, num_frames, Fraction(rate), seed)
