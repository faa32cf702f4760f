"""What users bring is opened in a child: what comes of it is the same, and what goes wrong costs the child."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from longtake.confined import Confined
from longtake.errors import Cancelled, MediaError
from longtake.footage import Footage
from longtake.sources import keep_footage, keep_still, opener
from longtake.store import Store
from tests.footage import moving, video_frames, write_foreign
from tests.sounds import write_video

Keep = Callable[[Path, Store], Footage]


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    confined = opener()
    yield confined
    confined.close()


def with_b_frames(folder: Path) -> Path:
    return write_foreign(folder / "in.mp4", video_frames(moving(60, 96, 64)), options={"x264-params": "bframes=2"})


def to_be_converted(folder: Path, num_frames: int = 60) -> Path:
    frames = [frame.reformat(format="yuv422p10le") for frame in video_frames(moving(num_frames, 96, 64))]
    return write_foreign(folder / "in.mov", frames, codec="prores_ks", muxer={"movflags": "faststart"})


def breaking_in_its_middle(folder: Path) -> Path:
    path = to_be_converted(folder)
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3 : len(data) * 2 // 3 + 2000] = bytes(2000)
    path.write_bytes(data)
    return path


def with_sound(folder: Path) -> Path:
    return write_video(folder / "in.mp4", "aac")


def cut_off(folder: Path) -> Path:
    path = to_be_converted(folder)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


@pytest.mark.parametrize("make", [with_b_frames, to_be_converted, breaking_in_its_middle, with_sound, cut_off])
def test_what_comes_of_a_video_is_the_same(tmp_path: Path, confined: Confined, make: Callable[[Path], Path]) -> None:
    path, made = make(tmp_path), []
    for name, child in (("here", None), ("there", confined)):
        store = Store.in_folder(tmp_path / name)
        footage = keep_footage(path, "sources/a", "upload:a", store, lambda *_: None, confined=child)
        objects = {key: store.read(key) for key in store.keys("sources/")}
        made.append((footage.to_json(), objects))
        assert not leftovers(store)
    assert made[0] == made[1]
    assert made[0][1]


def leftovers(store: Store) -> list[Path]:
    assert store.work_folder
    return [path for path in store.work_folder.iterdir() if path.is_dir() or path.suffix == ".mp4"]


def test_what_can_not_be_read_is_said_as_if_it_were_read_here(tmp_path: Path, confined: Confined) -> None:
    path, said = tmp_path / "in.mp4", []
    for data in (b"", b"text", cut_off(tmp_path).read_bytes()[:60]):
        path.write_bytes(data)
        for name, child in (("here", None), ("there", confined)):
            store = Store.in_folder(tmp_path / name)
            with pytest.raises(MediaError) as error:
                keep_footage(path, "sources/a", "upload:a", store, lambda *_: None, confined=child)
            said.append(str(error.value))
            assert not leftovers(store)
            assert not list(store.keys("sources/"))
    assert said[::2] == said[1::2]


def test_a_decoder_that_dies_costs_a_clear_answer_and_the_next_one_works(tmp_path: Path) -> None:
    confined, store = Confined("longtake.media.bring", at_once=1), Store.in_folder(tmp_path / "store")
    path = to_be_converted(tmp_path, 400)
    child = confined.call(os.getpid, 20)

    def tell(_stage: str, part: float) -> None:
        if part:
            os.kill(child, signal.SIGKILL)

    keep = partial(keep_footage, path, "sources/a", "upload:a", store, confined=confined)
    with pytest.raises(MediaError, match="breaks the program that reads it"):
        keep(tell)
    assert not leftovers(store)
    assert not list(store.keys("sources/"))
    assert keep(lambda *_: None).timeline.num_frames == 400
    confined.close()


def test_a_cancel_ends_the_work_and_leaves_nothing(tmp_path: Path, confined: Confined) -> None:
    path, store, told = to_be_converted(tmp_path), Store.in_folder(tmp_path / "store"), []

    def tell(stage: str, part: float) -> None:
        told.append((stage, part))
        if part:
            raise Cancelled("taken back")

    with pytest.raises(Cancelled):
        keep_footage(path, "sources/a", "upload:a", store, tell, confined=confined)
    assert {stage for stage, _ in told} == {"bring"}
    assert not leftovers(store)
    assert not list(store.keys("sources/"))


def test_an_image_is_opened_there_too(tmp_path: Path, confined: Confined) -> None:
    store = Store.in_folder(tmp_path / "store")
    Image.linear_gradient("L").save(tmp_path / "a.png")
    still = keep_still(tmp_path / "a.png", "stills/a.png", store, max_pixels=10**6, confined=confined)
    assert (still.width, still.height) == (256, 256)
    assert list(store.keys("stills/")) == ["stills/a.png"]
    with pytest.raises(MediaError, match="pixels"):
        keep_still(tmp_path / "a.png", "stills/b.png", store, max_pixels=100, confined=confined)
