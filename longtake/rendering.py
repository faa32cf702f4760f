"""From an order and its ends to its new part: the same few steps in a worker and on the command line.

It knows engines, media and the store, but no database: how a step is made durable is its caller's affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir

from longtake.engines.base import Engine, Frames, Shot
from longtake.errors import FaultError, UnknownError
from longtake.footage import Look, Source, Telling, meanwhile
from longtake.media.colour import to_yuv
from longtake.media.colour_fit import fit_colour
from longtake.media.decode import read, read_all
from longtake.media.encode import closed
from longtake.media.memory import Spool, give_back
from longtake.media.reversal import Mirror
from longtake.media.stills import fit, fit_remark
from longtake.orders import Order
from longtake.parts import Reel, Rendered, encode_segment, looking
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Colour, Still, VideoFormat
from longtake.watching import Live


class Rendering:
    """Makes a take's new part: shows the engine its context, and pulls its frames into the encoder and the store.

    Next to footage their tone is fitted to it; what moves in them is compared with how it moves there. The engine is
    asked once, for all that is not there yet when the first piece is made, and goes on from piece to piece.
    """

    def __init__(
        self, scene: Scene, engine: Engine, *, take: int = 0, earlier: Rendered | None = None, live: bool = False
    ) -> None:
        """`take` counts from 0; what is encoded again is the same for all, and taken over from an `earlier` one.

        `live`: what is done can be watched at once.
        """
        self._scene, self._engine = scene, engine
        self._take, self._earlier, self._live = take, earlier, live
        self._begun: _Begun | None = None
        self._engine_work = ExitStack()

    def make(self, key: str, start: int, stop: int, done: Sequence[Rendered]) -> Rendered:
        """As `parts.Making` has it."""
        store = self._scene.store
        begun = self._begun = self._begun or self._begin(start, done)
        shot, is_last = begun.shot, stop == begun.shot.num_frames
        frames = begun.mirror.watch(begun.reel.take(None if is_last else stop - start), start)
        publish = begun.live.publish if begun.live else None
        look, owner = begun.report.tell.look, self._scene.run.id
        segment, sha256 = encode_segment(key, owner, frames, shot.format, store, publish=publish, look=look)
        if not is_last:
            if seen := begun.mirror.seen(start, stop):
                meanwhile(look, partial(store.put, _seen_key(key), seen))
            return Rendered(segment, begun.tail, begun.lead, tuple(begun.notes), None, sha256)
        self._engine_work.close()
        give_back()  # what rendering took
        for piece in done[: begun.num_done]:
            with suppress(UnknownError):  # nothing in it was looked at
                begun.mirror.remember(meanwhile(look, partial(store.read, _seen_key(piece.segment.key))))
        reversal = begun.mirror.reversal(partial(begun.report.progress, shot.num_frames))
        again = _remarks(begun.tail, begun.lead)
        return Rendered(segment, begun.tail, begun.lead, (*begun.notes, *again), reversal, sha256)

    def close(self) -> None:
        """Ends the engine's work."""
        self._begun = None
        self._engine_work.close()

    def _begin(self, start: int, done: Sequence[Rendered]) -> _Begun:
        scene, notes = self._scene, list[str]()
        run, plan, store = scene.run, scene.plan, scene.store
        spool = Spool(store.work_folder or Path(gettempdir()))
        tell = Telling(scene.tell, "render", start / plan.outline.num_frames)
        report = _Report(tell, plan.outline.num_frames, notes, spool)
        look, earlier = partial(report.progress, start), done[0] if done else self._earlier
        tail, lead = (earlier.tail, earlier.lead) if earlier else _encode_again(scene, look)
        give_back()  # what bringing the footage in took
        pieces = [piece.segment for piece in done]
        live = Live(run, plan, tail, lead, store, pieces, look=tell.look) if self._live else None
        shot = replace(_shot(scene, self._take, spool, notes, look), start=start)
        before = shot.before if shot.cell.before == "clip" else None
        after = shot.after if shot.cell.after == "clip" else None
        frame_rate = float(shot.format.frame_rate)
        mirror = Mirror([stretch for stretch in (before, after) if stretch], shot.num_frames, frame_rate)
        made = self._engine_work.enter_context(closed(self._engine.render(shot, report)))
        planar = _exactly(shot.num_frames - start, made, shot.format.coding.colour)
        frames = fit_colour(planar, shot.num_frames, frame_rate, before, after, notes.append, start=start)
        return _Begun(shot, Reel(frames), mirror, live, report, notes, tail, lead, len(done))


@dataclass(frozen=True, slots=True)
class _Begun:
    """An engine at work, and all that goes with it."""

    shot: Shot
    reel: Reel
    mirror: Mirror
    live: Live | None
    report: _Report
    notes: list[str]
    tail: Segment | None
    lead: Segment | None
    num_done: int
    """How many pieces were there when it was begun."""


def render(scene: Scene, engine: Engine) -> Rendered:
    """The new part in one piece."""
    with closing(Rendering(scene, engine)) as making:
        return making.make(scene.run.segment(), 0, scene.plan.outline.num_frames, ())


def seed_of(order: Order, take: int) -> int:
    """The seed of a take, which counts from 0: the order's own, and those that follow it."""
    return ((order.seed or 0) + take) % 2**32


def _shot(scene: Scene, take: int, spool: Spool, notes: list[str], look: Look) -> Shot:
    """What the engine is told; its context is decoded for it."""
    order, plan, before, after = scene.order, scene.plan, scene.before, scene.after
    end = partial(_end, plan.outline.format, scene.store, spool, notes, look)
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
        return meanwhile(look, partial(_fitted, source, format, store))
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


def _encode_again(scene: Scene, look: Look) -> tuple[Segment | None, Segment | None]:
    """What can't be copied at the cuts: the end of what is kept of frame0, the start of what is kept of frame1."""
    plan, (tail_key, lead_key), store = scene.plan, scene.run.again, scene.store
    start, stop = plan.outline.before_stop, plan.outline.after_start
    tail = _again(tail_key, plan.before, start - plan.num_tail, start, plan.outline.format, store, look)
    lead = _again(lead_key, plan.after, stop, stop + plan.num_lead, plan.outline.format, store, look)
    return tail, lead


def _again(
    key: str, timeline: Timeline | None, start: int, stop: int, format: VideoFormat, store: Store, look: Look
) -> Segment | None:
    """The frames `[start, stop)` of the timeline as an object of their own, with the sound that they had."""
    if timeline is None or start == stop:
        return None
    stamps = timeline.stamps_of(start, stop)
    frames = looking(look, read(timeline, start, stop, store.open))
    segment = encode_segment(key, timeline.owner_of(start), frames, format, store, stamps=stamps, look=look)[0]
    return replace(segment, sound=timeline.sound_of(start))


def _remarks(tail: Segment | None, lead: Segment | None) -> Iterator[str]:
    if tail:
        yield f"Encoded again: {_frames(tail)} ahead of the cut, which can't be decoded without later ones."
    if lead:
        yield f"Encoded again: {_frames(lead)} between the cut and the next key frame."


def _seen_key(key: str) -> str:
    """Where it is kept what was seen of a piece that is not the last, for how much of all runs backwards."""
    return f"{key.removesuffix('.mp4')}-seen.npz"


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


@dataclass(frozen=True, slots=True)
class _Report:
    """The engine's one arrow back."""

    tell: Telling
    num_frames: int
    notes: list[str]
    spool: Spool

    def progress(self, num_frames: int) -> None:
        self.spool.let_go()
        self.tell("render", num_frames / self.num_frames)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
