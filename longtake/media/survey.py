"""Opens a file that somebody brought, safely, and looks through all its packets.

Only containers that hold their own media are opened: playlists (HLS, DASH, concat) would make FFmpeg fetch other
files and addresses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longtake.errors import MediaError
from longtake.media.rates import Rate, nominal_rate
from longtake.video import Colour

CONTAINERS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,ivf,h264,hevc,obu,av1,m4v,mxf,dv,nut,rm,yuv4mpegpipe"
)
MOST_PIXELS_ACROSS: Final = 8192
MOST_FRAMES: Final = 600_000
"""Each costs time and memory to look at, however few bytes it has: nearly three hours at 60 frames per second."""
OPEN_OPTIONS: Final = {
    "format_whitelist": CONTAINERS,
    "protocol_whitelist": "file",
    "max_pixels": str(MOST_PIXELS_ACROSS**2),
}
BROKEN_INDEX: Final = "the video file is cut off or broken: its index can't be read"
PROGRESSIVE: Final = (0, 1)
"""AVFieldOrder: unknown, progressive."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a video file holds, read from every packet and the first decoded frame."""

    codec: str
    width: int
    height: int
    """As stored: before rotation and sample aspect."""
    pix_fmt: str
    sample_aspect: Fraction
    rotation: int
    """Degrees counter-clockwise that the picture has to be turned to be upright: 0, 90, 180 or 270."""
    is_mirrored: bool
    """Then, turned so, it still has to be flipped top to bottom."""
    interlaced: bool
    colour_tags: Colour
    time_base: Fraction
    pts: tuple[int, ...]
    """Of the frames that are shown, ascending; empty where the container has none."""
    coded_pts: tuple[int, ...]
    """Of all frames in the order they are coded in, hidden ones too; empty where the container has none."""
    rate: Rate
    num_frames: int
    key_frames: tuple[int, ...]
    reordered: bool
    """Frames are stored in another order than shown: B-frames."""
    trimmed: bool
    """The container hides frames, or does not start at 0: an edit list."""
    has_sound: bool
    parameter_sets: bytes
    broken: str = ""
    """What is wrong behind the last of these frames, in a sentence; empty where the file is whole."""

    def until(self, pts: int, broken: str) -> Survey:
        """What there is ahead of a broken place: frames before the time `pts` whose packets need none behind them."""
        if not self.pts:
            return replace(self, broken=broken)
        coded = self.coded_pts[: _whole(self.coded_pts, pts)]
        kept = set(coded)
        shown = tuple(stamp for stamp in self.pts if stamp in kept)
        keys = tuple(number for number in self.key_frames if number < len(shown))
        return replace(self, coded_pts=coded, pts=shown, num_frames=len(shown), key_frames=keys, broken=broken)

    @property
    def seconds(self) -> float:
        if len(self.pts) < 2:
            return float(self.num_frames / self.rate.frame_rate)
        return float((self.pts[-1] - self.pts[0]) * self.time_base + 1 / self.rate.frame_rate)


@contextmanager
def open_video(
    source: Path | BinaryIO, options: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and finds its video stream. Raises MediaError where it is no video that can be read."""
    if not isinstance(source, Path):
        source.seek(0)
    try:
        file = str(source) if isinstance(source, Path) else source
        container = av.open(file, "r", options={**OPEN_OPTIONS, **options})
    except FileNotFoundError:
        raise
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise MediaError(_why_unreadable(source)) from error
    with container:
        yield container, _video_stream(container)


def _why_unreadable(source: Path | BinaryIO) -> str:
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(12)
    else:
        source.seek(0)
        start = source.read(12)
    if not start:
        return "the file is empty (0 bytes)"
    if start[4:8] == b"ftyp" or start[:4] in (b"\x1aE\xdf\xa3", b"RIFF"):
        return BROKEN_INDEX
    return "the file is not a video of a kind that can be read"


def _video_stream(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams and container.streams.audio:
        raise MediaError("the file has sound only, no video")
    if not streams:
        raise MediaError(BROKEN_INDEX if container.format.name.startswith("mov") else "the file has no video")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise MediaError("the video's codec is not known")
    _check_size(context.width, context.height)
    if not context.width * context.height:  # FFmpeg sets both to 0 where they are over max_pixels
        raise MediaError(f"the video's size can't be read, or is over {MOST_PIXELS_ACROSS} pixels across")
    context.options = {"max_pixels": OPEN_OPTIONS["max_pixels"]}
    return stream


@dataclass(slots=True)
class _Packets:
    """What the packets say, gathered one by one."""

    num: int = 0
    hidden: bool = False
    coded: list[int] = field(default_factory=list)
    """The pts of each, hidden or not, in the file's order."""
    stamps: list[tuple[int, bool]] = field(default_factory=list)
    """`(pts, is a key frame)` of what is shown, in the file's order; the file's order stands in for missing pts."""
    unstamped: bool = False
    reordered: bool = False
    decoded_at: int | None = None
    """The dts of the last one: no frame that is shown up to then comes later."""

    def add(self, packet: av.Packet[VideoStream]) -> None:
        self.num += 1
        if self.num > MOST_FRAMES:
            raise MediaError(f"the video has more than {MOST_FRAMES} frames")
        self.unstamped |= packet.pts is None
        pts = self.num if packet.pts is None else packet.pts
        self.coded.append(pts)
        self.decoded_at = packet.dts
        if packet.is_discard:
            self.hidden = True
            return
        self.reordered |= bool(self.stamps) and pts < self.stamps[-1][0]
        self.stamps.append((pts, packet.is_keyframe))

    def leave_out_the_end(self) -> None:
        """Where packets are missing at the end: those that are shown behind a missing one are left out."""
        if not self.unstamped and self.decoded_at is not None:
            kept = set(self.coded[: _whole(self.coded, self.decoded_at + 1)])
            self.coded = self.coded[: len(kept)]
            self.stamps = [stamp for stamp in self.stamps if stamp[0] in kept]


def _whole(coded: Sequence[int], pts: int) -> int:
    """How many of the first packets, given in the order they are coded in, are of all the frames up to a time before
    `pts`, and of no others."""
    ascending, highest, found = sorted(coded), coded[0] if coded else 0, 0
    for place, stamp in enumerate(coded, 1):
        highest = max(highest, stamp)
        if highest >= pts:
            break
        if ascending[place - 1] == highest:
            found = place
    return found


def survey(source: Path | BinaryIO, *, salvage: bool = False) -> Survey:
    """Reads every packet and decodes the first frame. Raises MediaError with a sentence for what is no whole video;
    with `salvage`, what is whole of one whose end is missing is found instead, and `broken` has the sentence."""
    with open_video(source) as (container, stream):
        packets, first, broken = _read(container, stream)
        if not (packets.num or broken):
            raise MediaError("the video has no frames")
        # FFmpeg leaves out groups of which an edit list shows nothing: only without it are all packets counted.
        expected = stream.frames if container.format.name.startswith("mov") else 0
        if not broken and packets.num < expected and _count_unedited(source) < expected:
            broken = _cut_off(packets, stream)
        if broken:
            packets.leave_out_the_end()
            if not (salvage and packets.stamps and first):
                raise MediaError(broken)
        if first is None:
            raise MediaError("no frame of the video can be decoded")
        _check_size(first.width, first.height)
        return replace(_summary(container, stream, first, packets), broken=broken)


def _read(container: InputContainer, stream: VideoStream) -> tuple[_Packets, VideoFrame | None, str]:
    """All packets, the first frame that they decode to, and what is wrong where they break off."""
    packets, first = _Packets(), None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                break
            if first is None:
                first = next(iter(_try_decode(stream, packet)), None)
            if packet.size:
                packets.add(packet)
        else:
            return packets, first, ""
    except av.FFmpegError:
        pass
    return packets, first or next(iter(_try_decode(stream, None)), None), _cut_off(packets, stream)


def _count_unedited(source: Path | BinaryIO) -> int:
    """How many packets there are, whatever an edit list shows of them."""
    with open_video(source, {"ignore_editlist": "1"}) as (container, stream):
        try:
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)
        except av.FFmpegError:
            return 0


def _try_decode(stream: VideoStream, packet: av.Packet[VideoStream] | None) -> list[VideoFrame]:
    """Nothing where a stream starts in the middle of a group: what leads to its first key frame is passed over."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return []


def _cut_off(packets: _Packets, stream: VideoStream) -> str:
    last = max((pts for pts, _ in packets.stamps), default=0)
    at = 0.0 if packets.unstamped else float(last * Fraction(stream.time_base or 0))
    return f"the video is cut off or broken: nothing can be read after {at:.2f} s"


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MOST_PIXELS_ACROSS:
        raise MediaError(f"a video may be up to {MOST_PIXELS_ACROSS} pixels wide and high, got {width}x{height}")


def _summary(container: InputContainer, stream: VideoStream, first: VideoFrame, packets: _Packets) -> Survey:
    context = stream.codec_context
    stamps = sorted(packets.stamps)
    pts = () if packets.unstamped else tuple(stamp for stamp, _ in stamps)
    time_base = Fraction(stream.time_base or 1)
    hints = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    return Survey(
        codec=context.codec.canonical_name,
        width=first.width,
        height=first.height,
        pix_fmt=first.format.name,
        sample_aspect=Fraction(stream.sample_aspect_ratio or 1),
        rotation=round(first.rotation / 90) % 4 * 90,
        is_mirrored=_is_mirrored(first),
        interlaced=first.interlaced_frame or context.field_order not in PROGRESSIVE,
        colour_tags=Colour(first.color_primaries, first.color_trc, first.colorspace, first.color_range),
        time_base=time_base,
        pts=pts,
        coded_pts=() if packets.unstamped else tuple(packets.coded),
        rate=nominal_rate(pts, time_base, hints),
        num_frames=len(stamps),
        key_frames=tuple(number for number, (_, is_key) in enumerate(stamps) if is_key),
        reordered=packets.reordered or bool(context.has_b_frames),
        trimmed=packets.hidden or bool(pts and pts[0]),
        has_sound=bool(container.streams.audio),
        parameter_sets=bytes(context.extradata or b""),
    )


def _is_mirrored(frame: VideoFrame) -> bool:
    """Whether the display matrix (ISO/IEC 14496-12, 6.2.2) flips: then its determinant is below 0."""
    matrix = side_data(frame, Type.DISPLAYMATRIX)
    if len(matrix) < 36:
        return False
    a, b, _, c, d, *_ = map(int, struct.unpack("=9i", matrix[:36]))
    return a * d - b * c < 0


def side_data(frame: VideoFrame, what: Type) -> bytes:
    """What stands beside a frame's picture; nothing where there is none of that."""
    found: Any = frame.side_data  # PyAV's stub says it is a dict of motion vectors alone
    try:
        return bytes(found[what])
    except KeyError:
        return b""
