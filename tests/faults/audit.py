"""What must hold when the storm is over, asked of the database, the store, the logs and the files themselves."""

from __future__ import annotations

import itertools
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
import sqlalchemy as sa

from longtake.garbage import MARK
from tests.faults.clients import Client, Made
from tests.faults.service import Service
from tests.faults.watcher import Watcher, steps_of
from tests.footage import frames_and_times
from tests.receivers import Received

CLOCK_SECONDS = 0.02
"""Two clocks of one machine may differ by so much where one of them counts milliseconds."""
REFUSED_START = "Error connecting to the DBOS system database"
"""What DBOS logs where a process starts without a database."""
NAMED = re.compile(r'"((?:exports|images|segments|sources|stills|uploads|videos)/[^"]+)"')
Step = tuple[str, str]
"""A generation and the name of one of its steps."""


@dataclass
class Audit:
    """Complaints, none of which may be left, and figures to be told."""

    clients: Sequence[Client]
    service: Service
    engine: sa.Engine
    complaints: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def rows(self, query: str, **given: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(query), given))

    def check(self, is_so: object, complaint: str) -> None:
        if not is_so:
            self.complaints.append(complaint)

    @property
    def made(self) -> dict[str, Made]:
        return {made.id: made for client in self.clients for made in client.made}

    # ---- generations

    def check_records(self) -> None:
        """One generation for each create, one end for each, and none by a fault of ours."""
        made, num_made = self.made, sum(len(client.made) for client in self.clients)
        rows = {row.id: row for row in self.rows("select id, state, failure_reason, failure_kind from generations")}
        self.check(len(made) == num_made, f"{num_made} creates made {len(made)} generations")
        self.check(set(rows) == set(made), f"unknown: {set(rows) - set(made)}; lost: {set(made) - set(rows)}")
        twice = self.rows("select name, generation_id from creates where name like 'name:%'")
        self.check(
            {(f"name:{one.name}", one.id) for one in made.values()} == set(map(tuple, twice)),
            "an Idempotency-Key stands for another generation",
        )
        ends = self.rows(
            "select generation_id, count(*) from events where type in ('generation.completed', 'generation.failed')"
            " group by 1"
        )
        self.check(dict(map(tuple, ends)) == dict.fromkeys(made, 1), f"not one end each: {_but(ends, 1)}")
        for id, row in rows.items():
            self.check(row.state in ("completed", "failed"), f"{id} has not ended: {row.state}")
            if row.state == "failed":
                ours = not self._may_fail(made[id], rows)
                is_theirs = not ours and row.failure_kind in ("caller", "cancelled")
                self.check(is_theirs, f"{id} failed: {row.failure_reason}")
        unfinished = self.rows("select workflow_uuid, status from dbos.workflow_status where status <> 'SUCCESS'")
        self.check(not unfinished, f"workflows are left: {unfinished[:5]}")
        states = Counter(row.state for row in rows.values())
        self.figures |= {
            "generations": len(rows),
            "completed": states["completed"],
            "cancelled, or extending such a one": states["failed"],
        }

    def _may_fail(self, made: Made, rows: dict[str, Any]) -> bool:
        """It was cancelled, or something that it needs was."""
        return made.cancelled or any(
            parent in rows and rows[parent].state == "failed" for parent in made.parents.values()
        )

    def check_streams(self) -> None:
        for client in self.clients:
            ids = {made.id for made in client.made}
            self.complaints += [f"{client.name}: {complaint}" for complaint in client.told.complaints]
            wrong = {id: client.told.ends.get(id) for id in ids if len(client.told.ends.get(id, ())) != 1}
            self.check(not wrong, f"{client.name}'s stream told of ends: {wrong}")
            for id, state in client.states.items():
                self.check(client.told.ends.get(id) == [f"generation.{state}"], f"{id}: {state}, {client.told.ends}")
        self.figures["streams resumed"] = sum(client.told.num_resumed for client in self.clients)

    def check_creates(self) -> None:
        """Some are sent once more, as by clients that have lost the answer: each gets what it made."""
        for client in self.clients:
            for made in client.made[::7]:
                self.check(client.create(made.body, made.name) == made.id, f"{made.id} was made twice")

    # ---- files

    def check_files(self, front: str) -> None:
        """Each is downloaded, decoded as a whole, and holds its parents' frames, bit for bit, and the new ones."""
        num_bytes = num_frames = 0
        for client in self.clients:
            frames = {id: self._decode(id, file) for id, file in client.uploads.items()}
            for made in client.made:
                if client.states[made.id] != "completed":
                    continue
                answer = client.ask("GET", f"/api/generations/{made.id}").json()
                address = re.sub(r"^http://[^/]+", front, answer["assets"]["video"])
                file = httpx2.get(address, trust_env=False, timeout=30)
                self.check(file.status_code == 200, f"{made.id}: {file.status_code} {file.text[:200]}")
                if file.status_code != 200:
                    continue
                frames[made.id] = self._decode(made.id, file.content)
                num_bytes, num_frames = num_bytes + len(file.content), num_frames + len(frames[made.id])
                self._compare(made, frames)
        self.figures |= {"bytes checked": num_bytes, "frames checked": num_frames}

    def _decode(self, id: str, file: bytes) -> list[str]:
        path = self.service.folder / f"{id}.mp4"
        path.write_bytes(file)
        try:
            frames, times = frames_and_times(path)
            self.check(all(a < b for a, b in itertools.pairwise(times)), f"{id}: its times do not rise")
            return frames
        except Exception as error:
            self.complaints.append(f"{id} is broken: {error!r}")
            return []
        finally:
            path.unlink()

    def _compare(self, made: Made, frames: dict[str, list[str]]) -> None:
        mine = frames[made.id]
        before, after = (frames.get(made.parents.get(end, ""), []) for end in ("frame0", "frame1"))
        self.check(mine[: len(before)] == before, f"{made.id}: frames of its frame0 were changed")
        self.check(mine[len(mine) - len(after) :] == after, f"{made.id}: frames of its frame1 were changed")
        num_new = len(mine) - len(before) - len(after)
        self.check(num_new == made.new_frames, f"{made.id}: {num_new} new frames, not {made.new_frames}")

    # ---- work

    def check_steps(self, watcher: Watcher, most_repeated: int) -> None:
        """No step began whose result was kept already; what was done again was under way at a fault."""
        done: dict[Step, list[tuple[float, float]]] = defaultdict(list)
        for line in (line for one in self.service.members if one.kind == "worker" for line in one.lines("step")):
            end = datetime.fromisoformat(line["timestamp"]).timestamp()
            done[line["generation"], line["step"]].append((end - line["seconds"], end))
        kept: dict[Step, float] = {}
        with self.engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            for id, number, name, output, at in steps_of(raw):
                kept[id.rpartition(".")[0], name] = at
                watcher.compare((id, number), output)
        self.complaints += watcher.complaints
        for step, times in done.items():
            late = [start for start, _ in times if step in kept and start > kept[step] + CLOCK_SECONDS]
            self.check(
                not late, f"{step} began again {[round(one - kept[step], 3) for one in late]} s after it was kept"
            )
        self.check(set(kept) <= set(done), f"kept, and never done: {list(set(kept) - set(done))[:5]}")
        num_done = sum(map(len, done.values()))
        num_repeated = num_done - len(done)
        self.check(num_repeated <= most_repeated, f"{num_repeated} steps were repeated, {most_repeated} hit at most")
        parts = [step for step in done if " part " in step[1]]
        self.figures |= {"steps": len(done), "steps repeated": num_repeated, "parts": len(parts)}
        self.figures["parts repeated"] = sum(len(done[step]) - 1 for step in parts)

    def check_webhooks(self, came: Sequence[Received], num_refused: int) -> None:
        """Each was delivered, and first came in the order of what it tells of. So many were refused when they came."""
        rows = self.rows("select generation_id, event, number, state, tries from webhooks order by number")
        expected = {f"msg_{row.generation_id}_{row.number}" for row in rows}
        ids = [one.headers["webhook-id"] for one in came]
        first: dict[str, list[int]] = defaultdict(list)
        for id in dict.fromkeys(ids):
            _, generation, number = id.split("_")
            first[generation].append(int(number))
        self.check(expected <= set(ids), f"{len(expected - set(ids))} webhooks never came")
        self.check(set(ids) <= expected, f"webhooks of nothing: {list(set(ids) - expected)[:5]}")
        self.check(all(row.state == "delivered" for row in rows), f"{Counter(row.state for row in rows)}")
        wrong = [id for id, numbers in first.items() if numbers != sorted(numbers)]
        self.check(not wrong, f"webhooks out of order: {wrong}")
        told = {(row.generation_id, row.event) for row in rows}
        for client in self.clients:
            missing = {(id, state) for id, state in client.states.items()} - told
            self.check(not missing, f"nobody was told of {list(missing)[:5]}")
        self.figures |= {"webhooks": len(expected), "webhooks refused by their receiver": num_refused}
        self.figures["webhook duplicates"] = len(ids) - len(set(ids)) - num_refused

    def check_objects(self) -> None:
        """After gc: what records name is there, and nothing else."""
        store = self.service.store()
        before = {one.key for one in store.listed()}
        time.sleep(1.0)  # by the store's clock, which counts in whole seconds, all is older than now
        command = [sys.executable, "-m", "longtake", "gc", "--older-than", "0s", "--json"]
        environment = self.service.environment | {"LONGTAKE_DATA": str(self.service.data("gc"))}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        self.check(ran.returncode == 0, f"gc: {ran.stdout[-500:]} {ran.stderr[-2000:]}")
        there = {one.key for one in store.listed()}
        self.figures["objects that gc removed"] = dict(Counter(key.partition("/")[0] for key in before - there))
        named: set[str] = {MARK, *(row[0] for row in self.rows("select key from uploads"))}
        for query in ("select result from generations", "select footage from uploads"):
            for (data,) in self.rows(query.replace("select ", "select cast(").replace(" from", " as text) from")):
                named |= set(NAMED.findall(data or ""))
        self.check(there >= named, f"missing objects: {sorted(named - there)[:5]}")
        self.check(there <= named, f"{len(there - named)} orphans: {sorted(there - named)[:5]}")
        self.figures["objects"] = len(there)

    # ---- logs

    def check_exits(self, was_away: Callable[[float, float], bool]) -> None:
        """None ended by itself but one that found no database when it started; what was told to end did so with 0."""
        exits = [end for member in self.service.members for end in member.exits]
        for end in exits:
            if end.asked == "kill":
                continue
            excused = not end.was_ready and was_away(end.at - 30, end.at)
            self.check((end.asked == "end" and end.code == 0) or excused, f"unexpected end: {end}")
        self.figures["starts refused"] = sum(not end.asked for end in exits)
        lines = (line for member in self.service.members for line in member.lines())
        faults = Counter(line["event"] for line in lines if line.get("level") in ("error", "critical"))
        for event in [event for event in faults if event.startswith(REFUSED_START)]:
            del faults[event]
        self.check(not faults, f"errors were logged: {dict(faults)}")


def spread(seconds: Sequence[float]) -> str:
    """`median / max`."""
    return f"{statistics.median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-"


def _but(rows: Iterable[Any], right: int) -> list[Any]:
    return [tuple(row) for row in rows if row[1] != right][:5]


__all__ = ["Audit", "spread"]
