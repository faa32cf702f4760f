"""What every engine keeps to, whatever is inside: one list, one more name for each new engine."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Engine, Frames, Shot
from longtake.engines.motion import Motion
from longtake.errors import Cancelled
from longtake.video import CELLS, Cell, VideoFormat

ENGINES: dict[str, Callable[[], Engine]] = {"motion": Motion}
RATE = Fraction(24)
SIZES = [(2, 2), (64, 48), (152, 72)]
PROMPT = "sunset over the sea"


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


class Listener:
    """A report that keeps what it hears, and cancels at a given count."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.counts: list[int] = []
        self.notes: list[str] = []
        self._cancel_at = cancel_at

    def progress(self, num_frames: int) -> None:
        self.counts.append(num_frames)
        if self._cancel_at is not None and num_frames >= self._cancel_at:
            raise Cancelled("taken back")

    def note(self, text: str) -> None:
        self.notes.append(text)


def panned(size: tuple[int, int], num_frames: int, *, speed: float = 1.5, seed: int = 0) -> Frames:
    """A texture that moves right by `speed` pixels a frame."""
    width, height = size
    noise = np.random.default_rng(seed).uniform(16, 235, (height + 40, width * 2 + 400)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    texture = np.clip((smooth - smooth.mean()) * 4 + 126, 16, 235)
    ys = []
    for index in range(num_frames):
        move = np.array([[1, 0, 200 - speed * index], [0, 1, 20]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        ys.append(cv2.warpAffine(texture, move, (width, height), flags=flags).astype(np.uint8))
    chroma = np.full((num_frames, height // 2, width // 2), 120, np.uint8)
    return Frames((np.stack(ys), chroma, chroma + 20))


def black(size: tuple[int, int], num_frames: int) -> Frames:
    width, height = size
    chroma = np.full((num_frames, height // 2, width // 2), 128, np.uint8)
    return Frames((np.full((num_frames, height, width), 16, np.uint8), chroma, chroma.copy()))


def ends_of(cell: Cell, size: tuple[int, int], num_frames: int = 30) -> tuple[Frames | None, Frames | None]:
    def end(kind: str, seed: int) -> Frames | None:
        return None if kind == "nothing" else panned(size, 1 if kind == "still" else num_frames, seed=seed)

    return end(cell.before, 1), end(cell.after, 2)


def shot_of(cell: Cell, size: tuple[int, int], num_frames: int, **given: object) -> Shot:
    before, after = ends_of(cell, size)
    fields: dict[str, object] = {"before": before, "after": after, "prompt": PROMPT, **given}
    return Shot(cell, VideoFormat(*size, RATE), num_frames, **fields)  # type: ignore[arg-type]


def rendered(engine: Engine, shot: Shot, report: Listener | None = None) -> Frames:
    batches = list(engine.render(shot, report or Listener()))
    return Frames(tuple(np.concatenate(planes) for planes in zip(*(b.planes for b in batches), strict=True)))


def same(a: Frames, b: Frames) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(a.planes, b.planes, strict=True))


def steps_of(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean absolute difference between neighbouring frames."""
    return np.array([cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in itertools.pairwise(luma)])


def drift(luma: npt.NDArray[np.uint8]) -> float:
    """Mean horizontal movement between neighbouring frames, in pixels, by phase correlation."""
    floats = [frame.astype(np.float32) for frame in luma]
    window = cv2.createHanningWindow((luma.shape[2], luma.shape[1]), cv2.CV_32F)
    return float(np.mean([cv2.phaseCorrelate(a, b, window)[0][0] for a, b in itertools.pairwise(floats)]))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_shot_has_exactly_the_frames_that_were_asked_for(engine: Engine, cell: Cell, size: tuple[int, int]) -> None:
    for num_frames in (1, 2, 33):
        report = Listener()
        frames = rendered(engine, shot_of(cell, size, num_frames), report)
        assert (frames.num_frames, frames.width, frames.height) == (num_frames, *size)
        assert all(plane.dtype == np.uint8 for plane in frames.planes)
        assert report.counts[-1] == num_frames
        assert report.counts == sorted(report.counts)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "still" in cell], ids=str)
def test_a_still_is_the_first_or_the_last_frame_bit_for_bit(engine: Engine, cell: Cell) -> None:
    shot = shot_of(cell, (152, 72), 30)
    frames = rendered(engine, shot)
    if cell.before == "still":
        assert shot.before is not None
        assert same(frames[:1], shot.before)
    if cell.after == "still":
        assert shot.after is not None
        assert same(frames[-1:], shot.after)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_same_shot_gives_the_same_frames(engine: Engine, cell: Cell) -> None:
    shot = shot_of(cell, (64, 48), 30, seed=7)
    assert same(rendered(engine, shot), rendered(engine, shot))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_shot_that_is_there_in_part_goes_on_with_the_same_frames(engine: Engine, cell: Cell) -> None:
    shot = shot_of(cell, (64, 48), 60, seed=7, concepts=("pan_left",))
    whole, report = rendered(engine, shot), Listener()
    for start in (1, 20, 31, 38, 59):  # ahead of a dissolve, in it, behind it
        assert same(rendered(engine, replace(shot, start=start), report), whole[start:])
        assert (min(report.counts), report.counts[-1]) == (start, 60)
        report.counts.clear()
    with pytest.raises(ValueError, match="start must be 0 to 59, got 60"):
        replace(shot, start=60)


@pytest.mark.parametrize("cell", [Cell("nothing", "nothing"), Cell("still", "nothing")], ids=str)
def test_another_seed_gives_other_frames(engine: Engine, cell: Cell) -> None:
    first, second = (rendered(engine, shot_of(cell, (152, 72), 30, seed=seed)) for seed in (0, 1))
    assert not same(first, second)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_cancel_stops_the_rendering_at_once(engine: Engine, cell: Cell) -> None:
    batches = engine.render(shot_of(cell, (64, 48), 100), Listener(cancel_at=8))
    received: list[int] = []
    with pytest.raises(Cancelled):
        received.extend(batch.num_frames for batch in batches)
    assert sum(received) < 16


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "clip" in cell], ids=str)
@pytest.mark.parametrize("num_clip_frames", [1, 2, 5])
def test_clips_too_short_to_show_motion_are_extended_all_the_same(
    engine: Engine, cell: Cell, num_clip_frames: int
) -> None:
    before, after = ends_of(cell, (64, 48), num_clip_frames)
    frames = rendered(engine, shot_of(cell, (64, 48), 20, before=before, after=after))
    assert frames.num_frames == 20


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if set(cell) <= {"nothing", "clip"} and "clip" in cell], ids=str
)
def test_what_continues_black_is_black(engine: Engine, cell: Cell) -> None:
    before, after = (black((64, 48), 30) if kind == "clip" else None for kind in cell)
    frames = rendered(engine, shot_of(cell, (64, 48), 20, before=before, after=after))
    assert all(int(np.ptp(plane)) <= 1 for plane in frames.planes)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_batch_stays_as_it_is_while_the_next_ones_are_made(engine: Engine, cell: Cell) -> None:
    batches: list[Frames] = []
    copies: list[Frames] = []
    for batch in engine.render(shot_of(cell, (64, 48), 33), Listener()):
        batches.append(batch)
        copies.append(Frames(tuple(plane.copy() for plane in batch.planes)))
        assert all(map(same, batches[-3:], copies[-3:]))


def test_a_thousand_frames_come_in_small_batches(engine: Engine) -> None:
    shot = shot_of(Cell("still", "nothing"), (16, 12), 1000)
    sizes = [batch.num_frames for batch in engine.render(shot, Listener())]
    assert sum(sizes) == 1000
    assert max(sizes) <= 8


@pytest.mark.parametrize("cell", [Cell("clip", "nothing"), Cell("nothing", "clip"), Cell("still", "nothing")], ids=str)
def test_ten_thousand_frames_are_ten_thousand_frames(engine: Engine, cell: Cell) -> None:
    counts = Listener()
    batches = (batch.num_frames for batch in engine.render(shot_of(cell, (32, 24), 10_000), counts))
    assert sum(batches) == counts.counts[-1] == 10_000


@pytest.mark.parametrize("cell", [Cell("clip", "nothing"), Cell("still", "clip"), Cell("still", "still")], ids=str)
def test_pictures_as_large_as_4k_are_rendered(engine: Engine, cell: Cell) -> None:
    small = panned((240, 136), 9)
    large = Frames(
        tuple(np.tile(plane, (1, 16, 16))[:, : 2160 // (1 + (n > 0))] for n, plane in enumerate(small.planes))
    )
    before, after = (None if kind == "nothing" else large if kind == "clip" else large[:1] for kind in cell)
    frames = rendered(engine, shot_of(cell, (3840, 2160), 2, before=before, after=after))
    assert (frames.num_frames, frames.width, frames.height) == (2, 3840, 2160)


@pytest.mark.parametrize("cell", [Cell("clip", "nothing"), Cell("nothing", "clip")], ids=str)
def test_memory_does_not_grow_with_length(engine: Engine, cell: Cell) -> None:
    peaks = []
    for num_frames in (50, 600):
        shot = shot_of(cell, (96, 64), num_frames)
        tracemalloc.start()
        for _ in engine.render(shot, Listener()):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2_000_000, "550 frames of 96x64 are 5 MB"


def test_the_join_of_an_append_is_as_smooth_as_the_footage(engine: Engine) -> None:
    before = panned((256, 144), 60)
    frames = rendered(engine, shot_of(Cell("clip", "nothing"), (256, 144), 40, before=before))
    assert 0.3 <= seam_jump(before.planes[0], frames.planes[0]) <= 2.5


def test_the_join_of_a_prepend_is_as_smooth_as_the_footage(engine: Engine) -> None:
    after = panned((256, 144), 60)
    frames = rendered(engine, shot_of(Cell("nothing", "clip"), (256, 144), 40, after=after))
    assert 0.3 <= seam_jump(after.planes[0][::-1], frames.planes[0][::-1]) <= 2.5


def seam_jump(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    usual = np.median(steps_of(before[-25:]))
    return float(steps_of(np.stack([before[-1], after[0]]))[0] / usual)


def test_a_pan_goes_on_in_its_direction_after_the_join(engine: Engine) -> None:
    before = panned((256, 144), 60)
    frames = rendered(engine, shot_of(Cell("clip", "nothing"), (256, 144), 24, before=before))
    across = np.concatenate([before.planes[0][-1:], frames.planes[0][:6]])
    assert drift(before.planes[0][-8:]) == pytest.approx(1.5, abs=0.3)
    assert drift(across) > 0.3


def test_a_pan_is_already_going_in_its_direction_ahead_of_the_join(engine: Engine) -> None:
    after = panned((256, 144), 60)
    frames = rendered(engine, shot_of(Cell("nothing", "clip"), (256, 144), 24, after=after))
    assert drift(np.concatenate([frames.planes[0][-6:], after.planes[0][:1]])) > 0.3


def test_a_scene_that_loops_ends_where_it_begins(engine: Engine) -> None:
    if not engine.capabilities.loops:
        pytest.skip("the engine does not loop")
    frames = rendered(engine, shot_of(Cell("nothing", "nothing"), (152, 72), 48, loop=True)).planes[0]
    steps = steps_of(np.concatenate([frames, frames[:1]]))
    assert steps[-1] <= 1.5 * np.median(steps[:-1])


def test_a_still_that_loops_leaves_and_comes_back(engine: Engine) -> None:
    still = panned((152, 72), 1)
    frames = rendered(engine, shot_of(Cell("still", "clip"), (152, 72), 48, before=still, after=still, loop=True))
    away = [float(np.mean(cv2.absdiff(frame, still.planes[0][0]))) for frame in frames.planes[0]]
    assert away[0] == 0
    assert away[-1] < 0.2 * max(away)
    assert max(away) == pytest.approx(max(away[18:30]))


def test_the_frames_ahead_of_a_one_frame_clip_lead_up_to_it(engine: Engine) -> None:
    before, after = panned((152, 72), 40), panned((152, 72), 1, seed=5)
    frames = rendered(engine, shot_of(Cell("clip", "clip"), (152, 72), 48, before=before, after=after)).planes[0]
    away = [float(np.mean(cv2.absdiff(frame, after.planes[0][0]))) for frame in frames]
    assert away[-1] < 2.0
    assert away[-1] < away[-8] < away[10]


def test_real_footage_is_continued_without_a_visible_join(engine: Engine, clips: object) -> None:
    av = pytest.importorskip("av")
    with av.open(f"{clips}/sam2_bedroom.mp4") as container:
        decoded = [frame.to_ndarray() for frame, _ in zip(container.decode(video=0), range(75), strict=False)]
    height, width = 540, 960
    packed = np.stack(decoded)
    y = packed[:, :height]
    u, v = (packed[:, height + part * height // 4 : height + (part + 1) * height // 4] for part in (0, 1))
    chroma = (len(packed), height // 2, width // 2)
    before = Frames((y, u.reshape(chroma), v.reshape(chroma)))
    frames = rendered(engine, shot_of(Cell("clip", "nothing"), (width, height), 30, before=before))
    assert 0.3 <= seam_jump(before.planes[0], frames.planes[0]) <= 2.5
    assert np.median(steps_of(frames.planes[0])) > 0.3 * np.median(steps_of(before.planes[0]))
