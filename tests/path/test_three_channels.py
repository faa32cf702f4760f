"""Polling, events and webhooks tell one story of each generation. A hundred of them at once; workers are played."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from queue import Empty, Queue

import httpx2

from longtake.errors import Cancelled
from longtake.fetch import FetchRules
from longtake.orders import Order
from longtake.records import Key
from longtake.webhooks import Webhooks
from longtake.wire.callbacks import bodies
from tests.receivers import Received, Receiver, receiving
from tests.wire_rig import Rig, client, events, serving

NUM_GENERATIONS = 100
KEY = Key("key-1", "default", "", None, 0.0, None)
RULES = FetchRules(max_bytes=1000, timeout_seconds=20, allow=(ip_network("127.0.0.0/8"),))
Story = defaultdict[str, list[str]]
"""Of each generation: its states in the order in which they were told."""


class Channels:
    """The three of them, each taken note of until all is over."""

    def __init__(self, rig: Rig) -> None:
        self.polled, self.heard, self.posted = Story(list), Story(list), Story(list)
        self.rig = rig
        self.is_over = threading.Event()
        self._to_post: Queue[tuple[int, int]] = Queue()
        rig.records.webhooks._enqueue = lambda _, number, turn, *__: self._to_post.put((number, turn))
        self._webhooks = Webhooks(rig.records, bodies(rig.links, rig.store, None), b"0" * 24, RULES)
        self._chance, self._lock = random.Random(7), threading.Lock()

    def post(self) -> None:
        """Delivers what is to be told, with no pauses between tries."""
        while not self.is_over.is_set():
            try:
                number, turn = self._to_post.get(timeout=0.05)
            except Empty:
                continue
            with self.rig.records._engine.begin():  # waits for the commit that it was handed over in
                pass
            self._webhooks.deliver(number, turn)

    def answer(self, received: Received) -> tuple[int, dict[str, str]]:
        """What the receiver says: some of it has to be sent again."""
        with self._lock:
            if self._chance.random() < 0.2:
                return 500, {}
            self.posted[received.json["id"]].append(received.json["state"])
        return 204, {}

    def listen(self, http: httpx2.Client, last: Callable[[], str]) -> None:
        with http.stream("GET", "/api/events", headers={"last-event-id": "0"}, timeout=None) as stream:
            for _, kind, data in events(stream):
                if data["id"] == last():
                    return
                if kind != "generation.progress":
                    self.heard[data["id"]].append(data["state"])

    def poll(self, http: httpx2.Client, ids: list[str]) -> None:
        while not self.is_over.is_set():
            for id in ids:
                self.polled[id].append(http.get(f"/api/generations/{id}").json()["state"])

    def until_all_is_told(self) -> None:
        deadline = time.monotonic() + 120
        while self.rig.records.webhooks.page(state="waiting", limit=1):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def live(rig: Rig, http: httpx2.Client, id: str, chance: random.Random) -> None:
    """What may happen to a generation, up to its end."""
    for attempt in range(1, 4):
        if chance.random() < 0.1:
            http.post(f"/api/generations/{id}/cancel")
        rig.records.start(id, attempt)
        try:
            for part in range(chance.randrange(4)):
                rig.records.report(id, attempt, "render", part / 4)
        except Cancelled:
            pass
        if chance.random() < 0.7:
            if rig.records.get(id).state == "dreaming":
                rig.complete(id)
        else:
            rig.records.fail(id, f"no luck at attempt {attempt}", "world", attempt=attempt)
        if rig.records.get(id).state == "completed" or chance.random() < 0.5:
            break
        if http.post(f"/api/generations/{id}/retry").status_code != 200:
            break
    if rig.records.get(id).state not in ("completed", "failed"):
        rig.records.fail(id, "at last", "world")


def squeezed(states: list[str]) -> list[str]:
    """Without repetitions side by side."""
    return [state for before, state in zip(["", *states], states, strict=False) if state != before]


def is_part_of(some: list[str], all_of_them: list[str]) -> bool:
    """Whether `some` come in `all_of_them` in this order."""
    rest = iter(all_of_them)
    return all(state in rest for state in some)


def test_polling_events_and_webhooks_never_contradict_each_other(tmp_path: Path) -> None:
    rig, chance = Rig.build(tmp_path), random.Random(5)
    channels, last = Channels(rig), [""]
    with (
        receiving(Receiver(channels.answer)) as receiver,
        serving(rig) as base_url,
        client(base_url) as http,
        ThreadPoolExecutor(12) as pool,
    ):
        body = {"prompt": "a lighthouse", "callback_url": receiver.address}
        ids = [http.post("/api/generations", json=body).json()["id"] for _ in range(NUM_GENERATIONS)]
        running = [pool.submit(channels.listen, http, lambda: last[0]), pool.submit(channels.poll, http, ids)]
        running += [pool.submit(channels.post) for _ in range(4)]
        try:
            for one in [pool.submit(live, rig, http, id, random.Random(chance.random())) for id in ids]:
                one.result()
            channels.until_all_is_told()
        finally:
            last[0] = rig.service.submit(KEY, Order(prompt="the last"), wire="native", request={}).id
            channels.is_over.set()
        for done in running:
            done.result()

    heard, posted, polled = channels.heard, channels.posted, channels.polled
    for id in ids:
        assert posted[id] == [state for state in heard[id] if state != "queued"], id
        assert is_part_of(squeezed(polled[id]), squeezed(heard[id])), (polled[id], heard[id])
        assert posted[id][-1] == heard[id][-1] == rig.records.get(id).state
    assert {"completed", "failed"} <= {states[-1] for states in heard.values()}
    assert any(states.count("dreaming") > 1 for states in heard.values()), "some were tried again"
