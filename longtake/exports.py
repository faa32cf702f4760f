"""Finished videos as other kinds of file: each is made when somebody asks for it, once, and kept beside the video.

One is made at a time, in a child of low priority; pictures, which are quick, have a child of their own and wait for no
conversion. What is under way is known to this process alone: after a kill nothing is left of it, and whoever asks next
begins anew.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import structlog

from longtake.confined import Confined
from longtake.errors import ConflictError, FaultError, LongtakeError, MediaError, StoreError, UnknownError, WorldError
from longtake.media.export import KINDS, Kind, export
from longtake.media.gif import check_gif
from longtake.media.sheet import draw
from longtake.records import Generation, Result
from longtake.store import CHUNK_BYTES, Store

log = structlog.get_logger("longtake.exports")
Picture = Literal["thumbnail", "spritesheet"]
PICTURES: Final[dict[Kind | Picture, str]] = {"thumbnail": "webp", "spritesheet": "jpg"}
"""What can be drawn of it → how its name ends."""
ENDINGS: Final = PICTURES | dict(KINDS.items())
MOST_WAITING: Final = 8
MOST_PICTURES: Final = 64
BASE_SECONDS, SECONDS_PER_SECOND = 120.0, 30.0
"""How long it may take: so long, and so much more for each second of video."""
FULL_SECONDS: Final = 30.0
"""After which there may be room again."""
MOST_UNTOLD: Final = 100
"""Failures that nobody asked for yet."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One file that is being made, or was."""

    id: str
    kind: Kind | Picture
    video: str
    """The object that it is made of."""
    seconds: float
    """Of the video."""
    key: Future[str] = field(default_factory=Future)
    """Of the object, when it is there."""


@dataclass(slots=True)
class _Lane:
    """Those that wait for one child."""

    confined: Confined
    most_waiting: int
    waiting: deque[Conversion] = field(default_factory=deque)
    is_running: bool = False


class Exports:
    """What is made of finished videos. Safe to be called from many threads."""

    def __init__(self, store: Store, confined: Confined, pictures: Confined | None = None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Kind | Picture], Conversion] = {}
        """Under way, waiting, or failed."""
        self._files = _Lane(confined, MOST_WAITING)
        self._pictures = _Lane(pictures or Confined("longtake.media.sheet", at_once=1), MOST_PICTURES)

    def begin(self, generation: Generation, kind: Kind | Picture) -> Conversion:
        """The conversion of this video to this kind: done where it was made before; begun where nobody has yet.

        Raises ConflictError where the video is not finished, MediaError where it is too long for the kind, WorldError
        where too many wait.
        """
        id, lane = generation.id, self._pictures if kind in PICTURES else self._files
        result = finished(generation)
        made = Conversion(id, kind, result.video_key, float(result.timeline.seconds))
        if kind == "gif":
            check_gif(made.seconds)
        with self._lock:
            if known := self._known.get((id, kind)):
                return known
        is_there = self._store.size(_key(id, kind)) is not None  # far away that may take long: all others would wait
        with self._lock:
            if known := self._known.get((id, kind)):
                return known
            if is_there:
                made.key.set_result(_key(id, kind))
                return made
            if len(lane.waiting) >= lane.most_waiting:
                raise WorldError(
                    f"{lane.most_waiting} videos wait already to be converted: ask again later",
                    retryable=True,
                    retry_after_seconds=FULL_SECONDS,
                )
            self._forget_failures(MOST_UNTOLD)
            self._known[id, kind] = made
            lane.waiting.append(made)
            if not lane.is_running:
                lane.is_running = True
                threading.Thread(target=self._run, args=(lane,), daemon=True, name="exports").start()
        return made

    def key(self, conversion: Conversion) -> str | None:
        """Of the object; None while it is being made. Raises what it failed of: who asks then begins anew."""
        if not conversion.key.done():
            return None
        if failure := conversion.key.exception():
            with self._lock:
                if self._known.get((conversion.id, conversion.kind)) is conversion:
                    del self._known[conversion.id, conversion.kind]
            raise failure.with_traceback(None)  # whoever raised it before
        return conversion.key.result()

    def delete(self, id: str) -> None:
        """Removes what was made of a video that is deleted already: what is still being made of it ends by that."""
        for kind in ENDINGS:
            self._store.delete(_key(id, kind))

    def _run(self, lane: _Lane) -> None:
        while True:
            if not lane.waiting:
                lane.confined.close()  # idle, it would keep its memory
            with self._lock:
                if not lane.waiting:
                    lane.is_running = False
                    return
                conversion = lane.waiting.popleft()
            try:
                key = self._made(conversion, lane.confined)
            except LongtakeError as error:
                conversion.key.set_exception(error)
            except Exception:
                log.exception("fault", generation=conversion.id, kind=conversion.kind)
                told = f"the video could not be converted to {conversion.kind}; the log tells more under its id"
                conversion.key.set_exception(FaultError(told))
            else:
                with self._lock:
                    del self._known[conversion.id, conversion.kind]
                conversion.key.set_result(key)

    def _made(self, conversion: Conversion, confined: Confined) -> str:
        video, key = conversion.video, _key(conversion.id, conversion.kind)
        with TemporaryDirectory(prefix="export-", dir=self._store.work_folder, ignore_cleanup_errors=True) as folder:
            path = Path(folder) / f"made.{ENDINGS[conversion.kind]}"
            source = self._local(video, Path(folder))
            seconds = BASE_SECONDS + SECONDS_PER_SECOND * conversion.seconds
            try:
                if conversion.kind == "thumbnail" or conversion.kind == "spritesheet":
                    confined.call(draw, seconds, source, conversion.kind, path)
                else:
                    confined.call(export, seconds, source, conversion.kind, path)
            except LongtakeError as error:
                self._check_it_is_there(video)
                if isinstance(error, MediaError):
                    raise MediaError(f"the video can't be converted to {conversion.kind}: {error.message}") from None
                raise
            self._store.put_file(key, path)
        try:
            self._check_it_is_there(video)
        except UnknownError:
            self._store.delete(key)
            raise
        return key

    def _check_it_is_there(self, video: str) -> None:
        if self._store.size(video) is None:
            raise UnknownError("there is no such video any more")

    def _local(self, video: str, folder: Path) -> Path:
        """The video as a file of this machine. Raises StoreError."""
        source = self._store.open(video)
        if isinstance(source, str):
            return Path(source)
        try:
            with source, (folder / "video.mp4").open("wb") as file:
                while data := source.read(CHUNK_BYTES):
                    file.write(data)
        except OSError as error:  # of this machine's disk: what the store raises is ours
            raise StoreError(f"the video can't be fetched: {error.strerror}", retryable=True) from error
        return folder / "video.mp4"

    def _forget_failures(self, most: int) -> None:
        failed = [name for name, known in self._known.items() if known.key.done()]
        for name in failed[: max(0, len(failed) - most)]:
            del self._known[name]


def finished(generation: Generation) -> Result:
    """What can be downloaded of it. Raises ConflictError where it is not completed."""
    if generation.result is None:
        raise ConflictError(
            f"generation {generation.id} is {generation.state}: it can be downloaded when it is completed"
        )
    return generation.result


def _key(id: str, kind: Kind | Picture) -> str:
    return f"exports/{id}.{ENDINGS[kind]}"
