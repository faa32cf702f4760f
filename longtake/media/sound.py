"""The sound of a timeline: each segment's own packets at their exact times, and packets of silence between them.

Times are kept twice. The time stamps are exact: a sample is as far from its frames as it was in its source. And the
number of samples, silence included, stays within half a packet of them, for players that count samples and ignore
gaps. Silence is coded packets of the same codec, as `silence` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from longtake.errors import FaultError, MediaError
from longtake.media.objects import Opener
from longtake.media.silence import silence_like, silent_samples
from longtake.media.sound_codec import CodedSound, look_at, plays_alike
from longtake.media.sound_encode import SoundEncoder, can_be_coded_as, encoder_like
from longtake.timeline import Timeline

LEAD_PACKETS: Final = {"mp3": 2, "opus": 4, "flac": 0, "alac": 0}
"""How many packets before a segment's first one decoders need to have it right, or nearly so (Opus: 80 ms, RFC 7845,
4.6); others: one. They are heard over the last of the silence."""
HIDDEN_LEAD_PACKETS: Final = 10
"""As many where they are not heard, at the very start: MP3 takes bits from frames long before."""
GAP_SECONDS: Final = Fraction(1, 10)
"""What is less inside one sound is an unsteady clock, not a gap: it stays in the time stamps alone."""
SAME_PLACE: Final = Fraction(1, 48_000)


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of the output in which one object's sound goes on without a break, in seconds of the output."""

    key: str
    zero: Fraction
    """When the object's pts 0 is played."""
    start: Fraction
    stop: Fraction

    def goes_on_in(self, later: Run) -> bool:
        return self.key == later.key and self.stop == later.start and abs(self.zero - later.zero) < SAME_PLACE


def sound_track(timeline: Timeline, open_object: Opener) -> SoundTrack | None:
    """The sound of a timeline; None where no segment has any. Raises FaultError where an object can't be read."""
    runs = runs_of(timeline)
    if not runs:
        return None
    sounds: dict[str, CodedSound] = {}
    for key in dict.fromkeys(run.key for run in runs):
        with open_sound(open_object, key) as (container, stream):
            try:
                sounds[key] = look_at(container, stream)
            except MediaError as error:
                raise FaultError(f"object {key}: {error}") from error
    return SoundTrack(timeline.seconds, runs, sounds, open_object)


class SoundTrack:
    """The packets of a timeline's sound, in the coding of its first object."""

    def __init__(self, seconds: Fraction, runs: list[Run], sounds: dict[str, CodedSound], open_object: Opener) -> None:
        self._open_object = open_object
        self._sounds = sounds
        self._first = runs[0].key
        self.sound = sounds[self._first]
        """That all packets are coded as."""
        self.time_base = Fraction(1, self.sound.rate)
        self._alike = {key for key, sound in sounds.items() if plays_alike(self.sound, sound)}
        coded_anew = {key for key in sounds if key not in self._alike and can_be_coded_as(self.sound, sounds[key])}
        self._runs = [run for run in runs if run.key in self._alike | coded_anew]
        self.coded_anew = tuple(sorted(coded_anew))
        """Objects whose sound is coded otherwise than the first one's, and is encoded again."""
        self.left_out = tuple(key for key in sounds if key not in self._alike | coded_anew)
        """Objects that are silent: their sound can't be brought to the first one's coding."""
        self._silence = silence_like(self.sound)
        self._end = round(seconds * self.sound.rate)

    @property
    def num_packets(self) -> int:
        """About how many packets there are, rather too many than too few: for the room of an index."""
        step = silent_samples(self.sound, self._silence) if self._silence else self.sound.samples
        num = self._end // step + 1 if self._silence else 0
        for run in self._runs:
            coded = self.sound if run.key not in self._alike else self._sounds[run.key]
            samples = min(map(coded.num_samples, coded.head))
            num += ceil((run.stop - run.start) * self.sound.rate / samples) + HIDDEN_LEAD_PACKETS
            num -= max(0, int((run.stop - run.start) * self.sound.rate / step) - 2) if self._silence else 0
        return num + num // 20

    def add_to(self, container: OutputContainer) -> AudioStream:
        """Adds the stream to a file whose header is not yet written."""
        with open_sound(self._open_object, self._first) as (_, stream):
            output = container.add_stream_from_template(stream)
        output.time_base = self.time_base
        return output

    def packets(self) -> Iterator[Packet[Any]]:
        """All packets in order of time, with pts, dts and duration in units of `time_base`; 0 is the first frame.

        Those before 0 are not to be heard: they lead the decoder in. Raises FaultError where an object is broken.
        """
        filler = _Filler(self.sound, self._silence)
        for run in self._runs:
            is_first = True
            for place, data in self._packets_of(run, hidden=filler.end is None and not run.start):
                if is_first and filler.is_taken(place, self.sound.num_samples(data)):
                    continue
                yield from filler.up_to(place, joins=is_first)
                yield filler.packet(data, place, self.sound.num_samples(data))
                is_first = False
        yield from filler.to_the_end(self._end)

    def _packets_of(self, run: Run, *, hidden: bool) -> Iterator[tuple[int, bytes]]:
        """The run's packets and where they begin, from those that lead in to the one that lasts until its end."""
        num_lead = HIDDEN_LEAD_PACKETS if hidden else LEAD_PACKETS.get(self.sound.codec, 1)
        rate = self.sound.rate
        start, stop = round(run.start * rate) - num_lead * self.sound.samples, round(run.stop * rate)
        packets = self._copied(run, start) if run.key in self._alike else self._coded_anew(run, start)
        for place, data in packets:
            if place >= stop:
                return
            if place + self.sound.num_samples(data) > start:
                yield place, data

    def _copied(self, run: Run, start: int) -> Iterator[tuple[int, bytes]]:
        zero = round(run.zero * self.sound.rate)
        with open_sound(self._open_object, run.key) as (container, stream):
            for pts, data in read_packets(container, stream, start - zero - self.sound.samples, run.key):
                yield zero + pts, data

    def _coded_anew(self, run: Run, start: int) -> Iterator[tuple[int, bytes]]:
        own = self._sounds[run.key]
        encoder = SoundEncoder(encoder_like(self.sound))
        with open_sound(self._open_object, run.key) as (container, stream):
            entry = (Fraction(start, self.sound.rate) - run.zero) * own.rate
            for pts, data in read_packets(container, stream, int(entry) - 2 * own.samples, run.key):
                packet = Packet(data)
                packet.pts, packet.time_base = pts, Fraction(1, own.rate)
                with suppress(av.FFmpegError):
                    for frame in stream.decode(packet):
                        begin = pts if frame.pts is None else frame.pts
                        yield from _placed(encoder.write(frame, run.zero + Fraction(begin, own.rate)))
            yield from _placed(encoder.finish())


def _placed(packets: Iterator[Packet[Any]]) -> Iterator[tuple[int, bytes]]:
    for packet in packets:
        assert packet.pts is not None
        yield packet.pts, bytes(packet)


class _Filler:
    """Puts packets one after the other, and silence where there are none."""

    def __init__(self, sound: CodedSound, silence: bytes | None) -> None:
        self._time_base = Fraction(1, sound.rate)
        self._silence = silence
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

    def is_taken(self, place: int, num_samples: int) -> bool:
        """Whether another run's sound lies there: by half a packet they may overlap."""
        if self.end is None:
            return False
        counted = min(self._counted, self.end + num_samples)  # a source's own drift is not made good at once
        return place <= self._last or place < max(self.end, counted) - num_samples / 2

    def up_to(self, place: int, *, joins: bool) -> Iterator[Packet[Any]]:
        """The silence before a packet: as many whole packets as bring the count of samples nearest to the time."""
        if self._silence is None:
            return
        if self.end is None:
            begin = place - ceil(max(place, 0) / self._step) * self._step
            for at in range(begin, place, self._step):
                yield self.packet(self._silence, at, self._step)
            return
        gap = place - self.end
        if gap <= 0 or not (joins or gap * self._time_base >= GAP_SECONDS):
            return
        num = min(max(round((place - self._counted) / self._step), 0), ceil(gap / self._step))
        begin = self.end
        for k in range(num):
            yield self.packet(self._silence, begin + min(k * self._step, k * gap // num), self._step)

    def to_the_end(self, end: int) -> Iterator[Packet[Any]]:
        """The silence after the last packet, which ends with the frames."""
        if self._silence is None:
            return
        for at in range(self.end or 0, end, self._step):
            yield self.packet(self._silence, at, self._step, min(self._step, end - at))


@contextmanager
def open_sound(open_object: Opener, key: str) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Opens an object's sound. Raises FaultError where it has none, or can't be read."""
    file = open_object(key)
    try:
        try:
            container = av.open(file, "r", format="mp4")
        except av.FFmpegError as error:
            raise FaultError(f"object {key} can't be read: {error}") from error
        with container:
            if not container.streams.audio:
                raise FaultError(f"object {key} has no sound")
            yield container, container.streams.audio[0]
    finally:
        if not isinstance(file, str):
            file.close()


def read_packets(container: InputContainer, stream: AudioStream, start: int, key: str) -> Iterator[tuple[int, bytes]]:
    """`(pts, bytes)` of packets from the last one on that begins at `start` or before it. Raises FaultError."""
    container.seek(max(start, 0), stream=stream)
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet.pts, bytes(packet)
    except av.FFmpegError as error:
        raise FaultError(f"object {key} can't be read: {error}") from error


def runs_of(timeline: Timeline) -> list[Run]:
    """The stretches of a timeline that have sound, in order of time."""
    runs: list[Run] = []
    at = Fraction(0)
    for segment in timeline.segments:
        end = at + segment.seconds(segment.num_frames, timeline.format.frame_rate)
        if segment.sound:
            whole = replace(segment, start=0)
            inside = whole.seconds(segment.start, timeline.format.frame_rate)
            run = Run(segment.sound.key, at - inside + segment.sound.start, at, end)
            if runs and runs[-1].goes_on_in(run):
                runs[-1] = replace(runs[-1], stop=end)
            else:
                runs.append(run)
        at = end
    return runs
