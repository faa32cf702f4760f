"""What a user brings, as a shot's end: an image becomes a still, a video footage, packet for packet where it can."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from longtake.errors import CallerError, FetchError, MediaError, UnknownError
from longtake.fetch import Fetcher
from longtake.footage import Footage, Tell, work_file
from longtake.frames import Frames
from longtake.media.colour import to_colour
from longtake.media.decode import read
from longtake.media.encode import encode
from longtake.media.house import bring_home
from longtake.media.keep import NotKept, keep
from longtake.media.probe import why_not_kept
from longtake.media.sound_keep import keep_sound
from longtake.media.stills import normalise
from longtake.media.survey import Survey, survey
from longtake.planning import common_format
from longtake.store import Store
from longtake.timeline import Segment, Sound, Timeline
from longtake.video import Still, VideoFormat

TRIES = 3
LOOK_SECONDS = 0.1
"""How soon a fetch notices that nobody waits for it any more."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""A server that asks for more patience than this is not asked again."""


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
            time.sleep(pause)
        else:
            return


def _fetch_while(tell: Callable[[], None], fetcher: Fetcher, url: str, path: Path) -> None:
    """One try, in a thread of its own: a read that waits for a slow server can't be interrupted, but be left alone."""
    errors: list[Exception] = []
    left_alone = threading.Event()

    def run() -> None:
        try:
            fetcher.fetch(url, path)
        except Exception as error:
            errors.append(error)
        if left_alone.is_set():
            path.unlink(missing_ok=True)

    thread = threading.Thread(target=run, name="longtake-fetch", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            tell()
    except BaseException:
        left_alone.set()
        raise
    if errors:
        raise errors[0]


def keep_still(path: Path, key: str, store: Store, *, max_pixels: int) -> Still:
    """An image file → a still in the store: upright, sRGB, without its metadata. Raises MediaError."""
    with work_file(store, key) as upright:
        width, height = normalise(path, upright, max_pixels=max_pixels)
        store.put_file(key, upright)
    return Still(key, width, height)


def keep_footage(path: Path, stem: str, owner: str, store: Store, tell: Tell) -> Footage:
    """A video file → footage in the store. Packet for packet where its packets can be joined, else in house format.

    It goes under `<stem>.mp4`, its sound under `<stem>-sound.mp4`, and what is to be known of it under `<stem>.json`,
    where `find_footage` finds it. Raises MediaError. The file at `path` is left where it is.
    """
    found, key = survey(path), f"{stem}.mp4"
    with work_file(store, key) as home:
        segment, made, converted = _bring(path, found, home, lambda part: tell("bring", 0.9 * part))
        store.put_file(key, home)
    if converted and found.rate.constant:  # what could not be decoded at its start is not there
        first = found.pts[found.num_frames - segment.num_frames] if found.pts else 0
    else:
        first = min(found.pts if converted else found.coded_pts, default=0)
    sound, remarks = _bring_sound(path, found, first * found.time_base, f"{stem}-sound.mp4", store, tell)
    segment = replace(segment, owner=owner, key=key, sound=sound)
    footage = Footage(Timeline(made, (segment,)), converted=(*converted, *remarks))
    store.put(f"{stem}.json", json.dumps(footage.to_json()).encode())
    return footage


def _bring(
    path: Path, found: Survey, home: Path, progress: Callable[[float], None]
) -> tuple[Segment, VideoFormat, tuple[str, ...]]:
    """Makes the object; its segment's owner and key are still to be filled in."""
    if not any(why_not_kept(found)):
        with suppress(NotKept):
            return (*keep(path, found, home, progress), ())
    encoded, made, notes = bring_home(path, home, progress=progress)
    return Segment("", "", 0, encoded.num_frames, encoded.key_frames), made, notes


def _bring_sound(
    path: Path, found: Survey, zero: Fraction, key: str, store: Store, tell: Tell
) -> tuple[Sound | None, tuple[str, ...]]:
    """Keeps the sound, timed from `zero`, the object's first frame; with what is to be said of it."""
    if not found.has_sound:
        return None, ()
    with work_file(store, key) as home:
        kept, remarks = keep_sound(path, zero, home, lambda: tell("bring", 0.95))
        if kept:
            store.put_file(key, home)
    return Sound(key, kept.start) if kept else None, remarks


def match(id: str, before: Footage, after: Footage, store: Store, tell: Tell) -> tuple[Footage, Footage]:
    """The ends of a bridge in one format: where only their coding differs, one of them is encoded again to match.

    It is ours rather than the user's own. Raises ConflictError where their sizes or rates differ.
    """
    wanted = common_format((before.timeline.format, after.timeline.format))
    ends = []
    for name, end in (("frame0", before), ("frame1", after)):
        if end.timeline.format == wanted:
            ends.append(end)
        else:
            ends.append(_recoded(f"{_matched(id)}/{name}", name, end, wanted, store, tell))
    return ends[0], ends[1]


def forget_matched(id: str, store: Store) -> None:
    """Removes what was encoded again for this bridge."""
    for key in list(store.keys(_matched(id))):
        store.delete(key)


def _matched(id: str) -> str:
    return f"sources/{id}-match"


def _recoded(stem: str, name: str, footage: Footage, format: VideoFormat, store: Store, tell: Tell) -> Footage:
    """The footage, each segment of it encoded once more, to match another format of its size and rate."""
    timeline, segments, at = footage.timeline, [], 0
    for number, given in enumerate(timeline.segments):
        stop, key = at + given.num_frames, f"{stem}-{number}.mp4"
        told = partial(_tell_each, tell, timeline.num_frames)
        batches = (to_colour(batch, format.coding.colour) for batch in read(timeline, at, stop, store.open))
        with work_file(store, key) as path:
            encoded = encode(told(at, batches), format, path, timeline.stamps_of(at, stop))
            store.put_file(key, path)
        made = Segment(given.owner, key, 0, encoded.num_frames, encoded.key_frames, timeline.stamps_of(at, stop))
        segments.append(replace(made, sound=timeline.sound_of(at)))
        at = stop
    remark = f"{name} ({timeline.format.coding}) was encoded again to match the other video ({format.coding})"
    return Footage(Timeline(format, tuple(segments)), footage.seams, (*footage.converted, remark))


def _tell_each(tell: Tell, num_frames: int, at: int, batches: Iterator[Frames]) -> Iterator[Frames]:
    for batch in batches:
        tell("bring", at / num_frames)
        yield batch
        at += batch.num_frames


def find_footage(stem: str, store: Store) -> Footage | None:
    """What `keep_footage` kept: timelines point into it, so that it is never made a second time."""
    try:
        return Footage.from_json(json.loads(store.read(f"{stem}.json")))
    except UnknownError:
        return None


def at_end(end: str, error: CallerError) -> MediaError:
    """The same complaint about a file, saying which end of the shot it was for."""
    return MediaError(f"keyframes.{end}: {error}", field=f"keyframes.{end}")
