"""A file that breaks off, sent to a server: what is wrong is said with what to do, and done so it goes on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.footage import frame_hashes, moving, video_frames, write_foreign
from tests.servers import Server


def test_an_upload_that_breaks_off_is_extended_from_where_its_owner_says(server: Server, tmp_path: Path) -> None:
    frames = video_frames(moving(96, 160, 128))
    options = {"x264-params": "bframes=3:keyint=24"}
    path = write_foreign(tmp_path / "whole.mp4", frames, options=options, muxer={"movflags": "faststart"}, sound=True)
    data, broken = path.read_bytes(), tmp_path / "broken.mp4"
    media = data.index(b"mdat")
    broken.write_bytes(data[: media + (len(data) - media) * 6 // 10])
    clip = {"type": "video", "upload": server.upload(broken)}
    failed = server.finished(server.create({"keyframes": {"frame0": clip}, "seconds": 0.5}))
    assert failed["state"] == "failed"
    says = r"nothing can be read after \d\.\d\d s; it could be cut before that: at=(\S+)"
    found = re.search(says, failed["failure_reason"])
    assert found, failed["failure_reason"]
    made = server.make({"keyframes": {"frame0": {**clip, "at": float(found[1])}}, "seconds": 0.5})
    kept = round(float(found[1]) * 12)
    assert 36 < kept < 96
    whole = frame_hashes(server.download(made["assets"]["video"], tmp_path / "made.mp4"))[0]
    assert len(whole) == kept + 6
    assert whole[:kept] == frame_hashes(path)[0][:kept]
    assert made["source"]["converted"] == []
