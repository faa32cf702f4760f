"""The kinds of file that people bring, made by FFmpeg's encoders and muxers: the rows of docs/formats.md.

All show the same: a texture that pans, and gets brighter from frame to frame, so that a frame's mean says which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longtake.frames import Frames
from longtake.media.nal import with_four_byte_lengths
from tests.footage import moving, video_frames, write_foreign

WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 40
GOP = 12
RATE = Fraction(24)
PANNING = moving(NUM_FRAMES, WIDTH, HEIGHT, seed=4)
LOWEST, STEP = 50, 4
"""The mean luma of the first frame, and how much brighter each is than the last."""


def brightening() -> Frames:
    """The texture, at a quarter of its contrast, frame k with the mean luma `LOWEST + STEP * k`, grey on average."""
    luma, *chroma = (plane - plane.mean(axis=(1, 2), keepdims=True) for plane in PANNING.planes)
    levels = LOWEST + STEP * np.arange(NUM_FRAMES).reshape(-1, 1, 1)
    planes = (luma / 4 + levels, *(plane + 128 for plane in chroma))
    return Frames(tuple(np.asarray(plane.round(), np.uint8) for plane in planes))


@dataclass(frozen=True)
class Kind:
    """How a file of one kind is made."""

    name: str
    """The first cell of its row in docs/formats.md."""
    suffix: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    rate: Fraction = RATE
    params: str = ""
    """x264's or x265's own."""
    options: dict[str, str] = field(default_factory=dict)
    """The encoder's, by FFmpeg's names."""
    muxer: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    """What is set on the codec context."""
    rotation: int = 0
    size: tuple[int, int] = (WIDTH, HEIGHT)
    pts: Sequence[int] | None = None
    time_base: Fraction | None = None
    after: Callable[[Path, Path], None] | None = None
    """What is done to the file that was encoded (as MP4): makes the second path from the first."""

    def make(self, folder: Path) -> Path:
        """The file, in a folder of its own."""
        stem = "".join(letter if letter.isalnum() else "-" for letter in self.name)
        path = folder / f"{stem}.{self.suffix}"
        first = folder / f"{stem}-first.mp4" if self.after else path
        write_foreign(
            first,
            list(self._frames()),
            codec=self.codec,
            rate=self.rate,
            time_base=self.time_base or 1 / self.rate,
            pts=self.pts,
            rotation=self.rotation,
            options=self._options(),
            muxer=self.muxer,
            **self.context,
        )
        if self.after:
            self.after(first, path)
        return path

    def _frames(self) -> Iterator[VideoFrame]:
        for frame in video_frames(brightening()):
            is_plain = (self.size, self.pixels) == ((WIDTH, HEIGHT), "yuv420p")
            width, height = self.size
            yield frame if is_plain else frame.reformat(width=width, height=height, format=self.pixels)

    def _options(self) -> dict[str, str]:
        params = ":".join(part for part in (PARAMS.get(self.codec, ""), self.params) if part)
        own = {"libx264": "x264-params", "libx265": "x265-params"}
        return {
            **OPTIONS.get(self.codec, {}),
            **({own[self.codec]: params} if self.codec in own else {}),
            **self.options,
        }


PARAMS = {
    "libx264": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=3:b-adapt=0",
    "libx265": f"log-level=error:keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=3:open-gop=0:frame-threads=1",
}
REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": str(GOP), "b": "300k"}
OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "18"},
    "libvpx-vp9": REALTIME,
    "libvpx": REALTIME,
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1", "g": str(GOP)},
    "mpeg4": {"g": str(GOP), "sc_threshold": "1000000000", "qmax": "3"},
    "mpeg2video": {"g": str(GOP), "sc_threshold": "1000000000", "qmax": "3"},
    "mjpeg": {"qmax": "3"},
}


def packets_in(path: Path) -> Iterator[Packet[VideoStream]]:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)


def remux(source: Path, path: Path, change: Callable[[OutputContainer, VideoStream], Any], **options: str) -> None:
    """Copies a file's packets into another; `change` is told of the output, and may give a function for each packet."""
    with av.open(str(source)) as container, av.open(str(path), "w", options=options) as output:
        assert isinstance(container, InputContainer)
        assert isinstance(output, OutputContainer)
        copy = output.add_stream_from_template(container.streams.video[0])
        put = change(output, copy)
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                made = put(packet)
                made.stream = copy
                output.mux_one(made)


def with_short_lengths(source: Path, path: Path) -> None:
    """NAL units with lengths of two bytes."""

    def change(_: OutputContainer, copy: VideoStream) -> Callable[[Packet[VideoStream]], Packet[VideoStream]]:
        record = bytearray(copy.codec_context.extradata or b"")
        record[4] = 0xFC | 1
        copy.codec_context.extradata = bytes(record)
        return put

    def put(packet: Packet[VideoStream]) -> Packet[VideoStream]:
        data = bytes(packet)
        units, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            units.append(size.to_bytes(2, "big") + data[at + 4 : at + 4 + size])
            at += 4 + size
        short = b"".join(units)
        assert with_four_byte_lengths(short, 2) == data
        made: Packet[VideoStream] = av.Packet(short)  # type: ignore[assignment]
        made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        made.is_keyframe = packet.is_keyframe
        return made

    remux(source, path, change)


def trimmed(num: int) -> Callable[[Path, Path], None]:
    """An edit list hides the first `num` frames."""

    def make(source: Path, path: Path) -> None:
        def change(_: OutputContainer, copy: VideoStream) -> Callable[[Packet[VideoStream]], Packet[VideoStream]]:
            return put

        def put(packet: Packet[VideoStream]) -> Packet[VideoStream]:
            hidden = round(num / RATE / Fraction(packet.time_base))
            packet.pts, packet.dts = (packet.pts or 0) - hidden, (packet.dts or 0) - hidden
            return packet

        remux(source, path, change, use_editlist="1", avoid_negative_ts="disabled")

    return make


def in_band_only(source: Path, path: Path) -> None:
    """`avc3`: the header has no parameter sets, each key frame has them (it was encoded so)."""
    data = source.read_bytes()
    at = data.index(b"avcC") - 4
    record = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    empty = record[:13] + bytes((0xE0, 0)) + bytes(len(record) - 15)
    path.write_bytes(data.replace(record, empty).replace(b"avc1", b"avc3"))


def cut_open(source: Path, path: Path) -> None:
    """A capture that begins in the middle of a group of pictures: the packets ahead of frame 5 are gone."""

    def change(_: OutputContainer, copy: VideoStream) -> Callable[[Packet[VideoStream]], Packet[VideoStream]]:
        return lambda packet: packet

    whole = path.with_name(f"whole-{path.name}")
    remux(source, whole, change)
    positions = [packet.pos or 0 for packet in packets_in(whole)]
    data = whole.read_bytes()
    path.write_bytes(data[:564] + data[positions[5] :])  # the tables stay


def with_its_end_hidden(source: Path, path: Path) -> None:
    """An edit list shows the first half alone."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 12
    half = int.from_bytes(data[at : at + 4], "big") // 2
    data[at : at + 4] = half.to_bytes(4, "big")
    path.write_bytes(data)


def raw(source: Path, path: Path) -> None:
    """The coded frames alone, without a container: their times are not kept anywhere."""

    def change(_: OutputContainer, copy: VideoStream) -> Callable[[Packet[VideoStream]], Packet[VideoStream]]:
        return lambda packet: packet

    remux(source, path, change)


def uneven(unit: int) -> list[int]:
    """The times of frames that come after one, two or three units, as a phone's do."""
    dice = Random(6)
    return [0, *accumulate(unit * dice.choice((1, 1, 1, 2, 3)) for _ in range(NUM_FRAMES - 1))]


NTSC = Fraction(30000, 1001)
TAGS: dict[str, dict[str, int]] = {
    "BT.709": {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1},
    "BT.601": {"color_primaries": 6, "color_trc": 6, "colorspace": 6, "color_range": 1},
    "BT.2020": {"color_primaries": 9, "color_trc": 14, "colorspace": 9, "color_range": 1},
    "PQ": {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1},
    "HLG": {"color_primaries": 9, "color_trc": 18, "colorspace": 9, "color_range": 1},
}
KEPT: tuple[Kind, ...] = (
    Kind("H.264 with B-frames", context=TAGS["BT.709"]),
    Kind("H.264 without B-frames", params="bframes=0"),
    Kind("H.264 Constrained Baseline", params="bframes=0", options={"profile": "baseline"}),
    Kind("H.264 with open groups", params="open-gop=1"),
    Kind("H.264 with a pyramid of 8 B-frames", params="bframes=8:b-pyramid=normal:keyint=24:min-keyint=24"),
    Kind("H.264 with key frames only", params="keyint=1:min-keyint=1"),
    Kind("H.264 with one key frame (intra refresh)", params="intra-refresh=1:bframes=0"),
    Kind("H.264 in slices", params="slices=3"),
    Kind("H.264 lossless", options={"qp": "0"}),
    Kind("H.264 with its parameter sets in band (avc3)", params="repeat-headers=1", after=in_band_only),
    Kind("H.264 with 2-byte NAL lengths", after=with_short_lengths),
    Kind("H.264 of 10 bits", pixels="yuv420p10le"),
    Kind("H.264 4:2:2", pixels="yuv422p"),
    Kind("H.264 4:2:2 of 10 bits", pixels="yuv422p10le"),
    Kind("H.264 4:4:4", pixels="yuv444p"),
    Kind("H.264 4:4:4 of 10 bits", pixels="yuv444p10le"),
    Kind("H.264 grey", pixels="gray"),
    Kind("H.264 interlaced (MBAFF)", params="tff=1"),
    Kind("H.264 interlaced, bottom field first", params="bff=1:bframes=0"),
    Kind("H.264 marked as interlaced (PsF)", params="fake-interlaced=1"),
    Kind("H.264 in full range", context={"color_range": 2}),
    Kind("H.264 tagged BT.601", context=TAGS["BT.601"]),
    Kind("H.264 tagged BT.2020, SDR", context=TAGS["BT.2020"]),
    Kind("H.264 turned by 90°", rotation=90),
    Kind("H.264 turned by 180°", rotation=180),
    Kind("H.264 turned by 270°", rotation=270),
    Kind("H.264 with pixels of 4:3", context={"sample_aspect_ratio": Fraction(4, 3)}),
    Kind("H.264 turned, with pixels of 8:9", rotation=90, context={"sample_aspect_ratio": Fraction(8, 9)}),
    Kind("H.264 of variable rate in MP4", pts=uneven(1001), time_base=Fraction(1, 30_000), rate=NTSC),
    Kind("H.264 of variable rate in Matroska", "mkv", pts=uneven(33), time_base=Fraction(1, 1000), rate=Fraction(30)),
    Kind("H.264 in Matroska (times in ms)", "mkv", rate=NTSC),
    Kind("H.264 in MOV", "mov"),
    Kind("H.264 in MPEG-TS", "ts"),
    Kind("H.264 in FLV", "flv"),
    Kind("H.264 in AVI without B-frames", "avi", params="bframes=0"),
    Kind("H.264 in fragmented MP4", muxer={"movflags": "frag_keyframe+empty_moov"}),
    Kind("H.264 with negative offsets", muxer={"movflags": "negative_cts_offsets"}),
    Kind("H.264 trimmed at the start by an edit list", after=trimmed(5)),
    Kind("H.264 trimmed by more than a group", after=trimmed(17)),
    Kind("H.264 at 23.976 fps", rate=Fraction(24000, 1001)),
    Kind("H.264 at 29.97 fps", rate=NTSC),
    Kind("H.264 at 59.94 fps", rate=Fraction(60000, 1001)),
    Kind("H.264 at 240 fps", rate=Fraction(240)),
    Kind("H.264 at 1 frame in 2 s", rate=Fraction(1, 2)),
    Kind("HEVC with B-frames", codec="libx265"),
    Kind("HEVC with open groups", codec="libx265", params="open-gop=1"),
    Kind("HEVC of 10 bits", codec="libx265", pixels="yuv420p10le"),
    Kind("HEVC of variable rate in Matroska", "mkv", codec="libx265", pts=uneven(33), time_base=Fraction(1, 1000),
         rate=Fraction(30)),
    Kind("HEVC in MPEG-TS", "ts", codec="libx265"),
    Kind("HEVC turned by 90°", codec="libx265", rotation=90, size=(HEIGHT * 2, WIDTH * 2)),
    Kind("VP9", "webm", codec="libvpx-vp9"),
    Kind("VP9 with hidden frames (alt-ref)", "webm", codec="libvpx-vp9",
         options={"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    Kind("VP9 in MP4", codec="libvpx-vp9"),
    Kind("VP9 4:4:4", "webm", codec="libvpx-vp9", pixels="yuv444p"),
    Kind("MPEG-4 without B-frames", codec="mpeg4"),
    Kind("MPEG-4 in AVI", "avi", codec="mpeg4"),
)  # fmt: skip
"""Whose packets are kept."""
CONVERTED: tuple[Kind, ...] = (
    Kind("ProRes", "mov", codec="prores_ks", pixels="yuv422p10le", context=TAGS["BT.709"]),
    Kind("Motion JPEG", "avi", codec="mjpeg", pixels="yuvj420p"),
    Kind("GIF", "gif", codec="gif", pixels="rgb8"),
    Kind("FFV1", "mkv", codec="ffv1", pixels="yuv444p", context=TAGS["BT.709"]),
    Kind("AV1", codec="libsvtav1", context=TAGS["BT.709"]),
    Kind("VP8", "webm", codec="libvpx"),
    Kind("MPEG-2", "ts", codec="mpeg2video", context=TAGS["BT.709"]),
    Kind("DNxHR", "mov", codec="dnxhd", pixels="yuv422p", options={"profile": "dnxhr_hq"}, size=(256, 144)),
    Kind("MPEG-4 with B-frames", codec="mpeg4", options={"bf": "2"}),
    Kind("H.264 in AVI with B-frames", "avi", context=TAGS["BT.709"]),
    Kind("H.264 of odd size", pixels="yuv444p", size=(63, 47), context=TAGS["BT.709"]),
    Kind("H.264 without a container", "h264", after=raw, context=TAGS["BT.709"]),
    Kind("H.264 that begins inside a group", "ts", after=cut_open, context=TAGS["BT.709"]),
    Kind("H.264 whose end an edit list hides", params="keyint=250", after=with_its_end_hidden, context=TAGS["BT.709"]),
    Kind("HDR, PQ", codec="libx265", pixels="yuv420p10le", context=TAGS["PQ"]),
    Kind("HDR, HLG", codec="libx265", pixels="yuv420p10le", context=TAGS["HLG"]),
    Kind("HEVC under 64 pixels wide", codec="libx265", size=(32, 64), context=TAGS["BT.709"]),
)
"""What is brought to house format."""
BY_NAME = {kind.name: kind for kind in (*KEPT, *CONVERTED)}


def names(kinds: Iterable[Kind]) -> list[str]:
    return [kind.name for kind in kinds]
