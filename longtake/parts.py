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


def divided(num_frames: int, frame_rate: Fraction, seconds: Fraction | float | None) -> tuple[tuple[int, int], ...]:
    """The pieces `[start, stop)` of so many frames; one where they last no longer than `seconds`, or that is None.

    None is longer than `seconds`, to the nearest frame, or than two groups of frames, whichever is more.
    Each begins where the encoder of all would set a key frame, and the last one is no shorter than a group: what looks
    back from the end, or on from the start, for a second, finds it in one piece.
    """
    most = num_frames if seconds is None else round(frame_rate * Fraction(seconds))
    if num_frames <= most:
        return ((0, num_frames),)
    group = gop_length(frame_rate)
    length = max(1, most // group) * group
    starts = list(range(0, num_frames, length))
    if len(starts) > 1 and num_frames - starts[-1] < group:
        last = starts.pop()
        starts += [last - group] if length > group else []
    return tuple(zip(starts, [*starts[1:], num_frames], strict=True))


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
    """The new part, made in as many durable steps as it has pieces, and one that joins them; or in one, named `step`.

    `part_seconds` as `divided` has it; `stamps` are all its frames'.
    """
    run, outline, store = scene.run, scene.plan.outline, scene.store
    pieces = divided(outline.num_frames, outline.format.frame_rate, part_seconds)
    if len(pieces) == 1:

        def all_at_once() -> dict[str, Any]:
            with closing(making):
                return making.make(run.segment(take), *pieces[0], ()).to_json()

        return Rendered.from_json(do(step, all_at_once))
    done: list[Rendered] = []
    with closing(making):
        for number, piece in enumerate(pieces):

            def one(number: int = number, piece: tuple[int, int] = piece) -> dict[str, Any]:
                return making.make(run.part(number, take), *piece, done).to_json()

            done.append(Rendered.from_json(do(f"{step} part {number + 1} of {len(pieces)}", one)))

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
    """The segment, and the SHA-256 of its bytes. `look` is called while a large one is put into the store."""
    with work_file(store, key) as path:
        encoded = encode(frames, format, path, stamps, publish)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        put_away(store, key, path, look)
    return Segment(owner, key, 0, encoded.num_frames, encoded.key_frames, stamps), sha256
