"""Edits as they are ordered, and where they put the picture: canvases, sizes, places, bounds, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.errors import OrderError
from longtake.orders import KeyFrame, Order, Reframe, Upscale
from longtake.placing import Rectangle, part_seen, place
from longtake.planning import Capabilities, Extent, outline
from longtake.video import VideoFormat

GENERATION = KeyFrame(type="generation", id="one")
IMAGE = KeyFrame(type="image", url="https://example.com/a.png")
MOTION = Capabilities(name="motion")
HD = (Fraction(1280), Fraction(720))
places = st.none() | st.integers(-2000, 2000)
sides = st.none() | st.integers(16, 4000)
bounds = st.none() | st.integers(0, 720)


@pytest.mark.parametrize("edit", [Upscale(1080), Reframe(aspect_ratio=(9, 16), grid_position_x=-3, y_end=9)])
def test_an_edit_is_the_same_order_after_it_was_kept(edit: Upscale | Reframe) -> None:
    order = Order(before=GENERATION, edit=edit)
    assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order


def test_an_order_from_before_there_were_edits_has_none() -> None:
    kept = {name: value for name, value in Order(seed=1).to_json().items() if name != "edit"}
    assert Order.from_json(kept).edit is None


class TestOrders:
    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"before": None}, "keyframes.frame0"),
            ({"before": IMAGE}, "keyframes.frame0"),
            ({"before": KeyFrame(type="generation", id="one", at=Fraction(1))}, "keyframes.frame0.at"),
            ({"after": IMAGE}, "keyframes.frame1"),
            ({"loop": True}, "loop"),
            ({"concepts": ("zoom_in",)}, "concepts"),
            ({"takes": 2}, "takes"),
            ({"sound": "continue"}, "sound"),
        ],
    )
    def test_what_an_edit_can_not_have_is_refused_by_its_field(self, given: dict[str, Any], field: str) -> None:
        with pytest.raises(OrderError) as refused:
            Order(**{"before": GENERATION, "edit": Upscale(1080), **given})
        assert refused.value.field == field

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"aspect_ratio": (1, 3)}, "aspect_ratio"),
            ({"short_side": 32}, "resolution"),
            ({"resized_width": 8}, "resized_width"),
            ({"resized_height": 20_000}, "resized_height"),
            ({"grid_position_x": 20_000}, "grid_position_x"),
            ({"x_start": 1280}, "x_start"),
            ({"x_start": 9, "x_end": 9}, "x_end"),
            ({"x_end": 1281}, "x_end"),
            ({"y_start": -1}, "y_start"),
            ({"y_end": 721}, "y_end"),
        ],
    )
    def test_a_reframe_that_can_not_be_is_refused_by_its_field(self, given: dict[str, Any], field: str) -> None:
        with pytest.raises(OrderError) as refused:
            Reframe(**{"aspect_ratio": (16, 9)} | given)
        assert refused.value.field == field

    def test_an_upscale_beyond_any_size_is_refused(self) -> None:
        with pytest.raises(OrderError, match="from 64 to 4096 pixels, got 9000"):
            Upscale(9000)


class TestUpscale:
    def test_a_video_keeps_its_shape(self) -> None:
        assert place(Upscale(1080), *HD).canvas == (1920, 1080)
        assert place(Upscale(1080), Fraction(720), Fraction(1280)).canvas == (1080, 1920)

    @pytest.mark.parametrize("short_side", [720, 540])
    def test_a_size_that_is_not_larger_is_refused_and_both_are_named(self, short_side: int) -> None:
        with pytest.raises(OrderError, match=f"above its 720p, got {short_side}p") as refused:
            place(Upscale(short_side), *HD)
        assert refused.value.field == "resolution"

    def test_a_size_that_is_larger_only_until_it_is_rounded_is_refused(self) -> None:
        with pytest.raises(OrderError, match="above its 64p, got 65p, which makes 64: sizes are even"):
            place(Upscale(65), Fraction(64), Fraction(64))
        assert place(Upscale(67), Fraction(64), Fraction(64)).canvas == (68, 68)


class TestReframe:
    def test_a_source_is_as_large_as_it_can_be_and_in_the_middle(self) -> None:
        made = place(Reframe(aspect_ratio=(9, 16)), *HD)
        assert made.canvas == (720, 1280)
        assert made.source == made.kept == Rectangle(0, 438, 720, 842)
        assert "blurred mirror" in made.notes[0]

    def test_a_source_of_the_canvas_shape_fills_it_though_sizes_are_rounded(self) -> None:
        made = place(Reframe(aspect_ratio=(16, 9)), Fraction(854), Fraction(480))
        assert made.is_full
        assert made.notes == ()

    def test_the_grid_position_is_the_upper_left_corner(self) -> None:
        made = place(Reframe(aspect_ratio=(1, 1), resized_width=320, grid_position_x=40, grid_position_y=500), *HD)
        assert made.source == made.kept == Rectangle(40, 500, 360, 680)

    def test_what_lies_outside_of_the_canvas_is_cut_and_said(self) -> None:
        edit = Reframe(aspect_ratio=(1, 1), resized_height=720, grid_position_x=-300, grid_position_y=0)
        made = place(edit, *HD)
        assert made.source == Rectangle(-300, 0, 980, 720)
        assert made.is_full
        assert made.notes == ("The source was cut: 720x720 of its 1280x720 pixels are kept.",)

    def test_bounds_alone_are_filled_by_the_source(self) -> None:
        made = place(Reframe(aspect_ratio=(1, 1), x_start=100, x_end=500, y_start=100, y_end=400), *HD)
        assert made.kept == Rectangle(100, 100, 500, 400)
        assert (made.source.width, made.source.height) == (534, 300)

    def test_of_a_source_that_is_placed_what_is_inside_the_bounds_is_kept(self) -> None:
        edit = Reframe(
            aspect_ratio=(1, 1), resized_width=640, grid_position_x=0, grid_position_y=0, x_start=100, y_end=200
        )
        assert place(edit, *HD).kept == Rectangle(100, 0, 640, 200)

    def test_two_sides_stretch_the_source_and_a_note_says_so(self) -> None:
        made = place(Reframe(aspect_ratio=(1, 1), resized_width=640, resized_height=640), *HD)
        assert made.source == Rectangle(40, 40, 680, 680)
        assert any("stretched 0.56 times in width" in note for note in made.notes)

    def test_odd_places_are_rounded_and_a_note_says_so(self) -> None:
        made = place(Reframe(aspect_ratio=(1, 1), resized_width=320, grid_position_x=41, grid_position_y=0), *HD)
        assert made.source.left % 2 == 0
        assert "Places and sizes were rounded to even pixels." in made.notes

    def test_a_source_that_would_not_be_seen_is_refused(self) -> None:
        with pytest.raises(OrderError, match="nothing of the source would be seen") as refused:
            place(Reframe(aspect_ratio=(1, 1), resized_width=320, grid_position_x=800), *HD)
        assert refused.value.field == "grid_position_x"

    @pytest.mark.parametrize(
        ("ends", "kept"),
        [
            ({"x_start": 63}, (62, 64)),
            ({"x_start": 1, "x_end": 2}, (0, 2)),
            ({"x_start": 61, "x_end": 62}, (60, 62)),
            ({"x_start": 2, "x_end": 3}, (2, 4)),
        ],
    )
    def test_bounds_of_one_pixel_are_rounded_to_two_and_not_to_none(
        self, ends: dict[str, int], kept: tuple[int, int]
    ) -> None:
        made = place(Reframe(aspect_ratio=(1, 1), short_side=64, **ends), Fraction(64), Fraction(64))
        assert (made.kept.left, made.kept.right) == kept
        assert "Places and sizes were rounded to even pixels." in made.notes

    @pytest.mark.parametrize(("x", "kept"), [(63, (62, 64)), (-15, (0, 2)), (62, (62, 64))])
    def test_a_source_that_reaches_into_the_canvas_by_a_pixel_is_seen(self, x: int, kept: tuple[int, int]) -> None:
        edit = Reframe(aspect_ratio=(1, 1), short_side=64, resized_width=16, grid_position_x=x)
        made = place(edit, Fraction(64), Fraction(64))
        assert (made.kept.left, made.kept.right) == kept

    @pytest.mark.parametrize("x", [64, -16])
    def test_a_source_just_outside_of_the_canvas_is_refused(self, x: int) -> None:
        edit = Reframe(aspect_ratio=(1, 1), short_side=64, resized_width=16, grid_position_x=x)
        with pytest.raises(OrderError, match="nothing of the source would be seen"):
            place(edit, Fraction(64), Fraction(64))

    def test_a_source_larger_than_memory_is_refused(self) -> None:
        with pytest.raises(OrderError) as refused:
            place(Reframe(aspect_ratio=(1, 1), resized_width=16_000), *HD)
        assert refused.value.field == "resized_width"

    @given(st.builds(dict, x=places, y=places, wide=sides, high=sides), st.lists(bounds, min_size=4, max_size=4))
    def test_what_is_kept_lies_in_the_source_and_on_the_canvas(
        self, at: dict[str, int | None], ends: list[int | None]
    ) -> None:
        x_start, x_end, y_start, y_end = ends
        try:
            edit = Reframe(
                aspect_ratio=(4, 3),
                resized_width=at["wide"],
                resized_height=at["high"],
                grid_position_x=at["x"],
                grid_position_y=at["y"],
                x_start=x_start,
                x_end=x_end,
                y_start=y_start,
                y_end=y_end,
            )
            made = place(edit, *HD)
        except OrderError:
            return
        assert made.kept == made.kept.within(made.source) == made.kept.within(Rectangle(0, 0, *made.canvas))
        assert all(side % 2 == 0 for side in (*made.kept, *made.source, *made.canvas))
        assert min(made.kept.width, made.kept.height) >= 2


class TestThePartSeen:
    @given(st.builds(dict, x=places, y=places, wide=sides, high=sides), st.integers(8, 2000), st.integers(8, 1200))
    def test_it_covers_what_is_kept_and_lies_within_the_source(
        self, at: dict[str, int | None], half_width: int, half_height: int
    ) -> None:
        width, height = 2 * half_width, 2 * half_height
        try:
            edit = Reframe(
                aspect_ratio=(4, 3),
                resized_width=at["wide"],
                resized_height=at["high"],
                grid_position_x=at["x"],
                grid_position_y=at["y"],
            )
            placed = place(edit, Fraction(width), Fraction(height))
        except OrderError:
            return
        part, made = part_seen(placed, width, height)
        assert part == part.within(Rectangle(0, 0, width, height))
        assert placed.kept == placed.kept.within(made)
        assert made == made.within(placed.source)
        assert all(side % 2 == 0 for side in (*part, *made))
        assert min(*part[2:], part.width, part.height, made.width, made.height) >= 2


class TestOutline:
    def test_an_edit_has_its_parents_frames_and_rate(self) -> None:
        parent = Extent(VideoFormat(640, 360, Fraction(30000, 1001)), 77)
        made = outline(Order(before=GENERATION, edit=Upscale(720)), parent, None, MOTION)
        assert made.format == VideoFormat(1280, 720, Fraction(30000, 1001))
        assert (made.num_frames, made.before_stop, made.total_frames) == (77, 0, 77)
        assert made.seconds == 77 / Fraction(30000, 1001)

    def test_an_image_is_shown_for_the_seconds_that_are_asked_for(self) -> None:
        order = Order(before=IMAGE, edit=Reframe(aspect_ratio=(9, 16)), seconds=Fraction(2))
        made = outline(order, None, None, MOTION)
        assert (made.format, made.num_frames) == (VideoFormat(720, 1280, Fraction(24)), 48)

    def test_a_prompt_is_passed_over_and_a_note_says_so(self) -> None:
        parent = Extent(VideoFormat(640, 360, Fraction(24)), 77)
        made = outline(Order(before=GENERATION, edit=Upscale(720), prompt="a sea"), parent, None, MOTION)
        assert "The prompt was passed over: an edit shows nothing that is not there." in made.notes

    def test_more_pixels_than_the_engine_may_make_are_refused(self) -> None:
        parent = Extent(VideoFormat(1280, 720, Fraction(24)), 24)
        with pytest.raises(OrderError) as refused:
            outline(Order(before=GENERATION, edit=Upscale(4096)), parent, None, MOTION)
        assert refused.value.field == "resolution"
