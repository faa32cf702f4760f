"""Puts packets of sound one after the other, and silence where there are none."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any, Final

from av.packet import Packet

from longtake.media.silence import rest_of_silence, silent_samples
from longtake.media.sound_codec import CodedSound

GAP_SECONDS: Final = Fraction(1, 10)
"""What is less inside one sound is an unsteady clock, not a gap: it stays in the time stamps alone."""


class Filler:
    """Notes where packets lie, by their time stamps and by the count of their samples."""

    def __init__(self, sound: CodedSound, silence: bytes | None, since: int | None = None) -> None:
        """Of the silence, only what begins at `since` or a packet before it is made."""
        self._sound = sound
        self._time_base = Fraction(1, sound.rate)
        self._silence = silence
        self._since = since
        self._step = silent_samples(sound, silence) if silence else 1
        self.end: int | None = None
        """When the last packet ends; None before the first."""
        self._last = 0
        self._counted = 0
        """When it ends for those that count samples from the first packet on."""

    def packet(self, data: bytes, place: int, num_samples: int, duration: int | None = None) -> Packet[Any]:
        """A packet at that place, which is noted."""
        packet = Packet(data)
        packet.pts = packet.dts = self._last = place
        packet.duration = num_samples if duration is None else duration
        packet.time_base = self._time_base
        packet.is_keyframe = True
        self._counted = (place if self.end is None else self._counted) + num_samples
        self.end = place + packet.duration
        return packet

    def pass_over(self, num_samples: int) -> None:
        """As if so many samples had come in packets without a gap after the last one, of its length."""
        assert self.end is not None
        self._last += num_samples
        self._counted += num_samples
        self.end += num_samples

    def is_taken(self, place: int, num_samples: int) -> bool:
        """Whether another run's sound lies there: by half a packet they may overlap."""
        if self.end is None:
            return False
        counted = min(self._counted, self.end + num_samples)  # a source's own drift is not made good at once
        return place <= self._last or place < max(self.end, counted) - num_samples / 2

    def up_to(self, place: int, *, joins: bool) -> Iterator[Packet[Any]]:
        """The silence before a packet: packets that bring the count of samples nearest to the time."""
        if self._silence is None:
            return
        if self.end is None:
            num = ceil(max(place, 0) / self._step)
            yield from self._silent(place - num * self._step, num, num * self._step, [])
            return
        gap = place - self.end
        if gap <= 0 or not (joins or gap * self._time_base >= GAP_SECONDS):
            return
        wanted = place - self._counted
        num, rest = rest_of_silence(self._sound, self._step, min(wanted, gap))
        if not rest and num * self._step != wanted:  # nothing shorter can be made
            num = min(max(round(wanted / self._step), 0), ceil(gap / self._step))
        yield from self._silent(self.end, num, gap, rest)

    def _silent(self, begin: int, num: int, gap: int, rest: list[bytes]) -> Iterator[Packet[Any]]:
        """So many packets and the shorter `rest` from `begin` on, squeezed where they are longer than the `gap`."""
        if self._silence is None or not (num or rest):
            return
        lengths = [silent_samples(self._sound, data) for data in rest]
        total = num * self._step + sum(lengths)

        def place(counted: int) -> int:
            return begin + min(counted, counted * gap // total)

        skipped = 0
        if self._since is not None:
            skipped = max(0, bisect_left(range(num), self._since, key=lambda k: place(k * self._step)) - 1)
            self._counted += skipped * self._step
        for k in range(skipped, num):
            yield self.packet(self._silence, place(k * self._step), self._step)
        counted = num * self._step
        for data, length in zip(rest, lengths, strict=True):
            yield self.packet(data, place(counted), length)
            counted += length

    def to_the_end(self, end: int) -> Iterator[Packet[Any]]:
        """The silence after the last packet, which ends with the frames."""
        begin, last = self.end or 0, end - 1
        if self._silence is None or begin > last:
            return
        num = (last - begin) // self._step
        yield from self._silent(begin, num, num * self._step, [])
        begin += num * self._step
        yield self.packet(self._silence, begin, self._step, end - begin)
