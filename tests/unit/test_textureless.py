"""Drawn things of one colour in ordinary H.264, as one first tries the engine with: they go on along their path."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from longtake.engines.base import Shot
from longtake.engines.motion import Motion
from longtake.engines.motion.filter import filter_for
from longtake.engines.motion.flat import Flat
from longtake.engines.motion.passing import passing
from longtake.engines.motion.tail import usable_tail
from longtake.frames import Frames
from longtake.video import Cell, VideoFormat

Picture = npt.NDArray[np.uint8]
Point = tuple[float, float]
WIDTH, HEIGHT, RATE, NUM_FRAMES = 320, 180, 24, 48
LAST, NEW = NUM_FRAMES - 1, 72
RED, BLUE, WHITE, YELLOW = (220, 40, 40), (40, 60, 220), (250, 250, 250), (240, 200, 40)
GRASS = (70, 110, 60)
RADIUS = 13.0


class Notes:
    def progress(self, num_frames: int) -> None: ...

    def note(self, text: str) -> None: ...


@cache
def town() -> Picture:
    """Sky, houses and a plain lawn that has the luma of a red ball."""
    made = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    made[:] = np.linspace((90, 140, 220), (210, 200, 140), HEIGHT)[:, None].astype(np.uint8)
    made[120:] = GRASS
    for left, top, colour in ((20, 70, 160), (80, 90, 60), (150, 50, 215), (230, 80, 110), (280, 60, 40)):
        made[top:123, left : left + 30] = (colour, colour - 10, colour - 30)
        made[top + 6 : 120 : 8, left : left + 30] = 30
    return made


def plain() -> Picture:
    return np.full((HEIGHT, WIDTH, 3), (30, 60, 120), np.uint8)


def disc(picture: Picture, at: Point, colour: tuple[int, int, int], radius: float = RADIUS) -> Picture:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    cover = np.clip(radius + 0.5 - np.hypot(columns - at[0], rows - at[1]), 0, 1)[..., None]
    return np.asarray(picture + cover * (np.array(colour) - picture) + 0.5, np.uint8)


def counted(picture: Picture, index: int) -> Picture:
    """With a counter burnt in, as test clips have it."""
    made = picture.copy()
    cv2.putText(made, str(index), (4, 14), cv2.FONT_HERSHEY_PLAIN, 1.0, (255, 255, 255))
    return made


def h264(frame_at: Callable[[int], Picture], num_frames: int = NUM_FRAMES, crf: int = 25) -> Frames:
    """The pictures as an ordinary file has them: encoded, and decoded again."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=RATE, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(num_frames):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(frame_at(index), "rgb24")))
        made.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as read:
        frames = [frame.to_ndarray(format="yuv420p") for frame in read.decode(video=0)]
        packed = np.asarray(np.stack(frames), np.uint8)
    chroma = packed[:, HEIGHT:].reshape(num_frames, 2, HEIGHT // 2, WIDTH // 2)
    return Frames((packed[:, :HEIGHT].copy(), chroma[:, 0].copy(), chroma[:, 1].copy()))


def continued(clip: Frames, *, ahead: bool = False) -> Frames:
    """What follows, or leads up to, a clip."""
    cell = Cell("nothing", "clip") if ahead else Cell("clip", "nothing")
    before, after = (None, clip) if ahead else (clip, None)
    shot = Shot(cell, VideoFormat(WIDTH, HEIGHT, Fraction(RATE)), NEW, before, after)
    batches = list(Motion().render(shot, Notes()))
    return Frames(tuple(np.concatenate([batch.planes[channel] for batch in batches]) for channel in range(3)))


def pictures(frames: Frames) -> list[Picture]:
    """RGB."""
    made = []
    for y, u, v in zip(*frames.planes, strict=True):
        packed = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, y.shape[1])
        made.append(np.asarray(cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420), np.uint8))
    return made


def seen(picture: Picture, colour: tuple[int, int, int]) -> Point | None:
    """The middle of all that has nearly a colour; None where there is too little of it."""
    apart = np.abs(picture.astype(int) - np.array(colour)).max(axis=-1)
    rows, columns = np.nonzero(apart < 60)
    return (float(columns.mean()), float(rows.mean())) if len(rows) > 25 else None


def assert_goes_along(
    frames: Frames, where: Callable[[int], Point], colour: tuple[int, int, int], *, within: float = 4.0
) -> None:
    """`where`: by frames after the seam, from 1. While it is wholly in the picture a thing is where it should be; once
    it is wholly out of it, it is gone."""
    for steps, picture in enumerate(pictures(frames), 1):
        at, found = where(steps), seen(picture, colour)
        inwards = min(at[0], WIDTH - at[0], at[1], HEIGHT - at[1])
        if inwards > RADIUS + within:
            assert found == pytest.approx(at, abs=within), f"{steps} frames after the seam"
        elif inwards < -RADIUS - within:
            assert found is None, f"{steps} frames after the seam"


def rolling(index: float) -> Point:
    return 40 + 2.6 * index, 150.0


@cache
def ball() -> Frames:
    return h264(lambda index: counted(disc(town(), rolling(index), RED), index))


def test_a_ball_of_the_lawns_luma_rolls_on_until_it_has_left_the_picture() -> None:
    made = continued(ball())
    assert_goes_along(made, lambda steps: rolling(LAST + steps), RED)
    last = pictures(made)[-1]
    assert seen(last, RED) is None
    assert np.abs(last[125:].astype(int) - np.array(GRASS)).max() < 14


def test_it_comes_in_from_where_it_would_have_been_before() -> None:
    made = continued(ball(), ahead=True)
    backwards = Frames(tuple(plane[::-1] for plane in made.planes))
    assert_goes_along(backwards, lambda steps: rolling(-steps), RED)


def test_what_luma_does_not_show_is_seen_through_a_filter_and_the_rest_without() -> None:
    assert filter_for(ball()) is not None
    assert filter_for(h264(lambda index: disc(town(), rolling(index), WHITE))) is None
    assert filter_for(h264(lambda _: town(), 12)) is None


@pytest.mark.parametrize("colour", [RED, WHITE], ids=["red", "white"])
def test_a_ball_over_a_ground_of_one_colour_goes_on(colour: tuple[int, int, int]) -> None:
    def where(index: float) -> Point:
        return 40 + 2.2 * index, 60 + 0.7 * index

    made = continued(h264(lambda index: disc(plain(), where(index), colour)))
    assert_goes_along(made, lambda steps: where(LAST + steps), colour)


def test_two_balls_that_pass_each_other_each_keep_their_speed() -> None:
    """The blue one has half covered the red one on the way that tells the red one's speed."""

    def red(index: float) -> Point:
        return 60 + 2.4 * index, 142.0

    def blue(index: float) -> Point:
        return 250 - 2.4 * index, 154.0

    made = continued(h264(lambda index: disc(disc(town(), red(index), RED), blue(index), BLUE)))
    assert_goes_along(made, lambda steps: red(LAST + steps), RED)
    assert_goes_along(made, lambda steps: blue(LAST + steps), BLUE)


def test_a_plain_square_that_falls_in_front_of_a_house_of_its_luma_stays_whole() -> None:
    def where(index: float) -> Point:
        return 165.0, 20 + 1.4 * index

    def scene(index: int) -> Picture:
        made, (x, y) = town().copy(), where(index)
        made[round(y) - 13 : round(y) + 13, round(x) - 4 : round(x) + 22] = YELLOW
        return made

    made = pictures(continued(h264(scene)))
    for steps in (1, 8, 16, 24, 32):
        apart = np.abs(made[steps - 1].astype(int) - np.array(YELLOW)).max(axis=-1) < 60
        assert np.count_nonzero(apart) == pytest.approx(26 * 26, rel=0.15)
        assert np.nonzero(apart)[0].mean() == pytest.approx(where(LAST + steps)[1], abs=4)


def test_a_ball_that_goes_round_is_no_passer() -> None:
    def where(index: int) -> Point:
        turn = 2 * np.pi * index / 31
        return 160 + 40 * float(np.cos(turn)), 90 + 40 * float(np.sin(turn))

    tail = usable_tail(h264(lambda index: disc(plain(), where(index), WHITE), 72), RATE)
    assert tail is not None
    assert passing(tail, RATE, 0) is None


def grey(at: Point, ground: Picture) -> Picture:
    return np.ascontiguousarray(disc(ground, at, WHITE)[..., 0])


def test_a_flat_thing_is_found_where_another_one_covers_half_of_it() -> None:
    ground = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    mask = np.asarray(grey((160, 90), ground) > 170, np.uint8)
    flat = Flat.of(mask, grey((160, 90), ground))
    assert flat is not None
    path = [np.zeros(2)]
    for back in range(1, 12):
        luma = grey((160 - 3 * back, 90), ground)
        luma[90:, 100:150] = 20
        earlier = flat.next(path, luma)
        assert earlier is not None
        path.append(earlier)
        assert path[-1] == pytest.approx((-3 * back, 0), abs=2)


def test_a_flat_thing_that_is_gone_is_not_found() -> None:
    ground = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    flat = Flat.of(np.asarray(grey((160, 90), ground) > 170, np.uint8), grey((160, 90), ground))
    assert flat is not None
    assert flat.next([np.zeros(2), np.array([-3.0, 0.0])], np.ascontiguousarray(ground[..., 0])) is None


def test_what_has_texture_is_not_flat() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    assert Flat.of(np.asarray(grey((160, 90), plain()) > 170, np.uint8), noise) is None
