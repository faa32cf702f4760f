"""The back room: carries one generation out. `Worker.carry_out` is the story of this program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from longtake.edits import edit
from longtake.engines.base import Engine
from longtake.errors import CallerError, Cancelled, FaultError, FetchError, LongtakeError, WorldError
from longtake.fetch import Fetcher
from longtake.footage import Footage, Source, Tell, timeline_in, work_file
from longtake.joining import Heard, join, lay_sound, make_poster, timeline_of
from longtake.media.seams import Seam
from longtake.orders import MOST_TAKES, KeyFrame
from longtake.planning import CREDITS_PER_SECOND, plan
from longtake.records import NO_LIMITS, FailureKind, Generation, Limits, Records, Result
from longtake.rendering import Rendered
from longtake.sources import (
    at_end,
    fetch_patiently,
    find_footage,
    forget_brought,
    forget_matched,
    keep_footage,
    keep_still,
    match,
    opener,
)
from longtake.store import Store
from longtake.takes import Take, choose, drop, leave_nothing, remarks, shoot
from longtake.video import Still
from longtake.watching import forget_live
from longtake.workflows import Step, Workflows

T = TypeVar("T")
log = structlog.get_logger("longtake.worker")
REPORT_SECONDS = 0.1
"""Progress is written, and a cancel noticed, this often at most."""
SWEEP_SECONDS = 30.0
STAGES = {"fetch": (0.0, 0.0), "bring": (0.0, 0.05), "render": (0.05, 0.95), "measure": (0.05, 0.95)}
STAGES |= {"sound": (0.95, 0.96)}
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
    ) -> None:
        self._records = records
        self._store = store
        self._fetcher = fetcher
        self._engines = engines
        self._max_still_pixels = max_still_pixels
        self._limits = limits
        self._opener = opener()

    def run(self, id: str, attempt: int, step: Step) -> None:
        """Brings this attempt at the generation to its one end, whatever happens on the way."""
        try:
            self.carry_out(id, attempt, step)
        except Cancelled:
            log.info("cancelled", generation=id)
        except CallerError as error:
            self._fail(id, attempt, str(error), "caller")
        except WorldError as error:
            self._fail(id, attempt, str(error), "world")
        except LongtakeError as error:
            self._fail(id, attempt, f"a fault of ours: {error}", "fault")
        except Exception:
            log.exception("fault", generation=id)
            self._fail(id, attempt, "a fault of ours; the log tells more under this generation's id", "fault")
        self._clean_up(id)

    def carry_out(self, id: str, attempt: int, step: Step) -> None:
        """From the record to the finished video. What a `step` returns is kept, and never done again."""
        timings: dict[str, float] = {}
        do = _timed(step, id, timings)

        # 1 the order is ours now, or this attempt is over
        generation = self._records.start(id, attempt)
        if generation is None:
            return
        order, engine = generation.order, self._engines[generation.engine]
        tell = partial(_tell, self._records, generation, {})

        # 2 its ends: the user's files go to the store once; parents have ended by now
        ends: dict[str, Source] = {"frame0": None, "frame1": None}
        for end, frame in order.ends:
            ends[end] = _source(do(f"bring {end}", partial(self._bring, generation, end, frame, tell)))
        before, after = ends["frame0"], ends["frame1"]
        if isinstance(before, Footage) and isinstance(after, Footage):
            pair = before, after
            before, after = map(_source, do("match", lambda: _matched(match(id, *pair, self._store, tell, order))))

        # 3 the plan: pure, so it is not a step
        planned = plan(order, timeline_in(before), timeline_in(after), engine.capabilities)

        # 4 the new part, as many takes of it as are asked for: each is rendered and its joins are measured; or, for an
        #   edit, all frames anew: how many those of an address are is known only now
        if order.edit:
            credits = float(planned.outline.seconds) * CREDITS_PER_SECOND
            self._records.charge(id, attempt, credits, self._limits)
            edited = do("edit", lambda: edit(id, order, planned, before, self._store, tell, live=True).to_json())
            takes: tuple[Take, ...] = (Take(order.seed or 0, Rendered.from_json(edited), (), ()),)
        else:
            takes = shoot(id, order, planned, before, after, engine, self._store, tell, do, live=True)

        # 5 the best take stays
        best = choose(takes)
        rendered = takes[best].rendered
        if len(takes) > 1:
            do("drop", lambda: drop(takes, best, self._store))

        # 6 sound goes on under it, where that is asked for
        lay = partial(lay_sound, id, order, planned, rendered, best, self._store, tell)
        heard = Heard.from_json(do("sound", lay)) if order.sound == "continue" else Heard()
        rendered = heard.under(rendered)

        # 7 the whole: packets are copied, and it gets a picture
        self._records.report(id, attempt, "splice", 0.96)
        timeline, new_start = timeline_of(planned, rendered)
        video_key, num_bytes, of_sound = do("splice", lambda: join(id, timeline, self._store))
        image_key = do("poster", lambda: make_poster(id, timeline, self._store))

        # 8 all objects are there: one commit
        converted = tuple(dict.fromkeys((*_converted(before), *_converted(after))))
        notes = (*planned.outline.notes, *converted, *rendered.notes, *heard.notes, *of_sound, *remarks(takes))
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

    def _bring(self, generation: Generation, end: str, frame: KeyFrame, tell: Tell) -> dict[str, Any]:
        """What stands at this end, in the store."""
        if frame.id:
            parent = self._records.get(frame.id)
            if parent.result is None:
                raise FaultError(f"{generation.id} was begun before its parent {frame.id} had completed")
            seams = tuple(Seam.from_json(seam) for seam in parent.result.seams)
            return {"footage": Footage(parent.result.timeline, seams).to_json()}
        try:
            if frame.upload:
                return self._bring_upload(generation, frame.upload, tell)
            name = f"{generation.id}-{end}"
            with work_file(self._store, f"fetched/{name}") as path:
                fetch_patiently(self._fetcher, frame.url or "", path, lambda: tell("fetch", 0.0))
                if frame.type == "image":
                    still = self._keep_still(path, name)
                    return {"still": still.to_json()}
                return {"footage": self._keep_footage(path, name, f"url:{name}", tell).to_json()}
        except CallerError as error:
            raise at_end(end, error) from error
        except FetchError as error:
            raise FetchError(f"keyframes.{end}: {error}") from error

    def _bring_upload(self, generation: Generation, id: str, tell: Tell) -> dict[str, Any]:
        upload = self._records.get_upload(id, generation.account)
        if upload.kind == "image":
            return {"still": Still(upload.key, upload.width, upload.height).to_json()}
        if brought := find_footage(f"sources/{id}", self._store):
            return {"footage": brought.to_json()}
        with work_file(self._store, f"fetched/{id}") as path:
            with path.open("wb") as file:
                for chunk in self._store.stream(upload.key, 0, upload.num_bytes):
                    file.write(chunk)
            return {"footage": self._keep_footage(path, id, f"upload:{id}", tell).to_json()}

    def _keep_still(self, path: Path, name: str) -> Still:
        most, opener = self._max_still_pixels, self._opener
        return keep_still(path, f"stills/{name}.png", self._store, max_pixels=most, confined=opener)

    def _keep_footage(self, path: Path, name: str, owner: str, tell: Tell) -> Footage:
        return keep_footage(path, f"sources/{name}", owner, self._store, tell, confined=self._opener)

    def _fail(self, id: str, attempt: int, reason: str, kind: FailureKind) -> None:
        log.warning("failed", generation=id, kind=kind, reason=reason)
        self._records.fail(id, reason, kind, attempt=attempt)

    def _clean_up(self, id: str) -> None:
        """Removes what was rendered for nothing. Only of a failed one: the next attempt uses the same keys."""
        try:
            generation = self._records.get(id)
            if generation.state == "failed":
                leave_nothing(id, generation.order.takes, self._store)
                forget_matched(id, self._store)
                if self._records.is_deleted(id):  # while its ends were brought: nobody tries it again
                    forget_brought(id, self._store)
            elif generation.state == "completed":
                forget_live(id, self._store)
        except Exception:
            log.exception("could not clean up", generation=id)


def sweep(records: Records, workflows: Workflows, store: Store) -> None:
    """Ends or begins anew what no workflow will ever end, and removes what dead processes left half made."""
    store.sweep_work()
    for id, attempt, why in workflows.lost(records.unfinished()):
        if why == "OUTDATED":
            done = records.begin_anew(id, attempt)
        else:
            reason = f"a fault of ours: its workflow was lost ({why.lower()})"
            done = records.fail(id, reason, "fault", attempt=attempt)
            if done:
                leave_nothing(id, MOST_TAKES, store)
                forget_matched(id, store)
        if done:
            log.error("lost", generation=id, attempt=attempt, workflow=why)
    records.webhooks.forget_old()
    for number, turn in workflows.lost_webhooks(records.webhooks.on_their_way()):
        records.webhooks.begin_anew(number, turn)
        log.warning("lost", webhook=number, turn=turn)


def sweep_often(records: Records, workflows: Workflows, store: Store) -> None:
    """Sweeps in a thread of its own: now, and from time to time."""

    def go_on() -> None:
        while True:
            try:
                sweep(records, workflows, store)
            except Exception:
                log.exception("could not sweep")
            time.sleep(SWEEP_SECONDS)

    threading.Thread(target=go_on, name="longtake-sweep", daemon=True).start()


def _tell(records: Records, generation: Generation, last: dict[str, float], stage: str, part: float) -> None:
    """What long work calls as it goes: progress into the record, a cancel out of it. `part` of the stage is done.

    `last` holds when each stage was last told of.
    """
    now = time.monotonic()
    if now - last.get(stage, -REPORT_SECONDS) >= REPORT_SECONDS:
        last[stage] = now
        begin, end = STAGES[stage]
        records.report(generation.id, generation.attempt, stage, begin + (end - begin) * part)


def _timed(step: Step, id: str, timings: dict[str, float]) -> Callable[[str, Callable[[], T]], T]:
    """`step`, with a line in the log for each, and its seconds kept with its result."""

    def do(name: str, function: Callable[[], T]) -> T:
        def measured() -> tuple[T, float]:
            started = time.perf_counter()
            value = function()
            seconds = time.perf_counter() - started
            log.info("step", generation=id, step=name, seconds=round(seconds, 3))
            return value, seconds

        value, timings[name] = step(name, measured)
        return value

    return do


def _matched(ends: tuple[Footage, Footage]) -> list[dict[str, Any]]:
    return [{"footage": end.to_json()} for end in ends]


def _source(brought: dict[str, Any]) -> Source:
    return Still.from_json(brought["still"]) if "still" in brought else Footage.from_json(brought["footage"])


def _converted(source: Source) -> tuple[str, ...]:
    return source.converted if isinstance(source, Footage) else ()
