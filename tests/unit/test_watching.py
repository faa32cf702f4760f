"""What can be watched: not what a player could not take in parts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NoReturn, cast

import pytest
from structlog.testing import capture_logs

from longtake import watching
from longtake.errors import StoreError, UnknownError
from longtake.footage import Run
from longtake.media import packets
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.planning import Capabilities, plan
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Coding, VideoFormat
from longtake.watching import MOST_SECONDS, Live, Watch, Watchable, is_watchable, look_again
from tests.footage import moving


def finished(num_frames: int, *key_frames: int, codec: str = "h264") -> Any:
    """A generation whose video is one segment of a frame a second."""
    format = VideoFormat(64, 48, Fraction(1), Coding(codec))
    timeline = Timeline(format, (Segment("a", "segments/a.mp4", 0, num_frames, key_frames),))
    return SimpleNamespace(id="a", state="completed", result=SimpleNamespace(timeline=timeline))


def test_footage_whose_key_frames_are_too_far_apart_has_no_playlist() -> None:
    assert Watch.of(finished(MOST_SECONDS, 0), Store.in_memory()).is_whole
    with pytest.raises(UnknownError, match="key frames"):
        Watch.of(finished(MOST_SECONDS + 1, 0), Store.in_memory())
    assert Watch.of(finished(MOST_SECONDS + 1, 0, 20), Store.in_memory()).is_whole


TWO_A_SECOND = VideoFormat(64, 48, Fraction(2))
VIDEO = KeyFrame(type="video", url="-")


@pytest.fixture
def rendered(tmp_path: Path) -> tuple[Store, Watch, Watch]:
    """A store, what can be watched of a video while its new part is rendered, and when that is done."""
    store = Store.in_folder(tmp_path / "store")
    groups: list[tuple[bytes, int]] = []
    segments = []
    for key, num in (("old", 6), ("new", 10)):
        encoded = encode([moving(num)], TWO_A_SECOND, tmp_path / key, publish=lambda *group: groups.append(group))
        store.put_file(f"segments/{key}.mp4", tmp_path / key)
        segments.append(Segment(key, f"segments/{key}.mp4", 0, num, encoded.key_frames))
    old = Timeline(TWO_A_SECOND, (segments[0],))
    planned = plan(Order(before=VIDEO), old, None, Capabilities(name="any"))
    live = Live(Run("new"), planned, None, None, store)
    for group in groups[2:]:  # the old one's are two
        live.publish(*group)
    dreaming = SimpleNamespace(id="new", attempt=1, state="dreaming", result=None)
    whole = SimpleNamespace(timeline=Timeline(TWO_A_SECOND, tuple(segments)))
    completed = SimpleNamespace(id="new", state="completed", result=whole)
    return store, Watch.of(cast("Any", dreaming), store), Watch.of(cast("Any", completed), store)


def names(watch: Watch) -> list[str]:
    lines = watch.playlist(lambda name: name).splitlines()
    return ["header.mp4", *(line for line in lines if not line.startswith("#"))]


def test_whoever_asks_for_a_part_in_the_moment_that_rendering_ends_gets_its_equal(
    rendered: tuple[Store, Watch, Watch],
) -> None:
    store, live, whole = rendered
    assert names(live) == names(whole) == ["header.mp4", "0-4.m4s", "4-6.m4s", "6-10.m4s", "10-14.m4s", "14-16.m4s"]
    before = {name: look_again(lambda: live, name, store) for name in names(live)}
    assert {watch.is_whole for watch, _ in before.values()} == {False}
    Run("new").forget(store)
    for name in names(live):
        looks = iter((live, whole))
        watch, data = look_again(lambda looks=looks: next(looks), name, store)  # type: ignore[misc]
        if name != "header.mp4":
            assert data == before[name][1]
    assert watch is whole


def test_whoever_looks_in_that_moment_looks_again_and_what_is_nowhere_stays_so(
    rendered: tuple[Store, Watch, Watch],
) -> None:
    store, _, whole = rendered
    states = ["dreaming", "completed"]

    def look() -> Watch:
        if states.pop(0) == "dreaming":
            raise UnknownError("there is nothing yet to be watched")
        return whole

    assert look_again(look, None, store) == (whole, b"")
    with pytest.raises(UnknownError, match="no such part"):
        look_again(lambda: whole, "0-5.m4s", store)


def test_a_playlist_answers_from_the_first_moment_that_there_is_something_and_not_before(
    rendered: tuple[Store, Watch, Watch],
) -> None:
    store, _, _ = rendered
    dreaming: Any = SimpleNamespace(id="new", attempt=1, state="dreaming", result=None)
    assert is_watchable(dreaming, store)
    Run("new").forget(store)
    assert not is_watchable(dreaming, store)
    assert is_watchable(finished(10, 0), store)
    assert not is_watchable(finished(10, 0, codec="mpeg4"), store)


def counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the objects that are opened from now on."""
    opened: list[str] = []
    open_object = Store.open

    def note(store: Store, key: str) -> str | BinaryIO:
        opened.append(key)
        return open_object(store, key)

    monkeypatch.setattr(Store, "open", note)
    return opened


def test_a_part_of_what_is_rendered_costs_the_same_however_much_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.in_memory()
    encode([moving(4)], TWO_A_SECOND, tmp_path / "group")
    group = (tmp_path / "group").read_bytes()
    opened = counted(store, monkeypatch)
    num_opened = []
    for num in (2, 30):
        segments = []
        for number in range(num):
            key = f"live/{num}/1-1-{number:05}.mp4"
            store.put(key, group)
            segments.append(Segment("a", key, 0, 4, (0,)))
        watch = Watch(Timeline(TWO_A_SECOND, tuple(segments)), Timeline(TWO_A_SECOND, ()), False)
        opened.clear()
        watch.part(f"{4 * num - 4}-{4 * num}.m4s", store)
        num_opened.append(len(opened))
    assert num_opened == [3, 3]


def test_the_parts_of_a_finished_chain_look_at_each_object_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, segments = Store.in_memory(), []
    for number in range(12):
        key = f"segments/{number}/1-1.mp4"
        encode([moving(4)], TWO_A_SECOND, tmp_path / "one")
        store.put_file(key, tmp_path / "one")
        segments.append(Segment(str(number), key, 0, 4, (0,)))
    watch = Watch(Timeline(TWO_A_SECOND, tuple(segments)), Timeline(TWO_A_SECOND, ()), True)
    opened = counted(store, monkeypatch)
    first = [watch.part(name, store) for name in names(watch)]
    assert len(opened) < 12 + 3 * len(first)
    opened.clear()
    assert [watch.part(name, store) for name in names(watch)] == first
    assert len(opened) <= 2 * len(first)
    other = Store.in_memory()
    with pytest.raises(UnknownError):
        watch.part(names(watch)[-1], other)  # what one store has says nothing of another


def test_parameter_sets_are_kept_of_the_latest_used_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "MOST_KNOWN", 2)
    encode([moving(4)], TWO_A_SECOND, tmp_path / "one")
    opened, known = list[str](), packets.ParameterSets()

    def open_object(key: str) -> str:
        opened.append(key)
        return str(tmp_path / "one")

    for key in "abacab":
        assert known.of(Segment("a", key, 0, 4, (0,)), TWO_A_SECOND, open_object)
    assert opened == ["a", "b", "c", "b"]


@pytest.mark.parametrize("what", ["list", "put"])
def test_a_store_that_fails_while_groups_are_published_ends_that_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store, groups = Store.in_memory(), list[tuple[bytes, int]]()
    encode([moving(10)], TWO_A_SECOND, tmp_path / "new", publish=lambda *group: groups.append(group))
    encoded = encode([moving(6)], TWO_A_SECOND, tmp_path / "old")
    store.put_file("segments/old.mp4", tmp_path / "old")
    old = Timeline(TWO_A_SECOND, (Segment("old", "segments/old.mp4", 0, 6, encoded.key_frames),))
    planned = plan(Order(before=VIDEO), old, None, Capabilities(name="any"))
    asked: list[str] = []

    def refuse(_: Store, key: str = "", data: bytes = b"") -> NoReturn:
        asked.append(key)
        raise StoreError("the bucket answered 503", retryable=True)

    with capture_logs() as logs:
        if what == "list":
            monkeypatch.setattr(Store, "keys", refuse)
            live = Live(Run("new"), planned, None, None, store)
        else:
            live = Live(Run("new"), planned, None, None, store)
            live.publish(*groups[0])
            monkeypatch.setattr(Store, "put", refuse)
        for group in groups[1:]:
            live.publish(*group)
    assert len(groups) > 2
    assert len(asked) == 1
    assert [(line["log_level"], line["why"]) for line in logs] == [("warning", "the bucket answered 503")]
    monkeypatch.undo()
    dreaming: Any = SimpleNamespace(id="new", attempt=1, state="dreaming", result=None)
    if what == "put":
        watch = Watch.of(dreaming, store)
        assert watch.shown.num_frames == 6 + groups[0][1]
        assert watch.part(names(watch)[-1], store)


def test_of_what_can_be_watched_the_store_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [100.0], list[str]()

    def is_there(generation: Any, _: Store) -> bool:
        asked.append(generation.id)
        return len(asked) > 1

    monkeypatch.setattr(watching, "is_watchable", is_there)
    monkeypatch.setattr(watching, "MOST_ASKED", 2)
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watchable = Watchable(Store.in_memory())

    def dreaming(id: str, attempt: int = 1) -> Any:
        return SimpleNamespace(id=id, attempt=attempt, state="dreaming", result=None)

    assert [watchable(dreaming("a")) for _ in range(4)] == [False, True, True, True]
    assert asked == ["a", "a"], "as soon as there is something to be watched it is told"
    now[0] += watching.SAME_SECONDS
    watchable(dreaming("a"))
    assert asked == ["a", "a", "a"]
    watchable(dreaming("a", attempt=2))
    watchable(finished(10, 0))
    watchable(finished(10, 0))
    assert len(asked) == 6, "of another attempt, and of what has ended, nothing is taken for granted"
    watchable(dreaming("b"))
    watchable(dreaming("a"))
    assert len(asked) == 8, "of no more than two anything is known"


def test_a_codec_that_players_do_not_take_has_no_playlist() -> None:
    with pytest.raises(UnknownError, match="mpeg4"):
        Watch.of(finished(10, 0, codec="mpeg4"), Store.in_memory())
