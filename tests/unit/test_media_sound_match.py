"""Sound of two codings in one video: the second is encoded once, into an object that is copied from then on."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.packet import Packet

from longtake.errors import Cancelled
from longtake.footage import Run
from longtake.joining import match_sound
from longtake.media.sound import SoundTrack, sound_track
from longtake.media.sound_match import code_alike, unlike_sounds, with_sounds
from longtake.store import Store
from longtake.timeline import Segment, Sound, Timeline
from tests.footage import opener
from tests.sounds import FRAME_RATE, Samples, heard, mux_sound, tones, write_video
from tests.unit.test_media_sound import FORMAT, NUM_FRAMES, Shelf, new

KINDS = {
    "aac": ("aac", "mp4", 48000, 2),
    "aac-44100": ("aac", "mov", 44100, 1),
    "aac-5.1": ("aac", "mp4", 48000, 6),
    "mp3": ("libmp3lame", "mp4", 44100, 2),
    "opus": ("libopus", "mp4", 48000, 2),
    "flac": ("flac", "mp4", 44100, 2),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("sounds"), {}, {}, {})
    for seed, (key, (codec, suffix, rate, channels)) in enumerate(KINDS.items()):
        samples = tones(2 * rate, rate, channels, seed=seed)
        shelf.put(key, write_video(shelf.folder / f"{key}.{suffix}", codec, samples, rate=rate))
    return shelf


def track_of(timeline: Timeline, folder: Path) -> SoundTrack:
    track = sound_track(timeline, opener(folder))
    assert track is not None
    return track


def matched(shelf: Shelf, timeline: Timeline, key: str) -> Timeline:
    """With all sound in the coding of the first."""
    track = track_of(timeline, shelf.folder)
    made = {}
    for unlike in unlike_sounds(timeline, track):
        start = code_alike(track, unlike, opener(shelf.folder), shelf.folder / key)
        assert start is not None
        made[unlike.key] = Sound(key, start)
    return with_sounds(timeline, made)


def delay(there: Samples, wanted: Samples, wanted_rate: int, rate: int) -> float:
    """By how many seconds the first channel is late."""
    num = there.shape[1]
    resampled = np.interp(np.arange(num) / rate, np.arange(wanted.shape[1]) / wanted_rate, wanted[0])
    spectrum = np.fft.rfft(there[0], 2 * num) * np.conj(np.fft.rfft(resampled, 2 * num))
    found = int(np.argmax(np.fft.irfft(spectrum, 2 * num)))
    return (found if found < num else found - 2 * num) / rate


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("aac", "flac"),
        ("aac", "aac-44100"),
        ("aac-44100", "aac"),
        ("mp3", "aac"),
        ("flac", "mp3"),
        ("aac-5.1", "opus"),
        ("opus", "mp3"),
    ],
)
def test_sound_of_another_kind_is_brought_to_the_first_ones(
    shelf: Shelf, tmp_path: Path, first: str, second: str
) -> None:
    timeline = Timeline(FORMAT, (shelf.segment(first), new(5), shelf.segment(second, 10)))
    assert track_of(timeline, shelf.folder).left_out == (second,)
    made = matched(shelf, timeline, f"{second} as {first}")
    assert made.segments[:2] == timeline.segments[:2]
    track = track_of(made, shelf.folder)
    assert not track.left_out
    mux_sound(track, tmp_path / "out.mp4")
    played, rate = heard(tmp_path / "out.mp4")[0], shelf.rates[first]
    begin, num = round(Fraction(55) / FRAME_RATE * rate), rate
    there = played[:, begin : begin + num]
    own = shelf.heard[second][:, round(Fraction(10) / FRAME_RATE * shelf.rates[second]) :]
    assert abs(delay(there, own, shelf.rates[second], rate)) < 0.0005
    if first != "aac-5.1":
        mixed = own[:, : shelf.rates[second]].mean(axis=0) if KINDS[first][3] == 1 else own
        assert np.sqrt(np.mean(there**2)) == pytest.approx(np.sqrt(np.mean(mixed**2)), rel=0.05)


def test_only_what_is_heard_of_it_is_encoded(shelf: Shelf) -> None:
    timeline = Timeline(FORMAT, (shelf.segment("aac"), shelf.segment("mp3", 40), shelf.segment("mp3", 45, 48)))
    track = track_of(timeline, shelf.folder)
    (unlike,) = unlike_sounds(timeline, track)
    start = shelf.sounds["mp3"].start
    assert (unlike.start, unlike.stop) == (Fraction(40, 25) - start, Fraction(50, 25) - start)
    begin = code_alike(track, unlike, opener(shelf.folder), shelf.folder / "some")
    assert begin is not None
    assert 0.9 < begin < unlike.start


def test_later_splices_copy_what_was_encoded(shelf: Shelf) -> None:
    made = matched(shelf, Timeline(FORMAT, (shelf.segment("aac"), shelf.segment("mp3"))), "once")
    later = Timeline(FORMAT, (new(3), *made.segments[:1], new(8), replace(made.segments[1], start=12)))
    there = [bytes(packet) for packet in track_of(made, shelf.folder).packets()]
    again = [bytes(packet) for packet in track_of(later, shelf.folder).packets()]
    assert set(there[-30:-2]) <= set(again)
    assert Timeline.from_json(made.to_json()) == made
    assert all(a.pts < b.pts for a, b in pairwise(track_of(later, shelf.folder).packets()) if a.pts and b.pts)


def test_sound_of_one_coding_is_left_alone(shelf: Shelf) -> None:
    timeline = Timeline(FORMAT, (shelf.segment("aac"), new(5), shelf.segment("aac", 3)))
    assert unlike_sounds(timeline, track_of(timeline, shelf.folder)) == ()
    assert with_sounds(timeline, {}) == timeline


def test_what_can_not_be_encoded_alike_is_left_out(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtake.media.sound_match.can_be_coded_as", lambda *_: False)
    timeline = Timeline(FORMAT, (shelf.segment("aac"), shelf.segment("mp3")))
    track = track_of(timeline, shelf.folder)
    assert unlike_sounds(timeline, track) == ()
    assert track.left_out == ("mp3",)


def test_a_cancel_leaves_no_file(shelf: Shelf, tmp_path: Path) -> None:
    timeline = Timeline(FORMAT, (shelf.segment("aac"), shelf.segment("mp3")))
    track = track_of(timeline, shelf.folder)

    def cancelled() -> None:
        raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        code_alike(track, unlike_sounds(timeline, track)[0], opener(shelf.folder), tmp_path / "x", cancelled)
    assert not list(tmp_path.iterdir())


def stored(store: Store, shelf: Shelf, key: str, begins: Fraction) -> Timeline:
    """One segment whose sound is kept in a store."""
    store.put(f"sounds/{key}", (shelf.folder / key).read_bytes())
    return Timeline(FORMAT, (Segment("u", "video", 0, NUM_FRAMES, (0,), sound=Sound(f"sounds/{key}", begins)),))


@pytest.mark.parametrize("unheard_first", [False, True])
@pytest.mark.parametrize("begins", [2, 4], ids=["right behind its last frame", "long after it"])
def test_sound_that_is_never_heard_is_neither_encoded_nor_spoken_of(
    shelf: Shelf, tmp_path: Path, unheard_first: bool, begins: int
) -> None:
    store = Store.in_folder(tmp_path)
    sounding, late = stored(store, shelf, "aac", Fraction(0)), stored(store, shelf, "mp3", Fraction(begins))
    before, after = (late, sounding) if unheard_first else (sounding, late)
    assert match_sound(Run("x"), before, NUM_FRAMES, after, 0, store, lambda *_: None) == (before, after, ())
    track = track_of(before + after, tmp_path)
    assert (track.sound.codec, track.left_out) == ("aac", ())
    assert sound_track(late, store.open) is None


def test_sound_that_is_cut_off_before_it_begins_is_not_encoded(shelf: Shelf, tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path)
    late, sounding = stored(store, shelf, "mp3", Fraction(1)), stored(store, shelf, "aac", Fraction(0))
    assert match_sound(Run("x"), late, 25, sounding, 0, store, lambda *_: None) == (late, sounding, ())
    assert match_sound(Run("x"), late, 26, sounding, 0, store, lambda *_: None)[2]


def test_sound_of_which_nothing_can_be_decoded_is_left_out(shelf: Shelf, tmp_path: Path) -> None:
    noise = shelf.folder / "noise"
    with av.open(str(shelf.folder / "flac")) as source, av.open(str(noise), "w", format="mp4") as output:
        assert isinstance(output, OutputContainer)
        copy = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size and packet.pts is not None:
                made = Packet(bytes(packet) if packet.pts < 55_000 else bytes(packet.size))
                made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
                made.time_base, made.stream = packet.time_base, copy
                output.mux(made)
    store = Store.in_folder(tmp_path)
    before, after = stored(store, shelf, "aac", Fraction(0)), stored(store, shelf, "noise", Fraction(0))
    assert match_sound(Run("x"), before, NUM_FRAMES, after, 46, store, lambda *_: None) == (before, after, ())
    assert sorted(store.keys("")) == ["sounds/aac", "sounds/noise"]
    assert match_sound(Run("x"), before, NUM_FRAMES, after, 0, store, lambda *_: None)[2]


def test_a_segment_from_before_is_read_as_it_was_written(shelf: Shelf) -> None:
    written = {
        "owner": "upload:1",
        "key": "sources/1.mp4",
        "start": 0,
        "stop": NUM_FRAMES,
        "key_frames": [0, 12],
        "sound": {"key": "sources/1-sound.mp4", "start": "-1/48000"},
    }
    segment = Segment.from_json(written)
    assert segment.sound == Sound("sources/1-sound.mp4", Fraction(-1, 48000))
    assert segment.to_json() == written
