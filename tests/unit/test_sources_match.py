"""The ends of a bridge are brought to one format: never the user's own footage where there is a choice."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from longtake.errors import ConflictError, OrderError
from longtake.footage import Footage, Run
from longtake.media.colour import to_colour, to_rgb
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.planning import Capabilities, plan
from longtake.sources import keep_footage, match
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from tests.footage import moving, same, video_frames, write_foreign

FORMAT = VideoFormat(64, 48, Fraction(12))


def house(store: Store, folder: Path, format: VideoFormat = FORMAT, name: str = "ours") -> Footage:
    """What we have rendered: two segments of two generations."""
    segments = []
    for number in range(2):
        path = folder / f"{number}.mp4"
        encoded = encode([moving(10, format.width, format.height, seed=number)], format, path)
        key = f"segments/{name}-{number}.mp4"
        store.put_file(key, path)
        segments.append(Segment(f"generation {number}", key, 0, encoded.num_frames, encoded.key_frames))
    return Footage(Timeline(format, tuple(segments)))


def foreign(store: Store, folder: Path, width: int = 64) -> Footage:
    path = write_foreign(folder / "foreign.mp4", video_frames(moving(20, width, 48)), pix_fmt="yuv420p")
    return keep_footage(path, "sources/foreign", "upload:foreign", store, lambda *_: None)


def tell(*_: object) -> None: ...


@pytest.mark.parametrize("ours_first", [True, False])
def test_ours_is_encoded_again_to_match_the_users_and_the_answer_says_so(tmp_path: Path, ours_first: bool) -> None:
    store = Store.in_folder(tmp_path / "store")
    ours, theirs = house(store, tmp_path), foreign(store, tmp_path)
    before, after = match(Run("a"), *((ours, theirs) if ours_first else (theirs, ours)), store, tell)
    matched, kept = (before, after) if ours_first else (after, before)
    assert kept == theirs
    assert matched.timeline.format == theirs.timeline.format != ours.timeline.format
    assert [segment.owner for segment in matched.timeline.segments] == ["generation 0", "generation 1"]
    assert matched.converted[0].startswith("frame0 (" if ours_first else "frame1 (")
    found = read_all(matched.timeline, 0, 20, store.open)
    given = to_colour(read_all(ours.timeline, 0, 20, store.open), theirs.timeline.format.coding.colour)
    for plane, wanted in zip(found.planes, given.planes, strict=True):
        assert float(np.abs(plane.astype(int) - wanted).mean()) < 1.5


def test_ends_of_one_format_are_left_alone(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "store")
    ours = house(store, tmp_path)
    assert match(Run("a"), ours, ours, store, tell) == (ours, ours)
    theirs = foreign(store, tmp_path)
    digest = hashlib.sha256(store.read("sources/foreign.mp4")).digest()
    assert match(Run("a"), theirs, theirs, store, tell) == (theirs, theirs)
    assert hashlib.sha256(store.read("sources/foreign.mp4")).digest() == digest


def test_ends_of_two_shapes_are_refused(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "store")
    wide = replace(FORMAT, width=80)
    with pytest.raises(ConflictError, match="5:3 and 4:3"):
        match(Run("a"), house(store, tmp_path, wide), foreign(store, tmp_path), store, tell)
    assert not [key for key in store.keys("sources") if "match" in key]


@pytest.mark.parametrize("rate", [Fraction(12000, 1001), Fraction(30)])
def test_ends_of_two_rates_both_stay_as_they_are_with_their_own_times(tmp_path: Path, rate: Fraction) -> None:
    store = Store.in_folder(tmp_path / "store")
    pair = house(store, tmp_path), house(store, tmp_path, replace(FORMAT, frame_rate=rate), "other")
    for made, given, own in zip(match(Run("a"), *pair, store, tell), pair, (Fraction(12), rate), strict=True):
        assert made.converted == ()
        assert made.timeline.format == replace(FORMAT, frame_rate=min(rate, Fraction(12)))
        assert [(part.key, part.num_frames) for part in made.timeline.segments] == [
            (part.key, part.num_frames) for part in given.timeline.segments
        ]
        assert [made.timeline.time_of(k) for k in range(21)] == [k / own for k in range(21)]
        assert same(read_all(made.timeline, 3, 17, store.open), read_all(given.timeline, 3, 17, store.open))


@pytest.mark.parametrize("large_first", [True, False])
def test_of_two_sizes_the_larger_one_is_made_smaller_and_the_answer_says_so(tmp_path: Path, large_first: bool) -> None:
    store = Store.in_folder(tmp_path / "store")
    large = house(store, tmp_path, VideoFormat(96, 72, Fraction(30)))
    small = foreign(store, tmp_path)
    made = match(Run("a"), *((large, small) if large_first else (small, large)), store, tell)
    matched, kept = made if large_first else made[::-1]
    assert kept == small
    assert matched.timeline.format == small.timeline.format
    name = "frame0" if large_first else "frame1"
    assert matched.converted[0] == f"{name}: 96x72 → 64x48, to match the other video"
    assert [matched.timeline.time_of(k) for k in range(21)] == [Fraction(k, 30) for k in range(21)]
    found = to_rgb(read_all(matched.timeline, 0, 20, store.open)).planes[0]
    given = to_rgb(read_all(large.timeline, 0, 20, store.open)).planes[0]
    wanted = np.stack([cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in given])
    assert float(np.abs(found.astype(int) - wanted).mean()) < 3


@pytest.mark.parametrize("end", ["frame0", "frame1"])
def test_only_what_is_not_cut_off_is_encoded_again(tmp_path: Path, end: str) -> None:
    store = Store.in_folder(tmp_path / "store")
    ours, theirs = house(store, tmp_path), foreign(store, tmp_path)  # ours are two segments of ten frames
    frame = KeyFrame(type="video", url="-")
    cut = replace(frame, at=Fraction(13, 12))
    if end == "frame0":
        order = Order(before=cut, after=frame, seconds=Fraction(1, 2))
        pair = match(Run("a"), ours, theirs, store, tell, order)
    else:
        order = Order(before=frame, after=cut, seconds=Fraction(1, 2))
        pair = match(Run("a"), theirs, ours, store, tell, order)
    planned = plan(order, pair[0].timeline, pair[1].timeline, Capabilities(name="any"))
    first, last = match(Run("b"), *((ours, theirs) if end == "frame0" else (theirs, ours)), store, tell)
    whole = plan(order, first.timeline, last.timeline, Capabilities(name="any"))
    assert (planned.outline.before_stop, planned.outline.after_start) == (
        whole.outline.before_stop,
        whole.outline.after_start,
    )
    assert planned.num_tail == planned.num_lead == 0
    matched = pair[0 if end == "frame0" else 1]
    kept = (0, 13) if end == "frame0" else (13, 20)
    given = to_colour(read_all(ours.timeline, *kept, store.open), theirs.timeline.format.coding.colour)
    found = read_all(matched.timeline, *kept, store.open)
    for plane, wanted in zip(found.planes, given.planes, strict=True):
        assert float(np.abs(plane.astype(int) - wanted).mean()) < 1.5
    made = [part for part in matched.timeline.segments if "match" in part.key]
    assert sum(part.num_frames for part in made) == (14 if end == "frame0" else 7)
    joined = planned.head if end == "frame0" else planned.rest
    assert joined
    assert {part.key for part in joined.segments} <= {part.key for part in made}


def test_a_cut_outside_of_a_video_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "store")
    frame = KeyFrame(type="video", url="-")
    order = Order(before=frame, after=replace(frame, at=Fraction(99)))
    with pytest.raises(OrderError, match="at must be from") as caught:
        match(Run("a"), foreign(store, tmp_path), house(store, tmp_path), store, tell, order)
    assert caught.value.field == "keyframes.frame1.at"
    assert not [key for key in store.keys("sources") if "match" in key]


@pytest.mark.parametrize("first", ["libx264", "libx265"])
def test_of_two_codecs_the_one_that_plays_everywhere_stays(tmp_path: Path, first: str) -> None:
    store, ends = Store.in_folder(tmp_path / "store"), []
    for number, codec in enumerate((first, {"libx264": "libx265", "libx265": "libx264"}[first])):
        path = write_foreign(tmp_path / f"{number}.mp4", video_frames(moving(12, 96, 64)), codec=codec)
        ends.append(keep_footage(path, f"sources/{number}", f"upload:{number}", store, tell))
    before, after = match(Run("a"), ends[0], ends[1], store, tell)
    assert before.timeline.format == after.timeline.format
    assert before.timeline.format.coding.codec == "h264"
    assert (before, after)[first == "libx265"] == ends[first == "libx265"]
    Run("a").forget(store)
    assert not [key for key in store.keys("sources") if "match" in key]
