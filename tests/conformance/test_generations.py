"""Ten extensions of one clip, each of the one before: colours and sharpness stay what they were."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer

from bench.generations import Reference, chain, footage_of
from longtake.engines.motion import Motion
from longtake.frames import Frames, Plane
from longtake.local import make
from longtake.orders import KeyFrame, Order
from longtake.store import Store
from tests.footage import video_frames, write_foreign

RATE = 12
TIMES = 10
LOST = 0.05
"""Of the sharpness of real footage, by the encoder."""


def textured(width: int, height: int, seed: int) -> Plane:
    """As much detail as real footage has."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(noise, (0, 0), 1.2), cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(np.clip(128 + 1.2 * (fine - 128) + 8 * (coarse - 128), 40, 215), np.uint8)


def swaying(num_frames: int) -> Frames:
    """A patch that sways over a standing background, once a second: each second looks like the last."""
    background, patch = textured(160, 96, 1), textured(40, 40, 2)
    luma: Plane = np.repeat(background[None], num_frames, axis=0)
    for number in range(num_frames):
        left = 60 + 2 * round(14 * np.sin(2 * np.pi * number / RATE))
        luma[number, 28:68, left : left + 40] = patch
    u, v = (np.full((num_frames, 48, 80), level, np.uint8) for level in (120, 136))
    return Frames((luma, u, v))


def last_second(path: Path) -> tuple[npt.NDArray[np.float64], float]:
    """Its mean R, G and B, and its mean sharpness (the variance of the Laplacian of luma)."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.video[0]))[-RATE:]
    colour = np.mean([frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(axis=0) for frame in frames], axis=0)
    lumas = [np.array(frame.to_ndarray()[: frame.height], np.uint8) for frame in frames]
    return colour, float(np.mean([cv2.Laplacian(luma, cv2.CV_64F).var() for luma in lumas]))


@pytest.mark.parametrize("matrix", [1, 2, 5])
def test_ten_extensions_of_a_clip_look_like_it(tmp_path: Path, matrix: int) -> None:
    options = {"x264-params": "bframes=3:keyint=12", "crf": "16"}
    path = write_foreign(tmp_path / "source.mp4", video_frames(swaying(4 * RATE)), options=options, colorspace=matrix)
    colour, sharpness = last_second(path)
    for number in range(TIMES):
        order = Order(before=KeyFrame(type="video", url=str(path)), seconds=Fraction(1), seed=number)
        path = make(order, tmp_path / f"{number}.mp4", Motion(), max_still_pixels=10**6, tell=lambda *_: None).path
        made_colour, made_sharpness = last_second(path)
        assert np.abs(made_colour - colour).max() < 1, number
        assert made_sharpness == pytest.approx(sharpness, rel=0.05), number


def seen(luma: Plane, u: int = 120, v: int = 136) -> Frames:
    """One frame of even chroma."""
    chroma = (1, luma.shape[0] // 2, luma.shape[1] // 2)
    return Frames((luma[None], np.full(chroma, u, np.uint8), np.full(chroma, v, np.uint8)))


def test_what_has_come_into_the_picture_counts_as_neither_loss_nor_gain() -> None:
    scene = textured(320, 192, 3)
    fuller = scene.copy()
    fuller[:, :120] = 255 - cv2.GaussianBlur(textured(320, 192, 4), (0, 0), 3.0)[:, :120]
    plain = cv2.Laplacian(fuller, cv2.CV_64F).var() / cv2.Laplacian(scene, cv2.CV_64F).var()
    found = Reference(seen(scene)).compare(seen(fuller))
    assert abs(plain - 1) > 0.2
    assert found.sharpness == pytest.approx(1, abs=0.01)
    assert found.detail == pytest.approx(1, abs=0.01)
    assert max(map(abs, found.tone)) < 0.3
    assert 0.4 < found.share < 0.75


@pytest.mark.parametrize(("sigma", "sharpness", "detail"), [(0.5, 0.7, 0.8), (0.8, 0.4, 0.5)])
def test_what_is_softer_is_told_from_what_is_another_thing(sigma: float, sharpness: float, detail: float) -> None:
    scene = textured(320, 192, 3)
    soft = np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma), np.uint8)
    found = Reference(seen(scene)).compare(seen(soft))
    assert found.share > 0.95
    assert found.sharpness < sharpness
    assert found.detail < detail


def test_another_tone_of_the_same_scene_is_found_in_each_plane() -> None:
    scene = textured(320, 192, 3)
    found = Reference(seen(scene)).compare(seen(scene + np.uint8(2), 123, 135))
    assert found.tone == pytest.approx((2, 3, -1), abs=0.05)
    assert found.sharpness == pytest.approx(1, abs=0.02)


def test_the_scene_is_found_again_where_it_has_moved() -> None:
    wide = textured(340, 192, 3)
    found = Reference(seen(wide[:, :320].copy())).compare(seen(wide[:, 3:323].copy()))
    assert found.share > 0.9
    assert found.sharpness == pytest.approx(1, abs=0.03)
    assert found.detail == pytest.approx(1, abs=0.03)


def test_ten_extensions_of_real_footage_keep_each_point_of_the_scene_as_it_was(clips: Path, tmp_path: Path) -> None:
    """People come and go in it, which changes the mean colour by two levels: so the same points are compared."""
    store = Store.in_folder(tmp_path)
    *_, last = chain(footage_of(clips / "cv_vtest.avi", store), store, Motion(), TIMES, Fraction(1))
    found = last.matched()
    assert last.number == TIMES
    assert found.share > 0.8
    assert max(map(abs, found.tone)) < 1
    assert found.sharpness == pytest.approx(1, abs=LOST)
    assert found.detail == pytest.approx(1, abs=LOST)
