"""Generations without pictures: records, and objects of a few bytes that are named as a worker names them.

What must stay in the store is worked out here a second time, from what was done, without asking the records.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import sqlalchemy as sa

from longtake.garbage import Ages, Collector, Report
from longtake.orders import KeyFrame, Order
from longtake.records import Generation, Keys, PartialUpload, Records, Result, Upload, open_database
from longtake.records.needed import Needs
from longtake.records.tables import metadata
from longtake.store import Store
from longtake.timeline import Segment, Sound, Timeline
from longtake.video import VideoFormat

FORMAT = VideoFormat(64, 48, Fraction(24))
AT_ONCE = Ages(objects=-60.0)
"""What was put a moment ago is old enough."""


class NoWorkflows:
    """Nothing was ever finished."""

    def finished(self, before: float, *, limit: int, offset: int = 0) -> list[tuple[str, str | None]]:
        return []

    outdated = finished

    def forget(self, workflow_ids: list[str]) -> None:
        raise AssertionError


@dataclass
class Played:
    """A generation as the test knows it."""

    id: str
    parents: tuple[str, ...]
    upload: str | None
    state: str = "queued"
    attempt: int = 1
    is_deleted: bool = False
    named: set[str] = field(default_factory=set)
    """What its result names."""
    put: set[str] = field(default_factory=set)
    """All that its runs have put."""


class Yard:
    """Plays clients and workers."""

    def __init__(self, url: str, store: Store) -> None:
        self.engine = open_database(url)
        self.store = store
        self.records = Records(self.engine, lambda *_: None)
        self.needs = Needs(self.engine)
        self.played: dict[str, Played] = {}
        self.uploads: dict[str, set[str]] = {}
        self.key = Keys(self.engine).create("test")[0]

    def close(self) -> None:
        self.engine.dispose()

    # ---- clients

    def upload(self, kind: str = "video") -> str:
        id = str(uuid.uuid4())
        key = f"uploads/{id}.{'video' if kind == 'video' else 'png'}"
        self.store.put(key, b"upload")
        self.records.add_upload(
            Upload(id, self.key.account, kind, key, 64, 48, 1.0, 24.0, 6, "", time.time())  # type: ignore[arg-type]
        )
        self.uploads[id] = {key}
        return id

    def begin_upload(self) -> str:
        id = str(uuid.uuid4())
        self.records.begin_upload(PartialUpload(id, self.key.account, 10, "", None, time.time()), most=1000)
        return id

    def create(self, *parents: str, upload: str | None = None) -> str:
        now, id = time.time(), str(uuid.uuid4())
        frames = [KeyFrame(type="generation", id=parent) for parent in parents]
        if upload:
            frames.append(KeyFrame(type="video", upload=upload))
        before, after = [*frames, None, None][:2]
        order = Order(prompt="x", before=before, after=after, seconds=Fraction(1))
        named = tuple((f"frame{number}", parent) for number, parent in enumerate(parents))
        self.records.submit(
            Generation(
                id=id, account=self.key.account, key_id=self.key.id, wire="native", request={}, engine="motion",
                order=order, credits=1.0, created_at=now, updated_at=now, parents=named,
            )
        )  # fmt: skip
        self.played[id] = Played(id, parents, upload)
        return id

    def delete(self, id: str) -> None:
        """The record alone: whatever a front removes at once, it may have been killed ahead of that."""
        self.records.delete(id, self.key.account)
        self.played[id].is_deleted = True
        self._notice_failures()

    def retry(self, id: str) -> None:
        self.records.retry(id, self.key.account)
        one = self.played[id]
        one.state, one.attempt = "queued", one.attempt + 1

    # ---- workers

    def begin(self, id: str) -> None:
        """Brings the ends, and renders half of it."""
        one = self.played[id]
        if self.records.start(id, one.attempt) is None:
            raise AssertionError(f"{id} can't be started")
        one.state = "dreaming"
        if one.upload and self.records.brought(one.upload) is None:
            key = f"sources/{one.upload}/{id}-{one.attempt}-1.mp4"
            self._put(one, key)
            self.records.keep_brought(one.upload, {"timeline": {"segments": [{"key": key}]}})
            self.uploads[one.upload].add(key)
        for name in ("segments/{}-part1.mp4", "live/{}-00000.mp4", "stills/{}-frame0.png", "sources/{}-match-0.mp4"):
            self._put(one, self._key(one, name))

    def complete(self, id: str) -> None:
        one = self.played[id]
        segment, sound = (self._key(one, name) for name in ("segments/{}.mp4", "segments/{}-sound.mp4"))
        tail, matched = (self._key(one, name) for name in ("segments/{}-tail.mp4", "sources/{}-match-0.mp4"))
        video, image = (self._key(one, name) for name in ("videos/{}.mp4", "images/{}.jpg"))
        for key in (segment, sound, tail, video, image, self._key(one, "segments/{}-take2.mp4")):
            self._put(one, key)
        parts = [part for parent in one.parents for part in self._timeline(parent)]
        if one.upload:
            brought = self.records.brought(one.upload)
            assert brought
            key = brought["timeline"]["segments"][0]["key"]
            parts.append(Segment(f"upload:{one.upload}", key, 0, 24, (0,)))
        own = Segment(id, segment, 0, 24, (0,), sound=Sound(sound, Fraction(0)))
        again = [Segment(id, key, 0, 2, (0,)) for key in (tail, matched)]
        timeline = Timeline(FORMAT, (*parts[:1], own, *again, *parts[1:]))
        result = Result(timeline, 24, 24, video, segment, image, 100, (), (), {})
        assert self.records.complete(id, one.attempt, result)
        one.state, one.named = "completed", {video, image, *_keys(timeline.segments)}

    def fail(self, id: str) -> None:
        assert self.records.fail(id, "no answer", "world")
        self._notice_failures()

    def export(self, id: str) -> None:
        one, key = self.played[id], f"exports/{id}.webm"
        self._put(one, key)
        if not one.is_deleted:
            one.named.add(key)

    # ---- what must stay

    def needed(self) -> set[str]:
        kept = set[str]().union(*self.uploads.values())
        for one in self.played.values():
            if one.state in {"queued", "dreaming"}:
                kept |= one.put
                for parent in one.parents:
                    kept |= {key for key in self.played[parent].named if not key.startswith("exports/")}
            elif not one.is_deleted:
                kept |= one.named
        return kept

    def collect(self, *, dry_run: bool = False, ages: Ages = AT_ONCE, now: float | None = None) -> Report:
        needed = self.needed()
        report = Collector(self.records, self.needs, self.store, NoWorkflows(), ages, dry_run=dry_run).run(now)
        for one in self.played.values():
            one.put = one.put if dry_run else one.put & needed
        return report

    def dump(self) -> list[object]:
        """All that is there: rows and objects."""
        with self.engine.connect() as connection:
            rows: list[object] = [
                (table.name, *sorted(map(repr, connection.execute(sa.select(table)))))
                for table in metadata.sorted_tables
            ]
        return [*rows, *sorted((key, self.store.read(key)) for key in self.stored())]

    def stored(self) -> set[str]:
        """The keys of all objects."""
        return set(self.store.keys())

    def _timeline(self, id: str) -> tuple[Segment, ...]:
        result = self.records.get(id).result
        assert result
        return result.timeline.segments

    def _put(self, one: Played, key: str) -> None:
        self.store.put(key, os.urandom(8))
        one.put.add(key)

    def _key(self, one: Played, name: str) -> str:
        return name.format(f"{one.id}/{one.attempt}-1")

    def _notice_failures(self) -> None:
        """Those that wait for a failed one have failed with it."""
        for one in self.played.values():
            if one.state in {"queued", "dreaming"}:
                one.state = self.records.get(one.id).state


def _keys(segments: Sequence[Segment]) -> set[str]:
    return {key for part in segments for key in (part.key, part.sound.key if part.sound else part.key)}


__all__ = ["AT_ONCE", "FORMAT", "NoWorkflows", "Yard"]
