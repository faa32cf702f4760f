"""The share of moving area that runs backwards, on footage where the answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from longtake.frames import Frames, Plane
from longtake.media.colour import to_rgb
from longtake.media.reversal import MOST_SAMPLES, Mirror, reversal
from tests.footage import concatenate, flat, same

RATE = 15.0
WIDTH, HEIGHT = 240, 136


def of_luma(luma: Plane) -> Frames:
    chroma = np.full((len(luma), luma.shape[1] // 2, luma.shape[2] // 2), 128, np.uint8)
    return Frames((luma, chroma, chroma))


def texture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Plane:
    coarse = np.random.default_rng(seed).integers(30, 226, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def walk(places: list[int]) -> Frames:
    """A textured square before a textured background that stands, at these columns."""
    background, thing = texture(1), texture(2, 40, 40)
    luma = np.stack([background] * len(places))
    for frame, place in zip(luma, places, strict=True):
        frame[48:88, place : place + 40] = thing
    return of_luma(luma)


def slide(offsets: list[int], rows: slice = slice(40, 120)) -> Frames:
    """A band of endless texture that flows past, in a picture that stands: falling water, lying on its side."""
    background, wide = texture(3), texture(4, 1600)
    luma = np.stack([background] * len(offsets))
    for frame, offset in zip(luma, offsets, strict=True):
        frame[rows] = wide[rows, offset : offset + WIDTH]
    return of_luma(luma)


def back(frames: Frames) -> Frames:
    return Frames(tuple(plane[-2::-1] for plane in frames.planes))


PAST = walk([10 + 3 * k for k in range(30)])


def test_what_walks_on_runs_forward() -> None:
    assert reversal(PAST, walk([100 + 3 * k for k in range(30)]), RATE) <= 0.02


def test_what_walks_back_runs_backwards() -> None:
    assert reversal(PAST, back(PAST), RATE) > 0.9


def test_what_walks_on_and_then_back_runs_backwards_for_a_part() -> None:
    on = [100 + 3 * k for k in range(15)]
    share = reversal(PAST, walk([*on, *reversed(on), *[97 - 3 * k for k in range(30)]]), RATE)
    assert 0.35 < share < 0.75


def test_half_the_moving_area_backwards_is_a_half() -> None:
    def both(upper: Frames, lower: Frames) -> Frames:
        return of_luma(np.concatenate([upper.planes[0], lower.planes[0]], axis=1))

    on = walk([100 + 3 * k for k in range(29)])
    assert 0.4 < reversal(both(PAST, PAST), both(on, back(PAST)), RATE) < 0.6


def test_a_texture_that_flows_on_or_is_replayed_forward_does_not_run_backwards() -> None:
    past = slide([3 * k for k in range(45)])
    assert reversal(past, slide([135 + 3 * k for k in range(30)]), RATE) <= 0.02
    assert reversal(past, past, RATE) == 0
    assert reversal(past, back(past), RATE) > 0.8


def test_what_swings_both_ways_may_go_either_way() -> None:
    swing = [100 + round(40 * np.sin(k / 9)) for k in range(150)]
    past = walk(swing[:120])
    assert reversal(past, walk(swing[120:]), RATE) < 0.1
    assert reversal(past, back(past), RATE) < 0.1


def test_noise_stills_and_flat_pictures_have_no_direction() -> None:
    rng = np.random.default_rng(5)
    noise = of_luma(rng.integers(0, 256, (60, HEIGHT, WIDTH), dtype=np.uint8))
    assert reversal(noise[:30], noise[30:], RATE) == 0
    still = walk([50] * 30)
    assert reversal(PAST, still, RATE) == 0
    assert reversal(still, still, RATE) == 0
    assert reversal(flat(30, 90), flat(30, 90), RATE) == 0


def test_grain_over_what_stands_still_is_no_motion() -> None:
    rng = np.random.default_rng(6)
    picture = np.stack([texture(7)] * 60).astype(np.int16)
    grainy = of_luma(np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8))
    assert reversal(grainy[:30], back(grainy[:30]), RATE) == 0


@pytest.mark.parametrize("rate", [10.0, 30.0, 60.0])
def test_the_frame_rate_hardly_matters(rate: float) -> None:
    places = [10 + round(45 / rate * k) for k in range(round(2 * rate))]
    past = walk(places)
    assert reversal(past, back(past), rate) > 0.85
    assert reversal(past, walk([places[-1] + round(45 / rate * (k + 1)) for k in range(round(2 * rate))]), rate) <= 0.02


def test_a_moving_camera_does_not_hide_who_walks_back() -> None:
    def panned(places: list[int], pans: list[int]) -> Frames:
        wide, thing = texture(8, 700), texture(2, 40, 40)
        luma = np.stack([wide[:, pan : pan + WIDTH] for pan in pans])
        for frame, place in zip(luma, places, strict=True):
            frame[48:88, place : place + 40] = thing
        return of_luma(luma)

    past = panned([10 + 2 * k for k in range(45)], [3 * k for k in range(45)])
    assert reversal(past, back(past), RATE) > 0.6


def test_one_frame_has_no_motion() -> None:
    assert reversal(PAST[:1], PAST, RATE) == 0
    assert reversal(PAST, PAST[:1], RATE) == 0


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        reversal(PAST, flat(30, 90), RATE)


def seen(past: list[Frames], new: Frames, batch: int) -> float | None:
    mirror = Mirror(past, new.num_frames, RATE)
    passed = mirror.watch(new[start : start + batch] for start in range(0, new.num_frames, batch))
    assert same(concatenate(passed), new)
    return mirror.reversal()


@pytest.mark.parametrize("batch", [1, 4, 16, 100])
def test_frames_that_go_by_in_batches_measure_as_in_one_piece(batch: int) -> None:
    assert seen([PAST], back(PAST), batch) == reversal(PAST, back(PAST), RATE)


def test_what_leads_up_to_a_clip_is_held_against_that_clip() -> None:
    assert seen([walk([100 + 3 * k for k in range(30)])], walk([10 + 3 * k for k in range(30)]), 8) == 0
    assert seen([PAST, walk([100 + 3 * k for k in range(30)])], back(PAST), 8) == reversal(PAST, back(PAST), RATE)


def test_without_footage_nothing_says_what_backwards_is() -> None:
    assert seen([], PAST, 8) is None
    assert seen([PAST[:1]], PAST, 8) is None
    assert seen([PAST], PAST[:1], 8) is None


def test_rgb_measures_as_the_same_frames_in_yuv() -> None:
    mirror = Mirror([PAST], 29, RATE)
    assert sum(batch.num_frames for batch in mirror.watch([to_rgb(back(PAST))])) == 29
    assert mirror.reversal() == pytest.approx(reversal(PAST, back(PAST), RATE), abs=0.05)


def test_of_a_long_part_no_more_is_kept_than_of_a_short_one() -> None:
    mirror = Mirror([PAST], 9000, RATE)
    short = back(PAST)
    for _ in mirror.watch(short[number % 29 : number % 29 + 1] for number in range(9000)):
        pass
    assert len(mirror._proxies) <= 2 * MOST_SAMPLES
    assert (mirror.reversal() or 0) > 0.8


def test_the_samples_of_a_long_part_are_spread_over_all_of_it() -> None:
    on = walk([100 + 3 * (k % 12) for k in range(24)])
    mirror = Mirror([PAST], 600, RATE)
    batches = [on[:20]] * 15 + [back(PAST)[:20]] * 15
    for _ in mirror.watch(batches):
        pass
    assert 0.3 < (mirror.reversal() or 0) < 0.7
