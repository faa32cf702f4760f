"""Timeline → frames: any stretch, frame-exact, at a cost that does not depend on how long the timeline is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
from av.codec.context import ThreadType
from av.video.frame import VideoFrame

from longtake.errors import FaultError
from longtake.frames import Frames
from longtake.media.objects import Opener, OpenObject, open_house_object
from longtake.media.planes import batches, copy_into, empty_frames
from longtake.timeline import Segment, Timeline

__all__ = ["Opener", "read", "read_all"]

THREADS = 2


def read(timeline: Timeline, start: int, stop: int, open_object: Opener) -> Iterator[Frames]:
    """Yields the frames `[start, stop)` of the timeline as planar 4:2:0, a batch of a few frames at a time.

    Each segment touched is entered at the nearest key frame before what is wanted of it. Raises ValueError where the
    stretch is not inside the timeline, FaultError where an object is not what the timeline says.
    """
    _check(timeline, start, stop)
    width, height = timeline.format.width, timeline.format.height
    return batches(_frames(timeline, start, stop, open_object), width, height)


def read_all(
    timeline: Timeline, start: int, stop: int, open_object: Opener, look: Callable[[], object] = lambda: None
) -> Frames:
    """The frames `[start, stop)` of the timeline in one piece; see `read`.

    `look` is called for each frame that is decoded on the way, and ends the reading by raising.
    """
    _check(timeline, start, stop)
    whole = empty_frames(stop - start, timeline.format.width, timeline.format.height)
    for index, frame in enumerate(_frames(timeline, start, stop, open_object, look)):
        copy_into(whole, index, frame)
    return whole


def _check(timeline: Timeline, start: int, stop: int) -> None:
    if not 0 <= start < stop <= timeline.num_frames:
        raise ValueError(f"a stretch needs 0 <= start < stop <= {timeline.num_frames}, got [{start}, {stop})")


def _frames(
    timeline: Timeline, start: int, stop: int, open_object: Opener, look: Callable[[], object] = lambda: None
) -> Iterator[VideoFrame]:
    for segment, first, last in _touched(timeline, start, stop):
        with open_house_object(open_object, segment.key, timeline.format) as source:
            entry = max(key_frame for key_frame in segment.key_frames if key_frame <= first)
            yield from _decode(source, entry, first, last, look)


def _touched(timeline: Timeline, start: int, stop: int) -> Iterator[tuple[Segment, int, int]]:
    """Each segment with the frames of its object `[first, last)` that lie in the stretch."""
    at = 0
    for segment in timeline.segments:
        first, last = max(start - at, 0), min(stop - at, segment.num_frames)
        if first < last:
            yield segment, segment.start + first, segment.start + last
        at += segment.num_frames


def _decode(source: OpenObject, entry: int, first: int, last: int, look: Callable[[], object]) -> Iterator[VideoFrame]:
    context = source.stream.codec_context
    context.thread_type = ThreadType.FRAME
    context.thread_count = THREADS
    context.skip_frame = "DEFAULT"
    wanted = first
    try:
        if entry:
            source.enter_at(entry)
        for frame in source.container.decode(source.stream):
            look()
            number = source.number(frame.pts)
            if number < first:
                continue
            if number != wanted or frame.is_corrupt or frame.format.name != "yuv420p":
                raise FaultError(f"object {source.key} is broken at frame {wanted}: got {number}, {frame.format.name}")
            yield frame
            wanted += 1
            if wanted == last:
                return
    except av.FFmpegError as error:
        raise FaultError(f"object {source.key} can't be decoded at frame {wanted}: {error}") from error
    raise FaultError(f"object {source.key} ends at frame {wanted}, the timeline wants frames up to {last}")
