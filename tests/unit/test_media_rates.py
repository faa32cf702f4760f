"""The exact rate, from time stamps that are rounded, jittered or irregular."""

from __future__ import annotations

from fractions import Fraction

import pytest

from longtake.media.rates import MOST, STANDARD, nominal_rate

MILLISECOND = Fraction(1, 1000)
MPEG = Fraction(1, 90000)


def stamps(rate: Fraction, time_base: Fraction, num_frames: int) -> list[int]:
    return [round(k / rate / time_base) for k in range(num_frames)]


@pytest.mark.parametrize("time_base", [MILLISECOND, MPEG, Fraction(1, 12288)])
@pytest.mark.parametrize("rate", STANDARD, ids=str)
def test_a_constant_rate_is_found_in_rounded_time_stamps(rate: Fraction, time_base: Fraction) -> None:
    assert nominal_rate(stamps(rate, time_base, 3000), time_base, [rate]) == (rate, True)


def test_the_container_settles_what_few_rounded_stamps_leave_open() -> None:
    ntsc = Fraction(30000, 1001)
    assert nominal_rate(stamps(ntsc, MILLISECOND, 10), MILLISECOND, [ntsc]) == (ntsc, True)


def test_equal_intervals_in_a_fine_time_base_are_taken_exactly() -> None:
    rate = Fraction(179, 6)
    assert nominal_rate([k * 384 for k in range(50)], Fraction(1, 11456), []) == (rate, True)


def test_dropped_frames_make_a_variable_rate_of_the_most_frequent_interval() -> None:
    kept = [pts for k, pts in enumerate(stamps(Fraction(24), MPEG, 400)) if k % 5 != 3 and k % 7 != 2]
    assert nominal_rate(kept, MPEG, [Fraction(17)]) == (Fraction(24), False)


def test_jittered_milliseconds_around_30_fps_are_30_fps() -> None:
    jitter = (0, 3, -4, 5, -2)
    irregular = [pts + jitter[k % 5] for k, pts in enumerate(stamps(Fraction(30), MILLISECOND, 200))]
    rate, constant = nominal_rate(irregular, MILLISECOND, [])
    assert not constant
    assert 25 <= rate <= 40


def test_rates_beyond_what_engines_make_are_halved_or_doubled() -> None:
    assert nominal_rate(stamps(Fraction(240), MPEG, 100), MPEG, []) == (Fraction(120), False)
    assert nominal_rate(stamps(Fraction(1, 4), MPEG, 20), MPEG, []) == (Fraction(1), False)
    assert nominal_rate([0, 1, 2, 4], Fraction(1, 90000), [])[0] <= MOST


def test_a_single_frame_has_the_rate_that_its_container_says() -> None:
    assert nominal_rate([0], MPEG, [Fraction(12)]) == (Fraction(12), True)
    assert nominal_rate([], MPEG, []) == (Fraction(25), True)
