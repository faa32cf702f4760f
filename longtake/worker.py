"""The back room: carries one generation out. `Worker.carry_out` is the story of this program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import structlog

from longtake import metrics, tracing
from longtake.bringing import Bringing
from longtake.edits import Editing
from longtake.engines.base import Engine
from longtake.errors import BucketError, CallerError, Cancelled, DatabaseError, LongtakeError, WorldError
from longtake.fetch import Fetcher
from longtake.footage import Footage, Run, Source, keys_of, meanwhile
from longtake.joining import Heard, join, lay_sound, make_poster, timeline_of
from longtake.parts import Do, Rendered, make_in_pieces
from longtake.planning import CREDITS_PER_SECOND
from longtake.records import NO_LIMITS, FailureKind, Generation, Limits, Records, Result
from longtake.scene import Scene
from longtake.sources import match
from longtake.store import Store
from longtake.takes import Take, choose, drop, remarks, shoot
from longtake.video import Still
from longtake.workflows import Step

log = structlog.get_logger("longtake.worker")
AWAY_SECONDS = 5.0
"""Where the database was away, nothing is said for so long: a try lasts until it gives up connecting."""
STAGES = {"fetch": (0.0, 0.0), "bring": (0.0, 0.05), "render": (0.05, 0.95), "measure": (0.05, 0.95)}
STAGES |= {"sound": (0.95, 0.96), "splice": (0.96, 0.96)}
"""From where to where each stage takes the progress that clients see."""


class Worker:
    """Carries generations out, one after another."""

    def __init__(
        self,
        records: Records,
        store: Store,
        fetcher: Fetcher,
        *,
        engines: Mapping[str, Engine],
        max_still_pixels: int,
        limits: Limits = NO_LIMITS,
        part_seconds: Fraction | float | None = 10,
        report_seconds: float = 0.1,
    ) -> None:
        """`part_seconds`: a new part that is longer is rendered in pieces, each a step of its own.

        `report_seconds`: progress is written, and a cancel noticed, this often at most.
        """
        self._records = records
        self._store = store
        self._bringing = Bringing(records, store, fetcher, max_still_pixels)
        self._engines = engines
        self._limits = limits
        self._part_seconds = part_seconds
        self._report_seconds = report_seconds

    def run(self, id: str, attempt: int, start: int, step: Step) -> None:
        """Brings this attempt at the generation to its one end, whatever happens on the way.

        `start` counts from 1 which run of the attempt's workflow this is.
        """
        parent = self._records.get(id).trace if tracing.is_on() else None
        with metrics.slot(), tracing.span("generation", parent=parent, generation=id, attempt=attempt, start=start):
            self._run(Run(id, attempt, start), step)

    def _run(self, run: Run, step: Step) -> None:
        id = run.id
        try:
            self.carry_out(run, step)
        except Cancelled:
            log.info("cancelled", generation=id)
            self._note_end(run, "failed", "cancelled")
        except DatabaseError:
            raise  # nothing can be recorded: this run ends, and another begins once the database is back
        except CallerError as error:
            self._fail(run, str(error), "caller")
        except BucketError as error:
            log.warning("the store is away", generation=id, problem=str(error))
            self._fail(run, BucketError.TOLD, "world")
        except WorldError as error:
            self._fail(run, str(error), "world")
        except LongtakeError as error:
            self._fail(run, f"a fault of ours: {error}", "fault")
        except Exception:
            log.exception("fault", generation=id)
            self._fail(run, "a fault of ours; the log tells more under this generation's id", "fault")
        self._clean_up(run)

    def carry_out(self, run: Run, step: Step) -> None:
        """From the record to the finished video. What a `step` returns is kept, and never done again."""
        id, attempt = run.id, run.attempt
        timings: dict[str, float] = {}

        # 1 the order is ours now, or this attempt is over
        generation = self._records.start(id, attempt)
        if generation is None:
            return
        order, engine = generation.order, self._engines[generation.engine]
        do = _timed(step, generation, timings)
        _note_begin(generation, run)
        tell = partial(_tell, self._records, generation, self._report_seconds, {})

        # 2 its ends: the user's files go to the store once; parents have ended by now
        ends: dict[str, Source] = {"frame0": None, "frame1": None}
        for end, frame in order.ends:
            ends[end] = _source(do(f"bring {end}", partial(self._bringing.bring, run, generation, end, frame, tell)))
        before, after = ends["frame0"], ends["frame1"]
        if isinstance(before, Footage) and isinstance(after, Footage):
            pair = before, after
            before, after = map(_source, do("match", lambda: _matched(match(run, *pair, self._store, tell, order))))

        # 3 the plan: pure, so it is not a step
        scene = Scene.of(run, order, before, after, engine.capabilities, self._store, tell)

        # 4 the new part, as many takes of it as are asked for: each is rendered and its joins are measured; or, for an
        #   edit, all frames anew
        if order.edit:
            takes: tuple[Take, ...] = (Take(order.seed or 0, self._edit(scene, do), (), ()),)
        else:
            takes = shoot(scene, engine, do, live=True, part_seconds=self._part_seconds)

        # 5 the best take stays
        best = choose(takes)
        rendered = takes[best].rendered
        if len(takes) > 1:
            do("drop", partial(meanwhile, scene.look("measure"), lambda: drop(takes, best, self._store)))

        # 6 sound goes on under it, where that is asked for
        lay = partial(lay_sound, scene, rendered, best)
        heard = Heard.from_json(do("sound", lay)) if order.sound == "continue" else Heard()
        rendered = heard.under(rendered)

        # 7 the whole: packets are copied, and it gets a picture
        look = scene.look("splice", 0.0)
        look()
        timeline, new_start = timeline_of(scene.plan, rendered)
        video_key, num_bytes, of_sound = do("splice", lambda: join(run, timeline, self._store, look))
        image_key = do("poster", lambda: make_poster(run, timeline, self._store, look))

        # 8 all objects are there: one commit
        converted = tuple(dict.fromkeys((*_converted(before), *_converted(after))))
        notes = (*scene.plan.outline.notes, *converted, *rendered.notes, *heard.notes, *of_sound, *remarks(takes))
        result = Result(
            timeline=timeline,
            new_start=new_start,
            new_frames=rendered.segment.num_frames,
            video_key=video_key,
            segment_key=rendered.segment.key,
            image_key=image_key,
            num_bytes=num_bytes,
            seams=tuple(seam.to_json() for seam in takes[best].seams),
            notes=tuple(dict.fromkeys(notes)),
            timings=timings,
            preview=order.cell == ("nothing", "nothing") and engine.capabilities.previews,
            reversal=rendered.reversal,
            takes=tuple(take.to_json(chosen=number == best) for number, take in enumerate(takes)),
            converted=converted,
            sound=None if order.edit else heard.figures(),
        )
        if self._records.complete(id, attempt, result):
            log.info("completed", generation=id, seconds=round(sum(timings.values()), 3), bytes=num_bytes)
            self._note_end(run, "completed")
            for seam in takes[best].joins:
                metrics.observe_seam(generation.engine, seam)

    def _edit(self, scene: Scene, do: Do) -> Rendered:
        """All frames of the source anew; how many they are, where it came from an address, is known only now."""
        credits = float(scene.plan.outline.seconds) * CREDITS_PER_SECOND
        self._records.charge(scene.run.id, scene.run.attempt, credits, self._limits)
        making = Editing(scene, live=True)
        return make_in_pieces(scene, making, do, "edit", self._part_seconds, stamps=making.stamps)

    def _fail(self, run: Run, reason: str, kind: FailureKind) -> None:
        log.warning("failed", generation=run.id, kind=kind, reason=reason)
        if self._records.fail(run.id, reason, kind, attempt=run.attempt):
            self._note_end(run, "failed", kind)
            tracing.fail(reason)

    def _note_end(self, run: Run, state: Literal["completed", "failed"], kind: FailureKind | None = None) -> None:
        """For those who look on from outside."""
        metrics.ended(self._records.get(run.id).engine, state, kind or "")
        tracing.note(state=state, **({"failure_kind": kind} if kind else {}))

    def _clean_up(self, run: Run) -> None:
        """Removes what this run and those before it made for nothing: all of an attempt that is over; of a finished
        generation what its record does not name."""
        try:
            generation = self._records.get(run.id)
            if generation.state == "failed" or generation.attempt > run.attempt:
                run.forget(self._store)
            elif generation.result:
                result = generation.result
                run.forget(self._store, {result.video_key, result.image_key, *keys_of(result.timeline)})
        except WorldError as error:
            log.warning("could not clean up", generation=run.id, problem=str(error))
        except Exception:
            log.exception("could not clean up", generation=run.id)


def _tell(
    records: Records, generation: Generation, every_seconds: float, last: dict[str, float], stage: str, part: float
) -> None:
    """What long work calls as it goes: progress into the record, a cancel out of it. `part` of the stage is done.

    `last` holds when each stage was last told of.
    """
    now = time.monotonic()
    if now - last.get(stage, -every_seconds) >= every_seconds:
        last[stage] = now
        begin, end = STAGES[stage]
        try:
            records.report(generation.id, generation.attempt, stage, round(begin + (end - begin) * part, 4))
        except DatabaseError:  # it is said, and a cancel heard, when the database is back: frames are made meanwhile
            last[stage] = time.monotonic() + AWAY_SECONDS


def _timed(step: Step, generation: Generation, timings: dict[str, float]) -> Do:
    """`step`, with a line in the log for each, a span, and its seconds: kept with its result, and counted."""

    def do(name: str, function: Callable[[], Any]) -> Any:
        def measured() -> tuple[Any, float]:
            kind, started = metrics.step_kind(name), time.perf_counter()
            with tracing.span(kind, step=name), metrics.step(name):
                value = function()
            seconds = time.perf_counter() - started
            log.info("step", generation=generation.id, step=name, seconds=round(seconds, 3))
            if kind in ("render", "edit") and not name.endswith(" whole"):  # which is made of its parts' frames
                metrics.rendered(generation.engine, Rendered.from_json(value).segment.num_frames)
            return value, seconds

        value, timings[name] = step(name, measured)
        return value

    return do


def _note_begin(generation: Generation, run: Run) -> None:
    """For those who look on from outside. What waited for a parent, or is tried again, has not waited for a worker."""
    waited = None if generation.parents or run.attempt > 1 else time.time() - generation.created_at
    metrics.begun(generation.engine, run.start, waited)
    tracing.note(engine=generation.engine, wire=generation.wire)
    log.info("begun", generation=generation.id, engine=generation.engine, attempt=run.attempt, start=run.start)


def _matched(ends: tuple[Footage, Footage]) -> list[dict[str, Any]]:
    return [{"footage": end.to_json()} for end in ends]


def _source(brought: dict[str, Any]) -> Source:
    return Still.from_json(brought["still"]) if "still" in brought else Footage.from_json(brought["footage"])


def _converted(source: Source) -> tuple[str, ...]:
    return source.converted if isinstance(source, Footage) else ()
