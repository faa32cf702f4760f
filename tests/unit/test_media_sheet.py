"""Sheets of thumbnails and posters."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from longtake.media.colour import to_rgb
from longtake.media.sheet import SEAM_COLOUR, contact_sheet, poster
from tests.footage import flat, moving


def test_a_sheet_has_a_row_for_each_video_and_a_line_at_each_seam(tmp_path: Path) -> None:
    rows = [("append", moving(48), 24), ("one video", moving(3), None), ("early seam", moving(20), 1)]
    contact_sheet(rows, tmp_path / "sheet.png", thumb_width=80)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    line = (pixels == ImageColor.getrgb(SEAM_COLOUR)).all(axis=2)
    assert abs(int(line.sum(axis=0).argmax()) - pixels.shape[1] // 2) <= 2
    assert line.sum(axis=0).max() >= 2 * 60


def test_the_two_frames_that_meet_stand_beside_the_line(tmp_path: Path) -> None:
    left, right = to_rgb(flat(10, 60)), to_rgb(flat(10, 200))
    both = type(left)((np.concatenate([left.planes[0], right.planes[0]]),))
    contact_sheet([("cut", both, 10)], tmp_path / "sheet.png", thumb_width=80)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("L"), np.int64)
    middle, row = pixels.shape[1] // 2, 16 + 34 + 30
    assert abs(pixels[row, middle - 40] - int(left.planes[0][0, 0, 0, 0])) < 4
    assert abs(pixels[row, middle + 40] - int(right.planes[0][0, 0, 0, 0])) < 4


def test_a_sheet_of_nothing_and_seams_outside_are_refused(tmp_path: Path) -> None:
    for rows in ([], [("x", moving(4)[:0], None)], [("x", moving(4), 0)], [("x", moving(4), 4)]):
        with pytest.raises(ValueError, match=r"at least one row|no frames|a seam lies"):
            contact_sheet(rows, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_a_poster_is_the_first_frame_as_a_jpeg() -> None:
    footage = moving(3, 128, 96)
    with Image.open(BytesIO(poster(footage))) as image:
        assert (image.format, image.size) == ("JPEG", (128, 96))
        assert np.abs(np.asarray(image, np.int64) - to_rgb(footage[:1]).planes[0][0]).mean() < 4
    with Image.open(BytesIO(poster(footage, max_width=64))) as image:
        assert image.size == (64, 48)
