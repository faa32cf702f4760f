"""HLS: a video is watched while its new part is still rendered, and each frame of it is that of the finished file."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from av.container import InputContainer

from tests.footage import moving, video_frames, write_foreign
from tests.servers import Server

SECONDS = 12.0
"""Of the new part: six groups of frames, and long enough to be seen growing."""


@dataclass
class Seen:
    """What a player has seen of one playlist."""

    texts: list[str] = field(default_factory=list)
    header: bytes = b""
    parts: dict[str, bytes] = field(default_factory=dict)
    at_first: int = 0
    """How many parts the first playlist had."""

    def look(self, client: httpx2.Client, address: str) -> bool:
        """Fetches the playlist and what is new in it; whether it has ended."""
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/vnd.apple.mpegurl")
        self.texts.append(answer.text)
        base = address.rpartition("/")[0]
        if (found := re.search(r'#EXT-X-MAP:URI="([^"]+)"', answer.text)) and not self.header:
            self.header = client.get(f"{base}/{found[1]}").content
        for line in answer.text.splitlines():
            if line and not line.startswith("#") and line not in self.parts:
                part = client.get(f"{base}/{line}")
                assert part.status_code == 200, part.text
                assert part.headers["content-type"] == "video/mp4"
                self.parts[line] = part.content
        self.at_first = self.at_first or len(self.parts)
        return "#EXT-X-ENDLIST" in answer.text

    def names(self, text: str) -> list[str]:
        return [line.partition("?")[0] for line in text.splitlines() if line and not line.startswith("#")]

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join([self.header, *self.parts.values()]))
        return path


def digests(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        return [
            hashlib.blake2b(frame.to_ndarray().tobytes()).hexdigest()
            for frame in container.decode(container.streams.video[0])
        ]


@pytest.fixture(scope="module")
def clip(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Foreign footage: B-frames, untagged colours, a key frame every two seconds."""
    frames = video_frames(moving(60, 320, 192))
    options = {"x264-params": "bframes=3:keyint=24"}
    path = write_foreign(tmp_path_factory.mktemp("clip") / "clip.mp4", frames, options=options)
    return {"type": "video", "upload": server.upload(path)}


def watched(server: Server, id: str) -> Seen:
    """Watches from the moment that there is a playlist until it ends."""
    seen = Seen()
    while not (address := server.client.get(f"/api/generations/{id}").json()["playlist"]):
        time.sleep(0.02)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.client.get(address).status_code == 404:  # it is queued, or its ends are being fetched
            time.sleep(0.02)
        elif seen.look(server.client, address):
            return seen
    raise AssertionError(f"the playlist did not end:\n{seen.texts[-1]}")


@pytest.mark.parametrize("end", ["frame0", "frame1"])
def test_a_player_sees_every_frame_of_the_finished_video_and_begins_before_it_is_finished(
    server: Server, clip: dict[str, Any], end: str, tmp_path: Path
) -> None:
    id = server.create({"keyframes": {end: {**clip, "at": 2.75}}, "seconds": SECONDS, "seed": 1})
    seen = watched(server, id)
    made = server.completed(id)
    whole = digests(server.download(made["assets"]["video"], tmp_path / "whole.mp4"))
    assert digests(seen.write(tmp_path / "watched.mp4")) == whole
    assert len(seen.texts) > 1
    assert seen.at_first < len(seen.parts)
    for earlier, later in zip(seen.texts, seen.texts[1:], strict=False):
        assert seen.names(later)[: len(seen.names(earlier))] == seen.names(earlier)
        assert re.findall("#EXT-X-TARGETDURATION.*", earlier) == re.findall("#EXT-X-TARGETDURATION.*", later)
    if end == "frame0":
        assert seen.at_first >= 2  # the footage plays at once


def test_a_finished_video_is_played_by_ffmpeg_from_its_playlist(
    server: Server, clip: dict[str, Any], tmp_path: Path
) -> None:
    made = server.make({"keyframes": {"frame0": clip, "frame1": clip}, "seconds": 1, "seed": 1})
    whole = digests(server.download(made["assets"]["video"], tmp_path / "whole.mp4"))
    with av.open(made["playlist"]) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.video[0]))
    assert [hashlib.blake2b(frame.to_ndarray().tobytes()).hexdigest() for frame in frames] == whole
    times = [frame.time - frames[0].time for frame in frames]
    assert times == pytest.approx([number / 12 for number in range(len(frames))], abs=1e-4)


def test_what_the_playlist_does_not_name_is_not_there(server: Server, clip: dict[str, Any]) -> None:
    made = server.make({"keyframes": {"frame0": clip}, "seconds": 0.5, "seed": 1})
    changed = made["playlist"].replace("signature=", "signature=0")
    assert server.client.get(changed).status_code == 403
    assert server.client.get(made["playlist"].replace("playlist.m3u8", "0-1.m4s")).status_code == 403
    assert server.client.head(made["playlist"]).status_code == 200
    server.client.delete(f"/api/generations/{made['id']}")
    assert server.client.get(made["playlist"]).status_code == 404


def test_nothing_of_the_watching_is_left_in_the_store(server: Server, clip: dict[str, Any]) -> None:
    server.make({"keyframes": {"frame0": clip}, "seconds": 2, "seed": 1})
    live = server.data / "objects" / "live"
    assert not [path for path in live.rglob("*") if path.is_file()]
