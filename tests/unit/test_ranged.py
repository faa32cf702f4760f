"""What stands far away is read by ranges: each of them may fail, long after the first one did not."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import obstore
import pytest

from longtake.errors import FaultError, LongtakeError, StoreError, UnknownError
from longtake.frames import Frames
from longtake.media.decode import read
from longtake.media.encode import encode
from longtake.media.splice import splice
from longtake.store import Store, ranged
from longtake.store import objects as places
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from longtake.watching import Watch, look_again

KEY = "segments/a/1-1.mp4"
FORMAT = VideoFormat(160, 96, Fraction(10))
NUM = 40
SECRET = "status code: 503: <StringToSign>AWS4 AKIA</StringToSign>"

ReadRange = Callable[[places.Objects, str, int, int], bytes]


class Line:
    """What fails at one range of those that are read, counted from 1; at all from then on, where it stays cut."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._read: ReadRange = places.Objects.read_range
        self.num, self.fails_at, self.stays_cut = 0, 0, False
        self.failure: Callable[[], bytes] = lambda: b""

        def read_range(place: places.Objects, key: str, start: int, stop: int) -> bytes:
            self.num += 1
            if self.num == self.fails_at or (self.stays_cut and self.num > self.fails_at > 0):
                return self.failure()
            return self._read(place, key, start, stop)

        patch.setattr(places.Objects, "read_range", read_range)

    def cut(self, at: int, failure: Exception | None, *, for_good: bool = False) -> None:
        def fail() -> bytes:
            if failure is None:
                return b""
            raise failure

        self.num, self.fails_at, self.stays_cut, self.failure = 0, at, for_good, fail


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Timeline, Line]:
    """A store, a video of many ranges in it, and the line to it."""
    for module in (ranged, places):
        monkeypatch.setattr(module, "FIRST_BYTES", 1 << 14)
    monkeypatch.setattr(ranged, "MOST_BYTES", 1 << 15)
    rng = np.random.default_rng(1)
    planes = [rng.integers(16, 235, (NUM, 96 // by, 160 // by), dtype=np.uint8) for by in (1, 2, 2)]
    made = encode([Frames(tuple(planes))], FORMAT, tmp_path / "a.mp4")
    store = Store.in_memory()
    assert store.put_file(KEY, tmp_path / "a.mp4") > 12 << 14
    return store, Timeline(FORMAT, (Segment("a", KEY, 0, NUM, made.key_frames),)), Line(monkeypatch)


def plainly(store: Store, timeline: Timeline, folder: Path) -> None:
    with cast("BinaryIO", store.open(KEY)) as file:
        file.read()


def decoded(store: Store, timeline: Timeline, folder: Path) -> None:
    for _ in read(timeline, 0, NUM, store.open):
        pass


def joined(store: Store, timeline: Timeline, folder: Path) -> None:
    splice(timeline, store.open, folder / "joined.mp4")


@pytest.mark.parametrize("how", [plainly, decoded, joined])
@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (obstore.exceptions.GenericError(SECRET), StoreError),
        (ConnectionResetError(SECRET), StoreError),
        (FileNotFoundError("not found"), UnknownError),
        (None, StoreError),
    ],
    ids=["refused", "cut", "gone", "short"],
)
def test_whichever_range_fails_the_reader_gets_our_error_and_nothing_that_the_server_said(
    far: tuple[Store, Timeline, Line],
    tmp_path: Path,
    how: Callable[[Store, Timeline, Path], None],
    failure: Exception | None,
    told: type[LongtakeError],
) -> None:
    store, timeline, line = far
    line.cut(0, None)
    how(store, timeline, tmp_path)
    total = line.num
    assert total > 3
    for at in range(2, total + 1, max(1, total // 6)):
        line.cut(at, failure)
        with pytest.raises(told, match=rf"^could not read {KEY}: ") as caught:
            how(store, timeline, tmp_path)
        assert "AKIA" not in str(caught.value)
        if told is StoreError:
            assert caught.value.retryable  # type: ignore[attr-defined]


def test_who_watches_while_an_object_goes_looks_again_at_whatever_range_it_was(
    far: tuple[Store, Timeline, Line],
) -> None:
    store, timeline, line = far
    watch = Watch(timeline, Timeline(FORMAT, ()), False)
    line.cut(0, None)
    looked = look_again(lambda: watch, f"0-{NUM // 2}.m4s", store)
    for at in range(1, line.num + 1):
        line.cut(at, FileNotFoundError("not found"))
        assert look_again(lambda: watch, f"0-{NUM // 2}.m4s", store) == looked
    line.cut(2, FileNotFoundError("not found"), for_good=True)
    with pytest.raises((UnknownError, FaultError)):
        look_again(lambda: watch, f"0-{NUM // 2}.m4s", store)
