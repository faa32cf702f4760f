"""What players show of a finished video before it plays: drawn from the file, ahead of slow conversions."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from longtake.confined import Confined
from longtake.errors import MediaError, WorldError
from longtake.exports import Exports
from longtake.media.sheet import SPRITE_COLUMNS, SPRITE_ROWS, draw
from longtake.orders import Order
from longtake.records import Generation
from tests.wire_rig import KEY, Rig

NUM_SPRITES = SPRITE_COLUMNS * SPRITE_ROWS


def greys(path: Path, levels: list[int], size: tuple[int, int] = (160, 96), *, gop: int = 12, **stream: Any) -> Path:
    """A video of flat frames, each as light as the list says, at 10 frames per second, with B-frames."""
    with av.open(str(path), "w") as container:
        made = container.add_stream("libx264", rate=10, options={"bf": "2", "g": str(gop), "crf": "12"})
        made.width, made.height, made.pix_fmt = *size, "yuv420p"
        for name, value in stream.items():
            setattr(made.codec_context, name, value)
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(made.encode(frame))
        container.mux(made.encode(None))
    return path


def tiles(path: Path) -> list[float]:
    """How light each picture of the sheet is, row by row."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("L"), np.float64)
    height, width = pixels.shape[0] // SPRITE_ROWS, pixels.shape[1] // SPRITE_COLUMNS
    return [
        float(pixels[row * height + 8 : (row + 1) * height - 8, column * width + 8 : (column + 1) * width - 8].mean())
        for row in range(SPRITE_ROWS)
        for column in range(SPRITE_COLUMNS)
    ]


@pytest.mark.parametrize(("num_frames", "gop"), [(200, 12), (200, 1000), (7, 12), (1, 12)])
def test_each_picture_of_a_sheet_is_the_frame_at_the_middle_of_its_stretch(
    tmp_path: Path, num_frames: int, gop: int
) -> None:
    levels = [40 + number * 170 // num_frames for number in range(num_frames)]
    draw(greys(tmp_path / "a.mp4", levels, gop=gop), "spritesheet", tmp_path / "sheet.jpg")
    wanted = [levels[(2 * number + 1) * num_frames // (2 * NUM_SPRITES)] for number in range(NUM_SPRITES)]
    assert np.abs(np.array(tiles(tmp_path / "sheet.jpg")) - wanted).max() < 3


@pytest.mark.parametrize(
    ("size", "aspect", "thumbnail", "sheet"),
    [
        ((160, 96), Fraction(1), (160, 96), (800, 384)),
        ((1280, 720), Fraction(1), (640, 360), (1600, 720)),
        ((720, 1280), Fraction(1), (360, 640), (900, 1280)),
        ((160, 96), Fraction(2), (320, 96), (1600, 384)),
    ],
)
def test_pictures_have_the_videos_shape_and_are_never_enlarged(
    tmp_path: Path, size: tuple[int, int], aspect: Fraction, thumbnail: tuple[int, int], sheet: tuple[int, int]
) -> None:
    video = greys(tmp_path / "a.mp4", [90, 120], size, sample_aspect_ratio=aspect)
    for kind, path, wanted, format in (
        ("thumbnail", tmp_path / "a.webp", thumbnail, "WEBP"),
        ("spritesheet", tmp_path / "a.jpg", sheet, "JPEG"),
    ):
        draw(video, kind, path)  # type: ignore[arg-type]
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == (format, wanted)


def test_a_turned_video_is_drawn_upright(tmp_path: Path) -> None:
    upright = greys(tmp_path / "a.mp4", [90] * 5)
    turned = tmp_path / "turned.mp4"
    with av.open(str(upright)) as source, av.open(str(turned), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    draw(turned, "thumbnail", tmp_path / "a.webp")
    draw(turned, "spritesheet", tmp_path / "a.jpg")
    for path, size in (("a.webp", (96, 160)), ("a.jpg", (480, 640))):
        with Image.open(tmp_path / path) as picture:
            assert picture.size == size


@pytest.mark.parametrize("kind", ["thumbnail", "spritesheet"])
def test_what_is_no_video_or_breaks_off_is_refused_and_leaves_nothing(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video")
    whole = greys(tmp_path / "a.mp4", [60] * 30).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("text.mp4", "half.mp4"):
        with pytest.raises(MediaError):
            draw(tmp_path / name, kind, tmp_path / "picture")
    assert {path.name for path in tmp_path.iterdir()} == {"text.mp4", "half.mp4", "a.mp4"}


class Child(Confined):
    """In the place of the child process: it waits until it may, and writes a few bytes."""

    def __init__(self) -> None:
        self.begun, self.opened, self.kinds = threading.Event(), threading.Event(), list[str]()

    def call(self, function: Any, seconds: float, /, *args: Any, **kwargs: Any) -> Any:
        self.begun.set()
        assert self.opened.wait(20)
        _, kind, path = args
        self.kinds.append(kind)
        path.write_bytes(kind.encode())

    def close(self) -> None: ...


def finished_one(rig: Rig) -> Generation:
    made = rig.service.submit(rig.keys.check(KEY), Order(prompt="x"), wire="native", request={})
    rig.complete(made.id)
    return rig.records.get(made.id)


def test_a_picture_waits_for_no_conversion(tmp_path: Path) -> None:
    rig, files, pictures = Rig.build(tmp_path), Child(), Child()
    exports, one = Exports(rig.store, files, pictures), finished_one(rig)
    slow = exports.begin(one, "prores")
    pictures.opened.set()
    keys = [exports.begin(one, kind).key.result(20) for kind in ("thumbnail", "spritesheet")]
    assert keys == [f"exports/{one.id}.webp", f"exports/{one.id}.jpg"]
    assert not slow.key.done()
    files.opened.set()
    slow.key.result(20)
    assert (files.kinds, pictures.kinds) == (["prores"], ["thumbnail", "spritesheet"])
    exports.delete(one.id)
    assert not list(rig.store.keys("exports"))


def test_no_more_pictures_wait_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtake.exports.MOST_PICTURES", 2)
    rig, pictures = Rig.build(tmp_path), Child()
    exports, last = Exports(rig.store, Child(), pictures), finished_one(rig)
    known = [exports.begin(finished_one(rig), "thumbnail")]
    assert pictures.begun.wait(20)  # it is being drawn, and waits no more
    known += [exports.begin(finished_one(rig), "thumbnail") for _ in range(2)]
    with pytest.raises(WorldError, match="2 videos wait"):
        exports.begin(last, "thumbnail")
    pictures.opened.set()
    for conversion in known:
        conversion.key.result(20)
