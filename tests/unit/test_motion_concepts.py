"""Every camera move that is offered, measured on rendered frames: points are followed, similarities fitted to them."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from longtake.cli import main
from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.outwards import BEYOND
from longtake.video import Cell, VideoFormat
from tests.stage import walking
from tests.unit.test_motion_camera import SIZE, Silent, still

RATE = Fraction(6)
NUM_FRAMES = 30
Points = npt.NDArray[np.float32]


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Move(NamedTuple):
    """What a part of the scene does from the first frame to the last."""

    right: float
    """Pixels that the middle of the picture moves right, and down."""
    down: float
    scale: float
    clockwise: float
    """Degrees."""


@cache
def rendered(concept: str) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """The luma of five seconds that start at an image, and what is said about them."""
    shot = Shot(Cell("still", "nothing"), VideoFormat(*SIZE, RATE), NUM_FRAMES, before=still(), concepts=(concept,))
    report = Listening()
    return np.concatenate([frames.planes[0] for frames in Motion().render(shot, report)]), tuple(report.notes)


def followed(first: npt.NDArray[np.uint8], last: npt.NDArray[np.uint8]) -> tuple[Points, Points]:
    """Points of `first`, and where they are in `last`; only those that are found again from there."""
    how = {"winSize": (25, 25), "maxLevel": 4}
    points = cv2.goodFeaturesToTrack(first, 400, 0.01, 5)
    there, found, _ = cv2.calcOpticalFlowPyrLK(first, last, points, None, **how)  # type: ignore[call-overload]
    back, _, _ = cv2.calcOpticalFlowPyrLK(last, first, there, None, **how)  # type: ignore[call-overload]
    sure = (found[:, 0] == 1) & (np.abs(back - points).max(axis=(1, 2)) < 0.3)
    return points[sure][:, 0], there[sure][:, 0]


def fitted(before: Points, after: Points, size: tuple[int, int] = SIZE) -> Move:
    matrix, _ = cv2.estimateAffinePartial2D(before, after, ransacReprojThreshold=4.0)
    middle = np.array([size[0] / 2, size[1] / 2])
    right, down = matrix @ np.array([*middle, 1.0]) - middle
    cos, sin = matrix[0, 0], matrix[1, 0]
    return Move(float(right), float(down), float(np.hypot(cos, sin)), float(np.degrees(np.arctan2(sin, cos))))


@cache
def moved(concept: str) -> Move:
    luma, _ = rendered(concept)
    return fitted(*followed(luma[0], luma[-1]))


def part(concept: str, top: int, bottom: int) -> tuple[Points, Points]:
    """Points in some of the picture's rows: those at the top are far away, those at the bottom are near."""
    luma, _ = rendered(concept)
    before, after = followed(luma[0], luma[-1])
    inside = (before[:, 1] >= top) & (before[:, 1] < bottom)
    return before[inside], after[inside]


SHIFTS = {
    "pan_left": (15, 0),
    "pan_right": (-15, 0),
    "truck_left": (7, 0),
    "truck_right": (-7, 0),
    "tilt_up": (0, 8),
    "tilt_down": (0, -8),
    "pedestal_up": (0, 5),
    "pedestal_down": (0, -5),
    "crane_up": (0, 4),
    "crane_down": (0, -4),
}
SCALES = {"zoom_in": 1.2, "push_in": 1.1, "zoom_out": 1 / 1.2, "pull_out": 1 / 1.1}
ROLLS = {"roll_left": 3, "roll_right": -3}
OTHERS = {"orbit_left", "orbit_right", "dolly_zoom", "static", "handheld"}


def test_every_move_that_is_offered_is_measured_here() -> None:
    assert Motion.capabilities.concepts == {*SHIFTS, *SCALES, *ROLLS} | OTHERS


@pytest.mark.parametrize("concept", SHIFTS)
def test_the_scene_moves_against_the_camera(concept: str) -> None:
    move, (right, down) = moved(concept), SHIFTS[concept]
    along, across = (move.right, move.down) if right else (move.down, move.right)
    assert along * np.sign(right + down) >= abs(right + down)
    assert abs(across) < abs(along) / 4


@pytest.mark.parametrize("concept", SCALES)
def test_the_scene_grows_or_shrinks(concept: str) -> None:
    move, wanted = moved(concept), SCALES[concept]
    assert move.scale >= wanted if wanted > 1 else move.scale <= wanted
    assert abs(move.right) < 2
    assert abs(move.down) < 2


@pytest.mark.parametrize("concept", ROLLS)
def test_the_scene_turns_against_the_camera(concept: str) -> None:
    assert moved(concept).clockwise * np.sign(ROLLS[concept]) > abs(ROLLS[concept])


@pytest.mark.parametrize(("concept", "sign"), [("orbit_left", 1), ("orbit_right", -1)])
def test_an_orbit_parts_what_is_near_from_what_is_far(concept: str, sign: int) -> None:
    near, far = (fitted(*part(concept, *rows)) for rows in ((110, 180), (0, 70)))
    assert sign * (near.right - far.right) > 4


def test_a_dolly_zoom_lets_the_background_grow_more_than_the_subject() -> None:
    near, far = (fitted(*part("dolly_zoom", *rows)) for rows in ((110, 180), (0, 70)))
    assert far.scale - near.scale > 0.04


def test_a_pull_out_takes_what_is_near_farther_away_than_what_is_far() -> None:
    near, far = (fitted(*part("pull_out", *rows)) for rows in ((110, 180), (0, 70)))
    assert far.scale - near.scale > 0.02
    zoomed = [fitted(*part("zoom_out", *rows)).scale for rows in ((110, 180), (0, 70))]
    assert abs(zoomed[0] - zoomed[1]) < 0.01


def test_a_camera_that_stands_or_sways_goes_nowhere() -> None:
    assert (rendered("static")[0] == still().planes[0]).all()
    luma, _ = rendered("handheld")
    rights = [fitted(*followed(luma[0], luma[index])).right for index in range(6, NUM_FRAMES, 3)]
    assert max(rights) > 1
    assert min(rights) < -1


@pytest.mark.parametrize("concept", ["zoom_out", "pull_out"])
def test_a_move_outwards_starts_at_the_exact_image_and_shows_no_border(concept: str) -> None:
    luma, notes = rendered(concept)
    assert (luma[0] == still().planes[0][0]).all()
    assert BEYOND in notes
    steps = np.abs(np.diff(luma[-1].astype(float), axis=1)).mean(axis=0)
    inside, rim = steps[80:240], np.concatenate([steps[5:60], steps[-60:-5]])
    assert rim.max() < 1.2 * inside.max()
    assert luma[-1][:, :5].std() > 2


def test_a_move_inwards_says_nothing_of_borders() -> None:
    assert BEYOND not in rendered("zoom_in")[1]


CLIP = {"pan_left": 1, "pan_right": -1, "tilt_up": 1, "tilt_down": -1, "zoom_in": 1, "zoom_out": -1, "roll_left": 1}


@pytest.mark.parametrize("concept", CLIP)
def test_a_clip_that_goes_on_is_steered_too(concept: str) -> None:
    clip = walking(24)
    format = VideoFormat(clip.width, clip.height, Fraction(12))
    shot = Shot(Cell("clip", "nothing"), format, 36, before=clip, concepts=(concept,))
    report = Listening()
    luma = np.concatenate([frames.planes[0] for frames in Motion().render(shot, report)])
    move = fitted(*followed(clip.planes[0][-1], luma[-1]), (clip.width, clip.height))
    figure = {"pan": move.right / 5, "tilt": move.down / 3, "zoom": (move.scale - 1) * 10, "roll": move.clockwise / 2}
    assert figure[concept.split("_", maxsplit=1)[0]] * CLIP[concept] > 1
    assert (BEYOND in report.notes) == (concept == "zoom_out")


def test_a_move_that_both_ends_forbid_is_left_out_and_said() -> None:
    clip = walking(24)
    format = VideoFormat(clip.width, clip.height, Fraction(12))
    shot = Shot(Cell("clip", "clip"), format, 6, clip[:12], clip[12:], concepts=("zoom_out",))
    report = Listening()
    for _ in Motion().render(shot, report):
        pass
    assert any("zoom_out" in note and "left out" in note for note in report.notes)
    assert BEYOND not in report.notes


def frames_of(luma: npt.NDArray[np.uint8]) -> Frames:
    """Grey frames."""
    chroma = np.full((len(luma), luma.shape[1] // 2, luma.shape[2] // 2), 128, np.uint8)
    return Frames((luma, chroma, chroma.copy()))


def test_a_camera_that_pans_goes_over_into_the_move_that_is_asked_for() -> None:
    wide = cv2.resize(still((960, 180)).planes[0][0], (960, 180))
    clip = frames_of(np.stack([wide[:, 4 * k : 4 * k + 320] for k in range(36)]))
    shot = Shot(Cell("clip", "nothing"), VideoFormat(320, 180, Fraction(12)), 60, before=clip, concepts=("zoom_out",))
    luma = np.concatenate([frames.planes[0] for frames in Motion().render(shot, Listening())])
    assert fitted(*followed(luma[12], luma[-1])).scale < 0.9


def test_the_help_of_the_command_line_lists_every_move() -> None:
    printed = CliRunner().invoke(main, ["animate", "--help"]).output
    assert set(re.findall(r"[a-z]+(?:_[a-z]+)*", printed)) >= Motion.capabilities.concepts
