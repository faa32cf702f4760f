"""What a user brings, as a shot's end: an image becomes a still, a video footage of house format, once."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from longtake.errors import CallerError, FetchError, MediaError, UnknownError
from longtake.fetch import Fetcher
from longtake.media.house import bring_home
from longtake.media.probe import probe
from longtake.media.stills import normalise
from longtake.rendering import Footage, Tell, work_file
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Still

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
    """A video file → footage in the store. Packet for packet where it is house format already, else brought to it.

    It goes under `<stem>.mp4`, and what is to be known of it under `<stem>.json`, where `find_footage` finds it.
    Raises MediaError. The file at `path` is left where it is.
    """
    found, key = probe(path), f"{stem}.mp4"
    with work_file(store, key) as home:
        if found.is_house:
            shutil.copyfile(path, home)
            made, segment = found.format, Segment(owner, key, 0, found.num_frames, found.key_frames)
            notes: tuple[str, ...] = ("sound left out",) if found.has_sound else ()
        else:
            encoded, made, notes = bring_home(path, home, progress=lambda part: tell("bring", part))
            segment = Segment(owner, key, 0, encoded.num_frames, encoded.key_frames)
        store.put_file(key, home)
    footage = Footage(Timeline(made, (segment,)), notes=notes)
    store.put(f"{stem}.json", json.dumps(footage.to_json()).encode())
    return footage


def find_footage(stem: str, store: Store) -> Footage | None:
    """What `keep_footage` kept: timelines point into it, so that it is never made a second time."""
    try:
        return Footage.from_json(json.loads(store.read(f"{stem}.json")))
    except UnknownError:
        return None


def at_end(end: str, error: CallerError) -> MediaError:
    """The same complaint about a file, saying which end of the shot it was for."""
    return MediaError(f"keyframes.{end}: {error}", field=f"keyframes.{end}")
