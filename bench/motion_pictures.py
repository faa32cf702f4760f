"""What figures do not show: for each clip a contact sheet around the seam, and a slice through time, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.motion_extend import METHODS, ClipResult
from bench.motion_footage import fitted, joined, luma
from longtake.frames import Frames, Plane
from longtake.media.colour import to_rgb
from longtake.media.sheet import contact_sheet

SLICE_SECONDS = 3
SHEET_SECONDS = 2
SLICE_HEIGHT = 240
SEAM_FRAMES = 4
STRIP_SECONDS = 0.0, 0.3, 1.0, 2.0, 4.0
STRIP_THUMB = 200
THUMB = 240, 240
CLOSE = 480, 480


def draw(result: ClipResult, tail: Frames, rate: float, folder: Path) -> None:
    """`NAME-sheet.png`: each method two seconds around the seam; `NAME-seam.png`: the frames next to the seam, ours
    and true; `NAME-slice.png`: one row of pixels where most moves, through time, each method under the other;
    `NAME-strip.png`: the last frame given, and what ours and the truth show at a few moments."""
    folder.mkdir(parents=True, exist_ok=True)
    after, before = round(SHEET_SECONDS * rate), tail[-round(SHEET_SECONDS * rate) :]
    around = {name: fitted(joined(before, result.extensions[name][:after]), THUMB) for name in METHODS}
    rows = [(f"{result.name}: {name}", frames, before.num_frames) for name, frames in around.items()]
    contact_sheet(rows, folder / f"{result.name}-sheet.png")
    close = [
        (
            f"{name}, frame by frame",
            fitted(joined(tail[-SEAM_FRAMES:], result.extensions[name][:SEAM_FRAMES]), CLOSE),
            SEAM_FRAMES,
        )
        for name in ("ours", "truth")
    ]
    contact_sheet(close, folder / f"{result.name}-seam.png", thumb_width=CLOSE[0])
    _slices(result, tail, rate).save(folder / f"{result.name}-slice.png")
    _strip(result, tail, rate).save(folder / f"{result.name}-strip.png")


def busiest_row(frames: Plane) -> int:
    """The row of `(num_frames, height, width)` that changes most, of those a sixteenth from the edges."""
    margin = int(frames.shape[1]) // 16
    few = frames[:: max(1, len(frames) // 24)].astype(np.float32)
    change = cv2.blur(np.abs(np.diff(few, axis=0)).mean(axis=(0, 2))[:, None], (1, 15)).ravel()
    return margin + int(change[margin : frames.shape[1] - margin].argmax())


def _slices(result: ClipResult, tail: Frames, rate: float) -> Image.Image:
    """Time runs to the right, the seam is the white line; the picture's width runs down."""
    row, num_before = busiest_row(luma(tail)), round(SLICE_SECONDS * rate)
    bands: list[npt.NDArray[np.uint8]] = []
    for name in METHODS:
        both = (tail[-num_before:], result.extensions[name][:])
        lines = [_line(part, row) for part in both]
        lines.insert(1, np.full((SLICE_HEIGHT, max(1, round(rate / 12)), 3), 255, np.uint8))
        band = np.concatenate(lines, axis=1)
        width = round(96 * (SLICE_SECONDS + 5))
        wanted = round(width * band.shape[1] / (round((SLICE_SECONDS + 5) * rate) + lines[1].shape[1]))
        canvas = np.full((SLICE_HEIGHT + 22, width, 3), 20, np.uint8)
        fit = cv2.resize(band, (min(wanted, width), SLICE_HEIGHT), interpolation=cv2.INTER_AREA)
        canvas[22:, : fit.shape[1]] = fit
        cv2.putText(canvas, f"{name}: row {row}, time to the right", (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (240,) * 3)
        bands.append(canvas)
    return Image.fromarray(np.concatenate(bands))


def overview(names: Sequence[str], folder: Path) -> None:
    """`overview.jpg`: the strips of all clips, two beside each other."""
    strips = [Image.open(folder / f"{name}-strip.png") for name in names]
    gap, wide = 12, max(strip.width for strip in strips)
    pairs = [strips[place : place + 2] for place in range(0, len(strips), 2)]
    heights = [max(strip.height for strip in pair) for pair in pairs]
    sheet = Image.new("RGB", (2 * wide + 3 * gap, sum(heights) + gap * (len(pairs) + 1)), (20, 20, 20))
    top = gap
    for pair, height in zip(pairs, heights, strict=True):
        for column, strip in enumerate(pair):
            sheet.paste(strip, (gap + column * (wide + gap), top))
        top += height + gap
    sheet.save(folder / "overview.jpg", quality=82, optimize=True, progressive=True)


def _strip(result: ClipResult, tail: Frames, rate: float) -> Image.Image:
    size = STRIP_THUMB, round(STRIP_THUMB * tail.height / tail.width)
    rows = []
    for name in ("ours", "truth"):
        after = result.extensions[name]
        places = [round(seconds * rate) - 1 for seconds in STRIP_SECONDS[1:]]
        shown: list[tuple[str, Frames | None]] = [("last frame given", tail[-1:])]
        shown += [
            (f"{name} +{seconds:g} s", after[place : place + 1]) if place < after.num_frames else ("no more", None)
            for seconds, place in zip(STRIP_SECONDS[1:], places, strict=True)
        ]
        rows.append(np.concatenate([_thumb(label, frame, size) for label, frame in shown], axis=1))
    return Image.fromarray(np.concatenate(rows))


def _thumb(label: str, frame: Frames | None, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    thumb = np.full((size[1], size[0], 3), 40, np.uint8)
    if frame is not None:
        cv2.resize(to_rgb(frame).planes[0][0], size, thumb, interpolation=cv2.INTER_AREA)
    cv2.rectangle(thumb, (0, 0), (7 * len(label), 17), (20, 20, 20), -1)
    cv2.putText(thumb, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (240,) * 3, 1, cv2.LINE_AA)
    return thumb


def _line(frames: Frames, row: int) -> npt.NDArray[np.uint8]:
    """One row of each frame, as a column: `(SLICE_HEIGHT, num_frames, 3)`."""
    y, u, v = (
        np.ascontiguousarray(plane[:, row // shrink]) for plane, shrink in zip(frames.planes, (1, 2, 2), strict=True)
    )
    # Each line twice: the smallest that has chroma of its own in 4:2:0.
    lines = to_rgb(Frames((y.repeat(2, axis=0)[None], u[None], v[None]))).planes[0][0, ::2]
    column = np.ascontiguousarray(lines.transpose(1, 0, 2))
    return np.asarray(cv2.resize(column, (column.shape[1], SLICE_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
