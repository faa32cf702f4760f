"""Finished videos as other kinds of file: each is made when somebody asks for it, once, and kept beside the video.

One is made at a time, in a child of low priority. What is under way is known to this process alone: after a kill
nothing is left of it, and whoever asks next begins anew.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from longtake.confined import Confined
from longtake.errors import ConflictError, FaultError, LongtakeError, MediaError, UnknownError, WorldError
from longtake.media.export import KINDS, Kind, export
from longtake.media.gif import check_gif
from longtake.records import Generation, Result
from longtake.store import CHUNK_BYTES, Store

MOST_WAITING: Final = 8
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
    kind: Kind
    seconds: float
    """Of the video."""
    key: Future[str] = field(default_factory=Future)
    """Of the object, when it is there."""


class Exports:
    """What is made of finished videos. Safe to be called from many threads."""

    def __init__(self, store: Store, confined: Confined) -> None:
        self._store = store
        self._confined = confined
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Kind], Conversion] = {}
        """Under way, waiting, or failed."""
        self._waiting: deque[Conversion] = deque()
        self._is_running = False

    def begin(self, generation: Generation, kind: Kind) -> Conversion:
        """The conversion of this video to this kind: done where it was made before; begun where nobody has yet.

        Raises ConflictError where the video is not finished, MediaError where it is too long for the kind, WorldError
        where too many wait.
        """
        id = generation.id
        made = Conversion(id, kind, float(finished(generation).timeline.seconds))
        if kind == "gif":
            check_gif(made.seconds)
        with self._lock:
            if known := self._known.get((id, kind)):
                return known
            if self._store.size(_key(id, kind)) is not None:
                made.key.set_result(_key(id, kind))
                return made
            if len(self._waiting) >= MOST_WAITING:
                raise WorldError(
                    f"{MOST_WAITING} videos wait already to be converted: ask again later",
                    retryable=True,
                    retry_after_seconds=FULL_SECONDS,
                )
            self._forget_failures(MOST_UNTOLD)
            self._known[id, kind] = made
            self._waiting.append(made)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, daemon=True, name="exports").start()
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
        for kind in KINDS:
            self._store.delete(_key(id, kind))

    def _run(self) -> None:
        while True:
            if not self._waiting:
                self._confined.close()  # idle, it would keep its memory
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                conversion = self._waiting.popleft()
            try:
                key = self._made(conversion)
            except LongtakeError as error:
                conversion.key.set_exception(error)
            except Exception as error:
                conversion.key.set_exception(FaultError(f"{type(error).__name__}: {error}"))
            else:
                with self._lock:
                    del self._known[conversion.id, conversion.kind]
                conversion.key.set_result(key)

    def _made(self, conversion: Conversion) -> str:
        video, key = f"videos/{conversion.id}.mp4", _key(conversion.id, conversion.kind)
        with TemporaryDirectory(prefix="export-", dir=self._store.work_folder, ignore_cleanup_errors=True) as folder:
            path = Path(folder) / f"made.{KINDS[conversion.kind]}"
            source = self._local(video, Path(folder))
            seconds = BASE_SECONDS + SECONDS_PER_SECOND * conversion.seconds
            try:
                self._confined.call(export, seconds, source, conversion.kind, path)
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
        """The video as a file of this machine."""
        source = self._store.open(video)
        if isinstance(source, str):
            return Path(source)
        with source, (folder / "video.mp4").open("wb") as file:
            while data := source.read(CHUNK_BYTES):
                file.write(data)
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


def _key(id: str, kind: Kind) -> str:
    return f"exports/{id}.{KINDS[kind]}"
