"""The sound beside a new part → sound under it: coded like its neighbours', on their grid of packets.

Codecs that lap their packets (MDCT) put what two neighbours say of the same samples together, and what each of them
folds over cancels (Princen and Bradley, 1986). So at a join of two objects both have to have been coded from the same
samples: the encoder is given the real ones as far as the neighbour's packets reach, and what is made up only beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet

from longtake.media.ambience import Samples, continued, going_on
from longtake.media.encode import MP4_OPTIONS
from longtake.media.objects import Opener
from longtake.media.output import whole_file
from longtake.media.sound import LEAD_PACKETS, open_sound, runs_of, sound_track
from longtake.media.sound_codec import CodedSound
from longtake.media.sound_encode import SoundEncoder, can_be_coded_as, encoder_like, zeros
from longtake.media.sound_sides import Side, Sides
from longtake.timeline import Timeline

BACK_SECONDS: Final = 20
"""So much of what leads up to the next sound is made backwards from it, in memory; what is before that, forwards."""
CROSS_SECONDS: Final = 2
FADE_SECONDS: Final = 1.0
"""Where what comes next, or came before, is silent."""
ONSET_SECONDS: Final = 0.02
SILENT: Final = 2.0**-12
EXACT: Final = ("flac", "alac")
"""Their packets do not lap, and the last one may be short."""


def continue_sound(
    timeline: Timeline,
    first: int,
    num_frames: int,
    seed: int,
    open_object: Opener,
    path: Path,
    *,
    loop: bool = False,
    alive: Callable[[], None] = lambda: None,
) -> Fraction | str:
    """Writes sound for the frames `[first, first + num_frames)` of a timeline, which have none, to an MP4 at `path`.

    It goes on from the sound that ends at `first`, leads up to the one that begins after them (with `loop`, at the
    start), or goes from the one to the other. Returns when its first sample is played, in seconds after the frame
    `first`; or, where it can't be, why, in words. `alive` is called for each packet; what it raises ends the work.
    Memory holds some 30 seconds. The same for the same seed. Raises FaultError where an object can't be read.
    """
    track = sound_track(timeline, open_object)
    if track is None:
        return "there is no sound to go on from"
    runs = [run for run in runs_of(timeline) if run.key not in track.left_out]
    start, stop = timeline.time_of(first), timeline.time_of(first + num_frames)
    sides = Sides(track.sound, runs, open_object)
    before, after = sides.before(start), sides.after(stop)
    if before is None and after is None:
        return "there is no sound beside it to go on from"
    if max(side.peak for side in (before, after) if side) < SILENT:
        return "the sound beside it is silent"
    if not can_be_coded_as(track.sound, track.sound):
        return f"{track.sound.codec.upper()} of this kind can't be encoded"
    if loop and after is None:
        after = sides.start_again(timeline.seconds)
    made = _Made.of(track.sound, start, stop, before, after, ends=stop == timeline.seconds)
    if made is None:
        return "it is too short for sound of its own"
    _write(made, seed, runs[0].key, open_object, path, alive)
    return made.zero + Fraction(made.begin, track.sound.rate) - start


@dataclass(frozen=True, slots=True)
class _Made:
    """Where what is made up begins and ends. Places count samples from the time `zero` on."""

    sound: CodedSound
    zero: Fraction
    start: int
    stop: int
    """Of the new part."""
    begin: int
    end: int
    """Where its first packet begins, and its last one ends: a whole number of packets after the neighbour's."""
    before: Side | None
    after: Side | None
    fade_in: int
    fade_out: int

    @classmethod
    def of(
        cls,
        sound: CodedSound,
        start: Fraction,
        stop: Fraction,
        before: Side | None,
        after: Side | None,
        *,
        ends: bool,
    ) -> _Made | None:
        """None where no whole packet fits. `ends`: nothing comes after the new part."""
        guide = before or after
        assert guide is not None
        after = after.counted_from(guide.zero, sound.rate) if after else None
        first, last = (round(time * sound.rate) - round(guide.zero * sound.rate) for time in (start, stop))
        step = sound.samples
        if after and after.is_first and sound.codec == "opus":  # its energies follow from those before: from silence
            after = replace(after, packet=after.packet - step)
        more = (LEAD_PACKETS.get(sound.codec, 1) + 2) * step
        begin = guide.packet + (first - more - guide.packet) // step * step
        if after is None or after.packet > last + more:
            end = guide.packet - (guide.packet - last - more) // step * step
        elif sound.codec in EXACT:
            end = after.packet
        else:  # by half a packet they may overlap
            end = guide.packet + (after.packet + step // 2 - 2 - guide.packet) // step * step
            after = replace(after, edge=after.edge + end - after.packet, packet=end)  # decoders lap what follows it
        if end <= (max(first, before.packet) if before else first):
            return None
        from_silence, to_silence = before is None and start > 0, after is None and not ends
        fade_in = FADE_SECONDS * from_silence or ONSET_SECONDS * (before is not None and before.has_gap)
        fade_out = FADE_SECONDS * to_silence or ONSET_SECONDS * (after is not None and after.has_gap)
        fades = int(fade_in * sound.rate), int(fade_out * sound.rate)
        return cls(sound, guide.zero, first, last, begin, end, before, after, *fades)

    def samples(self, first: int, stop: int, seed: int) -> Iterator[Samples]:
        """Those from `first` to `stop`, in blocks: real ones, made up ones, real ones."""
        at = first
        if self.before and self.before.edge > first:
            at = min(self.before.edge, self.after.edge) if self.after else self.before.edge
            real = self.before.samples[:, : self.before.samples.shape[1] - (self.before.edge - at)]
            yield _last(real, at - first)
        until = max(at, self.after.edge) if self.after else stop
        forward, back = (side.samples if side else None for side in (self.before, self.after))
        for block in _between(forward, back, until - at, self.sound.rate, seed):
            yield self._faded(block, at)
            at += block.shape[1]
        if self.after:
            yield _last(self.after.samples[:, : stop - until][:, ::-1], stop - until)[:, ::-1]

    def _faded(self, block: Samples, at: int) -> Samples:
        """With fades where it goes on from silence, or into it."""
        places, gain = np.arange(at, at + block.shape[1]), np.ones(block.shape[1])
        if self.fade_in:
            gain *= np.sin(np.pi / 2 * np.clip((places - self.start) / self.fade_in, 0, 1))
        if self.fade_out:
            gain *= np.sin(np.pi / 2 * np.clip((self.stop - places) / self.fade_out, 0, 1))
        return np.asarray(block * gain, np.float32)


def _between(forward: Samples | None, back: Samples | None, num: int, rate: int, seed: int) -> Iterator[Samples]:
    """`num` samples that follow the one and lead up to the other, in blocks, cross-faded at equal power."""
    if back is None:
        assert forward is not None
        yield from _first(going_on(forward, rate, seed), num)
        return
    num_back = min(num, BACK_SECONDS * rate)
    leading = continued(back[:, ::-1], rate, num_back / rate, seed + 1)[:, ::-1]
    if forward is None and num == num_back:
        yield leading
        return
    num_cross = num_back if forward is not None else CROSS_SECONDS * rate
    at = num_back - num
    for block in _first(going_on(back if forward is None else forward, rate, seed), num_cross - at):
        places = np.arange(at, at + block.shape[1])
        fade = np.pi / 2 * np.clip(places / num_cross, 0, 1)
        crossing = np.where(places < 0, 0, leading[:, np.maximum(places, 0)])
        yield np.asarray(block * np.cos(fade) + crossing * np.sin(fade), np.float32)
        at += block.shape[1]
    yield leading[:, num_cross:]


def _first(blocks: Iterator[Samples], num: int) -> Iterator[Samples]:
    while num > 0:
        block = next(blocks)[:, :num]
        num -= block.shape[1]
        yield block


def _last(samples: Samples, num: int) -> Samples:
    """The last `num` samples, with zeros before them where there are fewer."""
    kept = samples[:, samples.shape[1] - min(num, samples.shape[1]) :]
    return np.pad(kept, ((0, 0), (num - kept.shape[1], 0)))


def _write(made: _Made, seed: int, template: str, open_object: Opener, path: Path, alive: Callable[[], None]) -> None:
    """Encodes it under the header of an object that is coded alike."""
    sound = made.sound
    ahead = _encoder_delay(sound)
    more = 0 if sound.codec in EXACT else 2 * sound.samples
    blocks = made.samples(made.begin + ahead, made.end + ahead + more, seed)
    with whole_file(path) as part, av.open(str(part), "w", format="mp4", options=MP4_OPTIONS) as output:
        assert isinstance(output, OutputContainer)
        with open_sound(open_object, template) as (_, stream):
            coded = output.add_stream_from_template(stream)
        coded.time_base = Fraction(1, sound.rate)
        for packet in _encoded(sound, blocks, made.begin + ahead):
            alive()
            if packet.pts is None or not packet.size or not made.begin <= packet.pts < made.end:
                continue
            packet.pts = packet.dts = packet.pts - made.begin
            packet.duration = sound.num_samples(bytes(packet))
            packet.time_base = coded.time_base
            packet.stream = coded
            output.mux_one(packet)


def _encoded(sound: CodedSound, blocks: Iterator[Samples], first: int) -> Iterator[Packet[Any]]:
    encoder = SoundEncoder(encoder_like(sound, samples=sound.samples))
    seconds: Fraction | None = Fraction(first, sound.rate)
    for block in blocks:
        for piece in np.array_split(block, max(1, block.shape[1] // sound.rate), axis=1):
            if piece.shape[1]:
                frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", sound.layout)
                frame.sample_rate = sound.rate
                yield from encoder.write(frame, seconds)
                seconds = None
    yield from encoder.finish()


def _encoder_delay(sound: CodedSound) -> int:
    """By how many samples the first packet is ahead of the first sample that the encoder is given."""
    encoder = SoundEncoder(encoder_like(sound, samples=sound.samples))
    silence = zeros(encoder_like(sound, samples=sound.samples), 4 * sound.samples)
    packets = chain(encoder.write(silence, Fraction(0)), encoder.finish())
    return -next(packet.pts for packet in packets if packet.pts is not None)
