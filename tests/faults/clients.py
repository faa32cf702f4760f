"""Clients that do as clients should: they send a create that was not answered again, elsewhere, and resume streams."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from longtake.media.encode import encode
from longtake.video import VideoFormat
from tests.faults.members import Member
from tests.footage import moving

FPS = 12
SIZE = (96, 64)
UPLOAD_FRAMES = 18
MOST_FRAMES = 240
"""In a video that is still made longer."""
TIMEOUT = httpx2.Timeout(6.0, connect=2.0)
PATIENCE_SECONDS = 180.0
"""So long a client tries before it complains."""
STREAM_TIMEOUT = httpx2.Timeout(18.0, connect=2.0)
"""A stream that says nothing for longer is dead: a ping comes every 15 s."""
ENDS = {"generation.completed", "generation.failed"}


@dataclass(slots=True)
class Made:
    """A generation that was accepted."""

    id: str
    name: str
    """Its Idempotency-Key."""
    body: dict[str, Any]
    parents: dict[str, str]
    """frame0, frame1 → the generation or the upload there."""
    new_frames: int
    frames: int
    """Of the whole video; 0: of a size of its own."""
    cancelled: bool = False


@dataclass
class Told:
    """What a stream told of the account."""

    ends: dict[str, list[str]] = field(default_factory=dict)
    last: int = 0
    num_resumed: int = 0
    complaints: list[str] = field(default_factory=list)


class Client:
    """One account's. All that happens to it, and what it did about that, is counted."""

    def __init__(self, name: str, key: str, fronts: Sequence[Member], callback: str, rng: random.Random) -> None:
        self.name = name
        self.made: list[Made] = []
        self.told = Told()
        self.states: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.images: list[str] = []
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._headers = {"Authorization": f"Bearer {key}", "connection": "close"}
        self._http = httpx2.Client(headers=self._headers, timeout=TIMEOUT, trust_env=False)
        self._fronts = list(fronts)
        self._callback = callback
        self._rng = rng
        self._stop = threading.Event()

    # ---- requests

    def ask(self, method: str, path: str, **given: Any) -> httpx2.Response:
        """As often as needed, at one front and then at the other."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        front, why = self._rng.randrange(len(self._fronts)), ""
        while time.monotonic() < deadline:
            address = self._fronts[front].address
            front = (front + 1) % len(self._fronts)
            if not address:
                time.sleep(0.05)
                continue
            try:
                answer = self._http.request(method, address + path, **given)
            except httpx2.TransportError as error:
                why = repr(error)
                self.counts[type(error).__name__] += 1
            else:
                if answer.status_code < 500:
                    return answer
                why = f"{answer.status_code} {answer.text[:300]}"
                self.counts[str(answer.status_code)] += 1
            time.sleep(self._rng.uniform(0.05, 0.3))
        raise AssertionError(f"{method} {path} was not answered in {PATIENCE_SECONDS:g} s: {why}")

    def upload(self, file: bytes, name: str) -> str:
        kind = "image/png" if name.endswith("png") else "video/mp4"
        answer = self.ask("POST", "/api/uploads", files={"file": (name, file, kind)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def create(self, body: dict[str, Any], name: str) -> str:
        answer = self.ask("POST", "/api/generations", json=body, headers={"Idempotency-Key": name})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def bring(self, folder: Path, *, with_image: bool) -> None:
        """Two videos, and an image where it is asked for."""
        path = folder / "upload.mp4"
        for _ in range(2):
            frames = moving(UPLOAD_FRAMES, *SIZE, seed=self._rng.randrange(1000), step=self._rng.uniform(0.5, 2.5))
            encode([frames], VideoFormat(*SIZE, Fraction(FPS)), path)
            self.uploads[self.upload(path.read_bytes(), "upload.mp4")] = path.read_bytes()
        if with_image:
            path = folder / "upload.png"
            Image.effect_noise((64, 64), 90).resize((540, 540), Image.Resampling.BICUBIC).convert("RGB").save(path)
            self.images.append(self.upload(path.read_bytes(), "upload.png"))

    # ---- orders

    def order(self) -> Made:
        """One more, of any kind."""
        kind = self._rng.choices(
            ("root", "image", "append", "prepend", "bridge", "bridge to upload"), (22, 2, 38, 14, 16, 8)
        )[0]
        can_grow = [one for one in self.made if 0 < one.frames <= MOST_FRAMES and not one.cancelled]
        upload = self._rng.choice(list(self.uploads))
        parents: dict[str, str] = {}
        if kind == "image" and self.images:
            keyframes: dict[str, Any] = {"frame0": {"type": "image", "upload": self._rng.choice(self.images)}}
        else:
            some = [self._rng.choice(can_grow[-6:]).id for _ in range(2)] if can_grow else []
            chosen = {
                "append": {"frame0": some[:1]},
                "prepend": {"frame1": some[:1]},
                "bridge": {"frame0": some[:1], "frame1": some[1:]},
                "bridge to upload": {"frame0": some[:1], "frame1": [upload]},
            }.get(kind if some else "root", {self._rng.choice(("frame0", "frame1")): [upload]})
            parents = {end: ids[0] for end, ids in chosen.items()}
            keyframes = {end: self._frame(id) for end, id in parents.items()}
        seconds = self._rng.choice((4, 5, 6)) if self._rng.random() < 0.1 else self._rng.choice((0.5, 0.75, 1))
        return self._place(keyframes, parents, seconds, is_of_image=not parents)

    def _place(self, keyframes: dict[str, Any], parents: dict[str, str], seconds: float, *, is_of_image: bool) -> Made:
        seconds, fps = (0.5, 6) if is_of_image else (seconds, FPS)
        body = {"prompt": "", "keyframes": keyframes, "seconds": seconds, "fps": fps, "resolution": "540p"}
        body |= {"seed": self._rng.randrange(1000), "priority": self._rng.randrange(3)}
        if is_of_image:
            body["aspect_ratio"] = "1:1"
        if self._callback:
            body["callback_url"] = self._callback
        frames, lengths = int(seconds * fps), {one.id: one.frames for one in self.made}
        whole = 0 if is_of_image else frames + sum(lengths.get(id, UPLOAD_FRAMES) for id in parents.values())
        name = str(uuid.UUID(int=self._rng.getrandbits(128)))
        made = Made(self.create(body, name), name, body, parents, frames, whole)
        self.made.append(made)
        if self._rng.random() < 0.02:
            made.cancelled = self.ask("POST", f"/api/generations/{made.id}/cancel").status_code in (200, 409)
        return made

    def _frame(self, id: str) -> dict[str, str]:
        return {"type": "video", "upload": id} if id in self.uploads else {"type": "generation", "id": id}

    # ---- threads

    def work(self, num: int, seconds: float) -> None:
        """So many orders in so long a time; then it waits for the end of each."""
        try:
            start = time.monotonic()
            for number in range(num):
                time.sleep(max(0.0, start + seconds * number / num - time.monotonic()))
                self.order()
            for made in self.made:
                self.wait_for(made.id)
        except BaseException as error:
            self.failure = error
            raise

    def wait_for(self, id: str) -> str:
        """How it ended, by long polls."""
        while id not in self.states:
            answer = self.ask("GET", f"/api/generations/{id}", params={"wait": "completed", "timeout": 4})
            assert answer.status_code == 200, answer.text
            if (state := answer.json()["state"]) in ("completed", "failed"):
                self.states[id] = state
        return self.states[id]

    def follow(self) -> None:
        """The stream of all that happens to the account, from its first event on, at one front and then at another."""
        front = self._rng.randrange(len(self._fronts))
        with httpx2.Client(headers=self._headers, timeout=STREAM_TIMEOUT, trust_env=False) as http:
            while not self._stop.is_set():
                front = (front + 1) % len(self._fronts)
                if not (address := self._fronts[front].address):
                    time.sleep(0.05)
                    continue
                with contextlib.suppress(httpx2.TransportError):
                    self._listen(http, address)
                self.told.num_resumed += 1
                time.sleep(0.1)

    def _listen(self, http: httpx2.Client, address: str) -> None:
        headers = {"Last-Event-ID": str(self.told.last)}
        with http.stream("GET", f"{address}/api/events", headers=headers) as answer:
            if answer.status_code != 200:
                return
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if self._stop.is_set():
                    return
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    self._hear(fields)
                    fields = {}

    def _hear(self, fields: dict[str, str]) -> None:
        if "id" not in fields:
            return
        number, kind = int(fields["id"]), fields["event"]
        if number <= self.told.last:
            self.told.complaints.append(f"event {number} came after {self.told.last}")
        self.told.last = number
        if kind in ENDS:
            self.told.ends.setdefault(json.loads(fields["data"])["id"], []).append(kind)

    def has_heard_all(self) -> bool:
        return set(self.told.ends) >= {made.id for made in self.made}

    def close(self) -> None:
        self._stop.set()
