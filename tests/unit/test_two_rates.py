"""A bridge of two rates is measured as one of one rate is: both sides by time, at the slower rate."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from longtake.footage import Footage, Run
from longtake.frames import Frames
from longtake.joining import measure_seams, timeline_of
from longtake.media.encode import encode
from longtake.media.seams import Seam
from longtake.orders import KeyFrame, Order
from longtake.parts import Rendered
from longtake.planning import Capabilities
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Segment, Timeline
from longtake.video import VideoFormat
from tests.footage import moving

SLOW = VideoFormat(320, 180, Fraction(24))
TICKS = 120
"""A second; the pan has one pixel in each."""
SECONDS = Fraction(5, 4)
END = KeyFrame(type="generation", id="a")


@pytest.fixture(scope="module")
def pan() -> Frames:
    return moving(int(4 * SECONDS * TICKS), SLOW.width, SLOW.height, step=1)


def bridged(pan: Frames, rates: tuple[int, int], folder: Path) -> tuple[Seam, ...]:
    """The figures of a pan that goes on through a bridge from one rate to another, at its speed throughout."""
    store, parts, last = Store.in_folder(folder), [], 0
    for key, rate in (("sources/a.mp4", rates[0]), ("segments/b.mp4", 24), ("sources/c.mp4", rates[1])):
        # Beside the bridge, whichever side, a step is one of the slower rate.
        first = last + TICKS // 24
        last = first + (int(SECONDS * rate) - 1) * TICKS // rate
        places = range(first, last + 1, TICKS // rate)
        format = replace(SLOW, frame_rate=Fraction(rate))
        made = encode([Frames(tuple(plane[places] for plane in pan.planes))], format, folder / "made.mp4")
        store.put_file(key, folder / "made.mp4")
        parts.append(Timeline(format, (Segment(key, key, 0, made.num_frames, made.key_frames),)).at_rate(Fraction(24)))
    order = Order(before=END, after=END, seconds=SECONDS)
    scene = Scene.of(Run("a"), order, Footage(parts[0]), Footage(parts[2]), Capabilities(name="any"), store)
    rendered = Rendered(parts[1].segments[0], None, None, ())
    return measure_seams(scene, timeline_of(scene.plan, rendered)[0])


@pytest.mark.parametrize("rates", [(60, 24), (24, 60), (30, 24), (24, 30), (120, 60)])
def test_a_pan_has_the_figures_at_a_seam_of_two_rates_that_it_has_at_one_of_one(
    rates: tuple[int, int], pan: Frames, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for found, wanted in zip(
        bridged(pan, rates, tmp_path / "two"), bridged(pan, (24, 24), tmp_path / "one"), strict=True
    ):
        assert found.jump == pytest.approx(wanted.jump, rel=0.15)
        assert found.motion == pytest.approx(wanted.motion, rel=0.15)
