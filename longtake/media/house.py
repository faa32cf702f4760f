"""Brings any video that can be decoded to house format, once. The encoder's settings are in `encode`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from longtake.errors import MediaError
from longtake.frames import Frames, Plane
from longtake.media.colour import meaning, to_house_colour
from longtake.media.encode import Encoded, encode
from longtake.media.fields import deinterlaced
from longtake.media.hdr import ToneMap, peak_of
from longtake.media.planes import rows
from longtake.media.probe import HDR_TRANSFERS, house_size, square_size
from longtake.media.survey import Survey, open_video, survey
from longtake.video import VideoFormat

THREADS: Final = 2
MATRIX_NAMES: Final = {
    Colorspace.ITU709: "BT.709",
    Colorspace.FCC: "FCC",
    Colorspace.ITU601: "BT.601",
    Colorspace.SMPTE240M: "SMPTE 240M",
    Colorspace.BT2020: "BT.2020",
}
CODEC_NAMES: Final = {
    "h264": "H.264",
    "hevc": "HEVC",
    "av1": "AV1",
    "mpeg4": "MPEG-4",
    "mpeg2video": "MPEG-2",
    "prores": "ProRes",
}


class Breaks(MediaError):
    """A frame in its middle can't be decoded."""

    def __init__(self, message: str, last_pts: int | None) -> None:
        super().__init__(message)
        self.last_pts = last_pts
        """When the last frame ahead of it is shown, in the stream's units; None where there is none, or no times."""


def bring_home(
    source: Path | BinaryIO,
    path: Path,
    *,
    found: Survey | None = None,
    size_multiple: int = 2,
    max_seconds: float = 600,
    progress: Callable[[float], None] = lambda part: None,
    begins: Callable[[int], None] = lambda pts: None,
) -> tuple[Encoded, VideoFormat, tuple[str, ...]]:
    """Decodes `source` and encodes it in house format at `path`; returns what was written and what was changed.

    The rate is the exact nominal one (a variable rate is resampled to its most frequent interval); rotation and
    sample aspect are applied; interlaced frames are made progressive; sizes are cropped to `size_multiple` at the
    middle. Colours are converted to BT.709 limited range from the matrix and range that are tagged; where none is,
    from BT.601 up to 1024x576 and from BT.709 above, in limited range. Memory holds a few frames.
    `progress` is told how much is done, 0 to 1, after each frame; what it raises ends the work. `begins` is told once
    when the first frame that can be decoded is shown, in the stream's units, where the container has times.

    Raises MediaError where the file is no video (see `probe`), is longer than `max_seconds`, or is broken (`Breaks`):
    the message then names the second. Nothing is left at `path`. With a survey that knows of the broken place, what can
    be decoded ahead of it is all that is wanted.
    """
    found = found or survey(source)
    if found.seconds > max_seconds:
        raise MediaError(f"a video may last up to {max_seconds:g} s, got {found.seconds:.1f} s")
    format = VideoFormat(*house_size(found, size_multiple), found.rate.frame_rate)
    remarks = list(_remarks(found, format))
    with open_video(source) as (container, stream):
        decoded: Iterable[VideoFrame] = _decode(container, stream, found.pts, remarks)
        if found.pts:
            decoded = _noted(decoded, begins)
        if found.broken:
            decoded = _up_to_the_break(decoded, found.num_frames)
        if found.interlaced:
            decoded = deinterlaced(decoded)
        frames = _counted(_at_constant_rate(decoded, found, format), found.seconds * float(format.frame_rate), progress)
        encoded = encode(frames, format, path)
    return encoded, format, tuple(remarks)


def _decode(
    container: InputContainer, stream: VideoStream, stamps: Sequence[int], remarks: list[str]
) -> Iterator[VideoFrame]:
    """Every frame; those ahead of the first key frame are left out. Raises Breaks at the first broken one."""
    stream.codec_context.thread_type = ThreadType.FRAME
    stream.codec_context.thread_count = THREADS
    seconds = last = None
    try:
        for packet in container.demux(stream):
            try:
                frames = stream.decode(packet)
            except av.InvalidDataError:
                if seconds is not None:
                    raise
                continue
            for frame in frames:
                if frame.is_corrupt and seconds is None:
                    continue
                if frame.is_corrupt:
                    raise Breaks(_failed(frame.time or seconds), last)
                num_lead = sum(stamp < (frame.pts or 0) for stamp in stamps) if seconds is None else 0
                if num_lead:
                    remarks.append(f"{num_lead} frames ahead of the first key frame left out")
                seconds, last = frame.time or 0.0, frame.pts
                yield frame
    except av.FFmpegError as error:
        raise Breaks(_failed(seconds), last) from error
    if seconds is None:
        raise MediaError("the video is broken: no frame of it can be decoded")


def _failed(seconds: float | None) -> str:
    return f"the video is broken: decoding failed at {seconds or 0:.2f} s"


def _noted(decoded: Iterable[VideoFrame], begins: Callable[[int], None]) -> Iterator[VideoFrame]:
    for number, frame in enumerate(decoded):
        if not number and frame.pts is not None:
            begins(frame.pts)
        yield frame


def _up_to_the_break(decoded: Iterable[VideoFrame], num_frames: int) -> Iterator[VideoFrame]:
    has_begun = False
    try:
        for frame in islice(decoded, num_frames):
            has_begun = True
            yield frame
    except Breaks:
        if not has_begun:
            raise


def _at_constant_rate(decoded: Iterable[VideoFrame], found: Survey, format: VideoFormat) -> Iterator[Frames]:
    """House frames one by one. At a variable rate, each is shown from its time on, rounded to the nearest frame."""
    picture = _Picture(found, format)
    held: Frames | None = None
    first_pts: int | None = None
    at = 0
    for frame in decoded:
        if found.rate.constant or frame.pts is None or frame.time_base is None:
            yield picture.of(frame)
            continue
        first_pts = frame.pts if first_pts is None else first_pts
        place = round((frame.pts - first_pts) * frame.time_base * format.frame_rate)
        while held is not None and at < place:
            yield held
            at += 1
        held = picture.of(frame)
    if held is not None:
        yield held


def _counted(frames: Iterator[Frames], expected: float, progress: Callable[[float], None]) -> Iterator[Frames]:
    for number, frame in enumerate(frames, 1):
        progress(min(1.0, number / max(expected, 1.0)))
        yield frame


class _Picture:
    """Turns decoded frames into house pictures: colours, square pixels, upright, cropped."""

    def __init__(self, found: Survey, format: VideoFormat) -> None:
        self.stored_size = square_size(found)
        self.quarter_turns, self.is_mirrored = found.rotation // 90, found.is_mirrored
        self.size = format.width, format.height
        self.matrix = source_matrix(found)
        self.scaler = VideoReformatter()
        self.transfer = found.colour_tags.transfer
        self.tone_map: ToneMap | None = None

    def of(self, frame: VideoFrame) -> Frames:
        if self.transfer in HDR_TRANSFERS:
            self.tone_map = self.tone_map or ToneMap(self.transfer, peak_of(frame))
            frame = self.tone_map.of(frame)
            home = to_house_colour(self.scaler, frame, Colorspace.ITU709, ColorRange.JPEG, self.stored_size)
        else:
            home = to_house_colour(self.scaler, frame, self.matrix, source_range(frame), self.stored_size)
        upright = [np.rot90(rows(plane), self.quarter_turns) for plane in home.planes]
        upright = [plane[::-1] for plane in upright] if self.is_mirrored else upright
        width, height = self.size
        left = (upright[0].shape[1] - width) // 4
        top = (upright[0].shape[0] - height) // 4
        luma, *chroma = upright
        y: Plane = luma[2 * top : 2 * top + height, 2 * left : 2 * left + width]
        u, v = (plane[top : top + height // 2, left : left + width // 2] for plane in chroma)
        return Frames(tuple(np.array(plane[np.newaxis], order="C") for plane in (y, u, v)))


def source_matrix(found: Survey) -> Colorspace:
    """The matrix that is tagged, or else BT.601 for standard definition and BT.709 above it."""
    return meaning(found.colour_tags, found.width, found.height)[0]


def source_range(frame: VideoFrame) -> ColorRange:
    """The range that is tagged; full for RGB, grey and JPEG's pixel formats; or else limited."""
    if frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray", "pal", "mono")):
        return ColorRange.JPEG
    return ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG


def _remarks(found: Survey, format: VideoFormat) -> Iterator[str]:
    name = CODEC_NAMES.get(found.codec, found.codec.upper())
    yield f"{name}{' with B-frames' if found.reordered else ''} → house H.264"
    if not found.rate.constant:
        yield f"frame rate → constant {float(format.frame_rate):g} fps"
    if found.interlaced:
        yield "interlaced → progressive"
    if found.rotation:
        yield f"turned upright by {found.rotation}° counter-clockwise"
    if found.is_mirrored:
        yield "mirrored → as it is shown"
    stored, upright = (found.width, found.height), square_size(found)
    if stored != upright:
        yield f"{_size(stored)} in pixels of {found.sample_aspect} → {_size(upright)} in square pixels"
    upright = upright[::-1] if found.rotation % 180 else upright
    if upright != (format.width, format.height):
        yield f"cropped from {_size(upright)} to {_size((format.width, format.height))}"
    if transfer := HDR_TRANSFERS.get(found.colour_tags.transfer):
        yield f"HDR ({transfer}) → SDR by the curve of BT.2390"
    elif (taken := _colour_name(found)) != "BT.709 limited range":
        yield f"colours taken as {taken} → BT.709 limited range"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _colour_name(found: Survey) -> str:
    if av.VideoFormat(found.pix_fmt).is_rgb:
        return "RGB"
    full = found.colour_tags[3] == ColorRange.JPEG or found.pix_fmt.startswith(("yuvj", "gray"))
    return f"{MATRIX_NAMES[source_matrix(found)]} {'full' if full else 'limited'} range"
