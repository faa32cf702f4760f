"""Ambient sound goes on with the same spectrum and the same liveliness, and nobody hears where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from longtake.media.ambience import continued, spectral_jump

RATE = 16000
Samples = np.ndarray[Any, np.dtype[np.float32]]


def noise(rng: np.random.Generator, num: int, channels: int = 2) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Coloured noise: as much below 300 Hz as above, and a broad peak at 1.5 kHz."""
    spectrum = np.fft.rfft(rng.standard_normal((channels, num)))
    frequencies = np.fft.rfftfreq(num, 1 / RATE)
    shape = 1 / (1 + frequencies / 300) + 0.5 * np.exp(-(((frequencies - 1500) / 300) ** 2))
    shaped = np.fft.irfft(spectrum * shape, num)
    return np.asarray(0.1 * shaped / shaped.std())


def wind(rng: np.random.Generator, num: int) -> Samples:
    return np.asarray(noise(rng, num), np.float32)


def room_with_hum(rng: np.random.Generator, num: int) -> Samples:
    seconds = np.arange(num) / RATE
    hum = sum(0.1 / k * np.sin(2 * np.pi * 50 * k * seconds + k) for k in (1, 2, 3, 5))
    return np.asarray(0.2 * noise(rng, num) + hum, np.float32)


def crowd(rng: np.random.Generator, num: int) -> Samples:
    voices = np.zeros((2, num))
    for _ in range(8):
        knots = np.abs(rng.standard_normal(num * 5 // RATE + 3)) ** 1.5
        envelope = np.interp(np.arange(num) / RATE * 5, np.arange(len(knots)), knots)
        voices += noise(rng, num) * envelope * rng.uniform(0.3, 1, (2, 1))
    return np.asarray(0.1 * voices / voices.std(), np.float32)


AMBIENCES = [wind, room_with_hum, crowd]


def crest(samples: Samples) -> float:
    """Peak over root mean square, in dB."""
    return float(20 * np.log10(np.abs(samples).max() / np.sqrt(np.mean(samples.astype(float) ** 2))))


@pytest.mark.parametrize("ambience", AMBIENCES)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_ambience_goes_on_in_its_own_spectrum(
    ambience: Callable[[np.random.Generator, int], Samples], seed: int
) -> None:
    real = ambience(np.random.default_rng(seed), 14 * RATE)
    before, true = real[:, : 6 * RATE], real[:, 6 * RATE :]
    after = continued(before, RATE, 8, seed)
    assert after.shape == true.shape
    assert spectral_jump(before, after, RATE) < spectral_jump(before, true, RATE) + 1
    assert abs(crest(after) - crest(true)) < 3
    assert np.abs(after).max() <= 1


@pytest.mark.parametrize("ambience", AMBIENCES)
def test_nobody_hears_where_it_begins(ambience: Callable[[np.random.Generator, int], Samples]) -> None:
    real = ambience(np.random.default_rng(3), 8 * RATE)
    before = real[:, : 6 * RATE]
    whole = np.concatenate([before, continued(before, RATE, 2, 0)], axis=1)
    bends = np.abs(np.diff(whole, 2)).max(axis=0)
    assert bends[6 * RATE - 2 : 6 * RATE + RATE // 100].max() <= bends[: 6 * RATE].max()
    around = [np.sqrt(np.mean(bends[at : at + RATE // 50] ** 2)) for at in (6 * RATE - RATE // 50, 6 * RATE)]
    assert 0.4 < around[1] / around[0] < 2.5
    quarter = RATE // 4
    jumps = [
        spectral_jump(real[:, k : k + quarter], real[:, k + quarter : k + 2 * quarter], RATE)
        for k in range(0, 5 * RATE, quarter)
    ]
    seam = spectral_jump(whole[:, 6 * RATE - quarter : 6 * RATE], whole[:, 6 * RATE : 6 * RATE + quarter], RATE)
    assert seam <= 1.3 * max(jumps)


def test_joints_of_grains_are_as_loud_as_the_rest() -> None:
    real = wind(np.random.default_rng(5), 6 * RATE)
    after = continued(real, RATE, 10, 1)
    levels = np.sqrt((after.reshape(2, -1, RATE // 20) ** 2).mean(axis=(0, 2)))
    own = np.sqrt((real.reshape(2, -1, RATE // 20) ** 2).mean(axis=(0, 2)))
    assert levels.std() / levels.mean() < 1.5 * own.std() / own.mean()
    assert abs(levels.mean() / own.mean() - 1) < 0.1


def test_a_hum_keeps_its_phase_over_the_seam_and_its_strength_after_it() -> None:
    real = room_with_hum(np.random.default_rng(2), 8 * RATE)
    after = continued(real[:, : 6 * RATE], RATE, 2, 0)
    wave = np.exp(-2j * np.pi * 100 * np.arange(6 * RATE, 8 * RATE) / RATE)
    there = [(after[0] * wave)[k : k + RATE // 10].mean() for k in range(0, 2 * RATE, RATE // 10)]
    true = [(real[0, 6 * RATE :] * wave)[k : k + RATE // 10].mean() for k in range(0, 2 * RATE, RATE // 10)]
    assert abs(np.angle(there[0] / true[0])) < 0.3
    assert min(np.abs(there)) > 0.6 * np.mean(np.abs(true))


def test_it_does_not_repeat_itself() -> None:
    after = continued(wind(np.random.default_rng(4), 6 * RATE), RATE, 10, 0)[0].astype(float)
    spectrum = np.abs(np.fft.rfft(after, 2 * len(after))) ** 2
    alike = np.fft.irfft(spectrum)[: len(after)]
    assert np.abs(alike[RATE:]).max() < 0.25 * alike[0]


def test_the_same_seed_gives_the_same_samples() -> None:
    real = crowd(np.random.default_rng(0), 3 * RATE)
    assert np.array_equal(continued(real, RATE, 1, 7), continued(real, RATE, 1, 7))
    assert not np.array_equal(continued(real, RATE, 1, 7), continued(real, RATE, 1, 8))


@pytest.mark.parametrize("num", [1, 10, 200, 1000, 5000])
def test_a_very_short_sound_goes_on_or_is_silent(num: int) -> None:
    real = wind(np.random.default_rng(0), 5000)[:, :num]
    after = continued(real, RATE, 0.5, 0)
    assert after.shape == (2, RATE // 2)
    assert np.isfinite(after).all()


def test_silence_stays_silent() -> None:
    assert not continued(np.zeros((1, RATE), np.float32), RATE, 1, 0).any()


def test_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="samples"):
        continued(np.zeros((2, 0), np.float32), RATE, 1, 0)
