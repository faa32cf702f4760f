"""What a user brings, as a shot's end: an image becomes a still, a video footage, packet for packet where it can."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from longtake.confined import Confined, seconds_for
from longtake.errors import CallerError, FetchError, MediaError, UnknownError
from longtake.fetch import Fetcher
from longtake.footage import LOOK_SECONDS, Footage, Look, Run, Tell, meanwhile, put_away, work_file
from longtake.frames import Frames
from longtake.joining import match_sound
from longtake.media.bring import bring
from longtake.media.decode import read
from longtake.media.encode import encode
from longtake.media.scaling import Scaler
from longtake.media.stills import normalise
from longtake.orders import Order
from longtake.planning import Extent, common_format, cuts
from longtake.store import Store
from longtake.timeline import Segment, Sound, Timeline
from longtake.video import Still, VideoFormat

TRIES = 3
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""A server that asks for more patience than this is not asked again."""
LOOK_AT_SECONDS = 60.0
MOST_MEMORY_BYTES = 6 << 30
"""Of address space, for a child that opens a file: the largest pictures, decoded and encoded."""


def opener() -> Confined:
    """Children for `keep_still` and `keep_footage`."""
    return Confined("longtake.media.bring", "longtake.media.stills", memory_bytes=MOST_MEMORY_BYTES)


def fetch_patiently(fetcher: Fetcher, url: str, path: Path, tell: Callable[[], None] = lambda: None) -> None:
    """Fetches to `path`; what may go better a moment later is tried again. Raises FetchError.

    `tell` is called all the while, whether bytes come or not; what it raises ends the wait at once.
    """
    for attempt in range(TRIES):
        try:
            _fetch_while(tell, fetcher, url, path)
        except FetchError as error:
            pause = max(FIRST_PAUSE_SECONDS * 2**attempt, error.retry_after_seconds or 0.0)
            if not error.retryable or attempt == TRIES - 1 or pause > LONGEST_PAUSE_SECONDS:
                raise
            until = time.monotonic() + pause
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, LOOK_SECONDS))
                tell()
        else:
            return


def _fetch_while(look: Look, fetcher: Fetcher, url: str, path: Path) -> None:
    """One try, in a thread of its own: a read that waits for a slow server can't be interrupted, but be left alone."""
    left_alone = threading.Event()

    def fetch() -> None:
        try:
            fetcher.fetch(url, path)
        finally:
            if left_alone.is_set():
                path.unlink(missing_ok=True)

    try:
        meanwhile(look, fetch)
    except BaseException:
        left_alone.set()
        raise


def keep_still(
    path: Path,
    key: str,
    store: Store,
    *,
    max_pixels: int,
    confined: Confined | None = None,
    look: Look = lambda: None,
) -> Still:
    """An image file → a still in the store: upright, sRGB, without its metadata. Raises MediaError.

    It is opened in a child of `confined`, which ends where `look` raises, or else here.
    """
    with work_file(store, key) as upright:
        if confined:
            seconds = seconds_for(path, LOOK_AT_SECONDS)
            width, height = confined.watch(normalise, seconds, look, path, upright, max_pixels=max_pixels)
        else:
            width, height = normalise(path, upright, max_pixels=max_pixels)
        put_away(store, key, upright, look)
    return Still(key, width, height)


def keep_footage(
    path: Path, stem: str, owner: str, store: Store, tell: Tell, *, confined: Confined | None = None
) -> Footage:
    """A video file → footage in the store. Packet for packet where its packets can be joined, else in house format.

    It goes under `<stem>.mp4`, its sound under `<stem>-sound.mp4`. Of a file that breaks off, or breaks, what is whole
    ahead of that is kept: its segment's `broken` says so, and planning refuses it until it is cut. It is opened in a
    child of `confined`, which ends where `tell` raises, or else here. Raises MediaError. The file at `path` is left
    where it is.
    """
    hear, look, folder = partial(tell, "bring"), partial(tell, "bring", 1.0), store.work_folder
    with TemporaryDirectory(prefix="bring-", dir=folder, ignore_cleanup_errors=True) as work:  # a child may die in it
        picture, sound = Path(work) / "picture.mp4", Path(work) / "sound.mp4"
        if confined:
            brought = confined.follow(bring, seconds_for(path, LOOK_AT_SECONDS), hear, path, picture, sound)
        else:
            brought = bring(hear, path, picture, sound)
        segment = replace(brought.segment, owner=owner, key=f"{stem}.mp4")
        put_away(store, segment.key, picture, look)
        if brought.sound_start is not None:
            segment = replace(segment, sound=Sound(f"{stem}-sound.mp4", brought.sound_start))
            put_away(store, f"{stem}-sound.mp4", sound, look)
    return Footage(Timeline(brought.format, (segment,)), converted=brought.converted)


def match(
    run: Run, before: Footage, after: Footage, store: Store, tell: Tell, order: Order | None = None
) -> tuple[Footage, Footage]:
    """The ends of a bridge in one format, the one that `common_format` names.

    Where only their frame rates differ, both stay as they are, with their own times. Else one of them is encoded again
    to match, and says so in `converted`: of that, only what the `order` does not cut off. So is the sound of the second
    one, where it is coded otherwise than the first one's. Raises ConflictError where their shapes differ, OrderError
    where one is to be cut outside of its frames.
    """
    wanted = common_format((before.timeline.format, after.timeline.format))
    pair = before.timeline.at_rate(wanted.frame_rate), after.timeline.at_rate(wanted.frame_rate)
    stop, start = cuts(order, *map(Extent.of, pair)) if order else (pair[0].num_frames, 0)
    needed = (0, min(stop + 1, pair[0].num_frames)), (start, pair[1].num_frames)  # one more says when the last one ends
    ends = []
    for name, end, timeline, (first, last) in zip(("frame0", "frame1"), (before, after), pair, needed, strict=True):
        end = replace(end, timeline=timeline)
        if timeline.format != wanted:
            end = _recoded(run, name, end, first, last, wanted, store, tell)
        ends.append(end)
    heard = match_sound(run, ends[0].timeline, stop, ends[1].timeline, start, store, tell)
    converted = (*ends[1].converted, *heard[2])
    return replace(ends[0], timeline=heard[0]), replace(ends[1], timeline=heard[1], converted=converted)


def _recoded(
    run: Run, name: str, footage: Footage, first: int, last: int, format: VideoFormat, store: Store, tell: Tell
) -> Footage:
    """The footage, its frames `[first, last)` encoded once more to match another format, segment for segment.

    Those ahead of them keep their places, in the segments that they have: they are cut off, and nobody reads them.
    Those behind are left out.
    """
    timeline, at = footage.timeline, first
    segments = [replace(given, stop=stop) for given, _, stop in timeline.touched(0, first)]
    for number, (given, start, stop) in enumerate(timeline.touched(first, last)):
        begin, at, key = at, at + stop - start, run.matched(f"{name}-{number}")
        scaler = Scaler((format.width, format.height), format.coding.colour)
        batches = (scaler.of(batch) for batch in read(timeline, begin, at, store.open))
        told, stamps = _tell_each(tell, begin - first, last - first, batches), timeline.stamps_of(begin, at)
        with work_file(store, key) as path:
            encoded = encode(told, format, path, stamps)
            put_away(store, key, path, partial(tell, "bring", (at - first) / (last - first)))
        made = Segment(given.owner, key, 0, encoded.num_frames, encoded.key_frames, stamps)
        broken = given.broken if stop == given.stop else ""
        segments.append(replace(made, sound=timeline.sound_of(begin), broken=broken))
    remarks = *footage.converted, *_remarks(name, timeline.format, format)
    return Footage(Timeline(format, tuple(segments)), footage.seams, remarks)


def _remarks(name: str, given: VideoFormat, wanted: VideoFormat) -> Iterator[str]:
    sizes = [f"{format.width}x{format.height}" for format in (given, wanted)]
    if sizes[0] != sizes[1]:
        yield f"{name}: {sizes[0]} → {sizes[1]}, to match the other video"
    if given.coding != wanted.coding:
        yield f"{name} ({given.coding}) was encoded again to match the other video ({wanted.coding})"


def _tell_each(tell: Tell, done: int, of: int, batches: Iterator[Frames]) -> Iterator[Frames]:
    for batch in batches:
        tell("bring", done / of)
        yield batch
        done += batch.num_frames


def find_footage(stem: str, store: Store) -> Footage | None:
    """What an older version kept of an upload, and wrote down beside it: timelines point into it."""
    try:
        return Footage.from_json(json.loads(store.read(f"{stem}.json")))
    except UnknownError:
        return None


def at_end(end: str, error: CallerError) -> MediaError:
    """The same complaint about a file, saying which end of the shot it was for."""
    return MediaError(f"keyframes.{end}: {error}", field=f"keyframes.{end}")
