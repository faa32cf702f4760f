"""What can be watched: not what a player could not take in parts."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from longtake.errors import UnknownError
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import Coding, VideoFormat
from longtake.watching import MOST_SECONDS, Watch


def finished(num_frames: int, *key_frames: int, codec: str = "h264") -> Any:
    """A generation whose video is one segment of a frame a second."""
    format = VideoFormat(64, 48, Fraction(1), Coding(codec))
    timeline = Timeline(format, (Segment("a", "segments/a.mp4", 0, num_frames, key_frames),))
    return SimpleNamespace(id="a", state="completed", result=SimpleNamespace(timeline=timeline))


def test_footage_whose_key_frames_are_too_far_apart_has_no_playlist() -> None:
    assert Watch.of(finished(MOST_SECONDS, 0), Store.in_memory()).is_whole
    with pytest.raises(UnknownError, match="key frames"):
        Watch.of(finished(MOST_SECONDS + 1, 0), Store.in_memory())
    assert Watch.of(finished(MOST_SECONDS + 1, 0, 20), Store.in_memory()).is_whole


def test_a_codec_that_players_do_not_take_has_no_playlist() -> None:
    with pytest.raises(UnknownError, match="mpeg4"):
        Watch.of(finished(10, 0, codec="mpeg4"), Store.in_memory())
