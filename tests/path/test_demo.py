"""`make demo`: the main job, from an empty folder to a contact sheet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from longtake.media.encode import encode
from tests.footage import TINY, moving

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nothing", ["1-image.mp4", "2-appended.mp4", "3-prepended.mp4", "4-other.mp4", "5-bridged.mp4"]),
        ("a clip", ["1-appended.mp4", "2-prepended.mp4", "3-bridged.mp4"]),
    ],
)
def test_the_demo_makes_its_videos_and_its_sheet(tmp_path: Path, given: str, expected: list[str]) -> None:
    command = [sys.executable, "-m", "examples.demo", "--out", str(tmp_path / "out"), "--resolution", "540p"]
    if given == "a clip":
        encode([moving(12)], TINY, tmp_path / "clip.mp4")
        command += ["--input", str(tmp_path / "clip.mp4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == expected
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert all(name in done.stdout for name in expected)
