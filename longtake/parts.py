"""New parts: what one is, and how a long one is made, piece by piece, so that a kill costs one piece at most.

Each piece is a finished object of whole groups of frames, made by a durable step of its own. When all are there, their
packets are copied into the one object that the new part is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

from longtake.footage import Look, put_away, work_file
from longtake.frames import Frames
from longtake.media.encode import Publish, encode, gop_length
from longtake.media.splice import splice
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Segment, Stamps, Timeline
from longtake.video import VideoFormat

Do = Callable[[str, Callable[[], Any]], Any]
"""Runs a function by a name, and gives its result, which is JSON: a durable step, or just a call."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The new part, or a piece of it, in the store."""

    segment: Segment
    tail: Segment | None
    """Frames of the video at frame0 ahead of a cut that its packets can't end at, encoded again."""
    lead: Segment | None
    """Frames of the video at frame1 between a cut and its next key frame, encoded again."""
    notes: tuple[str, ...]
    reversal: float | None = None
    """How much of what moves in it runs backwards, 0 to 1; None where no footage says what forwards is."""
    sha256: str = ""
    """Of the segment's bytes, in hexadecimal; empty in what was kept before it was taken."""

    def to_json(self) -> dict[str, Any]:
        return {
            "segment": self.segment.to_json(),
            "tail": self.tail.to_json() if self.tail else None,
            "lead": self.lead.to_json() if self.lead else None,
            "notes": list(self.notes),
            "reversal": self.reversal,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Rendered:
        tail, lead = (Segment.from_json(data[part]) if data.get(part) else None for part in ("tail", "lead"))
        sha256 = data.get("sha256", "")
        return cls(Segment.from_json(data["segment"]), tail, lead, tuple(data["notes"]), data["reversal"], sha256)


class Making(Protocol):
    """The making of one new part: it stays open from one piece to the next, and can be begun at any of them."""

    def make(self, key: str, start: int, stop: int, done: Sequence[Rendered]) -> Rendered:
        """The frames `[start, stop)` as an object; `done` are the pieces ahead of them, whoever made those."""
        ...

    def close(self) -> None: ...


def piece_end(start: int, num_frames: int, frame_rate: Fraction, seconds: Fraction | float | None) -> int:
    """Where the piece that begins at `start` ends, of so many frames; at their end where what is left lasts no longer
    than `seconds`, or that is None.

    None is longer than `seconds`, to the nearest frame, or than two groups of frames, whichever is more.
    Each begins where the encoder of all would set a key frame, and the last one is no shorter than a group: what looks
    back from the end, or on from the start, for a second, finds it in one piece.
    """
    most = num_frames if seconds is None else round(frame_rate * Fraction(seconds))
    if num_frames - start <= most:
        return num_frames
    group = gop_length(frame_rate)
    length = max(1, most // group) * group
    stop = start + length
    if num_frames - stop >= group:
        return stop
    return stop - group if length > group and stop < num_frames else num_frames


def make_in_pieces(
    scene: Scene,
    making: Making,
    do: Do,
    step: str,
    part_seconds: Fraction | float | None,
    *,
    take: int = 0,
    stamps: Stamps | None = None,
) -> Rendered:
    """The new part, made in as many durable steps as it has pieces, and one that joins them; or in one.

    The first is named `step`, `step part 2` the next. How long each is says its kept result: whoever goes on may divide
    the rest otherwise. `part_seconds` as `piece_end` has it; `stamps` are all its frames'.
    """
    run, outline, store = scene.run, scene.plan.outline, scene.store
    done: list[Rendered] = []
    start = 0
    with closing(making):
        while start < outline.num_frames:

            def one(start: int = start, number: int = len(done)) -> dict[str, Any]:
                stop = piece_end(start, outline.num_frames, outline.format.frame_rate, part_seconds)
                is_all = (start, stop) == (0, outline.num_frames)
                return making.make(run.segment(take) if is_all else run.part(number, take), start, stop, done).to_json()

            name = f"{step} part {len(done) + 1}" if done else step
            done.append(Rendered.from_json(do(name, one)))
            start += done[-1].segment.num_frames
    if len(done) == 1:
        return done[0]

    def whole() -> dict[str, Any]:
        return _joined(run.segment(take), done, outline.format, stamps, store, scene.look("render")).to_json()

    return Rendered.from_json(do(f"{step} whole", whole))


def _joined(
    key: str, pieces: Sequence[Rendered], format: VideoFormat, stamps: Stamps | None, store: Store, look: Look
) -> Rendered:
    """All pieces in one object, packet for packet. They are left where they are: another run may be reading them."""
    first, last, segments = pieces[0], pieces[-1], [piece.segment for piece in pieces]
    # The object's time stamps count in the stamps' own unit, as where it is encoded at once.
    unit = replace(format, frame_rate=1 / stamps.time_base) if stamps else format
    with work_file(store, key) as path:
        splice(Timeline(unit, tuple(segments)), store.open, path, look=look)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        put_away(store, key, path, look)
    key_frames, at = [], 0
    for segment in segments:
        key_frames += [at + key_frame for key_frame in segment.key_frames]
        at += segment.num_frames
    whole = Segment(segments[0].owner, key, 0, at, tuple(key_frames), stamps, sound=segments[-1].sound)
    notes = dict.fromkeys(note for piece in pieces for note in piece.notes)
    return Rendered(whole, first.tail, first.lead, tuple(notes), last.reversal, sha256)


def looking(look: Look, batches: Iterable[Frames]) -> Iterator[Frames]:
    """The batches as they are; `look` is called for each."""
    for batch in batches:
        look()
        yield batch


class Reel:
    """Batches of frames that are taken a stretch at a time."""

    def __init__(self, batches: Iterator[Frames]) -> None:
        self._batches = batches
        self._rest: Frames | None = None

    def take(self, num_frames: int | None) -> Iterator[Frames]:
        """The next so many, or as many as there are; all that are left where it is None."""
        while num_frames is None or num_frames > 0:
            batch, self._rest = self._rest or next(self._batches, None), None
            if batch is None:
                return
            if num_frames is not None:
                if batch.num_frames > num_frames:
                    batch, self._rest = batch[:num_frames], batch[num_frames:]
                num_frames -= batch.num_frames
            yield batch


def encode_segment(
    key: str,
    owner: str,
    frames: Iterator[Frames],
    format: VideoFormat,
    store: Store,
    *,
    stamps: Stamps | None = None,
    publish: Publish | None = None,
    look: Look = lambda: None,
) -> tuple[Segment, str]:
    """The segment, and the SHA-256 of its bytes. `look` is called while it is put into the store."""
    with work_file(store, key) as path:
        encoded = encode(frames, format, path, stamps, publish)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        put_away(store, key, path, look)
    return Segment(owner, key, 0, encoded.num_frames, encoded.key_frames, stamps), sha256
