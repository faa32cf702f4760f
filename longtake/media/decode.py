"""Timeline → frames: any stretch, frame-exact, at a cost that does not depend on how long the timeline is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import floor

import av
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from longtake.errors import FaultError, MediaError
from longtake.frames import Frames
from longtake.media.colour import to_pixels
from longtake.media.fields import deinterlaced
from longtake.media.objects import Opener, OpenObject, open_segment
from longtake.media.planes import batches, copy_into, empty_frames
from longtake.timeline import Segment, Timeline
from longtake.video import Coding, Colour

__all__ = ["Opener", "read", "read_all"]

Room = Callable[[int, int, int, Colour], Frames]
"""Gives room for so many frames of (width, height), not yet filled."""
THREADS = 2
PLAIN = ("yuv420p", "yuvj420p")
FAR = 48
"""Frames."""
MOST_LEADING = 16
"""So many frames may be coded after a key frame and shown ahead of it: they need the group before."""


def read(timeline: Timeline, start: int, stop: int, open_object: Opener) -> Iterator[Frames]:
    """Yields the frames `[start, stop)` of the timeline, a batch of a few frames at a time.

    They are planar 4:2:0 of 8 bits, upright and progressive, whatever they are coded as; what their numbers mean is
    not changed. Each segment touched is entered at the nearest key frame before what is wanted of it. Raises ValueError
    where the stretch is not inside the timeline, FaultError where an object is not what the timeline says, MediaError
    where a user's own is broken: its second is said.
    """
    _check(timeline, start, stop)
    format = timeline.format
    turns = format.coding.rotation // 90
    return batches(
        _frames(timeline, start, stop, open_object), format.width, format.height, format.coding.colour, turns
    )


def read_all(
    timeline: Timeline,
    start: int,
    stop: int,
    open_object: Opener,
    look: Callable[[], object] = lambda: None,
    *,
    wanted: Sequence[int] | None = None,
    room: Room = empty_frames,
) -> Frames:
    """The frames `[start, stop)` of the timeline in one piece, or of them those `wanted`; see `read`.

    `wanted` has numbers of the timeline's frames, ascending; ValueError where one is not in the stretch or comes twice.
    `look` is called for each frame that is decoded on the way, and ends the reading by raising. `room` gives the memory
    that they are put into, as `empty_frames` does.
    """
    _check(timeline, start, stop)
    format = timeline.format
    kept = range(start, stop) if wanted is None else wanted
    places = {number: place for place, number in enumerate(kept)}
    if not kept or list(places) != sorted(kept) or not start <= kept[0] <= kept[-1] < stop:
        raise ValueError(f"the frames wanted must ascend inside [{start}, {stop}), got {list(kept)}")
    whole = room(len(kept), format.width, format.height, format.coding.colour)
    for number, frame in enumerate(_frames(timeline, start, stop, open_object, look), start):
        if number in places:
            copy_into(whole, places[number], frame, format.coding.rotation // 90)
    return whole


def _check(timeline: Timeline, start: int, stop: int) -> None:
    if not 0 <= start < stop <= timeline.num_frames:
        raise ValueError(f"a stretch needs 0 <= start < stop <= {timeline.num_frames}, got [{start}, {stop})")


def _frames(
    timeline: Timeline, start: int, stop: int, open_object: Opener, look: Callable[[], object] = lambda: None
) -> Iterator[VideoFrame]:
    scaler = VideoReformatter()
    at = start
    for segment, first, last in timeline.touched(start, stop):
        try:
            for frame in _progressive(timeline, segment, first, last, open_object, look):
                yield frame if frame.format.name in PLAIN else to_pixels(scaler, frame, "yuv420p")
                at += 1
        except FaultError as error:
            if not segment.is_brought:
                raise
            seconds = float(timeline.time_of(min(at, timeline.num_frames)))
            way = f"; it could be cut before that: at={floor(1000 * seconds) / 1000:g}" if at else ""
            raise MediaError(f"the video is broken at {seconds:.2f} s: a frame there can't be decoded{way}") from error


def _progressive(
    timeline: Timeline, segment: Segment, first: int, last: int, open_object: Opener, look: Callable[[], object]
) -> Iterator[VideoFrame]:
    with open_segment(open_object, segment, timeline.format) as source:
        decoded = _decode(source, segment.entry(first), first, last, timeline.format.coding, look)
        yield from deinterlaced(decoded, "interlaced") if timeline.format.coding.interlaced else decoded


def _decode(
    source: OpenObject, entry: int, first: int, last: int, coding: Coding, look: Callable[[], object]
) -> Iterator[VideoFrame]:
    """The frames `[first, last)`; `entry` is the closed key frame before them.

    Where that is far away, groups are open: their key frames do for looking, though not for joining.
    """
    if first - entry > FAR:
        has_begun = False
        try:
            for frame in _decode_from(source, first - MOST_LEADING, first, last, coding, look):
                has_begun = True
                yield frame
            return
        except FaultError:
            if has_begun:
                raise
    yield from _decode_from(source, entry, first, last, coding, look)


def _decode_from(
    source: OpenObject, entry: int, first: int, last: int, coding: Coding, look: Callable[[], object]
) -> Iterator[VideoFrame]:
    """Enters the object at the last key frame that its index knows ahead of `entry`."""
    context = source.stream.codec_context
    if not context.is_open:
        context.thread_type = ThreadType.FRAME
        context.thread_count = THREADS
    context.skip_frame = "DEFAULT"
    expected = context.width, context.height, coding.pix_fmt
    wanted = first
    try:
        source.enter_at(entry)
        for frame in source.container.decode(source.stream):
            look()
            number = source.number(frame.pts)
            if number < first:
                continue
            found = frame.width, frame.height, plain_name(frame.format.name)
            if number != wanted or frame.is_corrupt or found != expected:
                raise FaultError(f"object {source.key} is broken at frame {wanted}: got {number}, {frame.format}")
            yield frame
            wanted += 1
            if wanted == last:
                return
    except av.FFmpegError as error:
        raise FaultError(f"object {source.key} can't be decoded at frame {wanted}: {error}") from error
    raise FaultError(f"object {source.key} ends at frame {wanted}, the timeline wants frames up to {last}")


def plain_name(pix_fmt: str) -> str:
    """A pixel format without its range: yuvj420p is yuv420p in full range."""
    return pix_fmt.replace("yuvj", "yuv")
