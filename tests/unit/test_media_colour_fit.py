"""What an engine's tone is off by is taken out at the seam, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from longtake.engines.base import Capabilities, Report, Shot
from longtake.engines.motion import Motion
from longtake.frames import Frames
from longtake.local import Made, make
from longtake.media.colour import to_rgb, to_yuv
from longtake.media.colour_fit import MOST_LEVELS, fit_colour, tone_between
from longtake.media.decode import read_all
from longtake.media.seams import measure
from longtake.orders import KeyFrame, Order
from longtake.timeline import Timeline
from longtake.video import Cell
from tests.footage import TINY, concatenate, decode_linearly, flat, moving, opener, same, store

RATE = 12
FOOTAGE = moving(96, 320, 192, step=1)
BEFORE, TRUTH, AFTER = FOOTAGE[:24], FOOTAGE[24:60], FOOTAGE[60:]


def drifted(frames: Frames, luma: float = -6, chroma: float = 3, contrast: float = 1.0) -> Frames:
    """The frames in another tone."""
    moves = ((contrast, luma), (1.0, chroma), (1.0, -chroma))
    planes = zip(frames.planes, moves, strict=True)
    return Frames(
        tuple(np.clip((p - 128.0) * gain + 128 + by, 16, 235).round().astype(np.uint8) for p, (gain, by) in planes)
    )


def fitted(frames: Frames, before: Frames | None, after: Frames | None, batch: int = 5) -> tuple[Frames, list[str]]:
    notes: list[str] = []
    parts = (frames[start : start + batch] for start in range(0, frames.num_frames, batch))
    made = fit_colour(parts, frames.num_frames, RATE, before, after, notes.append)
    return concatenate(map(to_yuv, made)), notes


def levels_off(frames: Frames, truth: Frames) -> list[float]:
    """How far each frame's mean is off, in the plane where that is most."""
    planes = zip(frames.planes, truth.planes, strict=True)
    return list(np.max([np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))) for a, b in planes], axis=0))


@pytest.mark.parametrize("drift", [(-6.0, 3.0, 1.0), (9.0, 0.0, 1.0), (0.0, 4.0, 1.0), (-4.0, -3.0, 0.85)])
def test_a_tone_that_is_off_is_right_at_the_seam_and_fades_back_within_a_second(
    drift: tuple[float, float, float],
) -> None:
    wrong = drifted(TRUTH, *drift)
    made, notes = fitted(wrong, BEFORE, None)
    off, was = levels_off(made, TRUTH), levels_off(wrong, TRUTH)
    assert off[0] < 1.1 < was[0] / 2
    assert off[RATE // 2] == pytest.approx(was[RATE // 2] / 2, abs=1)
    assert same(made[RATE:], wrong[RATE:])
    assert len(notes) == 1


def test_the_join_measures_as_it_would_without_the_drift() -> None:
    wrong = drifted(TRUTH)
    ours, theirs, truth = (
        measure(BEFORE[-RATE:], frames[:RATE], RATE) for frames in (fitted(wrong, BEFORE, None)[0], wrong, TRUTH)
    )
    assert theirs.jump > 1.4 * truth.jump
    assert ours.jump == pytest.approx(truth.jump, rel=0.1)
    assert ours.colour < 0.7 * theirs.colour


def test_ahead_of_a_clip_the_end_is_fitted() -> None:
    wrong = drifted(TRUTH)
    made, notes = fitted(wrong, None, AFTER)
    assert same(made[:-RATE], wrong[:-RATE])
    assert levels_off(made, TRUTH)[-1] < 1.1
    assert notes == [
        "The new part ended 6 levels too dark: its tone was fitted to the footage, fading in over its end."
    ]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 12, 36])
def test_a_bridge_is_fitted_at_both_ends_each_within_its_half(num_frames: int) -> None:
    wrong = drifted(TRUTH[-num_frames:])
    made, notes = fitted(wrong, FOOTAGE[: 60 - num_frames], AFTER)
    off = levels_off(made, TRUTH[-num_frames:])
    assert made.num_frames == num_frames
    if num_frames > 1:
        assert (off[0] < 1.1, off[-1] < 1.1, len(notes)) == (True, True, 2)


@pytest.mark.parametrize("num_frames", [1, 2, 36])
def test_a_still_at_the_other_end_is_met_exactly(num_frames: int) -> None:
    wrong = drifted(TRUTH[:num_frames])
    assert same(fitted(wrong, BEFORE, None)[0][-1:], wrong[-1:])
    assert same(fitted(wrong, None, AFTER)[0][:1], wrong[:1])


@pytest.mark.parametrize("ends", [(BEFORE, None), (None, AFTER), (BEFORE, AFTER), (None, None)])
def test_what_meets_in_tone_is_passed_on_bit_for_bit(ends: tuple[Frames | None, Frames | None]) -> None:
    for frames in (TRUTH, drifted(TRUTH, 1, 1)):
        made, notes = fitted(frames, *ends)
        assert same(made, frames)
        assert notes == []


def test_another_picture_is_no_other_tone() -> None:
    other = moving(36, 320, 192, seed=9)
    dark = drifted(other, -8, 0)
    assert tone_between(BEFORE[-3:], dark[:1]) is None
    assert same(fitted(dark, BEFORE, AFTER)[0], dark)


def test_a_difference_that_is_too_large_for_a_tone_is_left() -> None:
    assert tone_between(BEFORE[-3:], drifted(TRUTH, -MOST_LEVELS - 4)) is None
    assert tone_between(flat(3, 20), flat(1, 220)) is None


def test_footage_whose_own_light_changes_is_followed() -> None:
    flicker = concatenate([BEFORE[:-2], drifted(BEFORE[-2:-1], 5, 0), BEFORE[-1:]])
    assert tone_between(flicker[-3:], drifted(TRUTH, -6, 0)) is None


def test_what_passes_through_a_part_of_the_picture_does_not_hide_the_tone() -> None:
    wrong = drifted(TRUTH[:1])
    wrong.planes[0][:, :80, :80] = 235
    tone = tone_between(BEFORE[-3:], wrong)
    assert tone
    assert tone.levels == pytest.approx(-6, abs=0.8)


@pytest.mark.parametrize("batch", [1, 7, 12, 36])
def test_batches_of_any_length_come_out_the_same(batch: int) -> None:
    wrong = drifted(TRUTH)
    assert same(fitted(wrong, BEFORE, AFTER, batch)[0], fitted(wrong, BEFORE, AFTER, 5)[0])


def test_rgb_is_fitted_too() -> None:
    made, notes = fitted(to_rgb(drifted(TRUTH[:6])), BEFORE, None)
    assert levels_off(made, TRUTH[:6])[0] < 1.0
    assert len(notes) == 1


def test_nothing_is_held_back_but_the_last_second_ahead_of_a_clip() -> None:
    asked: list[int] = []

    def frames() -> Iterator[Frames]:
        for number in range(36):
            asked.append(number)
            yield TRUTH[number : number + 1]

    came = 0
    for part in fit_colour(frames(), 36, RATE, BEFORE, AFTER, print):
        came += part.num_frames
        if came <= 36 - RATE:
            assert len(asked) == came
    assert came == 36


def test_levels_stay_in_their_range() -> None:
    bright = flat(12, 230)
    bright.planes[0][:, ::2] = 200
    made, notes = fitted(drifted(bright, -8, 0), drifted(bright, 5, 0), None)
    assert notes
    assert made.planes[0].max() <= 235


class Drifting:
    """The motion engine, six levels too dark."""

    capabilities = Capabilities(name="motion", context_seconds=Fraction(2))

    def render(self, shot: Shot, report: Report) -> Iterator[Frames]:
        for batch in Motion().render(shot, report):
            yield drifted(batch, -6, 0)


def extended(folder: Path, *, prepend: bool) -> Made:
    store(folder, "clip.mp4", moving(24, step=0.5))
    clip = KeyFrame(type="video", url=str(folder / "clip.mp4"))
    order = Order(before=None if prepend else clip, after=clip if prepend else None, seconds=Fraction(3), seed=1)
    return make(order, folder / "out.mp4", Drifting(), max_still_pixels=1, tell=lambda stage, part: None)


@pytest.mark.parametrize("prepend", [False, True])
def test_an_engine_that_drifts_is_fitted_on_its_way_to_the_video_and_the_footage_is_not(
    tmp_path: Path, prepend: bool
) -> None:
    made = extended(tmp_path, prepend=prepend)
    whole, _ = decode_linearly(tmp_path / "out.mp4")
    clip, _ = decode_linearly(tmp_path / "clip.mp4")
    assert any("its tone was fitted" in note for note in made.notes)
    assert same(whole[18:] if prepend else whole[:24], clip)
    new = whole[:18] if prepend else whole[24:]
    near, far = (new[-1:], new[:1]) if prepend else (new[:1], new[-1:])
    assert abs(near.planes[0].mean() - clip.planes[0].mean()) < 2
    assert clip.planes[0].mean() - far.planes[0].mean() > 3


def test_the_motion_engine_is_never_fitted(tmp_path: Path) -> None:
    clip = read_all(Timeline(TINY, (store(tmp_path, "clip.mp4", moving(24)),)), 0, 24, opener(tmp_path))
    engine = Motion()
    notes: list[str] = []

    class Quiet:
        def progress(self, num_frames: int) -> None: ...

        def note(self, text: str) -> None: ...

    shot = Shot(cell=Cell("clip", "clip"), format=TINY, num_frames=18, before=clip, after=clip)
    made = concatenate(engine.render(shot, Quiet()))
    assert same(concatenate(fit_colour(iter([made]), 18, 6.0, clip, clip, notes.append)), made)
    assert notes == []
