"""What can be watched: not what a player could not take in parts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from longtake.errors import UnknownError
from longtake.footage import Run
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.planning import Capabilities, plan
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Coding, VideoFormat
from longtake.watching import MOST_SECONDS, Live, Watch, is_watchable, look_again
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


def test_a_codec_that_players_do_not_take_has_no_playlist() -> None:
    with pytest.raises(UnknownError, match="mpeg4"):
        Watch.of(finished(10, 0, codec="mpeg4"), Store.in_memory())
