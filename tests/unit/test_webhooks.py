"""Webhooks: signed, in order, tried again, each in its protocol's own words. The workflows are played by hand."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

from longtake import webhooks as module
from longtake.errors import CallerError, UnknownError
from longtake.fetch import FetchRules
from longtake.orders import Order
from longtake.records import Key, Records
from longtake.records.needed import Needs
from longtake.webhooks import DELAYS_SECONDS, SECRET_PREFIX, Webhooks, parse_secret, secret_of
from longtake.wire.callbacks import bodies
from tests.receivers import Received, Receiver, receiving
from tests.wire_rig import Rig

MASTER = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")
SECRET = SECRET_PREFIX + base64.b64encode(secret_of(MASTER, "default")).decode()
KEY = Key("key-1", "default", "", None, 0.0, None)
RULES = FetchRules(max_bytes=1000, timeout_seconds=5, allow=(ip_network("127.0.0.0/8"),))


class Desk:
    """Records, and what was handed to the workflows."""

    def __init__(self, folder: Path, url: str) -> None:
        self.rig = Rig.build(folder, url=url)
        self.handed: list[tuple[int, int, float]] = []
        self.records = self.rig.records
        self.records.webhooks._enqueue = lambda _, *handed: self.handed.append(handed[:3])
        self.house_url: str | None = None
        self.sender = self.with_rules(RULES)

    def with_rules(self, rules: FetchRules) -> Webhooks:
        return Webhooks(
            self.records, bodies(self.rig.links, self.rig.store, None), MASTER, rules, house_url=self.house_url
        )

    def create(self, url: str, wire: str = "native") -> str:
        order = Order(prompt="a lighthouse", callback_url=url)
        made = self.rig.service.submit(KEY, order, wire=wire, request={}, base_url="http://here.example")
        return made.id

    def run(self) -> list[float]:
        """Does what is to be done until nothing is; the delays that were asked for."""
        delays = []
        while self.handed:
            number, turn, after = self.handed.pop(0)
            delays.append(after)
            self.sender.deliver(number, turn)
        return delays


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    desk = Desk(tmp_path, database_url)
    yield desk
    desk.records.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as receiver:
        yield receiver


def started(records: Records, id: str) -> None:
    assert records.start(id, 1)


def test_each_state_is_told_once_in_order_and_signed(desk: Desk, receiver: Receiver) -> None:
    id = desk.create(receiver.address + "/hook")
    assert desk.handed == []
    started(desk.records, id)
    desk.rig.complete(id)
    desk.run()
    assert [one.json["state"] for one in receiver.came] == ["dreaming", "completed"]
    for one in receiver.came:
        assert one.headers["content-type"] == "application/json"
        assert Standard(SECRET).verify(one.body, one.headers) == one.json
        with pytest.raises(WebhookVerificationError):
            Standard(SECRET).verify(one.body + b" ", one.headers)
    assert len({one.headers["webhook-id"] for one in receiver.came}) == 2
    assert desk.run() == []


def test_what_came_first_is_told_as_it_was_then(desk: Desk, receiver: Receiver) -> None:
    """Even where both are told when all is over: polling, events and webhooks must not contradict each other."""
    id = desk.create(receiver.address)
    desk.rig.complete(id)
    desk.run()
    first, last = (one.json for one in receiver.came)
    assert (first["state"], first["assets"], first["video"]) == ("dreaming", None, None)
    assert (first["stage"], first["progress"]) == ("started", 0)
    assert last["assets"]["video"].startswith(f"http://here.example/media/videos/{id}.mp4?")


def test_a_failure_and_its_retry_are_told_with_their_own_reasons(desk: Desk, receiver: Receiver) -> None:
    id = desk.create(receiver.address)
    desk.records.fail(id, "no luck", "world")
    desk.records.retry(id, KEY.account)
    desk.records.start(id, 2)
    desk.run()
    assert [(one.json["state"], one.json["failure_reason"]) for one in receiver.came] == [
        ("failed", "no luck"),
        ("dreaming", None),
    ]


@pytest.mark.parametrize("answer", [(500, {}), (302, {"location": "http://10.0.0.1/"}), (404, {})])
def test_what_is_not_taken_is_tried_for_a_day_and_given_up(
    desk: Desk, receiver: Receiver, answer: tuple[int, dict[str, str]]
) -> None:
    receiver.answer = lambda _: answer
    id = desk.create(receiver.address)
    started(desk.records, id)
    delays = desk.run()
    assert len(delays) == len(receiver.came) == len(DELAYS_SECONDS) + 1
    assert 23 * 3600 < sum(delays) < 27 * 3600
    assert delays == sorted(delays) or max(delays) < 1.1 * max(DELAYS_SECONDS)
    assert len({one.headers["webhook-id"] for one in receiver.came}) == 1
    (given_up,) = desk.records.webhooks.page(state="given_up")
    assert given_up.problem == f"the receiver answered {answer[0]}"


def test_the_next_event_waits_for_the_one_before_and_comes_after_it(desk: Desk, receiver: Receiver) -> None:
    refused: list[str] = []

    def late(received: Received) -> tuple[int, dict[str, str]]:
        refused.append(received.json["state"])
        return (503, {"retry-after": "70"}) if len(refused) < 4 else (204, {})

    receiver.answer = late
    id = desk.create(receiver.address)
    started(desk.records, id)
    desk.rig.complete(id)
    delays = desk.run()
    assert refused == ["dreaming"] * 4 + ["completed"]
    assert [delay >= 70 for delay in delays] == [False, True, True, True, False]


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = lambda _: (410, {})
    id = desk.create(receiver.address)
    desk.rig.complete(id)
    desk.run()
    assert [one.json["state"] for one in receiver.came] == ["dreaming", "completed"]
    assert {one.state for one in desk.records.webhooks.page()} == {"given_up"}


def test_a_receiver_that_hangs_is_left_after_a_while(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    released = threading.Event()
    receiver.answer = lambda _: (200 if released.wait(20) else 500, {})
    desk.sender = desk.with_rules(RULES)
    id = desk.create(receiver.address)
    started(desk.records, id)
    ((number, turn, _),) = desk.handed
    desk.sender.deliver(number, turn)
    released.set()
    (found,) = desk.records.webhooks.page()
    assert (found.state, found.tries) == ("waiting", 1)
    assert "took longer than 0.2 s" in (found.problem or "")


def test_no_address_that_must_not_be_reached_is_reached(desk: Desk, receiver: Receiver) -> None:
    desk.sender = desk.with_rules(replace(RULES, allow=()))
    id = desk.create(receiver.address)
    started(desk.records, id)
    desk.run()
    assert receiver.came == []
    (found,) = desk.records.webhooks.page()
    assert found.state == "given_up"
    assert "public" in (found.problem or "")


def test_a_receiver_that_is_down_is_told_when_it_is_back(desk: Desk) -> None:
    with receiving(Receiver()) as away:
        address = away.address
    id = desk.create(address)
    started(desk.records, id)
    number, turn, _ = desk.handed.pop()
    desk.sender.deliver(number, turn)
    (found,) = desk.records.webhooks.page(generation_id=id)
    assert (found.state, found.tries, found.turn) == ("waiting", 1, 2)
    assert desk.handed[0][2] >= DELAYS_SECONDS[0]


def test_a_turn_that_is_over_sends_nothing(desk: Desk, receiver: Receiver) -> None:
    id = desk.create(receiver.address)
    started(desk.records, id)
    number, turn, _ = desk.handed.pop()
    for _ in range(3):
        desk.sender.deliver(number, turn)
    assert len(receiver.came) == 1
    desk.records.webhooks.try_again(number, turn, "late", 1)
    desk.records.webhooks.give_up(number, turn, "late")
    assert desk.records.webhooks.page()[0].state == "delivered"


def test_it_can_be_sent_anew_by_hand(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = lambda _: (410, {})
    id = desk.create(receiver.address)
    started(desk.records, id)
    desk.run()
    receiver.answer = lambda _: (200, {})
    (given_up,) = desk.records.webhooks.page(state="given_up")
    desk.records.webhooks.redeliver(given_up.number)
    desk.run()
    assert [one.headers["webhook-id"] for one in receiver.came] == [given_up.message_id] * 2
    assert desk.records.webhooks.page()[0].state == "delivered"
    with pytest.raises(UnknownError):
        desk.records.webhooks.redeliver(99)


def test_what_is_sent_anew_of_a_generation_that_is_forgotten_is_given_up_at_once(
    desk: Desk, receiver: Receiver
) -> None:
    id = desk.create(receiver.address)
    desk.records.delete(id, KEY.account)
    desk.run()
    assert Needs(desk.records._engine).forget_generations(time.time() + 1) == 1
    (told,) = desk.records.webhooks.page()
    desk.records.webhooks.redeliver(told.number)
    assert desk.run() == [0.0]
    (given_up,) = desk.records.webhooks.page(state="given_up")
    assert given_up.problem == "its generation was deleted long ago, and is forgotten"
    assert len(receiver.came) == 1


def test_a_lost_workflow_is_begun_anew(desk: Desk, receiver: Receiver) -> None:
    first, second = desk.create(receiver.address), desk.create(receiver.address)
    for id in (first, second):
        desk.rig.complete(id)
    desk.handed.clear()
    assert desk.records.webhooks.on_their_way() == [(1, 1), (3, 1)]
    for number, turn in desk.records.webhooks.on_their_way():
        desk.records.webhooks.begin_anew(number, turn)
    assert desk.handed == [(1, 2, 0.0), (3, 2, 0.0)]
    desk.records.webhooks.begin_anew(1, 1)
    assert len(desk.handed) == 2, "that turn is over"
    desk.run()
    assert [one.json["state"] for one in receiver.came].count("completed") == 2
    assert desk.records.webhooks.on_their_way() == []


def test_each_protocol_is_told_in_its_own_words(desk: Desk, receiver: Receiver) -> None:
    ids = {wire: desk.create(f"{receiver.address}/{wire}", wire) for wire in ("aimlapi", "luma", "native", "openai")}
    for id in ids.values():
        desk.rig.complete(id)
    desk.run()
    told: dict[str, list[Received]] = {wire: [] for wire in ids}
    for one in receiver.came:
        told[one.path.strip("/")].append(one)
    assert {wire: len(came) for wire, came in told.items()} == {"aimlapi": 2, "luma": 2, "native": 2, "openai": 1}
    assert told["aimlapi"][1].json["video_url"]
    assert "video_url" not in told["luma"][1].json
    assert told["native"][1].json["progress"] == 1
    event = told["openai"][0].json
    assert (event["type"], event["object"]) == ("video.completed", "event")
    assert event["data"]["id"] == f"video_{ids['openai'].replace('-', '')}"


def test_the_house_signs_what_it_is_told_itself_and_each_account_is_signed_for_by_its_own(
    desk: Desk, receiver: Receiver
) -> None:
    desk.house_url = receiver.address + "/house"
    desk.sender = desk.with_rules(RULES)
    for path, account in (("/house", ""), ("/theirs", "default")):
        started(desk.records, desk.create(receiver.address + path))
        desk.run()
        secret = SECRET_PREFIX + base64.b64encode(secret_of(MASTER, account)).decode()
        assert Standard(secret).verify(receiver.came[-1].body, receiver.came[-1].headers)
    assert secret_of(MASTER, "") != secret_of(MASTER, "default") != secret_of(MASTER, "another")


def test_what_a_receiver_says_beside_its_status_does_not_matter(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, {"content-encoding": "gzip", "content-length": "5000000"})
    id = desk.create(receiver.address)
    started(desk.records, id)
    desk.run()
    assert desk.records.webhooks.page()[0].state == "delivered"


def test_an_older_event_that_is_sent_anew_goes_before_a_newer_one_that_waits(desk: Desk, receiver: Receiver) -> None:
    answers = {"dreaming": 410, "completed": 500}
    receiver.answer = lambda one: (answers[one.json["state"]], {})
    id = desk.create(receiver.address)
    desk.rig.complete(id)
    for _ in range(2):
        number, turn, _ = desk.handed.pop(0)
        desk.sender.deliver(number, turn)
    assert [one.state for one in desk.records.webhooks.page()] == ["waiting", "given_up"]
    answers = {"dreaming": 200, "completed": 200}
    desk.records.webhooks.redeliver(1)
    desk.handed.sort(key=lambda handed: -handed[0])  # the newer one's next try comes first, and has to wait
    desk.run()
    assert [one.json["state"] for one in receiver.came] == ["dreaming", "completed", "dreaming", "completed"]
    assert {one.state for one in desk.records.webhooks.page()} == {"delivered"}


def test_a_deleted_generation_still_tells_its_end(desk: Desk, receiver: Receiver) -> None:
    id = desk.create(receiver.address)
    desk.records.delete(id, KEY.account)
    desk.run()
    assert [(one.json["state"], one.json["failure_reason"]) for one in receiver.came] == [("failed", "cancelled")]


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_short", "whsec_%%%", "whsec_" + "A" * 200])
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CallerError, match="24 to 64 bytes"):
        parse_secret(text)
