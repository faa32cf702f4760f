"""What every store does alike: a new one is one more name in the list."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from longtake.engines.motion import Motion
from longtake.errors import FaultError, UnknownError
from longtake.footage import Footage, Run
from longtake.joining import join, measure_seams, timeline_of
from longtake.media.decode import read_all
from longtake.media.encode import encode
from longtake.orders import KeyFrame, Order
from longtake.rendering import render
from longtake.scene import Scene
from longtake.store import CHUNK_BYTES, Store
from longtake.timeline import Segment, Timeline
from tests.footage import TINY, moving, same
from tests.s3 import S3

STORES = ("folder", "memory", "s3")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return Store.in_folder(tmp_path / "objects")
    if request.param == "memory":
        return Store.in_memory()
    server: S3 = request.getfixturevalue("s3")
    server.set_environment(monkeypatch)
    return server.store(tmp_path / "scratch")


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


def test_a_path_is_no_beginning_of_a_name(store: Store) -> None:
    for key in ("segments/ab/1.mp4", "segments/ab/2.mp4", "segments/abc/1.mp4", "segments/ab.mp4"):
        store.put(key, b"1")
    assert sorted(store.keys("segments/ab")) == ["segments/ab/1.mp4", "segments/ab/2.mp4"]
    store.delete_under("segments/ab")
    assert sorted(store.keys()) == ["segments/ab.mp4", "segments/abc/1.mp4"]
    store.delete_under("segments/ab")
    store.delete_under("segments/none")


@pytest.mark.parametrize("path", ["", "segments", "segments/", "../x", "segments/..", "/"])
def test_what_is_no_path_of_two_names_is_never_deleted_under(store: Store, path: str) -> None:
    store.put("segments/a/1.mp4", b"1")
    with pytest.raises(FaultError, match="two names"):
        store.delete_under(path)
    assert list(store.keys()) == ["segments/a/1.mp4"]


def test_a_listing_tells_sizes_and_times(store: Store) -> None:
    before = time.time()
    store.put("images/a.jpg", b"12345")
    (found,) = store.listed()
    assert (found.key, found.num_bytes) == ("images/a.jpg", 5)
    assert before - 2 < found.modified_at < time.time() + 2


def test_what_was_put_again_is_read_as_it_is_now(store: Store) -> None:
    for data in (b"first", b"", b"second, longer"):
        store.put("live/a", data)
        assert store.read("live/a") == data
        assert store.size("live/a") == len(data)
        assert b"".join(store.stream("live/a", 0, len(data))) == data
        with _opened(store, "live/a") as file:
            assert file.read() == data


def test_an_object_is_read_from_wherever_one_jumps_to(store: Store) -> None:
    data = bytes(range(251)) * 20_000
    store.put("videos/a.mp4", data)
    with _opened(store, "videos/a.mp4") as file:
        for offset, num_bytes in ((4_000_000, 70_000), (0, 10), (5_019_990, 99), (3_999_990, 2_000_000), (1, 300_000)):
            assert file.seek(offset) == offset
            assert file.read(num_bytes) == data[offset : offset + num_bytes]
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        assert file.seek(len(data) + 5) == len(data) + 5
        assert file.read(1) == b""


def test_a_file_from_its_work_folder_and_one_from_elsewhere_are_put_alike(store: Store, tmp_path: Path) -> None:
    for folder in (tmp_path, store.work_folder or tmp_path):
        path = folder / "file"
        path.write_bytes(b"bytes")
        store.put_file("videos/a.mp4", path)
        assert not path.exists()
        assert store.read("videos/a.mp4") == b"bytes"
    assert [found.key for found in store.listed()] == ["videos/a.mp4"]


def test_many_threads_use_it_at_once(store: Store) -> None:
    together = threading.Barrier(8)

    def use(number: int) -> bytes:
        together.wait()
        for turn in range(3):
            store.put(f"live/{number}/{turn}", b"%d" % number * 1000)
        store.delete(f"live/{number}/0")
        return store.read(f"live/{number}/2")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [b"%d" % number * 1000 for number in range(8)]
    assert len(list(store.keys("live"))) == 16


def test_its_check_is_silent_where_all_is_well(store: Store) -> None:
    store.check()
    assert list(store.keys()) == []


def _opened(store: Store, key: str) -> io.BufferedIOBase:
    source = store.open(key)
    return open(source, "rb") if isinstance(source, str) else source  # type: ignore[return-value]  # noqa: PTH123


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
    scene = Scene.of(Run("b"), order, footage, None, engine.capabilities, store)
    timeline, new_start = timeline_of(scene.plan, render(scene, engine))
    key, num_bytes, _ = join(Run("b"), timeline, store)
    assert new_start == 12
    assert store.size(key) == num_bytes
    whole = Timeline(TINY, (Segment("b", key, 0, 18, (0, 12)),))
    assert same(read_all(whole, 0, 12, store.open), own)
    assert [seam.frame for seam in measure_seams(scene, timeline)] == [12]
