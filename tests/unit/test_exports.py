"""The room where finished videos become other kinds of file: each once, one at a time, and nothing half."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from longtake.confined import Confined
from longtake.errors import ConflictError, FaultError, MediaError, StoreError, UnknownError, WorldError
from longtake.exports import MOST_WAITING, Conversion, Exports
from longtake.orders import Order
from longtake.records import Generation
from longtake.store import Store
from tests.wire_rig import KEY, Rig


class Child(Confined):
    """In the place of the child process: it waits until it may, and writes a few bytes or fails."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)
        self.failures: list[Exception] = []
        self.calls: list[tuple[float, str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def call(self, function: Any, seconds: float, /, *args: Any, **kwargs: Any) -> Any:
        source, kind, path = args
        self.calls.append((seconds, kind))
        self.begun.release()
        assert self.opened.wait(20)
        self.meanwhile()
        if self.failures:
            path.with_suffix(".part").write_bytes(b"half")
            raise self.failures.pop()
        path.write_bytes(b"made of " + Path(source).read_bytes())

    def close(self) -> None: ...


class Place:
    """A room with a store, and generations for it."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig.build(folder)
        self.store = self.rig.store
        self.child = Child()
        self.exports = Exports(self.store, self.child)

    def generation(self, *, seconds: int = 5, completed: bool = True) -> Generation:
        key = self.rig.keys.check(KEY)
        made = self.rig.service.submit(key, Order(prompt="x"), wire="native", request={})
        if completed:
            self.rig.complete(made.id, seconds=seconds)
        return self.rig.records.get(made.id)

    def ended(self, conversion: Conversion) -> str | None:
        conversion.key.exception(20)
        return self.exports.key(conversion)

    def work(self) -> list[Path]:
        assert self.store.work_folder
        return list(self.store.work_folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_it_is_made_once_however_many_ask(place: Place) -> None:
    one = place.generation()
    asked = [place.exports.begin(one, "webm") for _ in range(20)]
    assert place.exports.key(asked[0]) is None
    place.child.opened.set()
    assert {place.ended(conversion) for conversion in asked} == {f"exports/{one.id}.webm"}
    assert place.exports.key(place.exports.begin(one, "webm")) == f"exports/{one.id}.webm"
    assert place.child.calls == [(120 + 30 * 5, "webm")]
    assert place.store.read(f"exports/{one.id}.webm") == f"made of videos/{one.id}.mp4".encode()
    assert place.work() == []


def test_what_was_made_before_a_restart_is_found(place: Place) -> None:
    one = place.generation()
    place.child.opened.set()
    place.ended(place.exports.begin(one, "prores"))
    again = Exports(place.store, Child())
    assert again.key(again.begin(one, "prores")) == f"exports/{one.id}.mov"


def test_a_store_in_memory_works_too(place: Place) -> None:
    one, store = place.generation(), Store.in_memory()
    store.put(f"videos/{one.id}.mp4", b"a video")
    exports = Exports(store, place.child)
    place.child.opened.set()
    made = exports.begin(one, "webm")
    assert made.key.result(20) == f"exports/{one.id}.webm"
    assert store.read(f"exports/{one.id}.webm") == b"made of a video"


def test_a_failure_is_told_to_all_who_wait_and_then_it_is_tried_again(place: Place) -> None:
    one = place.generation()
    place.child.failures = [MediaError("no good")]
    asked = [place.exports.begin(one, "webm") for _ in range(3)]
    place.child.opened.set()
    for conversion in asked:
        with pytest.raises(MediaError, match="can't be converted to webm: no good"):
            place.ended(conversion)
    assert place.work() == []
    assert list(place.store.keys("exports")) == []
    assert place.ended(place.exports.begin(one, "webm"))


def test_a_failure_that_nobody_waited_for_is_told_to_who_asks_next(place: Place) -> None:
    one = place.generation()
    place.child.failures = [FaultError("it broke")]
    place.child.opened.set()
    place.exports.begin(one, "webm").key.exception(20)
    with pytest.raises(FaultError, match="it broke"):
        place.ended(place.exports.begin(one, "webm"))
    assert place.ended(place.exports.begin(one, "webm"))


def test_what_a_foreign_error_says_is_for_the_log_alone(place: Place) -> None:
    place.child.failures = [ValueError("hush")]
    place.child.opened.set()
    with capture_logs() as logs, pytest.raises(FaultError) as told:
        place.ended(place.exports.begin(place.generation(), "webm"))
    assert str(told.value) == "the video could not be converted to webm; the log tells more under its id"
    assert [line["event"] for line in logs] == ["fault"]


def test_a_disk_that_is_full_when_the_video_is_fetched_is_the_worlds_fault(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, store = place.generation(), Store.in_memory()
    store.put(f"videos/{one.id}.mp4", b"a video")

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device", "/data/hush")

    monkeypatch.setattr(Path, "open", full)
    exports = Exports(store, place.child)
    with pytest.raises(StoreError, match=r"can't be fetched: No space left on device$"):
        exports.begin(one, "webm").key.result(20)


def test_others_are_answered_while_a_store_far_away_is_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = place.generation(), place.generation()
    size, asked, answers = place.store.size, threading.Event(), threading.Event()

    def size_of(key: str) -> int | None:
        if slow.id in key and key.startswith("exports/"):
            asked.set()
            assert answers.wait(20)
        return size(key)

    monkeypatch.setattr(place.store, "size", size_of)
    begun: list[Conversion] = []
    threads = [threading.Thread(target=lambda: begun.append(place.exports.begin(slow, "webm"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert asked.wait(20)
    asking = threading.Thread(target=place.exports.begin, args=(quick, "webm"), daemon=True)
    asking.start()
    asking.join(10)
    was_answered = not asking.is_alive()
    answers.set()
    for thread in threads:
        thread.join()
    assert was_answered
    assert begun[0] is begun[1], "it is made once, though two found nothing"


def test_no_more_wait_than_may(place: Place) -> None:
    first = place.exports.begin(place.generation(), "webm")
    assert place.child.begun.acquire(timeout=20)  # it is being made, and waits no more
    waiting = [place.exports.begin(place.generation(), "webm") for _ in range(MOST_WAITING)]
    with pytest.raises(WorldError) as caught:
        place.exports.begin(place.generation(), "webm")
    assert caught.value.retryable
    assert caught.value.retry_after_seconds
    place.child.opened.set()
    assert all(place.ended(one) for one in [first, *waiting])


def test_a_video_that_is_deleted_while_it_is_converted_leaves_nothing(place: Place) -> None:
    one = place.generation()
    begun = place.exports.begin(one, "webm")

    def delete() -> None:
        place.store.delete(f"videos/{one.id}.mp4")
        place.exports.delete(one.id)

    place.child.meanwhile = delete
    place.child.failures = [MediaError("the video was deleted")]
    place.child.opened.set()
    with pytest.raises(UnknownError):
        place.ended(begun)
    assert list(place.store.keys("exports")) == []


def test_one_that_is_deleted_when_it_is_nearly_stored_is_not_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, put_file = place.generation(), place.store.put_file

    def put_and_delete(key: str, path: Path) -> int:
        place.store.delete(f"videos/{one.id}.mp4")
        place.exports.delete(one.id)
        return put_file(key, path)

    monkeypatch.setattr(place.store, "put_file", put_and_delete)
    place.child.opened.set()
    with pytest.raises(UnknownError):
        place.ended(place.exports.begin(one, "webm"))
    assert list(place.store.keys("exports")) == []


def test_what_is_not_finished_and_what_is_too_long_is_refused_at_once(place: Place) -> None:
    with pytest.raises(ConflictError, match="is queued"):
        place.exports.begin(place.generation(completed=False), "webm")
    with pytest.raises(MediaError, match=r"61\.0 s"):
        place.exports.begin(place.generation(seconds=61), "gif")
    assert place.child.calls == []
