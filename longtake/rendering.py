"""From an order and its ends to its new part: the same few steps in a worker and on the command line.

It knows engines, media and the store, but no database: how a step is made durable is its caller's affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from longtake.engines.base import Engine, Frames, Shot
from longtake.errors import FaultError
from longtake.footage import Look, Source, Tell, again_keys, segment_key, work_file
from longtake.media.colour import to_yuv
from longtake.media.colour_fit import fit_colour
from longtake.media.decode import read, read_all
from longtake.media.encode import Publish, closed, encode
from longtake.media.memory import Spool, give_back
from longtake.media.reversal import Mirror
from longtake.media.stills import fit, fit_remark
from longtake.orders import Order
from longtake.planning import Plan
from longtake.store import Store
from longtake.timeline import Segment, Stamps, Timeline
from longtake.video import Colour, Still, VideoFormat
from longtake.watching import Live


@dataclass(frozen=True, slots=True)
class Rendered:
    """The new part, in the store."""

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


def render(
    id: str,
    order: Order,
    plan: Plan,
    before: Source,
    after: Source,
    engine: Engine,
    store: Store,
    tell: Tell,
    *,
    take: int = 0,
    earlier: Rendered | None = None,
    live: bool = False,
) -> Rendered:
    """Shows the engine its context, and pulls its frames straight into the encoder and the store.

    Next to footage their tone is fitted to it; what moves in them is compared with how it moves there. `take` counts
    from 0; what is encoded again is the same for all, and taken over from an `earlier` one. `live`: what is done can be
    watched at once.
    """
    notes: list[str] = []
    tail, lead = (earlier.tail, earlier.lead) if earlier else _encode_again(id, plan, store)
    give_back()  # what bringing the footage in took
    publish = Live(id, plan, tail, lead, store).publish if live else None
    spool = Spool(store.work_folder or Path(gettempdir()))
    report = _Report(tell, plan.outline.num_frames, notes, spool)
    shot = _shot(order, plan, before, after, store, take, spool, notes, partial(report.progress, 0))
    footage = (shot.before if shot.cell.before == "clip" else None, shot.after if shot.cell.after == "clip" else None)
    frame_rate = float(shot.format.frame_rate)
    mirror = Mirror([stretch for stretch in footage if stretch], shot.num_frames, frame_rate)
    with closed(engine.render(shot, report)) as made:
        planar = _exactly(shot.num_frames, made, shot.format.coding.colour)
        frames = fit_colour(planar, shot.num_frames, frame_rate, *footage, notes.append)
        segment, sha256 = encode_segment(
            segment_key(id, take), id, mirror.watch(frames), shot.format, store, publish=publish
        )
    give_back()  # what rendering took
    if tail:
        notes.append(f"Encoded again: {_frames(tail)} ahead of the cut, which can't be decoded without later ones.")
    if lead:
        notes.append(f"Encoded again: {_frames(lead)} between the cut and the next key frame.")
    return Rendered(segment, tail, lead, tuple(notes), mirror.reversal(spool.let_go), sha256)


def seed_of(order: Order, take: int) -> int:
    """The seed of a take, which counts from 0: the order's own, and those that follow it."""
    return ((order.seed or 0) + take) % 2**32


def _shot(
    order: Order,
    plan: Plan,
    before: Source,
    after: Source,
    store: Store,
    take: int,
    spool: Spool,
    notes: list[str],
    look: Look,
) -> Shot:
    """What the engine is told; its context is decoded for it."""
    end = partial(_end, plan.outline.format, store, spool, notes, look)
    circle = order.loop and before is not None
    return Shot(
        cell=plan.cell,
        format=plan.outline.format,
        num_frames=plan.outline.num_frames,
        before=end(before, plan.before, plan.context_before, ends=True),
        after=end(before if circle else after, plan.before if circle else plan.after, plan.context_after, ends=False),
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        concepts=order.concepts,
        seed=seed_of(order, take),
        loop=order.loop,
    )


def _end(
    format: VideoFormat,
    store: Store,
    spool: Spool,
    notes: list[str],
    look: Look,
    source: Source,
    timeline: Timeline | None,
    context: tuple[int, int] | None,
    *,
    ends: bool,
) -> Frames | None:
    """What the engine is shown of it; `ends`: its last frame is next to the new part, else its first one is."""
    if isinstance(source, Still):
        remark = fit_remark(source.width, source.height, format)
        if remark and remark not in notes:
            notes.append(remark)
        return _fitted(source, format, store)
    if timeline is None or context is None:
        return None
    start, stop = context
    shown = timeline.paced(start, stop, back=ends)
    return read_all(timeline, shown[0], shown[-1] + 1, store.open, look, wanted=shown, room=spool.room)


def _fitted(still: Still, format: VideoFormat, store: Store) -> Frames:
    source, max_pixels = store.open(still.key), still.width * still.height  # its size was judged when it came in
    if isinstance(source, str):
        return fit(Path(source), format, max_pixels=max_pixels)
    with source:
        return fit(source, format, max_pixels=max_pixels)


def _encode_again(id: str, plan: Plan, store: Store) -> tuple[Segment | None, Segment | None]:
    """What can't be copied at the cuts: the end of what is kept of frame0, the start of what is kept of frame1."""
    start, stop = plan.outline.before_stop, plan.outline.after_start
    tail_key, lead_key = again_keys(id)
    tail = _again(tail_key, plan.before, start - plan.num_tail, start, plan.outline.format, store)
    lead = _again(lead_key, plan.after, stop, stop + plan.num_lead, plan.outline.format, store)
    return tail, lead


def _again(
    key: str, timeline: Timeline | None, start: int, stop: int, format: VideoFormat, store: Store
) -> Segment | None:
    """The frames `[start, stop)` of the timeline as an object of their own, with the sound that they had."""
    if timeline is None or start == stop:
        return None
    stamps = timeline.stamps_of(start, stop)
    frames = read(timeline, start, stop, store.open)
    segment = encode_segment(key, timeline.owner_of(start), frames, format, store, stamps=stamps)[0]
    return replace(segment, sound=timeline.sound_of(start))


def _frames(segment: Segment) -> str:
    return "1 frame" if segment.num_frames == 1 else f"{segment.num_frames} frames"


def _exactly(num_frames: int, frames: Iterator[Frames], colour: Colour) -> Iterator[Frames]:
    """The engine's frames as 4:2:0 of this colour, as many as were asked for: another number is the engine's fault."""
    left = num_frames
    for batch in frames:
        if left == num_frames:
            give_back()  # what finding out how to go on took
        left -= batch.num_frames
        if left < 0:
            break
        yield to_yuv(batch, colour)
    if left:
        gave = "more" if left < 0 else num_frames - left
        raise FaultError(f"the engine was asked for {num_frames} frames and gave {gave}")


def encode_segment(
    key: str,
    owner: str,
    frames: Iterator[Frames],
    format: VideoFormat,
    store: Store,
    *,
    stamps: Stamps | None = None,
    publish: Publish | None = None,
) -> tuple[Segment, str]:
    """The segment, and the SHA-256 of its bytes."""
    with work_file(store, key) as path:
        encoded = encode(frames, format, path, stamps, publish)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        store.put_file(key, path)
    return Segment(owner, key, 0, encoded.num_frames, encoded.key_frames, stamps), sha256


@dataclass(frozen=True, slots=True)
class _Report:
    """The engine's one arrow back."""

    tell: Tell
    num_frames: int
    notes: list[str]
    spool: Spool

    def progress(self, num_frames: int) -> None:
        self.spool.let_go()
        self.tell("render", num_frames / self.num_frames)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
