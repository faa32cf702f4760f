"""Several things that move in one picture, each going on by itself."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.append import Continuation
from longtake.engines.motion.frame import Box
from longtake.engines.motion.patience import stopping
from longtake.engines.motion.regions import part, regions
from longtake.engines.motion.tail import Tail, usable_tail
from longtake.engines.motion.woven import Way, way_of, woven
from longtake.errors import Cancelled
from longtake.video import Cell, VideoFormat

Picture = npt.NDArray[np.float32]
RATE, SIZE = 24.0, (320, 128)
GIVEN, NEW = 120, 48
LEFT, RIGHT = (70, 64), (250, 64)


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


@cache
def ground(seed: int = 0) -> Picture:
    noise = np.random.default_rng(seed).uniform(0, 255, (SIZE[1], SIZE[0])).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(np.clip((smooth - smooth.mean()) * 2 + 100, 16, 235), np.float32)


def disc(picture: Picture, x: float, y: float, radius: float = 12.0) -> Picture:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    cover = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)
    return np.asarray(picture + cover * (220 - picture), np.float32)


def going_round(index: int, period: float, about: tuple[int, int], reach: float = 30.0) -> tuple[float, float]:
    turn = 2 * np.pi * index / period
    return about[0] + reach * float(np.cos(turn)), about[1] + reach * float(np.sin(turn))


def two_rounds(index: int, periods: tuple[float, float] = (31.0, 43.0)) -> Picture:
    """Two discs: together they come back to where they were after more than all the clip."""
    one = disc(ground(), *going_round(index, periods[0], LEFT))
    return disc(one, *going_round(index, periods[1], RIGHT))


def filling(index: int) -> Picture:
    """A disc goes round; beside it tile after tile lights up, for good, at moments that nobody can tell."""
    made = disc(ground(), *going_round(index, 31.0, LEFT))
    lit = int(np.count_nonzero(np.random.default_rng(3).random(400)[: index + 1] < 0.2))
    for tile in np.random.default_rng(1).permutation(60)[:lit]:
        row, column = divmod(int(tile), 10)
        made[10 + 16 * row : 24 + 16 * row, 190 + 12 * column : 200 + 12 * column] += 60
    return made


def passed(index: int) -> Picture:
    """Two discs that go round; a third falls between them."""
    return disc(two_rounds(index), 160, 10 + 0.9 * index, 6)


@cache
def clip_of(frame_at: Callable[[int], Picture], num_frames: int = GIVEN) -> Frames:
    y = np.stack([frame_at(index) for index in range(num_frames)]).clip(0, 255).astype(np.uint8)
    chroma = np.full((num_frames, y.shape[1] // 2, y.shape[2] // 2), 128, np.uint8)
    return Frames((y, chroma, chroma.copy()))


def tail_of(clip: Frames) -> Tail:
    tail = usable_tail(clip, RATE)
    assert tail is not None
    return tail


def reversed_in_time(clip: Frames) -> Frames:
    return Frames(tuple(np.ascontiguousarray(plane[::-1]) for plane in clip.planes))


def rendered(clip: Frames, num_frames: int = NEW, *, prepend: bool = False, seed: int = 0) -> tuple[Frames, list[str]]:
    format, notes = VideoFormat(clip.width, clip.height, Fraction(24)), Notes()
    if prepend:
        shot = Shot(Cell("nothing", "clip"), format, num_frames, after=clip, seed=seed)
    else:
        shot = Shot(Cell("clip", "nothing"), format, num_frames, before=clip, seed=seed)
    batches = [batch.planes for batch in Motion().render(shot, notes)]
    return Frames(tuple(np.concatenate(planes) for planes in zip(*batches, strict=True))), notes.texts


def off(made: Frames, truth: Frames, columns: slice) -> float:
    """Levels, in the worst frame."""
    apart = np.abs(made.planes[0][..., columns].astype(float) - truth.planes[0][..., columns])
    return float(apart.mean(axis=(1, 2)).max())


def test_two_things_that_repeat_go_on_each_at_its_own_pace() -> None:
    made, notes = rendered(clip_of(two_rounds))
    truth = clip_of(lambda index: two_rounds(GIVEN + index), NEW)
    # One walk for both is off by 5 levels.
    assert made.num_frames == NEW
    assert off(made, truth, slice(None)) < 0.5
    assert notes == [
        "Each of 2 parts of the picture goes on by itself (2 with moments of their own that look alike): "
        "the motion engine cannot invent what no frame shows."
    ]


def test_what_has_to_turn_does_not_make_all_turn() -> None:
    tail = tail_of(clip_of(filling))
    assert way_of(Continuation(tail, RATE, 0), RATE) is Way.TURNS
    made, notes = rendered(clip_of(filling))
    truth = clip_of(lambda index: filling(GIVEN + index), NEW)
    assert off(made, truth, slice(0, 150)) < 0.5
    assert "(1 with moments of their own that look alike, 1 played back)" in notes[0]


def test_behind_what_passes_the_scene_goes_on_region_by_region() -> None:
    made, notes = rendered(clip_of(passed))
    truth = clip_of(lambda index: passed(GIVEN + index), NEW)
    assert off(made, truth, slice(None)) < 1.0
    assert "Behind it, each of 2 parts of the picture goes on by itself" in notes[0]


def test_a_region_whose_way_would_have_been_wrong_before_stays_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    tail = tail_of(clip_of(two_rounds))
    whole = Continuation(tail, RATE, 0)
    assert woven(tail, RATE, 0, whole) is not None
    monkeypatch.setattr("longtake.engines.motion.woven._MOST_WORSE", -1.0)
    assert woven(tail, RATE, 0, whole) is None


def test_nothing_shows_where_two_regions_meet() -> None:
    clip = clip_of(two_rounds)
    moves = np.ptp(clip.planes[0], axis=0) > 0
    made, _ = rendered(clip, 24)
    stands = ~cv2.dilate(moves.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert np.abs(made.planes[0].astype(int) - clip.planes[0][0])[:, stands].max() <= 1


def test_what_leads_up_to_a_clip_is_what_follows_it_reversed() -> None:
    clip = clip_of(two_rounds)
    after, _ = rendered(clip, 24)
    before, notes = rendered(reversed_in_time(clip), 24, prepend=True)
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(after.planes, before.planes, strict=True))
    assert notes[0].startswith("Each of 2 parts of the picture goes on by itself")


def test_the_same_seed_gives_the_same_frames() -> None:
    clip = clip_of(filling)
    one, again = (rendered(clip, 30, seed=7)[0] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.planes, again.planes, strict=True))


def test_one_thing_that_moves_is_no_two_regions() -> None:
    assert regions(tail_of(clip_of(lambda index: disc(ground(), *going_round(index, 31, LEFT)))), RATE) == []


def test_things_whose_ways_meet_are_one_region() -> None:
    def crossing(index: int) -> Picture:
        one = disc(ground(), *going_round(index, 31, (140, 64)))
        return disc(one, *going_round(index, 43, (190, 64)))

    assert regions(tail_of(clip_of(crossing)), RATE) == []


def test_what_moves_together_is_one_region() -> None:
    def with_its_shadow(index: int) -> Picture:
        # Both stop, and go on, at the same times.
        place = int(index + 10 * np.sin(index / 5))
        one = disc(ground(), *going_round(place, 31, LEFT))
        return disc(one, *going_round(place, 43, RIGHT))

    assert regions(tail_of(clip_of(with_its_shadow)), RATE) == []


def test_a_camera_that_moves_has_no_regions() -> None:
    wide = np.tile(ground(), (1, 3))

    def panned(index: int) -> Picture:
        return np.asarray(wide[:, index : index + SIZE[0]], np.float32)

    assert regions(tail_of(clip_of(panned)), RATE) == []


def test_light_that_changes_keeps_the_picture_together() -> None:
    assert regions(tail_of(clip_of(lambda index: two_rounds(index) + 9 * np.float32(index / GIVEN))), RATE) == []


def test_regions_hold_all_that_has_changed() -> None:
    tail = tail_of(clip_of(two_rounds))
    found = regions(tail, RATE)
    moves = np.ptp(np.stack(tail.proxies), axis=0) > 12
    assert len(found) == 2
    assert sum(region.change for region in found) == pytest.approx(1, abs=0.05)
    assert np.maximum.reduce([region.matte for region in found])[moves].min() > 0.9
    for region in found:
        assert all(side % 2 == 0 for side in region.box(tail))


def test_a_part_stands_still_outside_its_matte() -> None:
    tail = tail_of(clip_of(two_rounds))
    left = min(regions(tail, RATE), key=lambda region: region.box(tail).left)
    cut = part(tail, left.matte, Box(0, 0, *SIZE))
    assert cut.picture(3).size == SIZE
    assert all(np.array_equal(luma[:, 200:], tail.proxies[-1][:, 200:]) for luma in cut.proxies)
    assert any(not np.array_equal(a[:, :140], b[:, :140]) for a, b in pairwise(cut.proxies))


def test_a_clip_that_one_walk_suits_is_not_parted() -> None:
    tail = tail_of(clip_of(lambda index: two_rounds(index, (24.0, 24.0))))
    assert woven(tail, RATE, 0, Continuation(tail, RATE, 0)) is None


def test_who_gives_up_stops_the_looking_for_regions() -> None:
    tail, given_up = tail_of(clip_of(two_rounds)), Event()
    given_up.set()
    with stopping(given_up), pytest.raises(Cancelled):
        regions(tail, RATE)


@pytest.mark.parametrize("size", [(2, 2), (34, 18), (640, 50), (50, 640), (962, 386)])
def test_pictures_of_any_size_go_on(size: tuple[int, int]) -> None:
    def at(index: int) -> Picture:
        return np.asarray(cv2.resize(two_rounds(index), size, interpolation=cv2.INTER_AREA), np.float32)

    made, _ = rendered(clip_of(at, 60), 20)
    assert made.planes[0].shape == (20, size[1], size[0])
