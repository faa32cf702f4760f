"""Writes a file whole or not at all, and packets whose bytes are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from av.packet import Packet
from av.video.stream import VideoStream


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to; moves it to `path` at the end, and removes it on any exception."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def with_data(packet: Packet[VideoStream], data: bytes) -> Packet[VideoStream]:
    """The packet with other bytes; its time stamps are for the caller to set."""
    made = cast("Packet[VideoStream]", Packet(data))
    made.is_keyframe = packet.is_keyframe
    return made
