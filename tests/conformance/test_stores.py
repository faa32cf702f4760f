"""What every store does alike: a new one is one more name in the list."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from longtake.engines.motion import Motion
from longtake.errors import UnknownError
from longtake.footage import Footage
from longtake.joining import join, measure_seams, timeline_of
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.planning import plan
from longtake.rendering import render
from longtake.store import CHUNK_BYTES, Store
from longtake.timeline import Segment, Timeline
from tests.footage import TINY, moving, same

STORES: dict[str, Callable[[Path], Store]] = {
    "folder": lambda folder: Store.in_folder(folder / "objects"),
    "memory": lambda _: Store.in_memory(),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


def test_a_file_becomes_an_object_and_is_gone_where_it_was(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    assert store.put_file("videos/a.mp4", path) == 5
    assert not path.exists()
    assert store.read("videos/a.mp4") == b"bytes"
    assert store.size("videos/a.mp4") == 5


def test_a_stretch_of_an_object_is_streamed_in_chunks(store: Store) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 100)
    store.put("videos/a.mp4", data)
    chunks = list(store.stream("videos/a.mp4", 7, len(data) - 3))
    assert b"".join(chunks) == data[7:-3]
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert len(chunks) > 2


def test_what_is_not_there_is_unknown_and_deleting_it_does_nothing(store: Store) -> None:
    assert store.size("videos/none.mp4") is None
    store.delete("videos/none.mp4")
    with pytest.raises(UnknownError):
        store.open("videos/none.mp4")
    with pytest.raises(UnknownError):
        list(store.stream("videos/none.mp4", 0, 1))


def test_a_deleted_object_is_gone(store: Store) -> None:
    store.put("images/a.jpg", b"1")
    store.delete("images/a.jpg")
    assert store.size("images/a.jpg") is None


def test_keys_are_listed_by_the_path_that_they_begin_with(store: Store) -> None:
    for key in ("images/a.jpg", "videos/a.mp4", "videos/b.mp4"):
        store.put(key, b"1")
    assert sorted(store.keys("videos")) == ["videos/a.mp4", "videos/b.mp4"]
    assert len(list(store.keys())) == 3


@pytest.mark.parametrize(
    "key", ["../secret", "videos/../../x", "/etc/passwd", "videos//a", "videos/.hidden", "videos", ""]
)
def test_a_key_that_is_none_of_ours_is_unknown(store: Store, key: str) -> None:
    assert store.size(key) is None
    with pytest.raises(UnknownError):
        store.open(key)


def test_a_video_is_extended_in_it_with_its_frames_untouched(store: Store, tmp_path: Path) -> None:
    encoded = encode([moving(12)], TINY, tmp_path / "a.mp4")
    store.put_file("sources/a.mp4", tmp_path / "a.mp4")
    source = Timeline(TINY, (Segment("a", "sources/a.mp4", 0, 12, encoded.key_frames),))
    own = read_all(source, 0, 12, store.open)
    order = Order(before=KeyFrame(type="video", url="a"), seconds=Fraction(1), seed=1)
    engine, footage = Motion(), Footage(source)
    planned = plan(order, source, None, engine.capabilities)
    rendered = render("b", order, planned, footage, None, engine, store, lambda stage, part: None)
    timeline, new_start = timeline_of(planned, rendered)
    key, num_bytes, _ = join("b", timeline, store)
    assert new_start == 12
    assert store.size(key) == num_bytes
    whole = Timeline(TINY, (Segment("b", key, 0, 18, (0, 12)),))
    assert same(read_all(whole, 0, 12, store.open), own)
    assert [seam.frame for seam in measure_seams(planned, order, timeline, footage, None, store)] == [12]
