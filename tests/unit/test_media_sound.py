"""The sound of a timeline: every packet once, each sample at its frame's time, silence elsewhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.packet import Packet
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import FaultError
from longtake.media.silence import silence_like, silent_samples
from longtake.media.sound import SoundTrack, read_packets, sound_track
from longtake.media.sound_codec import CodedSound
from longtake.media.sound_keep import keep_sound
from longtake.timeline import Segment, Sound, Stamps, Timeline
from longtake.video import VideoFormat
from tests.footage import opener
from tests.sounds import (
    FRAME_RATE,
    Samples,
    first_frame_time,
    heard,
    mux_sound,
    sound_packets,
    tones,
    write_video,
)

FORMAT = VideoFormat(64, 48, FRAME_RATE)
NUM_FRAMES = 50
KINDS = {
    "aac": ("aac", "mp4", 48000, 2),
    "aac-44100": ("aac", "mov", 44100, 1),
    "aac-5.1": ("aac", "mp4", 48000, 6),
    "mp3": ("libmp3lame", "mp4", 44100, 2),
    "opus": ("libopus", "mp4", 48000, 2),
    "flac": ("flac", "mp4", 44100, 2),
    "alac": ("alac", "mov", 48000, 2),
}


@dataclass
class Shelf:
    """Sound objects in a folder, and what a plain decoder hears of each source from its first frame on."""

    folder: Path
    sounds: dict[str, Sound]
    heard: dict[str, Samples]
    rates: dict[str, int]
    packets: dict[str, list[tuple[Fraction, bytes]]] = field(default_factory=dict)

    def put(self, key: str, source: Path) -> None:
        kept, remarks = keep_sound(source, first_frame_time(source), self.folder / key)
        assert kept is not None, remarks
        self.sounds[key] = Sound(key, kept.start)
        self.heard[key], self.rates[key] = heard(source)[0], kept.rate
        self.packets[key] = sound_packets(self.folder / key)

    def segment(self, key: str, start: int = 0, stop: int = NUM_FRAMES) -> Segment:
        return Segment("u", f"video-{key}", start, stop, tuple(range(NUM_FRAMES)), sound=self.sounds[key])

    def track(self, *segments: Segment, format: VideoFormat = FORMAT) -> SoundTrack:
        track = sound_track(Timeline(format, segments), opener(self.folder))
        assert track is not None
        return track


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("sounds"), {}, {}, {})
    for seed, (key, (codec, suffix, rate, channels)) in enumerate(KINDS.items()):
        samples = tones(2 * rate, rate, channels, seed=seed)
        shelf.put(key, write_video(shelf.folder / f"{key}.{suffix}", codec, samples, rate=rate))
    for key, seed in (("other", 7), ("third", 8)):
        shelf.put(key, write_video(shelf.folder / f"{key}.mp4", "aac", tones(96000, 48000, seed=seed)))
    return shelf


def new(num_frames: int) -> Segment:
    return Segment("g", "new", 0, num_frames, (0,))


def at(frame: int, rate: int) -> int:
    return round(Fraction(frame, FRAME_RATE) * rate)


@pytest.mark.parametrize("key", KINDS)
def test_each_sample_is_heard_at_its_frames_time(shelf: Shelf, tmp_path: Path, key: str) -> None:
    own, rate = shelf.heard[key], shelf.rates[key]
    joined = (new(7), shelf.segment(key), new(11), shelf.segment(key), new(3))
    mux_sound(shelf.track(*joined), tmp_path / "out.mp4")
    played, first = heard(tmp_path / "out.mp4")
    assert first == 0
    assert played.shape[1] >= at(121, rate)
    for frame in (7, 68):
        begin, num = at(frame, rate), min(own.shape[1], at(50, rate))
        assert np.array_equal(played[:, begin : begin + num], own[:, :num])
    packet = 8192 if key in ("flac", "alac") else 2400
    for silent in (played[:, : at(7, rate) - packet], played[:, at(57, rate) + packet : at(68, rate) - packet]):
        assert silent.shape[1] > 500
        assert np.abs(silent).max() < 1e-4


@pytest.mark.parametrize("key", KINDS)
def test_a_video_alone_or_cut_in_two_sounds_as_it_did(shelf: Shelf, tmp_path: Path, key: str) -> None:
    own = shelf.heard[key]
    whole = shelf.track(shelf.segment(key))
    apart = shelf.track(shelf.segment(key, 0, 13), shelf.segment(key, 13, 31), shelf.segment(key, 31))
    packets = mux_sound(whole, tmp_path / "whole.mp4")
    assert [p.pts for p in packets] == [p.pts for p in apart.packets()]
    played, first = heard(tmp_path / "whole.mp4")
    num = at(NUM_FRAMES, shelf.rates[key])
    assert first == 0
    assert np.array_equal(played[:, :num], own[:, :num])
    assert Counter(map(bytes, packets)) == Counter(
        data for _, data in sound_packets(shelf.folder / key)[: len(packets)]
    )


@pytest.mark.parametrize("key", ["aac", "mp3", "flac", "alac"])
def test_a_range_of_a_video_sounds_as_there(shelf: Shelf, tmp_path: Path, key: str) -> None:
    rate = shelf.rates[key]
    for joined, begin in (((shelf.segment(key, 20, 41),), 0), ((new(9), shelf.segment(key, 20, 41)), 9)):
        mux_sound(shelf.track(*joined), tmp_path / "out.mp4")
        played, first = heard(tmp_path / "out.mp4")
        num = at(21, rate)
        assert first == 0
        assert np.array_equal(
            played[:, at(begin, rate) : at(begin, rate) + num], shelf.heard[key][:, at(20, rate) : at(20, rate) + num]
        )


def test_opus_that_is_entered_in_the_middle_is_right_within_a_tenth_of_a_second(shelf: Shelf, tmp_path: Path) -> None:
    mux_sound(shelf.track(new(9), shelf.segment("opus", 20)), tmp_path / "out.mp4")
    played, _ = heard(tmp_path / "out.mp4")
    own = shelf.heard["opus"][:, at(20, 48000) + 4800 : at(45, 48000)]
    there = played[:, at(9, 48000) + 4800 :][:, : own.shape[1]]
    assert np.sqrt(np.mean((own - there) ** 2)) < 0.01 * np.sqrt(np.mean(own**2))


segments = st.lists(
    st.tuples(st.sampled_from(["new", "aac", "other", "third"]), st.integers(0, 49), st.integers(1, 50)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=30, deadline=None)
@given(drawn=segments)
def test_any_chain_keeps_its_packets_their_times_and_the_count(shelf: Shelf, drawn: list[tuple[str, int, int]]) -> None:
    joined = tuple(
        new(num) if key == "new" else shelf.segment(key, start, min(start + num, NUM_FRAMES))
        for key, start, num in drawn
    )
    timeline = Timeline(FORMAT, joined)
    track = sound_track(timeline, opener(shelf.folder))
    if all(key == "new" for key, _, _ in drawn):
        assert track is None
        return
    assert track is not None
    packets = list(track.packets())
    check_order(packets, timeline)
    check_count(packets, 1024)
    assert len(packets) <= track.num_packets
    silence = silence_like(track.sound)
    mine = [p for p in packets if bytes(p) != silence]
    check_packets(shelf, timeline, mine)


@settings(max_examples=15, deadline=None)
@given(drawn=segments, since=st.floats(0, 1), kind=st.sampled_from(["aac", "mp3", "opus", "flac"]))
def test_packets_from_the_middle_on_are_the_same_ones(
    shelf: Shelf, drawn: list[tuple[str, int, int]], since: float, kind: str
) -> None:
    joined = [
        new(num) if key == "new" else shelf.segment(kind, start, min(start + num, NUM_FRAMES))
        for key, start, num in drawn
    ]
    track = shelf.track(shelf.segment(kind), *joined)
    packets = [(p.pts or 0, p.duration, bytes(p)) for p in track.packets()]
    place = int(since * packets[-1][0])
    wanted = [found for found in packets if found[0] >= place]
    assert [(p.pts, p.duration, bytes(p)) for p in track.packets(since=place)] == wanted


def test_packets_from_late_on_are_found_without_reading_those_before(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer(shelf, "aac", 40)
    long = Segment("u", "long", 0, 40 * NUM_FRAMES, (0,), sound=Sound("long", Fraction(0)))
    track = shelf.track(long, new(2000), long)
    num_read = []

    def reading(*given: Any) -> Any:
        for found in read_packets(*given):
            num_read.append(found)
            yield found

    monkeypatch.setattr("longtake.media.sound.read_packets", reading)
    whole = [(p.pts, bytes(p)) for p in track.packets()]
    for seconds in (5, 79, 100, 200):
        num_read.clear()
        found = next(track.packets(since=seconds * 48000))
        assert len(num_read) < 40
        assert (found.pts, bytes(found)) == next(p for p in whole if (p[0] or 0) >= seconds * 48000)


@pytest.mark.parametrize("irregular", [{500: 30}, {500: 7000, 900: -300}, {k: k % 3 - 1 for k in range(100, 3000)}])
def test_packets_from_the_middle_of_an_unsteady_clock_are_the_same_ones(
    shelf: Shelf, irregular: dict[int, int]
) -> None:
    longer(shelf, "mp3", 40, irregular)
    long = Segment("u", "long", 0, 40 * NUM_FRAMES, (0,), sound=Sound("long", Fraction(0)))
    track = shelf.track(shelf.segment("mp3"), new(30), long, new(9), long)
    whole = [(p.pts or 0, bytes(p)) for p in track.packets()]
    for place in (900_000, 2_500_000, 4_800_000):
        wanted = [found for found in whole if found[0] >= place]
        assert [(p.pts, bytes(p)) for p in track.packets(since=place)] == wanted


def longer(shelf: Shelf, key: str, times: int, irregular: dict[int, int] | None = None) -> None:
    """An object, under the key `long`, that says again and again what another one does; some packets come later."""
    with av.open(str(shelf.folder / key)) as container:
        stream = container.streams.audio[0]
        data = [bytes(packet) for packet in container.demux(stream) if packet.size][8:-8]
        num_samples, pts = stream.codec_context.frame_size, 0
        with av.open(str(shelf.folder / "long"), "w", format="mp4") as output:
            assert isinstance(output, OutputContainer)
            copy = output.add_stream_from_template(stream)
            for k in range(times * 2 * shelf.rates[key] // num_samples):
                packet: Packet[Any] = Packet(data[k % len(data)])
                pts += (irregular or {}).get(k, 0)
                packet.pts = packet.dts = pts
                packet.duration, packet.time_base = num_samples, Fraction(1, shelf.rates[key])
                packet.stream = copy
                output.mux_one(packet)
                pts += num_samples


@pytest.mark.parametrize(("key", "most"), [("flac", 0), ("alac", 0), ("opus", 60), ("aac", 512), ("mp3", 576)])
def test_between_two_sounds_the_count_of_samples_is_as_exact_as_the_codec_allows(
    shelf: Shelf, tmp_path: Path, key: str, most: int
) -> None:
    off = []
    for num in (11, 12, 16, 17, 23):
        again = shelf.segment(key, 3)
        track = shelf.track(shelf.segment(key, 0, 31), new(num), again, new(7), again)
        packets = list(track.packets())
        lengths = [track.sound.num_samples(bytes(packet)) for packet in packets]
        counted = np.cumsum([packets[0].pts or 0, *lengths[:-1]])
        off.append(np.abs(counted - [packet.pts or 0 for packet in packets]).max())
        mux_sound(track, tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            decoded = sum(frame.samples for frame in container.decode(audio=0))
        assert abs(decoded - sum(lengths)) <= 2 * max(lengths)
    assert max(off) <= most


def check_order(packets: list[Packet[Any]], timeline: Timeline) -> None:
    assert all(earlier.pts < later.pts for earlier, later in pairwise(packets) if earlier.pts is not None and later.pts)
    assert all(p.pts == p.dts and p.is_keyframe and p.time_base == Fraction(1, 48000) for p in packets)
    assert (packets[0].pts or 0) <= 0
    end = (packets[-1].pts or 0) + (packets[-1].duration or 0)
    assert 0 <= end - timeline.seconds * 48000 < 1024


def check_count(packets: list[Packet[Any]], num_samples: int) -> None:
    """Who counts samples from the first packet on is never off by more than half a packet."""
    first = packets[0].pts or 0
    off = [(p.pts or 0) - first - k * num_samples for k, p in enumerate(packets)]
    assert max(map(abs, off)) <= num_samples // 2 + 1


def check_packets(shelf: Shelf, timeline: Timeline, packets: list[Packet[Any]]) -> None:
    """Each lies at exactly its frame's time, in order, and none of a segment's own is missing but at direct joins."""
    left = {p.pts or 0: bytes(p) for p in packets}
    begin = Fraction(0)
    previous: Segment | None = None
    for segment in timeline.segments:
        length = Fraction(segment.num_frames, FRAME_RATE)
        if segment.sound:
            zero = begin - Fraction(segment.start, FRAME_RATE) + segment.sound.start
            own = {round((zero + t) * 48000): data for t, data in shelf.packets[segment.sound.key]}
            inside = [k for k in own if begin * 48000 <= k < (begin + length) * 48000]
            after_sound = previous is not None and previous.sound is not None
            assert all(left.get(k) == own[k] for k in inside[1 if after_sound else 0 :])
            for k in [k for k, data in left.items() if own.get(k) == data]:
                if begin * 48000 - 1024 * 11 <= k < (begin + length) * 48000:
                    del left[k]
        begin += length
        previous = segment
    assert not left


def test_ten_extensions_keep_sound_and_picture_together(shelf: Shelf, tmp_path: Path) -> None:
    joined: list[Segment] = [shelf.segment("mp3")]
    for k in range(10):
        joined = [new(7 + k), *joined] if k % 2 else [*joined, new(5 + k), shelf.segment("mp3", 3 * k)]
    mux_sound(shelf.track(*joined), tmp_path / "out.mp4")
    played, _ = heard(tmp_path / "out.mp4")
    frame = 0
    for segment in joined:
        if segment.sound and segment.start == 0:
            begin, num = at(frame, 44100), at(NUM_FRAMES, 44100)
            difference = np.abs(played[:, begin : begin + num] - shelf.heard["mp3"][:, :num])
            assert difference[:, 5000:-5000].max() < 1e-5
        frame += segment.num_frames


def test_a_variable_rate_shifts_sound_by_its_own_stamps(shelf: Shelf) -> None:
    pts = tuple(1001 * k + 300 * (k % 3) for k in range(NUM_FRAMES + 1))
    stamped = replace(shelf.segment("aac", 20), stamps=Stamps(Fraction(1, 30000), pts))
    packets = list(shelf.track(new(10), stamped).packets())
    own = {data: t for t, data in sound_packets(shelf.folder / "aac")}
    start = Fraction(10, 25) - pts[20] * Fraction(1, 30000) + shelf.sounds["aac"].start
    for packet in packets:
        if bytes(packet) in own:
            assert packet.pts == round(start * 48000) + own[bytes(packet)] * 48000


def test_frames_that_were_encoded_again_keep_their_sound_without_a_break(shelf: Shelf) -> None:
    sound = shelf.sounds["aac"]
    again = Segment("g", "again", 0, 6, (0,), sound=Sound("aac", sound.start - Fraction(20, 25)))
    joined = shelf.track(shelf.segment("aac", 0, 20), again, shelf.segment("aac", 26))
    whole = shelf.track(shelf.segment("aac"))
    assert [(p.pts, bytes(p)) for p in joined.packets()] == [(p.pts, bytes(p)) for p in whole.packets()]


def test_sound_that_begins_late_is_silent_before(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, {}, {}, {})
    source = write_video(tmp_path / "late.mkv", "aac", tones(48000, 48000), delay=Fraction(1, 2))
    shelf.put("late", source)
    mux_sound(shelf.track(new(5), shelf.segment("late")), tmp_path / "out.mp4")
    played, first = heard(tmp_path / "out.mp4")
    assert first == 0
    assert np.abs(played[:, : at(5, 48000) + 24000 - 2048]).max() < 1e-4
    assert np.abs(played[:, at(5, 48000) + 24000 :][:, :1024]).max() > 0.1
    assert played.shape[1] >= at(55, 48000)


@pytest.mark.parametrize("start", [0, 10, 30])
def test_sound_that_ends_before_the_picture_is_silent_after(tmp_path: Path, start: int) -> None:
    shelf = Shelf(tmp_path, {}, {}, {})
    shelf.put("short", write_video(tmp_path / "short.mp4", "aac", tones(24000, 48000)))
    mux_sound(shelf.track(shelf.segment("short", start), new(5)), tmp_path / "out.mp4")
    played, first = heard(tmp_path / "out.mp4")
    assert first == 0
    assert played.shape[1] >= at(55 - start, 48000)
    assert np.abs(played[:, max(24000 - at(start, 48000), 0) + 2048 :]).max() < 1e-4
    num = max(24000 - at(start, 48000), 0)
    begin = at(start, 48000)
    assert np.array_equal(played[:, :num], shelf.heard["short"][:, begin : begin + num])


@pytest.mark.parametrize(("gap", "num_silent"), [(24000, 50), (960, 0)])
def test_a_gap_inside_a_sound_is_filled_and_an_unsteady_clock_is_not(
    shelf: Shelf, tmp_path: Path, gap: int, num_silent: int
) -> None:
    with av.open(str(shelf.folder / "opus")) as container, av.open(str(tmp_path / "gap"), "w", format="mp4") as output:
        assert isinstance(output, OutputContainer)
        copy = output.add_stream_from_template(container.streams.audio[0])
        for k, packet in enumerate(p for p in container.demux(audio=0) if p.size):
            packet.pts = packet.dts = (packet.pts or 0) + gap * (k >= 30)
            packet.stream = copy
            output.mux_one(packet)
    sound = Sound("gap", Fraction(0))
    track = sound_track(Timeline(FORMAT, (replace(shelf.segment("opus"), sound=sound),)), opener(tmp_path))
    assert track is not None
    silence = silence_like(track.sound)
    packets = [p for p in track.packets() if (p.pts or 0) < 94000]
    assert sum(bytes(p) == silence for p in packets) == num_silent
    assert max(b.pts - a.pts for a, b in pairwise(packets) if b.pts and a.pts) <= 960 + gap % 24000


def test_no_segment_with_sound_gives_no_track(shelf: Shelf) -> None:
    assert sound_track(Timeline(FORMAT, (new(5), new(6))), opener(shelf.folder)) is None


def test_an_object_that_is_broken_is_a_fault(shelf: Shelf) -> None:
    (shelf.folder / "broken").write_bytes(b"nothing")
    broken = replace(shelf.segment("aac"), sound=Sound("broken", Fraction(0)))
    with pytest.raises(FaultError, match="broken"):
        shelf.track(broken)


def asc(object_type: int, rate_index: int, channels: int, extension: int | None = None) -> bytes:
    """AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), with the rate of band replication where it is given."""
    bits = f"{object_type:05b}{rate_index:04b}{channels:04b}"
    bits += f"{extension:04b}{2:05b}000" if extension is not None else "000"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize(("object_type", "channels"), [(5, 2), (5, 1), (29, 1)])
def test_silence_suits_high_efficiency_aac(object_type: int, channels: int) -> None:
    # FFmpeg makes two channels of one, as there may be parametric stereo
    core = b"\x21\x10\x04\x60\x8c\x1c" if channels == 2 else b"\x01\x18\x20\x07"
    sound = CodedSound("aac", asc(object_type, 6, channels, 3), 48000, "stereo", 2, 2048, (core,) * 4)
    silence = silence_like(sound)
    assert silence is not None
    assert silent_samples(sound, silence) == 2048
