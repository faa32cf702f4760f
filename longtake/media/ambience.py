"""Ambient sound that goes on after its end: rooms, streets, wind, crowds, hum; no speech and no music.

Granular texture synthesis: grains of the sound's own steady stretches are laid over each other where their waveforms
fit best, as in WSOLA (Verhelst and Roelands, 1993). Fades keep the power whatever the correlation of what they join.
The seam is bridged by linear prediction (Kauppinen and Roth, 2002), so that the first sample follows the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

Signal = np.ndarray[Any, np.dtype[np.float64]]
Samples = np.ndarray[Any, np.dtype[np.float32]]

TAIL_SECONDS: Final = 6.0
GRAIN_SECONDS: Final = (0.25, 0.5)
OVERLAP_SECONDS: Final = 0.08
SEARCH_SECONDS: Final = 0.025
"""Longer than a period of mains hum."""
SEAM_SECONDS: Final = 0.008
"""As long as noise can be predicted, and not longer: it would be dull."""
PREDICTION_ORDER: Final = 128
LEVEL_SECONDS: Final = 0.7
"""How fast the level goes from that of the last moment to that of the steady stretches."""
MOST_LEVEL: Final = 2.0
NUM_TRIED: Final = 12
"""Grains out of which the best fitting one is taken."""
STRANGE: Final = 1.6
"""What differs from the rest by this many times the median difference is an event: it is not repeated."""
BALANCE: Final = 0.3
"""How much of a correlation it is worth to come nearer to the tail's long-term spectrum by 1 dB."""
MEMORY_GRAINS: Final = 50
"""Over so many of the last ones it is taken."""
FAINT: Final = 1e-4
"""Bands with less than this part of the strongest one's power are not looked at."""


def continued(samples: Samples, rate: int, seconds: float, seed: int) -> Samples:
    """What may follow `samples`: float32 (channels, round(seconds * rate)), the same for the same seed.

    `samples`: float32 (channels, num_samples), -1 to 1; only the last seconds are used. The same grains are taken in
    all channels, which keeps the stereo image. Raises ValueError where there is no sample.
    """
    num, out, num_made = round(seconds * rate), [np.zeros((len(samples), 0), np.float32)], 0
    for stretch in going_on(samples, rate, seed):
        if num_made >= num:
            break
        out.append(stretch[:, : num - num_made])
        num_made += stretch.shape[1]
    return np.concatenate(out, axis=1)


def going_on(samples: Samples, rate: int, seed: int) -> Iterator[Samples]:
    """The same without an end, in stretches of half a second at most: float32 (channels, num_samples) each."""
    if samples.ndim != 2 or not samples.size:
        raise ValueError(f"there must be samples of shape (channels, num_samples), got {samples.shape}")
    tail = samples[:, -int(TAIL_SECONDS * rate) :].astype(np.float64)
    overlap = min(int(OVERLAP_SECONDS * rate), tail.shape[1] // 6)
    while overlap < 16 or not np.abs(tail).max():
        yield np.zeros((len(samples), max(rate // 2, 1)), np.float32)
    grains = _Grains(tail, rate, overlap, np.random.default_rng(seed))
    peak = max(1.0, float(np.abs(samples).max()))
    held = grains.fitting(tail[:, -overlap:])[:, overlap:]  # what came after a moment like the last one
    held = held * _level_at(0, tail, grains, rate)
    seam = min(overlap, int(SEAM_SECONDS * rate))
    held[:, :seam] = _taken_over(*_predicted(tail, seam), held[:, :seam])
    at = 0
    while True:
        yield np.asarray(np.clip(held[:, :-overlap], -peak, peak), np.float32)
        at += held.shape[1] - overlap
        end = held[:, -overlap:]
        grain = grains.fitting(end) * _level_at(at, tail, grains, rate)
        held = np.concatenate([_cross_faded(end, grain[:, :overlap]), grain[:, overlap:]], axis=1)


def spectral_jump(before: Samples, after: Samples, rate: int) -> float:
    """How far the spectra of two stretches are apart: the mean over third-octave bands, in dB."""
    return float(np.abs(_bands(before.astype(np.float64), rate) - _bands(after.astype(np.float64), rate)).mean())


class _Grains:
    """Stretches of the tail that sound like most of it does."""

    def __init__(self, tail: Signal, rate: int, overlap: int, random: np.random.Generator) -> None:
        self._tail, self._overlap, self._random = tail, overlap, random
        num = tail.shape[1]
        self._lengths = [max(3 * overlap, min(int(s * rate), num // 2)) for s in GRAIN_SECONDS]
        self.longest = self._lengths[1]
        self._search = min(int(SEARCH_SECONDS * rate), overlap, num - self.longest)
        self._steps = np.arange(0, num - self.longest + 1, max(self.longest // 8, 1))
        bands = np.stack([_bands(tail[:, at : at + self.longest], rate) for at in self._steps])
        strangeness = np.abs(bands - np.median(bands, axis=0)).mean(axis=1)
        usual = strangeness <= max(np.quantile(strangeness, 0.6), STRANGE * np.median(strangeness))
        self._steps, powers = self._steps[usual], 10 ** (bands[usual] / 10)
        self._wanted = powers.mean(axis=0)
        self._powers = dict(zip(map(int, self._steps), powers, strict=True))
        self._made, self._num_made = np.zeros_like(self._wanted), 0.0
        self.level = float(np.median([_rms(tail[:, at : at + self.longest]) for at in self._steps]))
        self._used: list[int] = []

    def fitting(self, target: Signal) -> Signal:
        """A grain that continues like `target` (channels, overlap), not one of the last ones where there are others.

        Of those that fit alike, one that brings the spectrum of all that was made nearer to the tail's.
        """
        fresh = [at for at in self._steps if at not in self._used] or list(self._steps)
        tried = self._random.choice(fresh, min(NUM_TRIED, len(fresh)), replace=False)
        fits = (self._fit(target, int(at)) for at in tried)
        _, at, place = max((fit - BALANCE * self._off_with(at), at, place) for fit, at, place in fits)
        self._used = [*self._used, at][-(len(self._steps) // 3) :] if len(self._steps) > 2 else []
        kept = 1 - 1 / MEMORY_GRAINS
        self._made, self._num_made = kept * self._made + self._powers[at], kept * self._num_made + 1
        length = int(self._random.integers(self._lengths[0], self._lengths[1] + 1))
        return self._tail[:, place : place + length]

    def _off_with(self, at: int) -> float:
        """By how many dB the mean spectrum would be off with this grain, over the bands that are not faint."""
        heard = self._wanted > FAINT * self._wanted.max()
        made = (self._made + self._powers[at]) / (self._num_made + 1)
        return float(np.abs(10 * np.log10(made[heard] / self._wanted[heard])).mean())

    def _fit(self, target: Signal, at: int) -> tuple[float, int, int]:
        """The best correlation around a place, the place, and where it was found."""
        begin = max(0, min(at - self._search // 2, self._tail.shape[1] - self.longest - self._search))
        stretch = self._tail[:, begin : begin + self._search + self._overlap]
        size = 1 << (stretch.shape[1] + self._overlap).bit_length()
        spectrum = (np.fft.rfft(stretch, size) * np.conj(np.fft.rfft(target, size))).sum(axis=0)
        products = np.fft.irfft(spectrum, size)[: self._search + 1]
        energy = np.concatenate([[0.0], np.cumsum((stretch**2).sum(axis=0))])
        power = energy[self._overlap :] - energy[: len(energy) - self._overlap]
        fits = products[: len(power)] / np.sqrt(np.maximum(power[: len(products)], 1e-12))
        best = int(np.argmax(fits))
        return float(fits[best]), at, begin + best


def _level_at(at: int, tail: Signal, grains: _Grains, rate: int) -> float:
    """The gain that leads from the level of the last moment to that of the grains."""
    last = _rms(tail[:, -int(0.1 * rate) :])
    ratio = float(np.clip(last / max(grains.level, 1e-9), 1 / MOST_LEVEL, MOST_LEVEL))
    return float(ratio ** np.exp(-at / (LEVEL_SECONDS * rate)))


def _cross_faded(old: Signal, new: Signal) -> Signal:
    """From one to the other at constant power, by their correlation: amplitudes add up where they are alike."""
    fade = np.sin(np.linspace(0, np.pi / 2, old.shape[1])) ** 2
    alike = float((old * new).sum() / max(np.sqrt((old**2).sum() * (new**2).sum()), 1e-12))
    power = fade**2 + (1 - fade) ** 2 + 2 * fade * (1 - fade) * max(alike, 0.0)
    return np.asarray((old * (1 - fade) + new * fade) / np.sqrt(power))


def _taken_over(predicted: Signal, share: Signal, new: Signal) -> Signal:
    """From what is predicted, whose power is a `share` of the signal's, to the new at constant power."""
    fade = np.sin(np.linspace(0, np.pi / 2, new.shape[1])) ** 2
    alike = float((predicted * new).sum() / max(np.sqrt((predicted**2).sum() * (new**2).sum()), 1e-12))
    old = (1 - fade) * np.sqrt(share)
    both = old * max(alike, 0.0)
    return np.asarray(predicted * (1 - fade) + new * (np.sqrt(both**2 + np.maximum(1 - old**2, 0)) - both))


def _predicted(tail: Signal, num: int) -> tuple[Signal, Signal]:
    """The next samples by linear prediction in each channel; and how much of the power is in that, 0 to 1.

    What can't be predicted of the n-th sample has the power of the first n values of the predictor's impulse response,
    times that of its error.
    """
    order = min(PREDICTION_ORDER, tail.shape[1] // 4)
    window = tail[:, -32 * order :]
    predicted, share = np.zeros((len(tail), num)), np.zeros((len(tail), num))
    for k, channel in enumerate(window):
        weights, error = _prediction(channel, order)
        line = np.concatenate([channel[-order:], np.zeros(num)])
        for at in range(order, order + num):
            line[at] = weights @ line[at - order : at]
        predicted[k] = line[order:]
        response = np.concatenate([np.zeros(order), np.ones(1), np.zeros(num - 1)])
        for at in range(order + 1, order + num):
            response[at] = weights @ response[at - order : at]
        share[k] = np.maximum(1 - error * np.cumsum(response[order:] ** 2), 0)
    return predicted, share


def _prediction(channel: Signal, order: int) -> tuple[Signal, float]:
    """Weights of the last `order` samples, oldest first, by Levinson and Durbin's recursion; always stable.

    And the power of what it is off by, as a part of the channel's.
    """
    size = 1 << (2 * len(channel)).bit_length()
    power = np.abs(np.fft.rfft(channel * np.hanning(len(channel)), size)) ** 2
    correlation = np.fft.irfft(power, size)[: order + 1]
    weights = np.zeros(order)
    error = correlation[0] * (1 + 1e-9) + 1e-12
    for k in range(order):
        reflection = (correlation[k + 1] - weights[:k] @ correlation[k:0:-1]) / error
        weights[:k] -= reflection * weights[:k][::-1]
        weights[k] = reflection
        error *= 1 - reflection**2
    return weights[::-1], float(error / (correlation[0] + 1e-12))


def _bands(signal: Signal, rate: int) -> Signal:
    """Power in third-octave bands from 50 Hz on, in dB, of all channels together, not below -90 dB."""
    power = (np.abs(np.fft.rfft(signal * np.hanning(signal.shape[1]))) ** 2).mean(axis=0) / signal.shape[1] ** 2
    frequencies = np.fft.rfftfreq(signal.shape[1], 1 / rate)
    edges = 50 * 2 ** (np.arange(28) / 3)
    places = np.searchsorted(frequencies, edges[edges < rate / 2])
    sums = np.concatenate([[0.0], np.cumsum(power)])
    return np.asarray(10 * np.log10(np.maximum(np.diff(sums[places]), 1e-9)))


def _rms(signal: Signal) -> float:
    return float(np.sqrt(np.mean(signal**2)))
