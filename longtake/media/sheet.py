"""Pictures of videos for people: a sheet of thumbnails around the seams, a poster, and what players show of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from PIL import Image, ImageDraw, ImageFont

from longtake.errors import MediaError, StoreError
from longtake.frames import Frames
from longtake.media.colour import EXACT, to_rgb
from longtake.media.output import whole_file
from longtake.media.playing import THREADS, Playing, play
from longtake.media.survey import open_video

COLUMNS: Final = 8
MARGIN: Final = 16
GAP: Final = 4
SEAM_GAP: Final = 48
TITLE_HEIGHT: Final = 34
LABEL_HEIGHT: Final = 18
BACKGROUND, TEXT, FAINT, SEAM_COLOUR = "#14161a", "#f2f3f5", "#8b919c", "#ff5a36"
POSTER_QUALITY: Final = 88
THUMBNAIL_SIDE: Final = 640
THUMBNAIL_QUALITY: Final = 82
SPRITE_SIDE: Final = 320
"""The longer side of each picture, in pixels: those of smaller videos are not enlarged."""
SPRITE_COLUMNS, SPRITE_ROWS = 5, 4

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


def draw(source: Path, kind: Literal["thumbnail", "spritesheet"], path: Path) -> None:
    """Draws of the video at `source`, upright and in square pixels:

    - `thumbnail`: its first frame as a WebP, the longer side at most 640;
    - `spritesheet`: 5 by 4 pictures without gaps as a JPEG, row by row, each with a longer side of at most 320. The
      video is parted into 20 equal stretches, and each is shown by the frame at its middle; only the groups that hold
      these frames are decoded.

    Raises MediaError where the video can't be read, StoreError where there is no room.
    """
    try:
        with play(source) as playing, whole_file(path) as part:
            if kind == "thumbnail":
                size = _fitted(playing, THUMBNAIL_SIDE)
                _upright(next(playing.frames).frame, playing, size).save(part, format="WEBP", quality=THUMBNAIL_QUALITY)
            else:
                _sprites(source, playing).save(part, format="JPEG", quality=POSTER_QUALITY)
    except av.FFmpegError as error:
        raise MediaError("the video is broken: a frame in it can't be decoded") from error
    except OSError as error:
        raise StoreError(f"what is drawn of the video can't be written: {error.strerror}", retryable=True) from error


def _sprites(source: Path, playing: Playing) -> Image.Image:
    size = _fitted(playing, SPRITE_SIDE)
    width, height = size[::-1] if playing.rotation % 180 else size
    sheet = Image.new("RGB", (SPRITE_COLUMNS * width, SPRITE_ROWS * height))
    count = SPRITE_COLUMNS * SPRITE_ROWS
    times = [Fraction(playing.seconds) * (2 * number + 1) / (2 * count) for number in range(count)]
    for number, frame in enumerate(_frames_at(source, times)):
        row, column = divmod(number, SPRITE_COLUMNS)
        sheet.paste(_upright(frame, playing, size), (column * width, row * height))
    return sheet


def _frames_at(source: Path, times: Sequence[Fraction]) -> Iterator[VideoFrame]:
    """The frame that is shown at each of these times, ascending, in seconds from the start."""
    with open_video(source) as (container, stream):
        stream.codec_context.thread_type, stream.codec_context.thread_count = ThreadType.FRAME, THREADS
        time_base, start, index = Fraction(stream.time_base or 1), stream.start_time or 0, stream.index_entries
        decoded = container.decode(stream)
        shown: VideoFrame | None = None
        ahead: VideoFrame | None = next(decoded, None)
        for seconds in times:
            target = start + int(seconds / time_base)
            entry = index.search_timestamp(target)
            # Within one group decoding on is cheaper than beginning it again.
            if entry >= 0 and ahead and ahead.dts is not None and index[entry].timestamp > ahead.dts:
                container.seek(target, stream=stream)
                decoded = container.decode(stream)
                shown, ahead = None, next(decoded, None)
            while ahead and (ahead.pts is None or ahead.pts <= target):
                shown, ahead = ahead, next(decoded, None)
            if shown := shown or ahead:
                yield shown


def _fitted(playing: Playing, most: int) -> tuple[int, int]:
    """Width and height in square pixels, not turned, neither larger than `most` nor than the video."""
    width, height = playing.square_size
    scale = min(Fraction(1), Fraction(most, max(width, height)))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _upright(frame: VideoFrame, playing: Playing, size: tuple[int, int]) -> Image.Image:
    """The frame in this size, which is that before it is turned."""
    made = VideoReformatter().reformat(
        frame,
        *size,
        format="rgb24",
        src_colorspace=playing.matrix,
        dst_colorspace=playing.matrix,
        src_color_range=playing.range,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
    )
    pixels = np.rot90(made.to_ndarray(), playing.rotation // 90)
    return Image.fromarray(np.ascontiguousarray(pixels))


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
