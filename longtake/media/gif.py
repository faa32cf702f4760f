"""A finished video → an animated GIF: one palette for all of it, found in a first pass over its frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.container import OutputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from longtake.errors import MediaError
from longtake.media.colour import EXACT
from longtake.media.fields import pull
from longtake.media.playing import Playing, play, turned

MOST_SECONDS: Final = 60
MOST_WIDTH: Final = 480
MOST_RATE: Final = 15
TICK: Final = Fraction(1, 100)
"""What GIF counts time in."""
THREADS: Final = 2
PIXELS: Final = "bgra"


def write_gif(source: Path, part: Path) -> None:
    """Writes a GIF that loops for ever: upright, in square pixels, at most 480 of them wide and 15 frames a second.

    Frames are left out evenly, and each that stays is shown at its own time, to the hundredth of a second. Two passes,
    each with a few frames in memory. Raises MediaError above 60 s.
    """
    with play(source) as playing:
        check_gif(playing.seconds)
        palette, last_at = _palette(_frames(playing))
    with play(source) as playing:
        _write(playing, palette, max(1, round((Fraction(playing.seconds) - last_at) / TICK)), part)


def check_gif(seconds: float) -> None:
    """Raises MediaError where that is longer than a GIF may last."""
    if seconds > MOST_SECONDS:
        raise MediaError(f"a GIF may last up to {MOST_SECONDS} s, and the video lasts {seconds:.1f} s")


def gif_size(playing: Playing) -> tuple[int, int]:
    """Width and height in square pixels, upright; never larger than the video."""
    width, height = playing.square_size
    across, down = (height, width) if playing.rotation % 180 else (width, height)
    scale = min(Fraction(1), Fraction(MOST_WIDTH, across))
    return max(1, round(across * scale)), max(1, round(down * scale))


def _frames(playing: Playing) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Pictures at least 1/15 s apart, and when each is shown, in seconds."""
    width, height = gif_size(playing)
    turns = playing.rotation // 90
    scaler = VideoReformatter()
    shown_at: Fraction | None = None
    for frame, pts, _ in playing.frames:
        seconds = pts * playing.time_base
        # Time stamps are rounded to their time base.
        if shown_at is not None and seconds - shown_at < Fraction(1, MOST_RATE) - playing.time_base:
            continue
        shown_at = seconds
        made = scaler.reformat(
            frame,
            width=height if turns % 2 else width,
            height=width if turns % 2 else height,
            format=PIXELS,
            src_colorspace=playing.matrix,
            dst_colorspace=playing.matrix,
            src_color_range=playing.range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=THREADS,
        )
        yield turned(made, turns), seconds


def _palette(frames: Iterator[tuple[VideoFrame, Fraction]]) -> tuple[VideoFrame, Fraction]:
    """The colours that serve all pictures best, and when the last picture is shown."""
    graph, seconds = Graph(), Fraction(0)
    source: FilterContext | None = None
    for number, (frame, seconds) in enumerate(frames):  # noqa: B007
        if source is None:
            source = _buffer(graph, frame)
            graph.link_nodes(source, graph.add("palettegen"), graph.add("buffersink")).configure()
        _push(source, frame, number)
        for _ in pull(graph):  # there is nothing yet; but only who pulls has what was pushed looked at, and let go
            pass
    assert source
    source.push(None)
    return next(pull(graph)), seconds


def _write(playing: Playing, palette: VideoFrame, last_delay: int, part: Path) -> None:
    options = {"loop": "0", "final_delay": str(last_delay)}
    with av.open(str(part), "w", format="gif", options=options) as output:
        assert isinstance(output, OutputContainer)
        stream = output.add_stream("gif", rate=MOST_RATE)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = gif_size(playing)
        context.pix_fmt, context.time_base = "pal8", TICK
        for frame in _painted(_frames(playing), palette):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _painted(frames: Iterator[tuple[VideoFrame, Fraction]], palette: VideoFrame) -> Iterator[VideoFrame]:
    """The pictures in the colours of the palette, with pts in ticks."""
    graph = Graph()
    source: FilterContext | None = None
    for frame, seconds in frames:
        if source is None:
            source, colours = _buffer(graph, frame), _buffer(graph, palette)
            paint = graph.add("paletteuse", "dither=bayer:bayer_scale=3:diff_mode=rectangle")
            source.link_to(paint, 0, 0)
            colours.link_to(paint, 0, 1)
            graph.link_nodes(paint, graph.add("buffersink")).configure()
            _push(colours, palette, 0)
            colours.push(None)
        _push(source, frame, round(seconds / TICK))
        yield from pull(graph)
    assert source
    source.push(None)
    yield from pull(graph)


def _buffer(graph: Graph, frame: VideoFrame) -> FilterContext:
    return graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)


def _push(buffer: FilterContext, frame: VideoFrame, pts: int) -> None:
    frame.pts, frame.time_base = pts, TICK
    buffer.push(frame)
