"""What stands at the ends of a shot, and what the parts of a video are called in the store."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any, TypeVar

from longtake.media.seams import Seam
from longtake.store import Store
from longtake.timeline import Timeline
from longtake.video import Still

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Footage:
    """A video that is there already: what a parent or a user's file has become."""

    timeline: Timeline
    seams: tuple[Seam, ...] = ()
    converted: tuple[str, ...] = ()
    """What of a user's file could not be kept as it was."""

    def to_json(self) -> dict[str, Any]:
        return {
            "timeline": self.timeline.to_json(),
            "seams": [seam.to_json() for seam in self.seams],
            "notes": list(self.converted),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Footage:
        seams = tuple(Seam.from_json(seam) for seam in data["seams"])
        return cls(Timeline.from_json(data["timeline"]), seams, tuple(data["notes"]))


Source = Still | Footage | None


def timeline_in(source: Source) -> Timeline | None:
    """The timeline of footage; None for all else."""
    return source.timeline if isinstance(source, Footage) else None


Tell = Callable[[str, float], None]
"""Told as long work goes on: the stage, and how much of it is done, 0 to 1. Raises Cancelled where it is to stop."""


Look = Callable[[], None]
"""Called again and again where there is no progress to tell of; raises as `Tell` does."""


LOOK_SECONDS = 0.1
"""How soon it is noticed that nobody waits for long work any more."""
FORGET_SECONDS = 1.0
"""How long a slot is held for what is removed from a store that other machines see too."""
_RUN = re.compile(r"[a-z]+/[^/]+/([0-9]+)-([0-9]+)[^0-9]")
KINDS = ("segments", "videos", "images", "stills", "sources", "live")
"""The first part of the names of what runs make."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a generation's workflow. What it makes has names of its own, `<kind>/<id>/<attempt>-<start>…`.

    So a worker that was given up, wakes up and writes late changes nothing that anybody uses.
    """

    id: str
    """The generation's."""
    attempt: int = 1
    start: int = 1
    """Which run of this attempt's workflow it is, counted from 1; no two have the same."""

    def key(self, kind: str, rest: str) -> str:
        return f"{kind}/{self.id}/{self.attempt}-{self.start}{rest}"

    def segment(self, take: int = 0) -> str:
        """Where a take's new part is kept; takes count from 0."""
        return self.key("segments", f"{_of_take(take)}.mp4")

    def part(self, number: int, take: int = 0) -> str:
        """Where a part of it is kept until all are there; parts count from 0."""
        return self.key("segments", f"{_of_take(take)}-part{number + 1}.mp4")

    def sound(self, take: int = 0) -> str:
        """Where the sound of a take's new part is kept, where it has any."""
        return self.key("segments", f"{_of_take(take)}-sound.mp4")

    @property
    def again(self) -> tuple[str, str]:
        """Where the frames at the cuts that had to be encoded again are kept: those of frame0, those of frame1."""
        return self.key("segments", "-tail.mp4"), self.key("segments", "-lead.mp4")

    def matched(self, what: str) -> str:
        """Where something is kept that was encoded again to match the other side of a bridge."""
        return self.key("sources", f"-match-{what}.mp4")

    def still(self, end: str) -> str:
        """Where the image at an end, `frame0` or `frame1`, is kept while the new part is rendered."""
        return self.key("stills", f"-{end}.png")

    def footage_of(self, upload: str) -> str:
        """How the names begin of what an upload is made into: many generations may use it."""
        return f"sources/{upload}/{self.id}-{self.attempt}-{self.start}"

    def forget(self, store: Store, kept: Collection[str] = ()) -> None:
        """Removes what this run has made, and those before it, but what is `kept`. Later ones' is theirs.

        Where the store is shared, it is waited for no longer than `FORGET_SECONDS`: the rest goes in a thread of its
        own. What that can't remove, and what is put only after this, no record names: it is `garbage`'s.
        """
        with suppress(TimeoutError):
            work = partial(self._forget, store, kept)
            meanwhile(lambda: None, work, FORGET_SECONDS if store.is_shared else None)

    def _forget(self, store: Store, kept: Collection[str]) -> None:
        kinds: tuple[str, ...] = KINDS
        gone = list[str]()
        if (self.attempt, self.start) == (1, 1) and self.key("videos", ".mp4") in kept:
            # the first run of all, and it came to its end: it made one video, one poster, and stills of known names
            kinds, gone = ("segments", "sources", "live"), [self.still(end) for end in ("frame0", "frame1")]
        for kind in kinds:
            for key in store.keys(f"{kind}/{self.id}"):
                run = run_of(key)
                if run is not None and run <= (self.attempt, self.start):
                    gone.append(key)
        store.delete_many(set(gone).difference(kept))


def run_of(key: str) -> tuple[int, int] | None:
    """The attempt and the start of the run that has made an object, by its name; None where no run has."""
    found = _RUN.match(key)
    return (int(found[1]), int(found[2])) if found else None


def keys_of(timeline: Timeline) -> Iterator[str]:
    """All objects that a timeline needs."""
    for segment in timeline.segments:
        yield segment.key
        if segment.sound:
            yield segment.sound.key


def _of_take(take: int) -> str:
    return f"-take{take + 1}" if take else ""


class Telling:
    """A `Tell` that knows what was told last, so that a `Look` can be had of it while nothing goes on.

    For any number of threads at a time; a look takes nothing back that was told.
    """

    def __init__(self, tell: Tell, stage: str, part: float = 0.0) -> None:
        self._tell, self._last = tell, (stage, part)
        self._lock = threading.Lock()

    def __call__(self, stage: str, part: float) -> None:
        with self._lock:
            self._last = stage, part
            self._tell(stage, part)

    def look(self) -> None:
        """Tells it again."""
        with self._lock:
            self._tell(*self._last)


def meanwhile(look: Look, work: Callable[[], T], seconds: float | None = None) -> T:
    """What `work` gives, done in a thread of its own: `look` is called all the while, and what it raises ends the wait
    at once; so does TimeoutError after so many `seconds`. The work, which nothing can interrupt, is then left alone,
    and what it gives or raises with it."""
    made: Future[T] = Future()
    threading.Thread(target=_do, args=(work, made), name="longtake-meanwhile", daemon=True).start()
    until = None if seconds is None else time.monotonic() + seconds
    while not wait([made], LOOK_SECONDS).done:
        look()
        if until is not None and time.monotonic() >= until:
            raise TimeoutError(f"it took longer than {seconds:g} s")
    try:
        return made.result()
    finally:
        del made  # what it raised holds this frame: holding each other, they would keep all frames above it alive


def _do(work: Callable[[], T], made: Future[T]) -> None:
    try:
        made.set_result(work())
    except BaseException as error:
        made.set_exception(error)
    finally:
        del made  # as in `meanwhile`


def put_away(store: Store, key: str, path: Path, look: Look) -> int:
    """As `Store.put_file`, which takes long where the file is large, or the store slow or away: `look` is called all
    the while. What it ends may still arrive, under a name that only this run uses: then `garbage` removes it."""
    return meanwhile(look, partial(store.put_file, key, path))


@contextmanager
def work_file(store: Store, key: str) -> Iterator[Path]:
    """Where an object is made before it is one; nothing is left there."""
    path = (store.work_folder or Path(gettempdir())) / f"{time.monotonic_ns()}-{Path(key).name}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
