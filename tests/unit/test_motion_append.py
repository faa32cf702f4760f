"""How the motion engine goes on after a clip: guards, planner, passages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Frames, Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.blend import Servo, shift_tone, tone_difference
from longtake.engines.motion.flow import camera_field, velocity_at_end
from longtake.engines.motion.frame import Frame
from longtake.engines.motion.plan import Footing, Jump, Planner, Run, Turn
from longtake.engines.motion.tail import usable_tail
from longtake.video import Cell, VideoFormat

Luma = npt.NDArray[np.uint8]
RATE = 24.0


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None:
        self.texts.append(text)


def texture(width: int, height: int, seed: int = 0) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(np.clip((smooth - smooth.mean()) * 4 + 126, 16, 235), np.float32)


def clip_of(luma: list[npt.NDArray[np.float32]]) -> Frames:
    y = np.stack(luma).clip(0, 255).astype(np.uint8)
    chroma = np.full((len(y), y.shape[1] // 2, y.shape[2] // 2), 128, np.uint8)
    return Frames((y, chroma, chroma.copy()))


def panning(num_frames: int, speed: int = 2, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    wide = texture(160 + speed * num_frames, 96, seed)
    return [wide[:, speed * index : speed * index + 160] for index in range(num_frames)]


def circling(num_frames: int, period: int) -> list[npt.NDArray[np.float32]]:
    """A bright disc that goes round once in `period` frames: what follows is known exactly."""
    rows, columns = np.mgrid[:96, :160]
    turns = [2 * np.pi * (index % period) / period for index in range(num_frames)]
    centres = [(80 + 40 * np.cos(turn), 48 + 30 * np.sin(turn)) for turn in turns]
    return [(40 + 160 * (np.hypot(columns - x, rows - y) < 12)).astype(np.float32) for x, y in centres]


def footing(**given: object) -> Footing:
    fields: dict[str, object] = {
        "turn_half": 7,
        "end_turn_half": 7,
        "one_way": 0.0,
        "can_jump": True,
    }
    return Footing(RATE, **{**fields, **given})  # type: ignore[arg-type]


def walked(luma: list[npt.NDArray[np.float32]], seed: int = 0, **given: object) -> list[Run | Jump | Turn]:
    planes = [frame.astype(np.uint8) for frame in luma]
    return [piece for piece, _ in islice(Planner(planes, footing(**given), seed).walk(), 200)]


def faint(luma: list[npt.NDArray[np.float32]], level: float) -> list[npt.NDArray[np.float32]]:
    """The same motion at low contrast about a level: its steps are small beside a cut to another level."""
    return [np.asarray(level + 0.2 * (frame - 126), np.float32) for frame in luma]


def test_nothing_before_the_last_cut_is_looked_at() -> None:
    tail = usable_tail(clip_of(faint(panning(40, seed=1), 60) + faint(panning(30, seed=2), 190)), RATE)
    assert tail is not None
    assert tail.frames.num_frames == 30


def test_a_shot_that_starts_just_before_the_end_is_too_short_to_go_on_from() -> None:
    assert usable_tail(clip_of(faint(panning(40, seed=1), 60) + faint(panning(6, seed=2), 190)), RATE) is None


def test_a_clip_that_came_to_rest_goes_on_from_its_rest() -> None:
    moving = panning(40)
    rng = np.random.default_rng(0)
    resting = [moving[-1] + rng.normal(0, 0.2, moving[-1].shape).astype(np.float32) for _ in range(30)]
    tail = usable_tail(clip_of(moving + resting), RATE)
    assert tail is not None
    assert 28 <= tail.frames.num_frames <= 32


def test_a_frozen_clip_is_taken_for_a_picture() -> None:
    assert usable_tail(clip_of([texture(160, 96)] * 60), RATE) is None


def test_the_velocity_of_a_pan_is_that_of_the_camera() -> None:
    planes = [frame.astype(np.uint8) for frame in panning(12)]
    velocity = velocity_at_end(planes, 1.0)
    assert velocity.camera_pixels == pytest.approx(2.0, abs=0.2)
    assert float(np.median(velocity.field[..., 0])) == pytest.approx(-2.0, abs=0.2)
    assert velocity.confidence > 0.7


def test_a_standing_camera_is_not_pulled_along_by_what_moves_before_it() -> None:
    back, front = texture(160, 96), panning(2, speed=3, seed=4)
    first, second = back.copy(), back.copy()
    first[40:80, 50:110], second[40:80, 50:110] = front[0][40:80, 50:110], front[1][40:80, 50:110]
    assert camera_field(first.astype(np.uint8), second.astype(np.uint8)) is None


def test_a_motion_that_repeats_goes_on_by_jumps_to_the_same_phase() -> None:
    period = 24
    pieces = walked(circling(96, period), one_way=1.0)
    jumps = [piece for piece in pieces if isinstance(piece, Jump)]
    assert isinstance(pieces[0], Jump)
    assert all((jump.source - jump.target) % period in (0, 1, period - 1) for jump in jumps)


def test_a_motion_that_never_repeats_turns_back() -> None:
    pieces = walked(panning(96))
    assert isinstance(pieces[0], Turn)
    assert not any(isinstance(piece, Jump) for piece in pieces)


@pytest.mark.parametrize("make", [panning, lambda count: circling(count, 24)], ids=["pan", "circle"])
@pytest.mark.parametrize("num_frames", [12, 96, 400])
def test_a_walk_never_asks_for_a_frame_that_is_not_there(
    make: Callable[[int], list[npt.NDArray[np.float32]]], num_frames: int
) -> None:
    half = min(7, num_frames - 4)
    end = num_frames - 1
    for piece in walked(make(num_frames), turn_half=half, end_turn_half=half):
        places: list[float] = [piece.at] if isinstance(piece, Turn) else []
        if isinstance(piece, Run):
            places += [piece.start, piece.start + piece.direction * (piece.num_frames - 1)]
        elif isinstance(piece, Jump):
            ahead = piece.direction * piece.num_frames
            places += [piece.target + ahead, *([piece.source + ahead] if piece.source < end else [])]
        elif piece.at < end:
            places.append(piece.at + piece.direction * piece.half / 2)
        assert all(0 <= place <= end for place in places), piece


def test_pieces_follow_each_other_without_a_gap() -> None:
    place, direction = 95, 1
    for piece in walked(panning(96)):
        if isinstance(piece, Run):
            assert piece.start == place + direction
            place += direction * piece.num_frames
        elif isinstance(piece, Turn):
            assert piece.at == place
            direction = -direction
        else:
            place = piece.target + piece.direction * piece.num_frames
        assert not isinstance(piece, Run) or piece.direction == direction


def picture(luma: npt.NDArray[np.float32]) -> Frame:
    chroma = np.full((luma.shape[0] // 2, luma.shape[1] // 2), 128, np.uint8)
    return Frame(luma.clip(0, 255).astype(np.uint8), chroma, chroma.copy())


def test_the_servo_keeps_moving_texture_moving() -> None:
    """A crossfade of two boiling textures nearly stops in the middle; the servo's steps stay as large as theirs."""
    rng = np.random.default_rng(0)

    def boiling() -> Frame:
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (96, 160)).astype(np.float32), (0, 0), 2)
        return picture(np.asarray(noise * 3 - 255, np.float32))

    previous = boiling()
    energy = float(np.mean((previous.y.astype(float) - boiling().y) ** 2))
    servo = Servo(10, energy, previous)
    for _ in range(10):
        mixed = servo.mix(boiling(), boiling())
        assert np.mean((mixed.y.astype(float) - previous.y) ** 2) > 0.5 * energy
        previous = mixed


def test_the_servo_goes_from_all_of_the_one_to_all_of_the_other() -> None:
    dark, light = picture(np.full((96, 160), 40, np.float32)), picture(np.full((96, 160), 200, np.float32))
    servo = Servo(9, 0.5, dark)
    means = [float(servo.mix(dark, light).y.mean()) for _ in range(9)]
    assert means == sorted(means)
    assert means[0] < 56
    assert means[-1] > 190


def test_a_small_difference_in_tone_is_ramped_and_a_large_one_left_alone() -> None:
    dark, light = picture(np.full((4, 4), 100, np.float32)), picture(np.full((4, 4), 110, np.float32))
    difference = tone_difference(dark, light)
    assert shift_tone(dark, difference, 1.0).y.mean() == 110
    assert shift_tone(light, difference, -0.5).y.mean() == 105
    assert tone_difference(dark, picture(np.full((4, 4), 200, np.float32))) == (0.0, 0.0, 0.0)


def passing(num_frames: int) -> list[npt.NDArray[np.float32]]:
    """A bright disc that goes by, once, before a standing camera."""
    rows, columns = np.mgrid[:96, :160]
    back = texture(160, 96)
    discs = [np.hypot(columns - 20 - 2 * index, rows - 48) < 12 for index in range(num_frames)]
    return [np.where(disc, 0.5 * back + 120, back).astype(np.float32) for disc in discs]


def note_of(clip: Frames) -> str:
    report = Notes()
    shot = Shot(Cell("clip", "nothing"), VideoFormat(160, 96, Fraction(24)), 48, before=clip)
    list(Motion().render(shot, report))
    return report.texts[0]


def test_the_engine_says_how_it_went_on() -> None:
    assert "The camera goes on" in note_of(clip_of(panning(60)))
    assert "moments of its own" in note_of(clip_of(circling(96, 24)))
    assert "Too little of the clip moves" in note_of(clip_of([texture(160, 96)] * 40))


@pytest.mark.parametrize(
    "luma",
    [circling(96, 24), circling(60, 200), panning(60), passing(30)],
    ids=["jumps", "turns", "camera", "layers"],
)
def test_however_a_clip_goes_on_it_goes_on_from_any_frame_alike(luma: list[npt.NDArray[np.float32]]) -> None:
    clip, format = clip_of(luma), VideoFormat(160, 96, Fraction(24))
    for before, after in ((clip, None), (None, clip)):
        cell = Cell("clip" if before else "nothing", "clip" if after else "nothing")
        shot = Shot(cell, format, 60, before, after)
        whole = [plane for batch in Motion().render(shot, Notes()) for plane in batch.planes[0]]
        for start in (3, 29, 47):
            later = Motion().render(replace(shot, start=start), Notes())
            assert np.array_equal([plane for batch in later for plane in batch.planes[0]], whole[start:])
