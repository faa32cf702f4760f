"""Sound under a new part: it joins its neighbours packet by packet, and leaves theirs as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from longtake.errors import Cancelled
from longtake.media.ambience import spectral_jump
from longtake.media.sound import sound_track
from longtake.media.sound_continue import continue_sound
from longtake.media.sound_heard import measure_jump
from longtake.media.sound_keep import keep_sound
from longtake.timeline import Segment, Sound, Timeline
from longtake.video import VideoFormat
from tests.footage import opener
from tests.sounds import FRAME_RATE, Samples, ambience, first_frame_time, heard, mux_sound, write_video

FORMAT = VideoFormat(64, 48, FRAME_RATE)
NUM_FRAMES, NUM_NEW = 100, 50
KINDS: Final = {
    "aac": ("aac", "mp4", 48000, 2),
    "mp3": ("libmp3lame", "mp4", 44100, 2),
    "opus": ("libopus", "mp4", 48000, 2),
    "flac": ("flac", "mp4", 44100, 1),
    "ac3": ("ac3", "mp4", 48000, 2),
    "alac": ("alac", "mov", 48000, 2),
}
UNSTEADY: Final = ("ac3",)
"""Decoders fill what was not coded with noise, another each time."""


@dataclass
class Shelf:
    """Kept sounds, by their keys: segments, and what a plain decoder hears of their sources."""

    folder: Path
    segments: dict[str, Segment]
    heard: dict[str, Samples]

    def put(self, key: str, samples: Samples, codec: str, suffix: str, rate: int) -> None:
        source = write_video(self.folder / f"{key}.{suffix}", codec, samples, rate=rate, num_frames=NUM_FRAMES)
        kept, remarks = keep_sound(source, first_frame_time(source), self.folder / key)
        assert kept, remarks
        frames = tuple(range(NUM_FRAMES))
        self.segments[key] = Segment("u", f"video-{key}", 0, NUM_FRAMES, frames, sound=Sound(key, kept.start))
        self.heard[key] = heard(source)[0]

    def continued(
        self, before: Segment | None, after: Segment | None, *, key: str = "new", seed: int = 1, num_new: int = NUM_NEW
    ) -> tuple[Timeline, int]:
        """The timeline with a new part between the two, with its sound under `key`; and where it begins."""
        parts = [before, Segment("g", "new", 0, num_new, (0,)), after]
        timeline = Timeline(FORMAT, tuple(part for part in parts if part))
        first = before.num_frames if before else 0
        start = continue_sound(timeline, first, num_new, seed, opener(self.folder), self.folder / key)
        assert isinstance(start, Fraction), start
        segments = (replace(s, sound=Sound(key, start)) if s.key == "new" else s for s in timeline.segments)
        return Timeline(FORMAT, tuple(segments)), first

    def played(self, timeline: Timeline) -> Samples:
        track = sound_track(timeline, opener(self.folder))
        assert track is not None
        assert not track.left_out
        mux_sound(track, self.folder / "out.mp4")
        return heard(self.folder / "out.mp4")[0]

    def own(self, segment: Segment, rate: int) -> Samples:
        assert segment.sound
        begin, end = place(segment.start, rate), place(segment.stop, rate)
        return self.heard[segment.sound.key][:, begin:end]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    shelf = Shelf(tmp_path_factory.mktemp("sounds"), {}, {})
    for kind, (codec, suffix, rate, channels) in KINDS.items():
        for seed, loudness in enumerate((1.0, 0.5)):
            samples = loudness * ambience(place(NUM_FRAMES, rate), rate, channels, seed=seed)
            shelf.put(f"{kind}-{seed}", np.asarray(samples, np.float32), codec, suffix, rate)
    return shelf


def place(frame: int, rate: int) -> int:
    return round(Fraction(frame, FRAME_RATE) * rate)


def levels(samples: Samples, rate: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """In dB, of each 5 ms."""
    step = rate // 200
    cut = samples[:, : samples.shape[1] // step * step].astype(float)
    return np.asarray(10 * np.log10((cut.reshape(len(cut), -1, step) ** 2).mean(axis=(0, 2)) + 1e-10))


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_cut_nobody_hears_where_the_new_sound_begins(shelf: Shelf, kind: str) -> None:
    rate = KINDS[kind][2]
    cut = replace(shelf.segments[f"{kind}-0"], stop=83)
    timeline, first = shelf.continued(cut, None)
    played, own, seam = shelf.played(timeline), shelf.own(cut, rate), place(83, rate)
    assert np.array_equal(played[:, :seam], own)
    new = played[:, seam : place(83 + NUM_NEW, rate)]
    assert new.shape[1] == place(83 + NUM_NEW, rate) - seam
    around = levels(played[:, seam - rate // 10 : seam + rate // 10], rate)
    assert around.min() > levels(own, rate).min() - 3
    assert np.abs(np.diff(played[:, seam - 100 : seam + rate // 10])).max() <= 1.1 * np.abs(np.diff(own)).max()
    assert abs(levels(new, rate).mean() - levels(own, rate).mean()) < 1.5
    jump = measure_jump(timeline, first, NUM_NEW, opener(shelf.folder))
    assert jump.joins < jump.inside + 0.5
    assert jump.joins < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_what_leads_up_to_a_sound_ends_where_that_begins(shelf: Shelf, kind: str) -> None:
    rate = KINDS[kind][2]
    cut = replace(shelf.segments[f"{kind}-0"], start=30)
    timeline, _ = shelf.continued(None, cut)
    played, own, seam = shelf.played(timeline), shelf.own(cut, rate), place(NUM_NEW, rate)
    off = np.abs(played[:, seam : seam + own.shape[1]] - own)
    if kind == "opus":  # that is entered in the middle comes right within 80 ms
        assert off.max() < 0.05
        assert off[:, rate // 5 :].max() < 1e-3
    elif kind not in UNSTEADY:
        assert not off.any()
    assert np.abs(np.diff(played[:, seam - rate // 10 : seam + 100])).max() <= 1.1 * np.abs(np.diff(own)).max()
    assert abs(levels(played[:, : seam - rate // 10], rate).mean() - levels(own, rate).mean()) < 1.5
    if kind != "mp3":  # whose first packet after a cut needs bits from before it
        assert levels(played[:, : seam + rate // 10], rate).min() > levels(own, rate).min() - 3


@pytest.mark.parametrize("kind", KINDS)
def test_between_two_sounds_it_goes_from_the_one_to_the_other(shelf: Shelf, kind: str) -> None:
    rate = KINDS[kind][2]
    before, after = replace(shelf.segments[f"{kind}-0"], stop=83), replace(shelf.segments[f"{kind}-1"], start=30)
    played = shelf.played(shelf.continued(before, after)[0])
    begin, end = place(83, rate), place(83 + NUM_NEW, rate)
    assert np.array_equal(played[:, :begin], shelf.own(before, rate))
    own = shelf.own(after, rate)
    if kind not in ("opus", *UNSTEADY):
        assert np.array_equal(played[:, end : end + own.shape[1]], own)
    quarter = (end - begin) // 4
    course = [levels(played[:, begin + k * quarter :][:, :quarter], rate).mean() for k in range(4)]
    assert course[0] - course[3] == pytest.approx(6, abs=3)
    assert all(a > b - 1 for a, b in pairwise(course))


@pytest.mark.parametrize("kind", ["aac", "mp3", "flac", "alac"])
def test_a_whole_video_sounds_as_before_on_either_side(shelf: Shelf, kind: str) -> None:
    rate, whole = KINDS[kind][2], shelf.segments[f"{kind}-0"]
    own = shelf.own(whole, rate)
    appended, prepended = (shelf.played(shelf.continued(*ends)[0]) for ends in ((whole, None), (None, whole)))
    assert np.array_equal(appended[:, : own.shape[1]], own)
    begin = place(NUM_NEW, rate)
    assert np.array_equal(prepended[:, begin : begin + own.shape[1]], own)
    for samples in (appended[:, own.shape[1] + rate // 20 :], prepended[:, : begin - rate // 20]):
        assert samples[:, : place(NUM_NEW, rate) - rate // 10].shape[1]
        assert levels(samples[:, : place(NUM_NEW, rate) - rate // 10], rate).min() > levels(own, rate).min() - 5


@pytest.mark.parametrize("start", [30, 37, 44])
def test_between_two_sounds_decoders_lap_the_second_one_as_in_its_source(shelf: Shelf, start: int) -> None:
    before, after = replace(shelf.segments["aac-0"], stop=83), replace(shelf.segments["aac-1"], start=start)
    timeline, _ = shelf.continued(before, after, key="lapped")
    played, own, seam = shelf.played(timeline), shelf.heard["aac-1"], place(83 + NUM_NEW, 48000)
    shift = place(start, 48000) - seam
    ahead = slice(seam - 1024, seam)  # some of the packet that comes before the seam, which only leads in
    real = own[:, ahead.start + shift : ahead.stop + shift]
    assert np.sqrt(np.mean((played[:, ahead] - real) ** 2)) < 0.2 * np.sqrt(np.mean(real**2))


def test_its_packets_are_on_the_grid_of_those_it_follows(shelf: Shelf) -> None:
    timeline, _ = shelf.continued(replace(shelf.segments["aac-0"], stop=83), None)
    for shown in (timeline, Timeline(FORMAT, (Segment("g", "x", 0, 7, (0,)), *timeline.segments))):
        track = sound_track(shown, opener(shelf.folder))
        assert track is not None
        packets = [packet.pts or 0 for packet in track.packets()]
        after_lead = packets[packets.index(next(pts for pts in packets if pts > place(10, 48000))) :]
        assert {b - a for a, b in pairwise(after_lead)} == {1024}


def test_a_chain_of_short_parts_does_not_fade_or_repeat_its_clicks(shelf: Shelf) -> None:
    source = shelf.segments["aac-0"]
    segment: Segment | None = None
    timeline = Timeline(FORMAT, (source,))
    for number in range(6):
        first = timeline.num_frames
        grown = Timeline(FORMAT, (*timeline.segments, Segment("g", f"new{number}", 0, 25, (0,))))
        key = f"chain{number}"
        start = continue_sound(grown, first, 25, number, opener(shelf.folder), shelf.folder / key)
        assert isinstance(start, Fraction)
        segment = replace(grown.segments[-1], sound=Sound(key, start))
        timeline = Timeline(FORMAT, (*timeline.segments, segment))
    played, own = shelf.played(timeline), shelf.own(source, 48000)
    last = played[:, place(NUM_FRAMES + 125, 48000) : place(NUM_FRAMES + 150, 48000)]
    assert abs(levels(last, 48000).mean() - levels(own, 48000).mean()) < 1.5
    assert spectral_jump(own[:, -48000:], last, 48000) < 2
    joins = played[:, place(NUM_FRAMES + 20, 48000) : place(NUM_FRAMES + 150, 48000)]
    assert levels(joins, 48000).min() > levels(own, 48000).min() - 3


def test_a_sound_that_only_one_side_has_fades_beside_the_silent_one(shelf: Shelf) -> None:
    silent, loud = Segment("g", "silent", 0, 25, (0,)), shelf.segments["flac-0"]
    for parts, quiet in (((loud, silent), -1), ((silent, loud), 0)):
        played = shelf.played(shelf.continued(*parts)[0])
        begin = place(parts[0].num_frames, 44100)
        new = levels(played[:, begin : begin + place(NUM_NEW, 44100)], 44100)
        quarters = [part.mean() for part in np.array_split(new, 8)]
        assert min(quarters) == quarters[quiet]
        assert max(quarters) - quarters[quiet] > 10


@pytest.mark.parametrize(
    ("ends", "seconds"),
    [("append", 0.12), ("prepend", 0.12), ("bridge", 0.12), ("bridge", 0.4), ("prepend", 21), ("bridge", 21)],
)
def test_a_new_part_may_be_short_or_longer_than_what_is_held_in_memory(shelf: Shelf, ends: str, seconds: float) -> None:
    before = shelf.segments["ac3-0"] if ends != "prepend" else None
    after = shelf.segments["ac3-1"] if ends != "append" else None
    num_new = round(seconds * 25)
    timeline, first = shelf.continued(before, after, num_new=num_new)
    played = shelf.played(timeline)
    new = played[:, place(first, 48000) : place(first + num_new, 48000)]
    assert new.shape[1] == place(num_new, 48000)
    assert levels(new, 48000).min() > -70 if seconds > 20 else levels(new, 48000).mean() > -60


def test_the_same_seed_gives_the_same_bytes(shelf: Shelf) -> None:
    for key, seed in (("one", 4), ("two", 4), ("three", 5)):
        shelf.continued(shelf.segments["aac-0"], None, key=key, seed=seed)
    one, two, three = ((shelf.folder / key).read_bytes() for key in ("one", "two", "three"))
    assert one == two != three


def changed(segment: Segment, **values: object) -> Segment:
    return replace(segment, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (lambda sound: [changed(sound, sound=None), None], "no sound to go on from"),
        (lambda sound: [sound, changed(sound, sound=None), None], "no sound beside it"),
    ],
)
def test_where_there_is_nothing_to_go_on_from_it_says_so(
    shelf: Shelf, tmp_path: Path, parts: Callable[[Segment], list[Segment | None]], why: str
) -> None:
    segments = [part or Segment("g", "new", 0, 9, (0,)) for part in parts(shelf.segments["aac-0"])]
    timeline = Timeline(FORMAT, tuple(segments))
    said = continue_sound(timeline, timeline.num_frames - 9, 9, 1, opener(shelf.folder), tmp_path / "out")
    assert isinstance(said, str)
    assert why in said
    assert not (tmp_path / "out").exists()


def test_digital_silence_is_not_continued(shelf: Shelf) -> None:
    shelf.put("mute", np.zeros((2, place(NUM_FRAMES, 48000)), np.float32), "aac", "mp4", 48000)
    timeline = Timeline(FORMAT, (shelf.segments["mute"], Segment("g", "new", 0, 9, (0,))))
    said = continue_sound(timeline, NUM_FRAMES, 9, 1, opener(shelf.folder), shelf.folder / "out")
    assert said == "the sound beside it is silent"


def test_a_cancel_leaves_no_file(shelf: Shelf, tmp_path: Path) -> None:
    def cancel() -> None:
        raise Cancelled("cancelled")

    timeline = Timeline(FORMAT, (shelf.segments["aac-0"], Segment("g", "new", 0, 9, (0,))))
    with pytest.raises(Cancelled):
        continue_sound(timeline, NUM_FRAMES, 9, 1, opener(shelf.folder), tmp_path / "out", alive=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_loop_leads_back_to_the_sound_of_its_start(shelf: Shelf) -> None:
    whole = shelf.segments["flac-0"]
    timeline = Timeline(FORMAT, (whole, Segment("g", "new", 0, NUM_NEW, (0,))))
    path = shelf.folder / "loop"
    start = continue_sound(timeline, NUM_FRAMES, NUM_NEW, 1, opener(shelf.folder), path, loop=True)
    assert isinstance(start, Fraction)
    looped = Timeline(FORMAT, (whole, replace(timeline.segments[1], sound=Sound("loop", start))))
    played = shelf.played(looped)[:, : place(NUM_FRAMES + NUM_NEW, 44100)]
    around = np.concatenate([played[:, -4410:], played[:, :4410]], axis=1)
    own = shelf.own(whole, 44100)
    assert np.abs(np.diff(around, 2)).max() <= 1.2 * np.abs(np.diff(own, 2)).max()
    assert levels(around, 44100).min() > levels(own, 44100).min() - 3
