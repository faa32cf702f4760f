"""Interlaced frames → progressive ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame


def deinterlaced(decoded: Iterable[VideoFrame], which: str = "all") -> Iterator[VideoFrame]:
    """One progressive frame for each frame, with its time stamp (bwdif: Weston three-field).

    `which`: "all", or only those marked as "interlaced".
    """
    graph: Graph | None = None
    for frame in decoded:
        graph = graph or _graph(frame, which)
        graph.vpush(frame)
        yield from pull(graph)
    if graph:
        graph.vpush(None)
        yield from pull(graph)


def _graph(frame: VideoFrame, which: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(frame.time_base or 1)
    )
    graph.link_nodes(source, graph.add("bwdif", f"mode=send_frame:deint={which}"), graph.add("buffersink")).configure()
    return graph


def pull(graph: Graph) -> Iterator[VideoFrame]:
    """The frames that a filter graph has ready."""
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
