"""Edits at work: how much is scaled at once, and that a part of a picture is scaled as the whole would be."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from longtake import edits
from longtake.edits import _cut, _placed
from longtake.frames import Frames
from longtake.media.planes import BATCH_BYTES
from longtake.media.scaling import Scaler
from longtake.orders import Reframe
from longtake.placing import Placement, Rectangle, part_seen, place
from longtake.video import BT709, Colour
from tests.footage import moving

UNTAGGED = Colour(2, 2, 2, 0)


class Watched(Scaler):
    """Keeps how many pixels each call makes."""

    most = 0

    def of(self, frames: Frames) -> Frames:
        made = super().of(frames)
        Watched.most = max(Watched.most, made.num_frames * made.width * made.height)
        return made


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    Watched.most = 0
    monkeypatch.setattr(edits, "Scaler", Watched)
    return Watched  # type: ignore[return-value]


def placed_frames(frames: Frames, placed: Placement) -> Frames:
    parts = list(_placed(iter([frames]), placed, (frames.width, frames.height)))
    return Frames(tuple(np.concatenate(planes) for planes in zip(*(p.planes for p in parts), strict=True)), BT709)


def wholly_scaled(frames: Frames, placed: Placement) -> Frames:
    """The plain way: all of the source is scaled, and what is kept is cut out of that."""
    scaled = Scaler((placed.source.width, placed.source.height)).of(frames)
    return Frames(_cut(scaled, placed.kept.moved(-placed.source.left, -placed.source.top)), scaled.colour)


class TestWhatIsScaledAtOnce:
    def test_a_small_video_made_enormous_takes_no_more_than_a_few_canvases(self, watched: type[Watched]) -> None:
        edit = Reframe(aspect_ratio=(16, 9), resized_width=8192, resized_height=8192)
        placed = place(edit, Fraction(320), Fraction(180))
        made = placed_frames(moving(5, 320, 180), placed)
        assert (made.num_frames, made.width, made.height) == (5, 1280, 720)
        assert watched.most <= BATCH_BYTES * 2 // 3
        part, scaled = part_seen(placed, 320, 180)
        assert part.width < 90
        assert scaled.width * scaled.height < 5 * 1280 * 720

    def test_a_small_video_on_a_large_canvas_is_scaled_a_frame_at_a_time(self, watched: type[Watched]) -> None:
        edit = Reframe(aspect_ratio=(1, 1), short_side=4096)
        made = placed_frames(moving(2, 64, 64), place(edit, Fraction(64), Fraction(64)))
        assert (made.num_frames, made.width) == (2, 4096)
        assert watched.most == 4096 * 4096


class TestAPartOfASource:
    @pytest.mark.parametrize(
        "edit",
        [
            Reframe(aspect_ratio=(16, 9), short_side=180, resized_width=4000, resized_height=3000),
            Reframe(aspect_ratio=(9, 16), short_side=180, resized_height=320, grid_position_x=-40),
            Reframe(aspect_ratio=(9, 16), short_side=180, resized_height=322, grid_position_x=-300),
            Reframe(aspect_ratio=(1, 1), short_side=180, resized_height=180),
            Reframe(aspect_ratio=(1, 1), short_side=64, resized_width=228, grid_position_x=-100, grid_position_y=2),
            Reframe(aspect_ratio=(1, 1), short_side=180, resized_width=322, grid_position_x=-90),
            Reframe(aspect_ratio=(1, 1), short_side=128, x_start=50, x_end=80, resized_height=1000),
        ],
    )
    @pytest.mark.parametrize("colour", [BT709, UNTAGGED])
    def test_it_is_scaled_as_in_the_whole(self, edit: Reframe, colour: Colour) -> None:
        frames = Frames(moving(1, 320, 180, seed=2).planes, colour)
        placed = place(edit, Fraction(320), Fraction(180))
        kept = Rectangle(*placed.kept)
        made = Frames(_cut(placed_frames(frames, placed), kept))
        wanted = wholly_scaled(frames, placed)
        for ours, theirs in zip(made.planes, wanted.planes, strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 3
            assert np.abs(ours.astype(int) - theirs).mean() < 0.25

    def test_what_means_nothing_by_its_size_is_taken_by_the_size_of_the_whole(self) -> None:
        """Untagged, and larger than standard definition: BT.709, though what is left of it is small."""
        frames = Frames(moving(1, 1280, 720).planes, UNTAGGED)
        edit = Reframe(aspect_ratio=(1, 1), short_side=64, resized_height=720)
        placed = place(edit, Fraction(1280), Fraction(720))
        assert part_seen(placed, 1280, 720)[0].width < 200
        made, wanted = placed_frames(frames, placed), wholly_scaled(frames, placed)
        assert all((ours == theirs).all() for ours, theirs in zip(made.planes, wanted.planes, strict=True))

    def test_a_source_that_is_seen_whole_is_scaled_whole(self) -> None:
        placed = place(Reframe(aspect_ratio=(9, 16)), Fraction(1280), Fraction(720))
        assert part_seen(placed, 1280, 720) == (Rectangle(0, 0, 1280, 720), placed.source)
