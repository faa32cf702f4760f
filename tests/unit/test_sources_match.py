"""The ends of a bridge are brought to one format: never the user's own footage where there is a choice."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from longtake.errors import ConflictError
from longtake.footage import Footage
from longtake.media.colour import to_colour
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.sources import forget_matched, keep_footage, match
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from tests.footage import moving, video_frames, write_foreign

FORMAT = VideoFormat(64, 48, Fraction(12))


def house(store: Store, folder: Path, format: VideoFormat = FORMAT) -> Footage:
    """What we have rendered: two segments of two generations."""
    segments = []
    for number in range(2):
        path = folder / f"{number}.mp4"
        encoded = encode([moving(10, format.width, format.height, seed=number)], format, path)
        key = f"segments/{number}.mp4"
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
    before, after = match("a", *((ours, theirs) if ours_first else (theirs, ours)), store, tell)
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
    assert match("a", ours, ours, store, tell) == (ours, ours)
    theirs = foreign(store, tmp_path)
    digest = hashlib.sha256(store.read("sources/foreign.mp4")).digest()
    assert match("a", theirs, theirs, store, tell) == (theirs, theirs)
    assert hashlib.sha256(store.read("sources/foreign.mp4")).digest() == digest


def test_ends_of_two_sizes_are_refused(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path / "store")
    wide = replace(FORMAT, width=80)
    with pytest.raises(ConflictError, match="one size and frame rate"):
        match("a", house(store, tmp_path, wide), foreign(store, tmp_path), store, tell)


@pytest.mark.parametrize("first", ["libx264", "libx265"])
def test_of_two_codecs_the_one_that_plays_everywhere_stays(tmp_path: Path, first: str) -> None:
    store, ends = Store.in_folder(tmp_path / "store"), []
    for number, codec in enumerate((first, {"libx264": "libx265", "libx265": "libx264"}[first])):
        path = write_foreign(tmp_path / f"{number}.mp4", video_frames(moving(12, 96, 64)), codec=codec)
        ends.append(keep_footage(path, f"sources/{number}", f"upload:{number}", store, tell))
    before, after = match("a", ends[0], ends[1], store, tell)
    assert before.timeline.format == after.timeline.format
    assert before.timeline.format.coding.codec == "h264"
    assert (before, after)[first == "libx265"] == ends[first == "libx265"]
    forget_matched("a", store)
    assert not [key for key in store.keys("sources") if "match" in key]
