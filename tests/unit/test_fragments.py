"""Stretches of a video for HLS: their sound is that of the whole, each packet once and in its time."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer

from longtake.footage import Footage, Run
from longtake.joining import join, match_sound
from longtake.media.fragments import Fragments, stretches
from longtake.media.sound import sound_track
from longtake.sources import keep_footage
from longtake.store import Store
from longtake.timeline import Timeline
from tests.sounds import ambience, write_video

SOUNDS = {"aac": ("aac", 48000, 2), "mono": ("aac", 44100, 1), "mp3": ("libmp3lame", 44100, 2)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.in_folder(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def footage(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Footage]:
    folder, kept = tmp_path_factory.mktemp("sources"), {}
    for seed, (name, (codec, rate, channels)) in enumerate(SOUNDS.items()):
        samples = ambience(5 * rate, rate, channels, seed=seed)
        path = write_video(folder / f"{name}.mp4", codec, samples, rate=rate, num_frames=125)
        kept[name] = keep_footage(path, f"sources/{name}", f"upload:{name}", store, lambda *_: None)
    return kept


def bridge(store: Store, footage: dict[str, Footage], first: str, second: str) -> tuple[Timeline, tuple[str, ...]]:
    """The one and the other, with sound of one coding."""
    before, after = footage[first].timeline, footage[second].timeline
    ends = match_sound(Run("id"), before, before.num_frames, after, 0, store, lambda *_: None)
    return ends[0] + ends[1], ends[2]


def packets_in(header: bytes, parts: list[bytes]) -> list[tuple[Fraction, bytes]]:
    """Of sound, `(seconds, bytes)`, as a player puts them together."""
    with av.open(BytesIO(header + b"".join(parts))) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.audio[0]
        return [
            (packet.pts * Fraction(stream.time_base or 1), bytes(packet))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]


@pytest.mark.parametrize(("first", "second"), [("aac", "mono"), ("aac", "mp3"), ("mp3", "aac"), ("mono", "mono")])
def test_the_parts_have_all_packets_of_the_sound_once_and_in_time(
    store: Store, footage: dict[str, Footage], first: str, second: str
) -> None:
    timeline, remarks = bridge(store, footage, first, second)
    told = f"The sound of upload:{second} is encoded again to match what comes before it."
    assert remarks == ((told,) if first != second else ())
    fragments = Fragments(timeline, store.open)
    parts = [fragments.fragment(part.start, part.stop) for part in stretches(timeline)]
    assert len(parts) > 2
    track = sound_track(timeline, store.open)
    assert track
    assert not track.left_out
    wanted = [(packet.pts or 0, bytes(packet)) for packet in track.packets() if (packet.pts or 0) >= 0]
    found = packets_in(fragments.header(), parts)
    late = found[0][0] - wanted[0][0] * track.time_base  # by what pictures are put off for B-frames
    assert 0 <= late < Fraction(1, 5)
    assert [(round((time - late) / track.time_base), data) for time, data in found] == wanted


def test_a_part_has_the_same_bytes_whoever_asks_for_it_alone(store: Store, footage: dict[str, Footage]) -> None:
    timeline, _ = bridge(store, footage, "aac", "mp3")
    last = list(stretches(timeline))[-1]
    one, other = (Fragments(timeline, store.open) for _ in range(2))
    for part in stretches(timeline):
        whole = one.fragment(part.start, part.stop)
    assert whole == other.fragment(last.start, last.stop)


def test_both_sides_are_heard_with_their_own_cuts_and_what_was_encoded_is_forgotten_with_the_bridge(
    store: Store, footage: dict[str, Footage]
) -> None:
    before, after = footage["aac"].timeline, footage["mp3"].timeline
    first, second, _ = match_sound(Run("cut"), before, 30, after, 75, store, lambda *_: None)
    assert first == before
    assert second.segments[0].sound != after.segments[0].sound
    assert replace(second.segments[0], sound=None) == replace(after.segments[0], sound=None)
    (key,) = store.keys("sources/cut")
    assert second.segments[0].sound
    assert second.segments[0].sound.key == key
    whole, _ = bridge(store, footage, "aac", "mp3")
    assert whole.segments[1].sound
    sizes = [store.size(name) or 0 for name in (key, whole.segments[1].sound.key)]
    assert sizes[0] < 0.8 * sizes[1]  # two of its five seconds, and a margin of half a second
    Run("cut").forget(store)
    assert not list(store.keys("sources/cut"))


def test_a_bridge_from_before_with_sound_of_two_codings_is_still_heard_whole(
    store: Store, footage: dict[str, Footage], tmp_path: Path
) -> None:
    timeline = footage["aac"].timeline + footage["mp3"].timeline
    key, _, remarks = join(Run("old"), timeline, store)
    assert remarks == ["The sound of upload:mp3 is encoded again to match what comes before it."]
    assert not list(store.keys("sources/old"))
    path = store.open(key)
    assert isinstance(path, str)
    with av.open(path) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.audio[0]))
    assert min(float(np.abs(frame.to_ndarray()).max()) for frame in frames[5:-8]) > 0.05
    fragments = Fragments(timeline, store.open)  # what of it can be copied is heard
    parts = [fragments.fragment(part.start, part.stop) for part in stretches(timeline)]
    assert len(packets_in(fragments.header(), parts)) > 400
