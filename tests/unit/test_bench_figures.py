"""The motion benchmark's figures, on footage where the answer is known, and the baselines that they tell apart."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from bench import motion_figures as figures
from bench.motion_baselines import cross_fade, freeze, linear_flow, minterpolate, ping_pong, zoompan
from bench.motion_footage import fitted, luma, picked
from longtake.frames import Frames, Plane
from tests.footage import flat, moving

RATE = 12.0
PAN = moving(48, 240, 136, step=3)
TAIL, REST = PAN[:24], PAN[24:]


def noise(num_frames: int, seed: int = 0) -> Plane:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, 64, 96), dtype=np.uint8)


def test_steps_are_mean_squared_differences() -> None:
    assert figures.steps(luma(flat(1, 90)).repeat(2, axis=0)).tolist() == [0]
    pair = np.stack([np.full((32, 32), 50, np.uint8), np.full((32, 32), 53, np.uint8)])
    assert figures.steps(pair).tolist() == [9]


def test_energy_is_one_where_the_footage_goes_on_and_almost_nothing_in_a_freeze() -> None:
    own = figures.steps(luma(TAIL))
    assert figures.energy(own, figures.steps(luma(REST)), RATE) == pytest.approx(1, abs=0.2)
    assert figures.energy(own, np.zeros(24), RATE).max() < 0.05


def test_still_beside_still_has_all_its_energy() -> None:
    assert figures.energy(np.zeros(24), np.zeros(24), RATE).tolist() == [1, 1]


def test_seconds_that_are_not_whole_are_left_out_unless_there_is_no_other() -> None:
    assert figures.by_second(np.arange(30.0), RATE).tolist() == [5.5, 17.5]
    assert figures.by_second(np.arange(3.0), RATE).tolist() == [1]


def test_blur_lowers_sharpness_and_a_plain_surface_has_the_floor() -> None:
    sharp = luma(PAN)[0]
    soft = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 2), np.uint8)
    values = figures.sharpness(np.stack([sharp, soft]))
    assert values[1] < 0.7 * values[0]
    assert figures.sharpness(luma(flat(1, 90))).tolist() == [figures.SHARPNESS_FLOOR]


def test_the_longest_stop_counts_the_frames_that_hardly_change() -> None:
    own = np.full(24, 40.0)
    stopping = np.array([40, 3, 3, 3, 40, 2, 2, 40], np.float64)
    assert figures.longest_stop(own, stopping, RATE) == pytest.approx(3 / RATE)
    assert figures.longest_stop(own, np.full(12, 5.0), RATE) == 0
    assert figures.longest_stop(np.zeros(24), np.zeros(12), RATE) == 0


def test_velocity_goes_on_across_a_pan_and_breaks_where_it_turns_round() -> None:
    tail, rest = luma(TAIL), luma(REST)
    turned = luma(ping_pong(TAIL, 4, RATE))
    assert figures.velocity_break(tail, rest) < 2
    assert figures.velocity_break(tail, turned) > 3 * figures.velocity_break(tail, rest)


def test_psnr_is_the_one_that_everybody_uses_and_has_an_end() -> None:
    black = np.zeros((8, 8), np.uint8)
    assert figures.psnr(black, np.full((8, 8), 255, np.uint8)) == 0
    assert figures.psnr(black, black) == figures.BEST_PSNR
    assert figures.psnr(black, np.full((8, 8), 16, np.uint8)) == pytest.approx(24.05, abs=0.01)


def test_copies_repeat_either_way_round_and_new_pictures_do_not() -> None:
    video = noise(96)
    tail, new = video[:48], video[48:]
    assert figures.repetition(tail, new, RATE) < 0.1
    assert figures.repetition(tail, tail, RATE) > 0.9
    assert figures.repetition(tail, tail[::-1], RATE) > 0.8


def test_what_repeats_by_nature_is_not_repetition() -> None:
    period = noise(12)
    clock = np.concatenate([period] * 8)
    assert figures.repetition(clock[:48], clock[48:], RATE) < 0.1


def test_a_freeze_repeats_no_motion() -> None:
    tail = noise(48)
    assert figures.repetition(tail, tail[-1:].repeat(48, axis=0), RATE) < 0.1


def test_jerk_is_none_in_steady_motion_and_seen_in_a_stutter() -> None:
    steady = luma(PAN)[:12]
    stutter = luma(picked(PAN, [k + (1 if k % 2 else 0) for k in range(12)]))
    assert figures.jerk(steady) < 0.2
    assert figures.jerk(stutter) > 3


def test_a_camera_stands_where_the_background_does() -> None:
    assert not figures.camera_stands(luma(PAN))
    standing = luma(picked(PAN, [0] * 12)).copy()
    for k, frame in enumerate(standing):
        frame[40:80, 4 * k : 4 * k + 40] = 220
    assert figures.camera_stands(standing)


def test_ping_pong_turns_at_both_ends() -> None:
    numbers = flat(4, 0)
    for k, plane in enumerate(numbers.planes[0]):
        plane[:] = k
    assert luma(ping_pong(numbers, 10, RATE))[:, 0, 0].tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0, 1]
    assert luma(freeze(numbers, 3, RATE))[:, 0, 0].tolist() == [3, 3, 3]


def test_a_cross_fade_starts_at_the_last_frame_and_arrives_at_the_first_ones() -> None:
    levels = flat(24, 40)
    levels.planes[0][-1] = 180
    faded = luma(cross_fade(levels, 24, RATE))[:, 0, 0].astype(int)
    assert faded[0] > 150
    assert (np.diff(faded[:6]) < 0).all()
    assert (faded[6:23] == 40).all()


def test_linear_flow_carries_a_pan_on() -> None:
    ahead = luma(linear_flow(TAIL, 3, RATE))
    inside = (slice(16, 120), slice(40, 200))
    for k in range(3):
        truth, last = luma(REST)[k][inside], luma(TAIL)[-1][inside]
        assert figures.psnr(ahead[k][inside], truth) > figures.psnr(last, truth) + 6


def test_minterpolate_gives_the_frames_between_the_middle_two() -> None:
    four = picked(PAN, [0, 4, 8, 12])
    between = minterpolate(four, Fraction(3), Fraction(12))
    assert between.num_frames == 3
    truth = luma(PAN)[6]
    assert figures.psnr(luma(between)[1][32:104, 40:200], truth[32:104, 40:200]) > 25


def test_zoompan_gives_as_many_frames_as_are_asked_for() -> None:
    made = list(zoompan(PAN[:1], 6, Fraction(12)))
    assert len(made) == 6
    assert figures.psnr(luma(made[0])[0], luma(PAN)[0]) > 30


def test_large_frames_are_brought_down_to_fit_and_small_ones_left() -> None:
    large = Frames((np.zeros((1, 1080, 1920), np.uint8), *[np.zeros((1, 540, 960), np.uint8)] * 2))
    assert (fitted(large).width, fitted(large).height) == (1280, 720)
    assert fitted(PAN) is PAN
