"""Time, timelines, orders and plans: the arithmetic that everything else trusts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake import errors
from longtake.errors import ConflictError, OrderError
from longtake.orders import KeyFrame, Order, parse_aspect_ratio, parse_frame_rate, parse_resolution
from longtake.planning import Capabilities, Extent, outline, plan
from longtake.timeline import Segment, Timeline
from longtake.video import CELLS, Cell, VideoFormat

FORMAT = VideoFormat(64, 48, Fraction(24))
MOTION = Capabilities(name="motion", concepts=frozenset({"zoom_in"}))
VIDEO = KeyFrame(type="generation", id="a")
IMAGE = KeyFrame(type="image", url="https://example.com/a.png")

segments = st.builds(
    lambda name, num, gop: Segment(name, f"segments/{name}.mp4", 0, num, tuple(range(0, num, gop))),
    st.sampled_from("abcdef"),
    st.integers(1, 60),
    st.integers(1, 24),
)
timelines = st.lists(segments, min_size=1, max_size=5).map(lambda found: Timeline(FORMAT, tuple(found)))


def frames(timeline: Timeline) -> list[tuple[str, int]]:
    """What each frame of it is: the object and the number in it."""
    return [(s.key, n) for s in timeline.segments for n in range(s.start, s.stop)]


@given(timelines, timelines, timelines)
def test_joining_timelines_is_joining_their_frames_in_any_grouping(a: Timeline, b: Timeline, c: Timeline) -> None:
    assert frames(a + b + c) == frames(a) + frames(b) + frames(c)
    assert (a + b) + c == a + (b + c)


@given(timelines, st.data())
def test_a_cut_keeps_each_frame_once_and_says_which_few_must_be_encoded_again(a: Timeline, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, a.num_frames))
    assert frames(a.head(at)) == frames(a)[:at]
    if at < a.num_frames:
        num_lead, rest = a.split_at(at)
        assert frames(a)[at + num_lead :] == (frames(rest) if rest else [])
        assert num_lead < 24
        assert rest is None or all(s.start in s.key_frames for s in rest.segments)


@given(timelines)
def test_a_timeline_survives_json(a: Timeline) -> None:
    assert Timeline.from_json(json.loads(json.dumps(a.to_json()))) == a


def test_timelines_of_two_formats_are_not_joined() -> None:
    other = replace(FORMAT, width=66)
    segment = Segment("a", "segments/a.mp4", 0, 1, (0,))
    with pytest.raises(ValueError, match="two formats"):
        Timeline(FORMAT, (segment,)) + Timeline(other, (segment,))


@pytest.mark.parametrize(
    ("rate", "seconds", "frames"),
    [(Fraction(24), Fraction(5), 120), (Fraction(30000, 1001), Fraction(5), 150), (Fraction(24), Fraction(1, 100), 1)],
)
def test_seconds_become_whole_frames(rate: Fraction, seconds: Fraction, frames: int) -> None:
    assert VideoFormat(2, 2, rate).num_frames(seconds) == frames


@pytest.mark.parametrize(("width", "height", "rate"), [(3, 2, 24), (2, 0, 24), (2, 2, 0)])
def test_a_format_that_can_not_be_is_refused(width: int, height: int, rate: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        VideoFormat(width, height, Fraction(rate))


orders = st.builds(
    Order,
    prompt=st.text(max_size=20),
    before=st.sampled_from([None, VIDEO, IMAGE, replace(VIDEO, at=Fraction(16, 5))]),
    after=st.sampled_from([None, VIDEO, IMAGE]),
    seconds=st.fractions(1, 9, max_denominator=100),
    aspect_ratio=st.sampled_from([(16, 9), (19, 9), (9, 21)]),
    seed=st.none() | st.integers(0, 2**32 - 1),
    concepts=st.sampled_from([(), ("zoom_in",)]),
)


@given(orders)
def test_an_order_survives_json(order: Order) -> None:
    assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order


def test_all_nine_cells_can_be_ordered_and_planned() -> None:
    video = Timeline(FORMAT, (Segment("a", "segments/a.mp4", 0, 48, (0, 24)),))
    ends = {"nothing": None, "still": IMAGE, "clip": VIDEO}
    for cell in CELLS:
        order = Order(before=ends[cell.before], after=ends[cell.after], prompt="x")
        assert order.cell == cell
        made = plan(order, video if cell.before == "clip" else None, video if cell.after == "clip" else None, MOTION)
        assert made.cell == cell
        assert made.outline.num_frames == 120
        assert made.outline.total_frames == 120 + 48 * (cell.before == "clip") + 48 * (cell.after == "clip")


@pytest.mark.parametrize("after", [VIDEO, IMAGE])
def test_a_loop_needs_an_open_end(after: KeyFrame) -> None:
    with pytest.raises(OrderError) as caught:
        Order(after=after, loop=True)
    assert caught.value.field == "loop"


def test_a_loop_leads_the_engine_back_to_the_first_frame() -> None:
    video = Timeline(FORMAT, (Segment("a", "segments/a.mp4", 0, 480, (0,)),))
    made = plan(Order(before=VIDEO, loop=True), video, None, MOTION)
    assert made.cell == Cell("clip", "clip")
    assert made.context_after == (0, 120)
    assert plan(Order(before=IMAGE, loop=True), None, None, MOTION).cell == Cell("still", "clip")


def test_at_cuts_the_video_there() -> None:
    video = Timeline(FORMAT, (Segment("a", "segments/a.mp4", 0, 48, (0, 24)),))
    appended = plan(Order(before=replace(VIDEO, at=Fraction(3, 2))), video, None, MOTION)
    assert appended.outline.before_stop == 36
    assert appended.context_before == (0, 36)
    prepended = plan(Order(after=replace(VIDEO, at=Fraction(1, 2))), None, video, MOTION)
    assert (prepended.num_lead, prepended.outline.after_start) == (12, 12)
    assert prepended.outline.total_frames == 120 + 36


@pytest.mark.parametrize(("at", "end"), [("2.1", "before"), ("0", "before"), ("2", "after")])
def test_a_cut_outside_the_video_is_refused_with_what_is_allowed(at: str, end: str) -> None:
    order = Order(**{end: replace(VIDEO, at=Fraction(at))})  # type: ignore[arg-type]
    extent = Extent(FORMAT, 48)
    with pytest.raises(OrderError, match="at must be from"):
        outline(order, extent if end == "before" else None, extent if end == "after" else None, MOTION)


def test_a_bridge_between_two_formats_is_refused() -> None:
    with pytest.raises(ConflictError, match="one format"):
        outline(Order(before=VIDEO, after=VIDEO), Extent(FORMAT, 48), Extent(replace(FORMAT, width=66), 48), MOTION)


@pytest.mark.parametrize(
    ("aspect", "resolution", "size"),
    [("16:9", "720p", (1280, 720)), ("19:9", "720p", (1520, 720)), ("9:16", "540p", (540, 960)),
     ("21:9", "1080p", (2520, 1080)), ("1:1", "4k", (2160, 2160))],
)  # fmt: skip
def test_the_resolution_is_the_short_side(aspect: str, resolution: str, size: tuple[int, int]) -> None:
    order = Order(aspect_ratio=parse_aspect_ratio(aspect), short_side=parse_resolution(resolution))
    made = outline(order, None, None, MOTION).format
    assert (made.width, made.height) == size


@given(st.floats(1, 120))
def test_a_frame_rate_as_it_is_written_can_be_ordered_and_fits_any_container(fps: float) -> None:
    rate = parse_frame_rate(fps)
    assert Order(frame_rate=rate).frame_rate == rate
    assert max(rate.numerator, rate.denominator) < 2**31
    assert abs(float(rate) - fps) < 0.006


def test_frame_rates_are_the_exact_ones_that_people_mean() -> None:
    written = (29.97, 23.976, 23.98, 24, 12.5, 119.99999999999, Fraction("59.94"))
    meant = ("30000/1001", "24000/1001", "24000/1001", "24", "25/2", "120", "60000/1001")
    assert [str(parse_frame_rate(fps)) for fps in written] == list(meant)


@pytest.mark.parametrize("rate", [Fraction(121), Fraction(1, 2), Fraction("23.123456789"), Fraction(2**40, 2**36 + 1)])
def test_a_frame_rate_that_no_container_holds_is_refused(rate: Fraction) -> None:
    with pytest.raises(OrderError) as caught:
        Order(frame_rate=rate)
    assert caught.value.field == "fps"


@pytest.mark.parametrize("text", ["22:9", "9:22", "16x9", "0:9", "", "16:", "１６:9", "1e1:9", "-16:9"])
def test_an_aspect_ratio_outside_the_limits_is_refused(text: str) -> None:
    with pytest.raises(OrderError) as caught:
        Order(aspect_ratio=parse_aspect_ratio(text))
    assert caught.value.field == "aspect_ratio"


def test_a_length_that_an_engine_can_not_make_is_refused_with_the_nearest_two() -> None:
    grid = Capabilities(name="grid", frame_step=8, frame_offset=1)
    with pytest.raises(OrderError, match=r"4\.708 s and 5\.042 s"):
        outline(Order(), None, None, grid)


def test_a_concept_that_no_engine_carries_out_is_refused_by_name() -> None:
    with pytest.raises(OrderError, match="bolt_cam can't be carried out; these can: zoom_in"):
        outline(Order(concepts=("bolt_cam",)), None, None, MOTION)


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    lines = (errors.__doc__ or "").translate(str.maketrans("│├└─", "    ")).splitlines()
    words = [line.split()[0] for line in lines if line.split()]
    drawn = {word for word in words if word.endswith("Error") or word == "Cancelled"}
    real = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert drawn == real


def test_importing_longtake_is_light() -> None:
    code = (
        "import sys, longtake; print([m for m in ('numpy', 'cv2', 'av', 'sqlalchemy', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
