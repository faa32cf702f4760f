"""The same way of an order without a server: files in, a file out, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from longtake.engines.base import Engine
from longtake.errors import CallerError, MediaError
from longtake.footage import Footage, Run, Source, Tell
from longtake.joining import Heard, join, lay_sound, timeline_of
from longtake.media.export import Kind, export
from longtake.media.gif import check_gif
from longtake.media.memory import share_one_heap
from longtake.media.seams import Seam
from longtake.orders import KeyFrame, Order
from longtake.scene import Scene
from longtake.sources import keep_footage, keep_still, match
from longtake.store import Store
from longtake.takes import Take, choose, remarks, shoot
from longtake.timeline import Timeline

SUFFIXES: dict[str, Kind | None] = {".mp4": None, ".m4v": None, ".mov": None, ".webm": "webm", ".gif": "gif"}
"""How OUT may end → what is made of the finished MP4, if anything."""
RUN = Run("00000000-0000-0000-0000-000000000000")
"""Stands for the one generation of a run without a server."""
DOING = {"render": "rendering", "measure": "measuring the seams", "sound": "continuing the sound"}


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made."""

    path: Path
    timeline: Timeline
    new_start: int
    new_frames: int
    num_bytes: int
    seams: tuple[Seam, ...]
    notes: tuple[str, ...]
    takes: tuple[Take, ...]
    best: int
    """The number of the take that was kept, from 0."""
    sound: dict[str, Any]
    """What is under the new part, as `joining.Heard.figures` gives it."""


def make(
    order: Order,
    out: Path,
    engine: Engine,
    *,
    max_still_pixels: int,
    tell: Callable[[str, float], None],
    force: bool = False,
) -> Made:
    """Carries the order out. Its frames' `url`s are paths. `tell` hears the stage and how far all is, 0 to 1.

    `out` appears whole or not at all; a file that is there is written over only with `force`. Raises LongtakeError.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise CallerError(f"OUT must end in {', '.join(SUFFIXES)}, got {out.name}")
    share_one_heap()
    with TemporaryDirectory(prefix=".longtake-", dir=_folder_of(out)) as folder:
        store = Store.in_folder(Path(folder))
        before, after = _read_ends(order, store, max_still_pixels, tell)
        if isinstance(before, Footage) and isinstance(after, Footage):
            before, after = match(RUN, before, after, store, lambda _, part: tell("matching the two", part), order)

        def told(stage: str, part: float) -> None:
            tell(DOING[stage], 0.02 + 0.94 * part)

        scene = Scene.of(RUN, order, before, after, engine.capabilities, store, told)
        outline = scene.plan.outline
        if SUFFIXES[out.suffix.lower()] == "gif":
            check_gif(float(outline.format.seconds(outline.total_frames)))
        takes = shoot(scene, engine, lambda _, function: function())
        best = choose(takes)
        rendered = takes[best].rendered
        heard = Heard()
        if order.sound == "continue":
            heard = Heard.from_json(lay_sound(scene, rendered, best))
        rendered = heard.under(rendered)
        tell("joining", 0.98)
        timeline, new_start = timeline_of(scene.plan, rendered)
        key, num_bytes, of_sound = join(RUN, timeline, store)
        made = store.open(key)
        assert isinstance(made, str)
        whole = _as_kind(Path(made), SUFFIXES[out.suffix.lower()], tell)
        num_bytes = whole.stat().st_size
        _put(whole, out, force)
        tell("done", 1.0)
    brought = tuple(what for end in (before, after) if isinstance(end, Footage) for what in end.converted)
    notes = tuple(dict.fromkeys((*outline.notes, *brought, *rendered.notes, *heard.notes, *of_sound, *remarks(takes))))
    new_frames, seams = outline.num_frames, takes[best].seams
    return Made(out, timeline, new_start, new_frames, num_bytes, seams, notes, takes, best, heard.figures())


def _read_ends(
    order: Order, store: Store, max_still_pixels: int, tell: Callable[[str, float], None]
) -> tuple[Source, Source]:
    ends: dict[str, Source] = {"frame0": None, "frame1": None}
    for end, frame in order.ends:
        tell(f"reading {Path(frame.url or '').name}", 0.0)
        ends[end] = _read(end, frame, store, max_still_pixels, tell)
    return ends["frame0"], ends["frame1"]


def _read(end: str, frame: KeyFrame, store: Store, max_still_pixels: int, tell: Tell) -> Source:
    path = Path(frame.url or "")
    if not path.is_file():
        raise CallerError(f"there is no file {path}")
    try:
        if frame.type == "image":
            return keep_still(path, f"stills/{end}.png", store, max_pixels=max_still_pixels)
        return keep_footage(
            path, f"sources/{end}", f"file:{end}", store, lambda _, part: tell(f"reading {path.name}", part)
        )
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from None


def _as_kind(made: Path, kind: Kind | None, tell: Callable[[str, float], None]) -> Path:
    """The finished MP4, or what is to be made of it."""
    if kind is None:
        return made
    tell(f"writing the {kind}", 0.99)
    path = made.with_name(f"out.{kind}")
    export(made, kind, path)
    return path


def _put(made: Path, out: Path, force: bool) -> None:
    """Moves it there. Only a link fails where another file has come to be meanwhile: a move would replace it."""
    if force:
        made.replace(out)
        return
    try:
        os.link(made, out)
    except FileExistsError:
        raise CallerError(f"{out} exists; it came to be while this ran, and is left as it is") from None
    except OSError:  # a file system without hard links
        if out.exists():
            raise CallerError(f"{out} exists; it came to be while this ran, and is left as it is") from None
        made.replace(out)


def _folder_of(out: Path) -> Path:
    """Where the work is done: beside the result, so that it is moved there and not copied."""
    folder = out.resolve().parent
    if not folder.is_dir():
        raise CallerError(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise CallerError(f"can't write into {folder}")
    return folder
