"""The database goes away in the midst of an answer, or of a webhook's try."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtake.errors import DatabaseError
from longtake.records import Changes
from tests.receivers import Receiver, receiving
from tests.unit.test_webhooks import Desk
from tests.wire_rig import Rig, client, events, serving


def away(*_: object, **__: object) -> None:
    raise DatabaseError("the database is away or too busy")


def test_a_stream_of_events_that_is_being_caught_up_ends_whole_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig.build(tmp_path)
    with serving(rig) as url, client(url) as http:
        id = http.post("/api/generations", json={"prompt": "A jellyfish"}).json()["id"]
        rig.complete(id)
        with monkeypatch.context() as patch:
            patch.setattr(Changes, "after", away)
            with http.stream("GET", "/api/events", headers={"Last-Event-ID": "0"}) as stream:
                assert list(stream.iter_lines()) == [": connected", ""]
        with http.stream("GET", f"/api/generations/{id}/events", headers={"Last-Event-ID": "0"}) as stream:
            assert [kind for _, kind, _ in events(stream)][-1] == "generation.completed"


def test_it_uses_up_none_of_a_webhooks_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(Receiver()) as receiver:
        desk = Desk(tmp_path, f"sqlite:///{tmp_path / 'longtake.db'}")
        desk.records.start(desk.create(receiver.address), 1)
        ((number, turn, _),) = desk.handed
        with monkeypatch.context() as patch:
            patch.setattr(desk.sender, "_body", away)
            with pytest.raises(DatabaseError):
                desk.sender.deliver(number, turn)
        assert desk.records.webhooks.get(number).tries == 0
        desk.run()
        assert [one.json["state"] for one in receiver.came] == ["dreaming"]
        desk.records.close()
