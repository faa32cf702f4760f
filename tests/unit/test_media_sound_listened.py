"""What goes on under a new part, listened to by measure: as loud, of the same colour, and nobody hears where it begins.

For wind that swells, a crowd of voices, a steady room, and the sound of real clips where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer

from longtake.media.ambience import continued, spectral_jump
from longtake.media.sound_heard import as_floats

RATE = 16000
SECONDS = 6
OFF_DB = 3.0
FAINT_DB = 30.0
"""What is so much fainter than the strongest band is not heard beside it."""
Samples = np.ndarray[Any, np.dtype[np.float32]]
Signal = np.ndarray[Any, np.dtype[np.float64]]


def noise(random: np.random.Generator, num: int, low: float, high: float) -> Signal:
    """A broad hump between two frequencies, another in each of two channels."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(num, 1 / RATE), 1) / np.sqrt(low * high)) / np.log2(high / low)
    spectrum = np.fft.rfft(random.standard_normal((2, num))) * np.exp(-2 * octaves**2)
    made = np.fft.irfft(spectrum, num)
    return np.asarray(made / made.std())


def line(random: np.random.Generator, num: int, per_second: float) -> Signal:
    """What changes so often, at random."""
    knots = random.standard_normal(int(num / RATE * per_second) + 2)
    return np.asarray(np.interp(np.arange(num) / RATE * per_second, np.arange(len(knots)), knots))


def wind(random: np.random.Generator, num: int) -> Signal:
    """Two layers that swell and fade by 3 dB within seconds."""
    deep, bright = (10 ** (3 / 20 * line(random, num, 1.5)) for _ in range(2))
    return noise(random, num, 80, 1200) * deep + 0.3 * noise(random, num, 1000, 4000) * bright


def room(random: np.random.Generator, num: int) -> Signal:
    hum = sum(np.sin(2 * np.pi * 50 * k * np.arange(num) / RATE + k) / k for k in (1, 2, 3))
    return noise(random, num, 100, 2000) + 0.5 * hum


def crowd(random: np.random.Generator, num: int) -> Signal:
    """Voices with a pitch of their own that wanders, in syllables, with hisses."""
    voices = np.zeros((2, num))
    for _ in range(14):
        phase = 2 * np.pi * np.cumsum(random.uniform(110, 240) * np.exp(0.06 * line(random, num, 4))) / RATE
        voice = sum(np.cos(k * phase) / k**0.8 for k in range(1, 11))
        voice = voice + 0.5 * random.standard_normal(num) * (line(random, num, 5) > 0.8)
        pan = random.random()
        syllables = np.maximum(line(random, num, random.uniform(3.5, 5.5)) + 0.3, 0)
        voices += np.outer(np.sqrt([pan, 1 - pan]), voice * syllables)
    return voices


AMBIENCES = [wind, room, crowd]


def real_sounds(folder: Path) -> Iterator[tuple[int, Samples]]:
    """Of each clip that is not silent, its rate and its samples."""
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as container:
            assert isinstance(container, InputContainer)
            if not container.streams.audio:
                continue
            frames = [frame for frame in container.decode(container.streams.audio[0]) if frame.samples]
        samples = np.concatenate([as_floats(frame) for frame in frames], axis=1)
        if np.abs(samples).max() > 1e-3:
            yield frames[0].sample_rate, samples


def levels(samples: Samples, rate: int) -> Signal:
    """Of each tenth of a second, in dB."""
    step = rate // 10
    cut = samples[:, : samples.shape[1] // step * step].astype(float)
    return np.asarray(10 * np.log10((cut.reshape(len(cut), -1, step) ** 2).mean(axis=(0, 2)) + 1e-10))


def bands(samples: Samples, rate: int) -> Signal:
    """The mean power in third-octave bands, in dB: over windows of half a second, each laid half over the next."""
    step = rate // 4
    pieces = [samples[:, at : at + 2 * step] for at in range(0, samples.shape[1] - 2 * step + 1, step)]
    power = np.mean([np.abs(np.fft.rfft(piece * np.hanning(2 * step))) ** 2 for piece in pieces], axis=(0, 1))
    edges = 50 * 2 ** (np.arange(28) / 3)
    places = np.searchsorted(np.fft.rfftfreq(2 * step, 1 / rate), edges[edges < rate / 2])
    return np.asarray(10 * np.log10(np.add.reduceat(power, places)[:-1] + 1e-9))


def listen(before: Samples, rate: int, seed: int, *, bands_off: float = OFF_DB) -> None:
    after = continued(before, rate, SECONDS, seed)
    tail = before[:, -6 * rate :]
    own, made = levels(tail, rate), levels(after, rate)
    assert abs(np.median(made) - np.median(own)) < OFF_DB
    assert own.min() - OFF_DB < made.min()
    assert made.max() < own.max() + OFF_DB
    wanted, found = bands(tail, rate), bands(after, rate)
    heard = wanted > wanted.max() - FAINT_DB
    assert np.abs(found - wanted)[heard].max() < bands_off
    whole, seam, window = np.concatenate([tail, after], axis=1), tail.shape[1], rate // 4
    inside = [jump_at(tail, at, window, rate) for at in range(window, seam - window, window)]
    assert jump_at(whole, seam, window, rate) < max(inside) + 1
    joints = [jump_at(whole, at, window, rate) for at in range(seam + window, whole.shape[1] - window, window)]
    assert np.median(joints) < np.median(inside) + 1


def jump_at(samples: Samples, at: int, window: int, rate: int) -> float:
    return spectral_jump(samples[:, at - window : at], samples[:, at : at + window], rate)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("ambience", AMBIENCES)
def test_an_ambience_goes_on_as_loud_and_of_the_same_colour(
    ambience: Callable[[np.random.Generator, int], Signal], seed: int
) -> None:
    real = ambience(np.random.default_rng(seed), 6 * RATE)
    listen(np.asarray(0.1 * real / real.std(), np.float32), RATE, seed)


def test_the_sound_of_real_clips_goes_on_as_loud_and_of_the_same_colour(clips: Path) -> None:
    sounds = list(real_sounds(clips))
    assert sounds
    for rate, samples in sounds:
        for seed in range(2):
            listen(samples, rate, seed, bands_off=4.0)  # of speech, or music, which nobody promises to continue


@pytest.mark.parametrize("ambience", [wind, room])
def test_an_event_is_not_repeated(ambience: Callable[[np.random.Generator, int], Signal]) -> None:
    real = ambience(np.random.default_rng(1), 6 * RATE)
    real *= 0.05 / real.std()
    quiet = levels(np.asarray(real, np.float32), RATE).max()
    bark = slice(2 * RATE, 2 * RATE + RATE // 4)
    real[:, bark] += 0.5 * np.sin(2 * np.pi * 700 * np.arange(RATE // 4) / RATE)
    for seed in range(2):
        after = continued(np.asarray(real, np.float32), RATE, SECONDS, seed)
        assert levels(after, RATE).max() < quiet + 1
