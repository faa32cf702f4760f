"""An order, what its ends turned out to be, and what the engine can do → the plan. Pure, and the same each time.

`outline` needs only the ends' geometry: it is asked at the door, when a parent may still be running.
`plan` needs the parents' timelines: it is asked when the rendering starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from longtake.errors import ConflictError, MediaError, OrderError
from longtake.orders import Edit, Order, Reframe
from longtake.placing import place
from longtake.timeline import Timeline
from longtake.video import CELLS, HOUSE, Cell, VideoFormat

HALF = Fraction(1, 2)
CREDITS_PER_SECOND = 1.0
"""One credit renders one second of new video; each take is rendered. An edit is as long as what it is made of: where
the door does not know that yet, it costs what the order says until it is looked at."""
MOST_CONTEXT_BYTES = 384 * 2**20
"""The most context that an engine is shown at either end, decoded: 5 s of 1080p at 24 fps fit, of 4K the last 1.3 s."""
MOST_PIXELS_OFF = 2
"""What sizes are rounded by: 854x480 is 16:9."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do. Planning asks only this."""

    name: str
    cells: frozenset[Cell] = frozenset(CELLS)
    concepts: frozenset[str] = frozenset()
    """Camera moves that it really carries out."""
    loops: bool = True
    frame_step: int = 1
    frame_offset: int = 0
    """A shot has `frame_offset + k * frame_step` frames."""
    max_frames: int = 24 * 60 * 60
    size_multiple: int = 2
    max_pixels: int = 4096 * 4096
    frame_rates: tuple[Fraction, Fraction] = (Fraction(1), Fraction(120))
    """Least and most."""
    context_seconds: Fraction = Fraction(5)
    """How much of a clip it wants to see."""
    sound: bool = False
    previews: bool = False
    """What it makes from nothing is drawn by rules from the prompt's words: the answer marks it as a preview."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Extent:
    """What is known of a video before it is there: its format, and how many frames it has or will have."""

    format: VideoFormat
    num_frames: int
    timeline: Timeline | None = None
    """Where it is there already: its frames may have times of their own."""

    @classmethod
    def of(cls, timeline: Timeline) -> Extent:
        return cls(timeline.format, timeline.num_frames, timeline)

    def frame_at(self, seconds: Fraction) -> int:
        """The place between two frames that is nearest to `seconds`, as the number of the frame after it."""
        return self.timeline.frame_at(seconds) if self.timeline else int(seconds * self.format.frame_rate + HALF)

    def time_of(self, frame: int) -> Fraction:
        return self.timeline.time_of(frame) if self.timeline else self.format.seconds(frame)


@dataclass(frozen=True, slots=True)
class Outline:
    """The geometry of what will be made."""

    format: VideoFormat
    num_frames: int
    """New ones."""
    before_stop: int
    """How many of the first frames of the video at frame0 are kept."""
    after_start: int
    """From which frame on the video at frame1 is kept."""
    total_frames: int
    notes: tuple[str, ...]
    """What is done otherwise than asked, in sentences for the answer."""
    seconds: Fraction
    """Of all of it: frames may have times of their own."""

    @property
    def extent(self) -> Extent:
        """As long as it will be; counted at its frame rate, which is exact where all frames are equally long."""
        return Extent(self.format, self.format.num_frames(self.seconds))


@dataclass(frozen=True, slots=True)
class Plan:
    """All that there is to know before the first frame is rendered."""

    outline: Outline
    cell: Cell
    """What the engine is asked for: a loop has an `after` that the order has not."""
    before: Timeline | None
    """The video at frame0, whole: kept up to `outline.before_stop`."""
    head: Timeline | None
    """Its frames ahead of the tail, kept as they are."""
    num_tail: int
    """So many frames ahead of `before_stop` can't be kept without later ones (B-frames): they are encoded again."""
    after: Timeline | None
    """The video at frame1, whole: kept from `outline.after_start` on."""
    num_lead: int
    """So many frames from `after_start` on lie before its next key frame: they are encoded again."""
    rest: Timeline | None
    """The frames after the lead, kept as they are."""
    context_before: tuple[int, int] | None
    """Frames `[start, stop)` of `before`: the engine is shown those that `Timeline.paced` picks."""
    context_after: tuple[int, int] | None
    """Likewise of `after`; of `before`, where a loop leads back to its start."""


def outline(order: Order, before: Extent | None, after: Extent | None, capabilities: Capabilities) -> Outline:
    """The geometry of the result. `before` and `after` are the videos at frame0 and frame1, where there are any.

    Raises OrderError or ConflictError, with the field, for what can't be done as asked.
    """
    check_engine(order, capabilities)
    if order.edit:
        return _edited(order, order.edit, before, capabilities)
    videos = [video for video in (before, after) if video]
    notes: list[str] = []
    if videos:
        made = common_format([video.format for video in videos])
        # What was not asked for is not worth a remark: the defaults of the wires would cause one each time.
        asked = (order.aspect_ratio, order.short_side) != ((16, 9), 720)
        if asked and _size(order, capabilities) != (made.width, made.height):
            notes.append(f"An extension takes its parent's size: {made}; aspect_ratio and resolution were passed over.")
        if order.frame_rate not in {Fraction(24), made.frame_rate}:
            notes.append(f"An extension takes its parent's frame rate: {made}; fps was passed over.")
    else:
        made = VideoFormat(*_size(order, capabilities), order.frame_rate)
    _check_format(made, capabilities)
    num_frames = made.num_frames(order.seconds)
    _check_length(num_frames, made, capabilities)
    before_stop, after_start = cuts(order, before, after)
    total = before_stop + num_frames + (after.num_frames - after_start if after else 0)
    seconds = made.seconds(num_frames) + (before.time_of(before_stop) if before else 0)
    seconds += after.time_of(after.num_frames) - after.time_of(after_start) if after else 0
    return Outline(made, num_frames, before_stop, after_start, total, tuple(notes), seconds)


def _edited(order: Order, edit: Edit, video: Extent | None, capabilities: Capabilities) -> Outline:
    """The geometry of an edit: of a video all frames, at the times that they have; without one, of an image."""
    if video:
        placed = place(edit, video.format.width * video.format.pixel_aspect, Fraction(video.format.height))
        made, notes = VideoFormat(*placed.canvas, video.format.frame_rate), placed.notes
        num_frames, seconds = video.num_frames, video.time_of(video.num_frames)
    else:
        assert isinstance(edit, Reframe)  # an order refuses to make an image larger
        made, notes = VideoFormat(*edit.canvas, order.frame_rate), ()  # an image's own size says more, later
        num_frames = made.num_frames(order.seconds)
        seconds = made.seconds(num_frames)
    if order.prompt:
        notes = (*notes, "The prompt was passed over: an edit shows nothing that is not there.")
    _check_format(made, capabilities)
    return Outline(made, num_frames, 0, 0, num_frames, notes, seconds)


def common_format(formats: Sequence[VideoFormat]) -> VideoFormat:
    """That of a video made of these: one of them is brought to the size and the coding of the other.

    The smaller size and the slower rate, for nothing is enlarged or shown twice. Of one size: H.264, which plays
    everywhere, before all else; what a user brought before ours. Raises ConflictError where their shapes differ.
    """
    first, last = formats[0], formats[-1]
    _check_shapes(first, last)
    if (first.width, first.height) != (last.width, last.height):
        kept = min(first, last, key=_num_pixels)
    elif first.coding.codec != last.coding.codec:
        kept = last if last.coding.codec == HOUSE.codec else first
    else:
        kept = last if first.coding == HOUSE else first
    return replace(kept, frame_rate=min(first.frame_rate, last.frame_rate))


def _num_pixels(format: VideoFormat) -> int:
    return format.width * format.height


def _check_shapes(first: VideoFormat, last: VideoFormat) -> None:
    """Raises ConflictError where the larger picture, made smaller, is not the smaller one's shape within two pixels."""
    aspects = [format.width * format.pixel_aspect / format.height for format in (first, last)]
    small, large = sorted((first, last), key=_num_pixels)
    off = abs(1 - aspects[0] / aspects[1]) * max(small.width, small.height)
    if off < MOST_PIXELS_OFF and large.width >= small.width and large.height >= small.height:
        return
    if off < MOST_PIXELS_OFF:
        why = "one is the wider and the other the higher, as stored, and nothing is enlarged"
    else:
        shapes = [f"{aspect.numerator}:{aspect.denominator}" for aspect in aspects]
        why = f"their shapes differ ({shapes[0]} and {shapes[1]}), and nothing is cropped, padded or stretched unasked"
    raise ConflictError(
        f"frame0 is {first} and frame1 is {last}: {why}. Crop, pad or scale one of them to the other's shape, and"
        " bridge to that",
        field="keyframes.frame1",
    )


def plan(order: Order, before: Timeline | None, after: Timeline | None, capabilities: Capabilities) -> Plan:
    """The plan for an order whose parents are there, in one format. Raises as `outline` does."""
    made = outline(
        order,
        Extent.of(before) if before else None,
        Extent.of(after) if after else None,
        capabilities,
    )
    if order.edit:
        return Plan(made, order.cell, before, None, 0, None, 0, None, None, None)
    frame_bytes = made.format.width * made.format.height * 3 // 2
    context = min(int(capabilities.context_seconds * made.format.frame_rate), MOST_CONTEXT_BYTES // frame_bytes)
    context = max(1, context)
    head, num_tail = before.head(made.before_stop) if before else (None, 0)
    num_lead, rest = after.split_at(made.after_start) if after else (0, None)
    cell = order.cell
    context_before = (before.reach(made.before_stop, context, back=True), made.before_stop) if before else None
    context_after = (made.after_start, after.reach(made.after_start, context, back=False)) if after else None
    if order.loop and cell.before != "nothing":
        # The end leads back to the first frame: of the video, or to the still, as a clip of one frame.
        cell = Cell(cell.before, "clip")
        context_after = (0, min(made.before_stop, before.reach(0, context, back=False))) if before else None
    return Plan(made, cell, before, head, num_tail, after, num_lead, rest, context_before, context_after)


def check_engine(order: Order, capabilities: Capabilities) -> None:
    """Raises OrderError where the engine can't do what the order asks, whatever its ends turn out to be."""
    if order.cell not in capabilities.cells and not order.edit:
        raise OrderError(f"the engine {capabilities.name} can't render {order.cell}", field="keyframes")
    if order.loop and not capabilities.loops:
        raise OrderError(f"the engine {capabilities.name} can't make loops", field="loop")
    for concept in order.concepts:
        if concept not in capabilities.concepts:
            allowed = ", ".join(sorted(capabilities.concepts))
            raise OrderError(f"the concept {concept} can't be carried out; these can: {allowed}", field="concepts")


def _size(order: Order, capabilities: Capabilities) -> tuple[int, int]:
    """Width and height whose short side is the one asked for, in the engine's multiples."""
    wide, high = order.aspect_ratio
    step = capabilities.size_multiple
    ratio = Fraction(max(wide, high), min(wide, high))
    short = max(step, round(Fraction(order.short_side, step)) * step)
    long = max(step, round(order.short_side * ratio / step) * step)
    return (long, short) if wide >= high else (short, long)


def _check_format(made: VideoFormat, capabilities: Capabilities) -> None:
    least, most = capabilities.frame_rates
    if not least <= made.frame_rate <= most:
        raise OrderError(
            f"the engine {capabilities.name} renders {float(least):g} to {float(most):g} frames per second,"
            f" got {float(made.frame_rate):g}",
            field="fps",
        )
    if made.width * made.height > capabilities.max_pixels:
        raise OrderError(
            f"the engine {capabilities.name} renders at most {capabilities.max_pixels} pixels a frame, got {made}",
            field="resolution",
        )


def _check_length(num_frames: int, made: VideoFormat, capabilities: Capabilities) -> None:
    over = (num_frames - capabilities.frame_offset) % capabilities.frame_step
    if num_frames > capabilities.max_frames:
        raise OrderError(
            f"the engine {capabilities.name} renders at most {float(made.seconds(capabilities.max_frames)):g} s"
            f" at {float(made.frame_rate):g} fps",
            field="duration",
        )
    if over:
        nearest = [
            float(made.seconds(n)) for n in (num_frames - over, num_frames - over + capabilities.frame_step) if n > 0
        ]
        raise OrderError(
            f"the engine {capabilities.name} can't render {num_frames} frames; the nearest lengths are "
            + " and ".join(f"{seconds:.3f} s" for seconds in nearest),
            field="duration",
        )


def cuts(order: Order, before: Extent | None, after: Extent | None) -> tuple[int, int]:
    """How many of the first frames of the video at frame0 are kept, and from which frame on the one at frame1 is.

    Raises OrderError where it is to be cut outside of its frames, MediaError where it breaks off and would not be cut.
    """
    for name, frame, video in (("frame0", order.before, before), ("frame1", order.after, after)):
        if frame and video and video.timeline and video.timeline.broken:
            _check_break(name, frame.at, video.timeline)
    stop = _cut(order.before.at, before, "keyframes.frame0.at", least=1) if before and order.before else None
    start = _cut(order.after.at, after, "keyframes.frame1.at", least=0) if after and order.after else None
    if before and stop is None:
        stop = before.num_frames
    return stop or 0, start or 0


def _check_break(name: str, at: Fraction | None, timeline: Timeline) -> None:
    """A video whose end is missing is one that goes on only when whoever sent it says from where."""
    if name == "frame0" and at is not None:
        return
    last = floor(1000 * timeline.seconds) / 1000
    way = f"it could be cut before that: at={last:g}"
    if name == "frame1":
        way = f"its end would be missing; as frame0 {way}"
    raise MediaError(f"{timeline.broken}; {way}", field=f"keyframes.{name}")


def _cut(at: Fraction | None, video: Extent, field: str, *, least: int) -> int | None:
    """The frame at `at` seconds; None without a cut."""
    if at is None:
        return None
    frame = video.frame_at(at)
    most = video.num_frames - 1 + least
    if not least <= frame <= most:
        low, high = (float(video.time_of(n)) for n in (least, most))
        raise OrderError(
            f"at must be from {low:.3f} to {high:.3f} seconds in this video, got {float(at):g}", field=field
        )
    return frame
