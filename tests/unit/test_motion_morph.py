"""The way out of a clip that never quite repeats itself: forwards into an earlier moment of its own."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.append import Continuation
from longtake.engines.motion.flow import mean_squared
from longtake.engines.motion.morph import Morph, ways_back
from longtake.engines.motion.plan import Run
from longtake.engines.motion.tail import Tail, usable_tail
from longtake.media.reversal import reversal
from longtake.video import Cell, VideoFormat

Map = npt.NDArray[np.float32]
RATE = 24
WIDTH, HEIGHT = 160, 96
NUM_FRAMES = 96


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def texture(width: int, height: int, seed: int) -> Map:
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for cell in (3, 8, 24):
        coarse = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += fine[:height, :width] * cell**0.5
    return np.asarray(np.clip(100 + 30 * total / total.std(), 16, 200), np.float32)


BACK = texture(WIDTH, HEIGHT, 2)


def movie(pictures: list[Map]) -> Frames:
    noise = np.random.default_rng(3).normal(0, 1.0, (len(pictures), HEIGHT, WIDTH))
    y = np.clip(np.stack(pictures) + noise, 0, 255).astype(np.uint8)
    chroma = np.full((len(y), HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return Frames((y, chroma, chroma))


def cloth(index: int) -> Map:
    """Three places of a cloth that circle, each in its own time: the whole never looks the same again."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    from_x, from_y = columns.copy(), rows.copy()
    for period, x, y in ((31, 36, 40), (43, 80, 56), (37, 124, 40)):
        reach = 8 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 512)
        from_x += reach * np.cos(2 * np.pi * index / period)
        from_y += reach * np.sin(2 * np.pi * index / period)
    bent = cv2.remap(BACK, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(bent, np.float32)


def growing(index: int) -> Map:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(np.hypot(rows - 48, columns - 80) < 6 + 0.4 * index, 0.3 * BACK + 150, BACK).astype(np.float32)


@cache
def waving() -> Frames:
    return movie([cloth(index) for index in range(NUM_FRAMES)])


@cache
def tail() -> Tail:
    found = usable_tail(waving(), RATE)
    assert found is not None
    return found


def made(clip: Frames, num_frames: int, *, seed: int = 0, ahead: bool = False) -> tuple[Frames, str]:
    report = Notes()
    cell = Cell("nothing", "clip") if ahead else Cell("clip", "nothing")
    before, after = (None, clip) if ahead else (clip, None)
    shot = Shot(cell, VideoFormat(WIDTH, HEIGHT, Fraction(RATE)), num_frames, before, after, seed=seed)
    batches = list(Motion().render(shot, report))
    planes = tuple(np.concatenate([batch.planes[channel] for batch in batches]) for channel in range(3))
    return Frames(planes), " ".join(report.texts)


@cache
def waved(seed: int = 0) -> tuple[Frames, str]:
    return made(waving(), 120, seed=seed)


def test_what_never_looks_the_same_again_goes_on_forwards() -> None:
    pictures, said = waved()
    played_back = Frames(tuple(np.concatenate([plane[::-1], plane])[:120] for plane in waving().planes))
    assert "each moved into from its last frame" in said
    assert reversal(waving(), pictures, RATE) < 0.5 * reversal(waving(), played_back, RATE)


def test_what_comes_ahead_of_such_a_clip_runs_forwards_too() -> None:
    pictures, said = made(waving(), 72, ahead=True)
    played_back = Frames(tuple(plane[:72][::-1] for plane in waving().planes))
    assert "each moved into from its last frame" in said
    assert reversal(waving(), pictures, RATE) < 0.5 * reversal(waving(), played_back, RATE)


def test_what_grows_all_the_time_has_no_way_back() -> None:
    clip = movie([growing(index) for index in range(72)])
    found = usable_tail(clip, RATE)
    assert found is not None
    assert ways_back(found, RATE) == []
    assert "goes on as it did" in made(clip, 24)[1]


def test_a_clip_too_short_to_run_on_has_no_way_back() -> None:
    short = movie([cloth(index) for index in range(18)])
    found = usable_tail(short, RATE)
    assert found is not None
    assert ways_back(found, RATE) == []


def test_each_way_leads_to_a_moment_that_the_clip_can_run_on_from() -> None:
    ways = ways_back(tail(), RATE)
    assert ways
    for way in ways:
        assert 0 <= way.target < NUM_FRAMES - 0.75 * RATE + 1
        assert 0.6 * RATE - 1 <= way.num_frames <= 0.9 * RATE + 1


def test_a_way_ends_on_the_very_frame_that_it_leads_to() -> None:
    going_on = Continuation(tail(), RATE, 0)
    pieces = going_on.plan(200)
    way, length = next(pieces)
    assert isinstance(way, Morph)
    frames = list(going_on.render(way, way.num_frames))
    assert len(frames) == length == way.num_frames
    assert all(np.array_equal(a, b) for a, b in zip(frames[-1], tail().picture(way.target), strict=True))
    run, _ = next(pieces)
    assert isinstance(run, Run)
    assert (run.start, run.direction) == (way.target + 1, 1)
    assert run.start + run.num_frames == NUM_FRAMES


def test_no_step_of_a_way_is_a_jump_or_a_standstill() -> None:
    luma = waved()[0].planes[0]
    given = waving().planes[0]
    usual = np.median([mean_squared(given[index], given[index + 1]) for index in range(40, NUM_FRAMES - 1)])
    steps = [mean_squared(given[-1], luma[0])] + [mean_squared(luma[index], luma[index + 1]) for index in range(30)]
    assert max(steps) < 3 * usual
    assert min(steps) > 0.1 * usual


@pytest.mark.parametrize("num_frames", [1, 2, 13, 14, 15, 49, 50, 97])
def test_a_plan_has_exactly_the_frames_that_are_wanted(num_frames: int) -> None:
    assert sum(length for _, length in Continuation(tail(), RATE, 0).plan(num_frames)) == num_frames


def test_a_seed_gives_the_same_frames_again_and_another_one_another_way() -> None:
    again = made(waving(), 30)[0]
    assert all(np.array_equal(a, b[:30]) for a, b in zip(again.planes, waved()[0].planes, strict=True))
    first = {next(Continuation(tail(), RATE, seed).plan(50))[0] for seed in range(4)}
    assert len(first) > 1
