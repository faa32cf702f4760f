"""Time, timelines, orders and plans: the arithmetic that everything else trusts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake import errors
from longtake.errors import ConflictError, OrderError
from longtake.orders import KeyFrame, Order, parse_aspect_ratio, parse_frame_rate, parse_resolution
from longtake.planning import Capabilities, Extent, outline, plan
from longtake.timeline import Segment, Sound, Stamps, Timeline
from longtake.video import CELLS, Cell, Coding, Colour, VideoFormat

FORMAT = VideoFormat(64, 48, Fraction(24))
MOTION = Capabilities(name="motion", concepts=frozenset({"zoom_in"}))
VIDEO = KeyFrame(type="generation", id="a")
IMAGE = KeyFrame(type="image", url="https://example.com/a.png")

TIME_BASES = [Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 25)]


def coded_order(num: int, dice: Random) -> list[int]:
    """The frames of an object as they are coded: groups, each in any order that begins with its first frame."""
    order: list[int] = []
    while len(order) < num:
        group = list(range(len(order), min(len(order) + dice.randint(1, 6), num)))
        order += [group[0], *dice.sample(group[1:], len(group) - 1)]
    return order


@st.composite
def segments(draw: st.DrawFn, entered: bool = True) -> Segment:
    """Any stretch of any object: with B-frames or without, equally long frames or not."""
    num, gop, name = draw(st.integers(1, 40)), draw(st.integers(1, 24)), draw(st.sampled_from("abcdef"))
    keys, dice = tuple(range(0, num, gop)), Random(draw(st.integers(0, 1000)))
    start = dice.choice(keys) if entered else dice.randrange(num)
    stamps, reorder, stops = None, 0, tuple[int, ...]()
    if draw(st.booleans()):
        lengths = (dice.randint(1, 3003) for _ in range(num))
        stamps = Stamps(dice.choice(TIME_BASES), tuple(accumulate(lengths, initial=0)))
    if draw(st.booleans()):
        order = coded_order(num, dice)
        reorder = max(place - number for place, number in enumerate(order))
        stops = tuple(k for k in range(1, num + 1) if max(order[:k]) == k - 1) if reorder else ()
    sound = Sound("sound", Fraction(dice.randint(-100, 100), 48_000)) if draw(st.booleans()) else None
    stop = dice.choice([k for k in stops if k > start]) if reorder else dice.randint(start + 1, num)
    return Segment(name, f"segments/{name}.mp4", start, stop, keys, stamps, reorder, stops, sound)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    first = draw(segments(entered=False))
    return Timeline(FORMAT, (first, *draw(st.lists(segments(), max_size=3))))


joinable = st.lists(segments(), min_size=1, max_size=3).map(lambda found: Timeline(FORMAT, tuple(found)))


def frames(timeline: Timeline | None) -> list[tuple[str, int]]:
    """What each frame of it is: the object and the number in it."""
    return [(s.key, n) for s in timeline.segments for n in range(s.start, s.stop)] if timeline else []


def lengths(timeline: Timeline) -> list[Fraction]:
    """How long each frame is shown."""
    return [
        (s.stamps.pts[n + 1] - s.stamps.pts[n]) * s.stamps.time_base if s.stamps else 1 / FORMAT.frame_rate
        for s in timeline.segments
        for n in range(s.start, s.stop)
    ]


@given(timelines(), joinable, joinable)
def test_joining_timelines_is_joining_their_frames_in_any_grouping(a: Timeline, b: Timeline, c: Timeline) -> None:
    assert frames(a + b + c) == frames(a) + frames(b) + frames(c)
    assert (a + b) + c == a + (b + c)


@given(timelines(), st.data())
def test_a_head_keeps_each_frame_once_and_ends_where_packets_can_end(a: Timeline, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, a.num_frames))
    kept, num_tail = a.head(at)
    assert frames(kept) == frames(a)[: at - num_tail]
    touched = list(a.touched(0, at))
    last = touched[-1]
    assert num_tail <= last[2] - last[1]  # of the segment that is cut, no more
    assert num_tail == 0 or last[0].reorder
    for segment in kept.segments if kept else ():
        assert not segment.reorder or segment.stop in segment.stops
    if num_tail and kept and len(kept.segments) == len(touched):  # and no later place would have done
        assert not [k for k in last[0].stops if kept.segments[-1].stop < k <= last[2]]


@given(timelines(), st.data())
def test_what_is_kept_after_a_cut_begins_at_a_key_frame_and_the_lead_is_the_rest_of_its_group(
    a: Timeline, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, a.num_frames - 1))
    num_lead, rest = a.split_at(at)
    assert frames(a)[at + num_lead :] == frames(rest)
    assert num_lead < 24
    assert rest is None or all(s.is_entered for s in rest.segments)
    (segment, inside, _), *_ = a.touched(at, at + 1)
    assert not [key for key in segment.key_frames if inside <= key < inside + num_lead]


@given(timelines(), st.data())
def test_a_frame_begins_when_all_before_it_are_over(a: Timeline, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, a.num_frames))
    assert a.time_of(frame) == sum(lengths(a)[:frame], Fraction(0))
    assert a.seconds == a.time_of(a.num_frames)
    assert a.frame_at(a.time_of(frame)) == frame
    for outside in (-1, a.num_frames + 1):
        with pytest.raises(ValueError, match="a time needs a frame"):
            a.time_of(outside)


@given(timelines(), st.fractions(0, 1, max_denominator=50))
def test_a_time_means_the_nearest_place_between_two_frames(a: Timeline, part: Fraction) -> None:
    seconds = a.seconds * part
    distances = [abs(a.time_of(k) - seconds) for k in range(a.num_frames + 1)]
    found = a.frame_at(seconds)
    assert distances[found] == min(distances)
    assert found == a.num_frames - distances[::-1].index(min(distances))  # ties go up
    beyond = a.seconds + 10 / FORMAT.frame_rate
    assert a.frame_at(beyond) == a.num_frames + 10


@given(timelines(), st.data())
def test_stamps_of_a_stretch_say_when_each_of_its_frames_is_shown(a: Timeline, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, a.num_frames - 1))
    stop = data.draw(st.integers(start + 1, a.num_frames))
    stamps = a.stamps_of(start, stop)
    if stamps is None:
        assert all(segment.stamps is None for segment, _, _ in a.touched(start, stop))
        return
    times = [pts * stamps.time_base for pts in stamps.pts]
    assert times == [a.time_of(k) - a.time_of(start) for k in range(start, stop + 1)]
    again = stamps.of(1, stop - start) if stop - start > 1 else stamps
    assert again.pts[0] == 0
    assert again.pts[-1] * again.time_base == times[-1] - (times[1] if stop - start > 1 else 0)


@given(timelines(), st.data())
def test_sound_stays_where_it_was_when_frames_are_coded_again(a: Timeline, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, a.num_frames - 1))
    (segment, inside, _), *_ = a.touched(frame, frame + 1)
    found = a.sound_of(frame)
    if segment.sound is None:
        assert found is None
        return
    assert found is not None
    assert (found.key, found.start) == (
        segment.sound.key,
        segment.sound.start - replace(segment, start=0).seconds(inside, FORMAT.frame_rate),
    )


@given(timelines())
def test_a_timeline_survives_json(a: Timeline) -> None:
    assert Timeline.from_json(json.loads(json.dumps(a.to_json()))) == a


codings = st.builds(
    Coding,
    st.sampled_from(["h264", "hevc", "vp9", "mpeg4"]),
    st.sampled_from(["yuv420p", "yuv444p10le"]),
    st.builds(Colour, *[st.integers(1, 18)] * 3, st.integers(0, 2)),
    st.fractions(Fraction(1, 4), 4, max_denominator=33),
    st.sampled_from([0, 90, 180, 270]),
    st.booleans(),
)


@given(st.integers(1, 99), st.integers(1, 99), st.fractions(1, 120, max_denominator=1001), codings)
def test_a_format_survives_json_and_turns_its_size_and_its_pixels(
    w: int, h: int, rate: Fraction, coding: Coding
) -> None:
    format = VideoFormat(2 * w, 2 * h, rate, coding)
    assert VideoFormat.from_json(json.loads(json.dumps(format.to_json()))) == format
    is_turned = coding.rotation in {90, 270}
    assert format.stored_size == ((2 * h, 2 * w) if is_turned else (2 * w, 2 * h))
    assert format.pixel_aspect == (1 / coding.sample_aspect if is_turned else coding.sample_aspect)


def test_a_timeline_of_equal_frames_reads_as_it_was_written_before_there_were_stamps() -> None:
    segment = Segment("a", "segments/a.mp4", 12, 30, (0, 12, 24))
    written = {"owner": "a", "key": "segments/a.mp4", "start": 12, "stop": 30, "key_frames": [0, 12, 24]}
    assert segment.to_json() == written
    assert Segment.from_json(written) == segment
    assert FORMAT.to_json() == {"width": 64, "height": 48, "frame_rate": "24"}


def test_footage_of_key_frames_only_is_written_short_and_the_long_form_is_still_read() -> None:
    segment = Segment("a", "segments/a.mp4", 0, 100_000, tuple(range(100_000)))
    written = json.dumps(segment.to_json())
    assert len(written) < 3000
    assert Segment.from_json(json.loads(written)) == segment
    uneven = replace(segment, key_frames=(0, *accumulate(Random(1).choices((1, 12, 50), k=2000))), stop=80_000)
    assert Segment.from_json(json.loads(json.dumps(uneven.to_json()))) == uneven
    assert Segment.from_json({**segment.to_json(), "key_frames": list(range(100_000))}) == segment


def test_only_the_first_segment_may_begin_between_key_frames() -> None:
    entered, inside = (Segment("a", "segments/a.mp4", start, 30, (0, 12)) for start in (12, 13))
    assert Timeline(FORMAT, (inside, entered)).num_frames == 17 + 18
    with pytest.raises(ValueError, match="a join must be at a key frame, got 13"):
        Timeline(FORMAT, (entered, inside))


@pytest.mark.parametrize("pts", [(0,), (1, 2), (0, 2, 2), (0, 3, 1)])
def test_stamps_that_can_not_be_are_refused(pts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="stamps need"):
        Stamps(Fraction(1, 1000), pts)


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


def bridged(first: VideoFormat, last: VideoFormat) -> VideoFormat:
    return outline(Order(before=VIDEO, after=VIDEO), Extent(first, 48), Extent(last, 48), MOTION).format


def sized(width: int, height: int, aspect: Fraction = Fraction(1), rotation: int = 0) -> VideoFormat:
    return VideoFormat(width, height, Fraction(24), Coding(sample_aspect=aspect, rotation=rotation))


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (sized(1280, 720), sized(720, 1280), r"16:9 and 9:16.*nothing is cropped.*Crop, pad or scale"),
        (sized(1280, 720), sized(960, 720), r"16:9 and 4:3"),
        (sized(1280, 720), sized(1280, 724), r"16:9 and 320:181"),
        (sized(720, 576), sized(720, 576, Fraction(64, 45)), r"5:4 and 16:9"),
        (
            sized(1440, 540),
            sized(1280, 720, Fraction(3, 2)),
            r"the other the higher.*nothing is enlarged",
        ),
    ],
)
def test_a_bridge_of_two_shapes_is_refused_with_what_differs_and_what_to_do(
    first: VideoFormat, last: VideoFormat, says: str
) -> None:
    for pair in ((first, last), (last, first)):
        with pytest.raises(ConflictError) as caught:
            bridged(*pair)
        assert caught.value.field == "keyframes.frame1"
        assert all(str(one) in str(caught.value) for one in pair)
    with pytest.raises(ConflictError, match=says):
        bridged(first, last)


@pytest.mark.parametrize(
    ("large", "small"),
    [
        (sized(1920, 1080), sized(1280, 720)),
        (sized(1920, 1080), sized(854, 480)),
        (sized(1080, 1920), sized(480, 854)),
        (sized(1920, 1080), sized(1440, 1080, Fraction(4, 3))),
        (sized(1080, 1920), sized(1080, 1440, Fraction(4, 3), rotation=90)),
    ],
)
def test_a_bridge_of_two_sizes_has_the_smaller_one(large: VideoFormat, small: VideoFormat) -> None:
    assert bridged(large, small) == bridged(small, large) == small


def test_a_bridge_of_two_rates_has_the_slower_one_and_lasts_as_long_as_both_do() -> None:
    ntsc = replace(FORMAT, frame_rate=Fraction(24000, 1001))
    order = Order(before=VIDEO, after=VIDEO, seconds=Fraction(2))
    for pair in ((FORMAT, ntsc), (ntsc, FORMAT)):
        made = outline(order, Extent(pair[0], 48), Extent(pair[1], 480), MOTION)
        assert (made.format, made.total_frames) == (ntsc, 48 + 48 + 480)
        assert made.seconds == pair[0].seconds(48) + ntsc.seconds(48) + pair[1].seconds(480)
        assert made.extent.num_frames == round(made.seconds * ntsc.frame_rate)


BRIDGES = [(30, 24), (60, 24), (60, 25), (50, 30), (120, 12), (25, 24), (30, Fraction(24000, 1001)), (48, 24)]


@pytest.mark.parametrize(("fast", "slow"), BRIDGES)
@pytest.mark.parametrize("end", ["before", "after"])
def test_of_a_faster_rate_engines_are_shown_how_it_moves_at_the_slower_one(
    fast: int, slow: int | Fraction, end: str
) -> None:
    """A pan's place is its time: what is shown has the pan's speed, on the whole and nowhere half a frame off."""
    made = replace(FORMAT, frame_rate=Fraction(slow))
    long = Timeline(replace(FORMAT, frame_rate=Fraction(fast)), (Segment("a", "x", 0, 20 * fast, (0,)),)).at_rate(
        made.frame_rate
    )
    own = Timeline(made, (Segment("b", "y", 0, 20 * int(slow), (0,)),))
    back = end == "before"
    order = Order(before=replace(VIDEO, at=Fraction(11)), after=replace(VIDEO, at=Fraction(7)))
    planned = plan(order, long if back else own, own if back else long, MOTION)
    stretches = planned.context_before, planned.context_after
    start, stop = stretches[0 if back else 1] or (0, 0)
    own_start, own_stop = stretches[1 if back else 0] or (0, 0)
    shown = long.paced(start, stop, back=back)
    assert shown[-1 if back else 0] == (11 * fast - 1 if back else 7 * fast)  # what is next to the new part
    assert abs(len(shown) - (own_stop - own_start)) <= 1
    assert abs((long.time_of(shown[-1]) - long.time_of(shown[0])) * slow / (len(shown) - 1) - 1) < Fraction(3, 100)
    anchor = shown[-1] if back else shown[0]
    for k, number in enumerate(shown[::-1] if back else shown):
        assert abs(abs(long.time_of(number) - long.time_of(anchor)) - Fraction(k) / slow) <= Fraction(1, 2 * fast)


@given(timelines(), st.data())
def test_frames_are_picked_in_order_none_twice_and_all_where_they_are_equally_long(
    given_one: Timeline, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, given_one.num_frames - 1))
    stop = data.draw(st.integers(start + 1, given_one.num_frames))
    for back in (True, False):
        found = given_one.paced(start, stop, back=back)
        assert found == sorted(set(found))
        assert start <= found[0] <= found[-1] < stop
        assert found[-1 if back else 0] == (stop - 1 if back else start)
        if given_one.stamps_of(start, stop) is None:
            assert found == list(range(start, stop))


@given(timelines(), st.integers(1, 300), st.data())
def test_a_stretch_is_as_long_as_asked_for_and_has_no_fewer_frames(
    given_one: Timeline, wanted: int, data: st.DataObject
) -> None:
    frame = data.draw(st.integers(0, given_one.num_frames))
    first, last = given_one.reach(frame, wanted, back=True), given_one.reach(frame, wanted, back=False)
    assert 0 <= first <= max(0, frame - wanted)
    assert min(given_one.num_frames, frame + wanted) <= last <= given_one.num_frames
    if given_one.stamps_of(0, given_one.num_frames) is None:
        assert (first, last) == (max(0, frame - wanted), min(given_one.num_frames, frame + wanted))


def test_frames_that_are_shown_for_longer_than_a_step_are_all_picked() -> None:
    """Footage that stands for seconds, as recordings of screens do: a repeated frame would be a freeze."""
    pts = tuple(accumulate([10, 10, 3000, 10, 900, 10, 10], initial=0))
    slow = Timeline(FORMAT, (Segment("a", "x", 0, 7, (0,), Stamps(Fraction(1, 240), pts)),))
    assert slow.paced(0, 7, back=True) == slow.paced(0, 7, back=False) == list(range(7))
    assert (slow.reach(7, 5, back=True), slow.reach(0, 5, back=False)) == (2, 5)
    burst = slow.segments[0], Segment("b", "y", 0, 48, (0,), Stamps(Fraction(1, 240), tuple(range(0, 49 * 4, 4))))
    assert Timeline(FORMAT, burst).paced(2, 55, back=True)[:3] == [2, 3, 4]


@pytest.mark.parametrize("back", [True, False])
def test_of_frames_whose_own_times_vary_about_the_rate_none_is_passed_over(back: bool) -> None:
    """A telephone's: one left out would be a jerk that is not in the footage."""
    dice = Random(3)
    pts = tuple(accumulate((42 + dice.randint(-12, 12) for _ in range(300)), initial=0))
    own = Timeline(FORMAT, (Segment("a", "x", 0, 300, (0,), Stamps(Fraction(1, 1008), pts)),))
    assert own.reach(200, 120, back=back) == (80 if back else 300)
    start, stop = (80, 200) if back else (180, 300)
    assert own.paced(start, stop, back=back) == list(range(start, stop))


def test_a_timeline_beside_another_rate_keeps_the_times_of_its_frames() -> None:
    segments = (Segment("a", "x", 12, 20, (0, 12)), Segment("b", "y", 0, 9, (0,)), Segment("c", "x", 24, 30, (0, 24)))
    given = Timeline(FORMAT, segments)
    other = given.at_rate(Fraction(30))
    assert other.format == replace(FORMAT, frame_rate=Fraction(30))
    assert [other.time_of(number) for number in range(24)] == [given.time_of(number) for number in range(24)]
    assert other.segments[0].stamps == other.segments[2].stamps  # they are one object
    assert given.at_rate(FORMAT.frame_rate) is given
    assert Timeline.from_json(json.loads(json.dumps(other.to_json()))) == other


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
