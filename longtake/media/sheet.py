"""Pictures of videos for people: a sheet of thumbnails around the seams, and a poster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from longtake.frames import Frames
from longtake.media.colour import to_rgb
from longtake.media.output import whole_file

COLUMNS: Final = 8
MARGIN: Final = 16
GAP: Final = 4
SEAM_GAP: Final = 48
TITLE_HEIGHT: Final = 34
LABEL_HEIGHT: Final = 18
BACKGROUND, TEXT, FAINT, SEAM_COLOUR = "#14161a", "#f2f3f5", "#8b919c", "#ff5a36"
POSTER_QUALITY: Final = 88

Row = tuple[str, Frames, int | None]


def contact_sheet(rows: Sequence[Row], path: Path, *, thumb_width: int = 240) -> None:
    """Writes a PNG with one row a video: `(title, frames, seam)`.

    `seam` is the number of the first frame after the seam: four frames on each side of it are shown, evenly spaced,
    with the two that meet next to the line; None shows eight frames evenly spaced. Raises ValueError where there is
    no row, a row has no frames, or a seam does not lie between two frames.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    laid = [_lay(row, thumb_width) for row in rows]
    width = 2 * MARGIN + COLUMNS * thumb_width + (COLUMNS - 2) * GAP + SEAM_GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(row.height for row in laid) - MARGIN // 2), BACKGROUND)
    top = MARGIN
    for row in laid:
        _draw(sheet, row, top, thumb_width)
        top += row.height
    with whole_file(path) as part:
        sheet.save(part, format="PNG", optimize=True)


def poster(frames: Frames, max_width: int = 640, pixel_aspect: Fraction = Fraction(1)) -> bytes:
    """The first frame as a JPEG in square pixels, at most `max_width` wide; `pixel_aspect` is that of its own."""
    image = _image(frames, 0)
    width = min(max_width, round(image.width * pixel_aspect))
    height = max(1, round(image.height * width / (image.width * pixel_aspect)))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    memory = BytesIO()
    image.save(memory, format="JPEG", quality=POSTER_QUALITY, progressive=True)
    return memory.getvalue()


@dataclass(frozen=True)
class _Row:
    title: str
    frames: Frames
    seam: int | None
    cells: tuple[int | None, ...]
    thumb_height: int

    @property
    def height(self) -> int:
        return TITLE_HEIGHT + self.thumb_height + LABEL_HEIGHT + MARGIN // 2


def _lay(row: Row, thumb_width: int) -> _Row:
    title, frames, seam = row
    if not frames.num_frames:
        raise ValueError(f"the row {title!r} has no frames")
    if seam is not None and not 0 < seam < frames.num_frames:
        raise ValueError(f"a seam lies between two of {frames.num_frames} frames, got {seam}")
    height = max(1, round(thumb_width * frames.height / frames.width))
    return _Row(title, frames, seam, tuple(_cells(frames.num_frames, seam)), height)


def _cells(num_frames: int, seam: int | None) -> list[int | None]:
    """The frame in each column; None leaves it empty."""
    if seam is None:
        shown = min(COLUMNS, num_frames)
        spread = [round(i * (num_frames - 1) / max(1, shown - 1)) for i in range(shown)]
        return [*spread, *[None] * (COLUMNS - shown)]
    half = COLUMNS // 2
    left, right = max(1, seam // half), max(1, (num_frames - seam) // half)
    before = [seam - 1 - k * left for k in reversed(range(half))]
    after = [seam + k * right for k in range(half)]
    return [frame if 0 <= frame < num_frames else None for frame in (*before, *after)]


def _draw(sheet: Image.Image, row: _Row, top: int, thumb_width: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, top), row.title, TEXT, font=ImageFont.load_default(20))
    small = ImageFont.load_default(13)
    top += TITLE_HEIGHT
    for column, number in enumerate(row.cells):
        if number is None:
            continue
        left = _left(column, thumb_width)
        thumb = _image(row.frames, number).resize((thumb_width, row.thumb_height), Image.Resampling.LANCZOS)
        sheet.paste(thumb, (left, top))
        label = f"{number}" if row.seam is None else _place(number - row.seam)
        draw.text((left + 2, top + row.thumb_height + 2), label, FAINT, font=small)
    if row.seam is not None:
        middle = _left(COLUMNS // 2, thumb_width) - SEAM_GAP // 2
        draw.line((middle, top, middle, top + row.thumb_height), SEAM_COLOUR, width=4)
        draw.text((middle, top + row.thumb_height + 1), "seam", SEAM_COLOUR, font=small, anchor="ma")


def _place(offset: int) -> str:
    """Where a frame stands from the seam: -2, -1 | +1, +2."""
    return f"+{offset + 1}" if offset >= 0 else f"-{-offset}"


def _left(column: int, thumb_width: int) -> int:
    return MARGIN + column * (thumb_width + GAP) + (SEAM_GAP - GAP if column >= COLUMNS // 2 else 0)


def _image(frames: Frames, number: int) -> Image.Image:
    return Image.fromarray(to_rgb(frames[number : number + 1]).planes[0][0])
