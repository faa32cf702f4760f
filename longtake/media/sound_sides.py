"""The sound on either side of a new part: its real samples, and where its packets end and begin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np

from longtake.media.ambience import TAIL_SECONDS, Samples
from longtake.media.objects import Opener
from longtake.media.sound import LEAD_PACKETS, Run, open_sound, read_packets
from longtake.media.sound_codec import CodedSound, look_at
from longtake.media.sound_heard import samples_of_runs

NOWHERE: Final = 2**62
QUIET: Final = 0.2
"""Padding, at the ends of a sound, with what a codec spreads into it: less than this part of its level."""


@dataclass(frozen=True, slots=True)
class Side:
    """The sound at one end of the new part. Places count samples from when pts 0 of its object is played."""

    samples: Samples
    """Real ones: the last seconds, and those beyond the join that its packets tell of; or the first ones."""
    edge: int
    """Where they end; of what comes after, where they begin."""
    zero: Fraction
    """When place 0 is, in seconds of the timeline."""
    packet: int
    """Where its last packet ends; of what comes after, where the first packet begins that is heard of it."""
    has_gap: bool
    """There is silence between it and the new part."""
    is_first: bool = False
    """Of what comes after: there is nothing of its object ahead of that packet."""

    @property
    def peak(self) -> float:
        return float(np.abs(self.samples).max(initial=0.0))

    def counted_from(self, zero: Fraction, rate: int) -> Side:
        by = round(self.zero * rate) - round(zero * rate)
        return replace(self, edge=self.edge + by, zero=zero, packet=self.packet + by)


class Sides:
    """Finds and decodes them."""

    def __init__(self, sound: CodedSound, runs: list[Run], open_object: Opener) -> None:
        """`sound` is what they are brought to; `runs` are a timeline's, in order."""
        self._sound, self._runs, self._open = sound, runs, open_object
        self._tail = int(TAIL_SECONDS * sound.rate)
        self._lead = LEAD_PACKETS.get(sound.codec, 1) * sound.samples

    def before(self, start: Fraction) -> Side | None:
        """What is heard up to `start`; None where nothing is."""
        run = next((run for run in self._runs if run.stop == start), None)
        if run is None:
            return None
        seam = self._place(start, run)
        packets = self._packets(run, seam - self._tail, seam + 2 * self._sound.samples)
        heard = [(pts, num) for pts, num in packets if pts < seam]
        if not heard:
            return None
        packet = sum(heard[-1])
        goes_on = len(packets) > len(heard)
        edge = packet + goes_on * self._sound.samples
        own, *others = self._joined(run, -1)
        longer = replace(own, stop=Fraction(round(run.zero * self._sound.rate) + edge, self._sound.rate))
        first = max(edge - self._tail, self._place([own, *others][-1].start, run))
        samples = samples_of_runs(self._open, [longer, *others], self._sound, run.zero, first, edge)
        samples = samples[:, _num_zeros(samples) :]
        num_quiet = 0 if goes_on else _num_quiet(samples[:, ::-1], self._sound)
        samples = samples[:, : samples.shape[1] - num_quiet]
        return Side(samples, edge - num_quiet, run.zero, packet, packet < seam - self._lead)

    def after(self, stop: Fraction) -> Side | None:
        """What is heard from `stop` on; None where nothing is."""
        run = next((run for run in self._runs if run.start == stop), None)
        if run is None:
            return None
        seam = self._place(stop, run)
        packets = self._packets(run, seam - self._lead - 2 * self._sound.samples, seam + self._tail)
        heard = [pts for pts, num in packets if pts + num > seam - self._lead]
        if not heard:
            return None
        edge = heard[0]
        own, *others = self._joined(run, 1)
        longer = replace(own, start=Fraction(round(run.zero * self._sound.rate) + edge, self._sound.rate))
        stop_place = min(edge + self._tail, max(self._place([own, *others][-1].stop, run), edge + 1))
        samples = samples_of_runs(self._open, [longer, *others], self._sound, run.zero, edge, stop_place)
        samples = samples[:, : samples.shape[1] - _num_zeros(samples[:, ::-1])]
        is_first = len(packets) == len(heard)
        num_quiet = _num_quiet(samples, self._sound) if is_first else 0
        return Side(samples[:, num_quiet:], edge + num_quiet, run.zero, edge, edge > seam, is_first)

    def start_again(self, end: Fraction) -> Side | None:
        """Where a loop leads to: the first sound, as if it came after the end of it all."""
        found = self.after(Fraction(0))
        return replace(found, zero=found.zero + end, packet=NOWHERE) if found else None

    def _place(self, time: Fraction, run: Run) -> int:
        return round(time * self._sound.rate) - round(run.zero * self._sound.rate)

    def _packets(self, run: Run, begin: int, end: int) -> list[tuple[int, int]]:
        """`(place, number of samples)` of the packets of a run's object about `[begin, end)`."""
        found = []
        with open_sound(self._open, run.key) as (container, stream):
            own = look_at(container, stream)
            ratio = Fraction(self._sound.rate, own.rate)
            for pts, data in read_packets(container, stream, int(begin / ratio), run.key):
                if pts * ratio >= end:
                    break
                found.append((round(pts * ratio), round(own.num_samples(data) * ratio)))
        return found

    def _joined(self, run: Run, step: int) -> list[Run]:
        """A run and those that join it without a break, backwards (-1) or forwards (1)."""
        found, at = [run], self._runs.index(run) + step
        while 0 <= at < len(self._runs):
            earlier, later = (self._runs[at], found[-1]) if step < 0 else (found[-1], self._runs[at])
            if earlier.stop != later.start:
                break
            found.append(self._runs[at])
            at += step
        return found


def _num_quiet(samples: Samples, sound: CodedSound) -> int:
    """How many samples at the start are padding, to 2 ms; of three packets at most."""
    step = max(sound.rate // 500, 1)
    most = min(3 * sound.samples, samples.shape[1] - samples.shape[1] // 4) // step
    levels = np.sqrt((samples[:, : most * step].reshape(len(samples), most, step) ** 2).mean(axis=(0, 2)))
    level = float(np.sqrt(np.mean(samples[:, most * step :][:, : sound.rate // 2] ** 2)))
    loud = np.flatnonzero(levels > QUIET * level)
    return int(loud[0] if len(loud) else most) * step


def _num_zeros(samples: Samples) -> int:
    """How many samples at the start are nothing at all; all but one where there is nothing else."""
    loud = np.flatnonzero(samples.any(axis=0))
    return int(loud[0]) if len(loud) else max(samples.shape[1] - 1, 0)
