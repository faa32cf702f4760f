"""The sound of a timeline: each segment's own packets at their exact times, and packets of silence between them.

Times are kept twice. The time stamps are exact: a sample is as far from its frames as it was in its source. And the
number of samples, silence included, stays within half a packet of them, for players that count samples and ignore
gaps. Silence is coded packets of the same codec, as `silence` makes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
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
from longtake.media.silence import MOST_REST, silence_like, silent_samples
from longtake.media.sound_codec import CodedSound, look_at, plays_alike
from longtake.media.sound_filler import Filler
from longtake.timeline import Timeline

LEAD_PACKETS: Final = {"mp3": 2, "opus": 4, "flac": 0, "alac": 0}
"""How many packets before a segment's first one decoders need to have it right, or nearly so (Opus: 80 ms, RFC 7845,
4.6); others: one. They are heard over the last of the silence."""
HIDDEN_LEAD_PACKETS: Final = 10
"""As many where they are not heard, at the very start: MP3 takes bits from frames long before."""
WALKED_PACKETS: Final = 64
"""So often it is tried whether what follows can be passed over."""
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
    """The sound of a timeline; None where none is heard. Raises FaultError where an object can't be read."""
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
        self.sounds = sounds
        self._first = runs[0].key
        self.sound = sounds[self._first]
        """That all packets are coded as."""
        self.time_base = Fraction(1, self.sound.rate)
        self.left_out = tuple(key for key, sound in sounds.items() if not plays_alike(self.sound, sound))
        """Objects that are silent: their sound is coded otherwise than the first one's."""
        self._runs = [run for run in runs if run.key not in self.left_out]
        self._silence = silence_like(self.sound)
        self._end = round(seconds * self.sound.rate)

    @property
    def num_packets(self) -> int:
        """About how many packets there are, rather too many than too few: for the room of an index."""
        step = silent_samples(self.sound, self._silence) if self._silence else self.sound.samples
        num = self._end // step + 1 if self._silence else 0
        for run in self._runs:
            coded = self.sounds[run.key]
            samples = min(map(coded.num_samples, coded.head))
            num += ceil((run.stop - run.start) * self.sound.rate / samples) + HIDDEN_LEAD_PACKETS + MOST_REST
            num -= max(0, int((run.stop - run.start) * self.sound.rate / step) - 2) if self._silence else 0
        return num + num // 20

    def add_to(self, container: OutputContainer) -> AudioStream:
        """Adds the stream to a file whose header is not yet written."""
        with open_sound(self._open_object, self._first) as (_, stream):
            output = container.add_stream_from_template(stream)
        output.time_base = self.time_base
        return output

    def packets(self, since: int | None = None) -> Iterator[Packet[Any]]:
        """All packets in order of time, with pts, dts and duration in units of `time_base`; 0 is the first frame.

        Those before 0 are not to be heard: they lead the decoder in. With `since`, those that begin then or later: the
        same ones, in a time that does not grow with `since`. Raises FaultError where an object is broken.
        """
        filler = Filler(self.sound, self._silence, since)
        for packet in self._all_packets(filler, since):
            assert packet.pts is not None
            if since is None or packet.pts >= since:
                yield packet

    def _all_packets(self, filler: Filler, since: int | None) -> Iterator[Packet[Any]]:
        for run in self._runs:
            yield from self._of_run(run, filler, since)
        yield from filler.to_the_end(self._end)

    def _of_run(self, run: Run, filler: Filler, since: int | None) -> Iterator[Packet[Any]]:
        """The run's packets, from those that lead in to the one that lasts until its end, and what fills its gaps.

        Of what comes before `since`, stretches without a gap are passed over.
        """
        hidden = filler.end is None and not run.start
        num_lead = HIDDEN_LEAD_PACKETS if hidden else LEAD_PACKETS.get(self.sound.codec, 1)
        rate, zero = self.sound.rate, round(run.zero * self.sound.rate)
        start, stop = round(run.start * rate) - num_lead * self.sound.samples, round(run.stop * rate)
        with open_sound(self._open_object, run.key) as (container, stream):
            is_first, walked = True, 0
            entry: int | None = start - zero - self.sound.samples
            while entry is not None:
                packets, entry = read_packets(container, stream, entry, run.key), None
                for pts, data in packets:
                    place, num_samples = zero + pts, self.sound.num_samples(data)
                    if place >= stop:
                        return
                    if place + num_samples <= start or (is_first and filler.is_taken(place, num_samples)):
                        continue
                    yield from filler.up_to(place, joins=is_first)
                    yield filler.packet(data, place, num_samples)
                    is_first, walked = False, walked + 1
                    if since is not None and walked % WALKED_PACKETS == 1:
                        steady = _steady(stream, pts, min(since, stop) - zero, num_samples)
                        if steady:
                            filler.pass_over(steady)
                            start, entry = place + steady + num_samples, pts + steady + num_samples
                            break


def _steady(stream: AudioStream, pts: int, until: int, num_samples: int) -> int:
    """How many samples follow the packet at `pts` in whole packets of one length without a gap, before `until`.

    By the object's index alone, in a time that grows with its logarithm.
    """
    entries = stream.index_entries
    first = entries.search_timestamp(pts, any_frame=True)
    last = entries.search_timestamp(until, any_frame=True) - 2
    if first < 0 or last <= first or entries[first].timestamp != pts:
        return 0

    def is_off(k: int) -> bool:
        return bool(entries[k].timestamp - pts != (k - first) * num_samples)

    last = first + bisect_left(range(first, last + 1), True, key=is_off) - 1
    # the last one's own length is only known where one more follows it on time
    return max(0, last - 1 - first) * num_samples


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
    """The stretches of a timeline that have sound, in order of time; not those that end before theirs begins."""
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
    return [run for run in runs if run.zero < run.stop]
