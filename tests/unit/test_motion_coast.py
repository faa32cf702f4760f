"""What changes steadily and one way goes on so, and comes to rest."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.coast import coast, coasting
from longtake.engines.motion.tail import Tail, usable_tail
from longtake.media.reversal import reversal
from longtake.video import Cell, VideoFormat

RATE = 24
WIDTH, HEIGHT = 240, 136
NUM_GIVEN = 84
Map = npt.NDArray[np.float32]


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def petals() -> Map:
    rng = np.random.default_rng(5)
    total = np.zeros((HEIGHT, WIDTH), np.float32)
    for cell in (4, 12, 32):
        coarse = rng.normal(size=(HEIGHT // cell + 3, WIDTH // cell + 3)).astype(np.float32)
        total += cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[:HEIGHT, :WIDTH] * cell**0.5
    return np.asarray(np.clip(110 + 35 * total / total.std(), 16, 230), np.float32)


PETALS = petals()


def opening(index: int) -> Map:
    """A bud in a picture that stands: it grows by almost one per cent each frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x, y = columns - 90, rows - 80
    near = np.exp(-((x / 46) ** 2) - (y / 34) ** 2)
    shrink = np.float32(0.009 * index) * near
    return np.asarray(cv2.remap(PETALS, columns - x * shrink, rows - y * shrink, cv2.INTER_CUBIC), np.float32)


def shaking(index: int) -> Map:
    """The same bud, blown about by a wind that never turns to the same side twice."""
    x, y = np.cumsum(np.random.default_rng(9).normal(0, 1.5, (NUM_GIVEN, 2)), axis=0)[index]
    move = np.array([[1, 0, x % 7], [0, 1, y % 7]], np.float64)
    return np.asarray(cv2.warpAffine(PETALS, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101), np.float32)


def frames(picture: object, start: int, stop: int) -> Frames:
    assert callable(picture)
    noise = np.random.default_rng(start).normal(0, 0.4, (stop - start, HEIGHT, WIDTH))
    y = np.clip(np.stack([picture(index) for index in range(start, stop)]) + noise, 0, 255).astype(np.uint8)
    chroma = np.full((len(y), HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return Frames((y, chroma, chroma))


def tail(picture: object) -> Tail:
    found = usable_tail(frames(picture, 0, NUM_GIVEN), RATE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def opened() -> tuple[Frames, list[str]]:
    notes = Notes()
    format = VideoFormat(WIDTH, HEIGHT, Fraction(RATE))
    shot = Shot(Cell("clip", "nothing"), format, 3 * RATE, before=frames(opening, 0, NUM_GIVEN), seed=1)
    batches = [Frames(tuple(plane.copy() for plane in batch.planes)) for batch in Motion().render(shot, notes)]
    planes = (np.concatenate([batch.planes[channel] for batch in batches]) for channel in range(3))
    return Frames(tuple(planes)), notes.texts


def test_a_bud_that_opens_goes_on_opening(opened: tuple[Frames, list[str]]) -> None:
    made, notes = opened
    assert "goes on as it did" in notes[0]
    given = frames(opening, 0, NUM_GIVEN)
    for seconds in (0.25, 0.5):
        place = round(seconds * RATE) - 1
        truth = opening(NUM_GIVEN + place)
        ours, freeze = (float(np.mean((plane - truth) ** 2)) for plane in (made.planes[0][place], given.planes[0][-1]))
        assert ours < 0.5 * freeze
    assert reversal(given, made, RATE) < 0.05


def test_it_comes_to_rest(opened: tuple[Frames, list[str]]) -> None:
    steps = np.abs(np.diff(opened[0].planes[0].astype(np.float32), axis=0)).mean(axis=(1, 2))
    assert steps[-12:].mean() < 0.35 * steps[:12].mean()
    assert steps[:12].mean() > 0.1


def test_what_is_blown_about_does_not_coast() -> None:
    assert coasting(tail(shaking), RATE) is None


def test_a_clip_too_short_to_be_tested_does_not_coast() -> None:
    short = usable_tail(frames(opening, 0, 20), RATE)
    assert short is not None
    assert coasting(short, RATE) is None


def test_a_coast_starts_at_full_speed_and_never_turns() -> None:
    ways = np.array([coast(RATE).steps(index) for index in range(200)])
    steps = np.diff(ways)
    assert steps[0] == pytest.approx(1, abs=0.03)
    assert np.all(steps > 0)
    assert np.all(np.diff(steps) < 0)
