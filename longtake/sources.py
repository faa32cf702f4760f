"""What a user brings, as a shot's end: an image becomes a still, a video footage of house format, once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from longtake.errors import CallerError, FetchError, MediaError
from longtake.fetch import Fetcher
from longtake.media.house import bring_home
from longtake.media.probe import probe
from longtake.media.stills import normalise
from longtake.rendering import Footage, work_file
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Still

TRIES = 3
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""A server that asks for more patience than this is not asked again."""


def fetch_patiently(fetcher: Fetcher, url: str, path: Path) -> None:
    """Fetches to `path`; what may go better a moment later is tried again. Raises FetchError."""
    for attempt in range(TRIES):
        try:
            fetcher.fetch(url, path)
        except FetchError as error:
            pause = max(FIRST_PAUSE_SECONDS * 2**attempt, error.retry_after_seconds or 0.0)
            if not error.retryable or attempt == TRIES - 1 or pause > LONGEST_PAUSE_SECONDS:
                raise
            time.sleep(pause)
        else:
            return


def keep_still(path: Path, key: str, store: Store, *, max_pixels: int) -> Still:
    """An image file → a still in the store: upright, sRGB, without its metadata. Raises MediaError."""
    with work_file(store, key) as upright:
        width, height = normalise(path, upright, max_pixels=max_pixels)
        store.put_file(key, upright)
    return Still(key, width, height)


def keep_footage(path: Path, key: str, owner: str, store: Store) -> Footage:
    """A video file → footage in the store. Packet for packet where it is house format already, else brought to it.

    Raises MediaError. The file at `path` is left where it is.
    """
    found = probe(path)
    notes: tuple[str, ...] = ()
    with work_file(store, key) as home:
        if found.is_house:
            shutil.copyfile(path, home)
            made, segment = found.format, Segment(owner, key, 0, found.num_frames, found.key_frames)
        else:
            encoded, made, notes = bring_home(path, home)
            segment = Segment(owner, key, 0, encoded.num_frames, encoded.key_frames)
        store.put_file(key, home)
    return Footage(Timeline(made, (segment,)), notes=notes)


def at_end(end: str, error: CallerError) -> MediaError:
    """The same complaint about a file, saying which end of the shot it was for."""
    return MediaError(f"keyframes.{end}: {error}", field=f"keyframes.{end}")
