"""How a clip goes on after its last frame: its velocity, a plan, and the plan's pieces rendered one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import count, islice, repeat
from typing import Any

import cv2
import numpy as np

from longtake.engines.motion.between import Interpolation, interpolation
from longtake.engines.motion.blend import Servo, shift_tone
from longtake.engines.motion.coast import Coast, Coasting, coast, coasting, settled
from longtake.engines.motion.flow import Velocity, follow, optical_flow, quick_flow, velocity_at_end
from longtake.engines.motion.frame import Field, Frame, proxy, sharpen_to, sharpness
from longtake.engines.motion.morph import Morph, ways_back
from longtake.engines.motion.plan import Footing, Jump, Planner, Run, Turn
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import Draw, Once, each, still
from longtake.frames import Plane

Piece = Run | Jump | Turn | Morph | Coast
_ENDLESS = 2**31
_STOP_SECONDS = 0.3
_CALM_BASELINE_SECONDS = 0.125
_LEAST_CALM_SECONDS, _MOST_CALM_SECONDS = 0.25, 1.5
_CALM_LEVELS, _CALM_SHARE, _CALM_TONE = 6, 0.002, 12.0
"""Nothing moves where less of the picture than this share changes by more levels, and its mean by few enough."""
_SEEN_LEVELS = 0.5
_CALM_SECONDS = 0.3
_ONE_WAY_SIDE = 240
_EVEN = 0.4
"""How little a morph is eased: a movement that starts from rest is a freeze beside one that moves."""
_SETTLING_SECONDS = 0.1
"""A motion that is taken over by another fades by 1/e in this time."""

Draws = Callable[[Any, int, int], Iterator[Draw]]
"""Gives the draws of the frames `[start, length)` of a piece: a piece of the plan of what gives them, length, start."""


class Continuation:
    """What comes after a clip, piece by piece."""

    def __init__(self, tail: Tail, frame_rate: float, seed: int, *, is_calm: bool = False) -> None:
        """`is_calm`: nothing is to move in it but noise, so that it can begin anew unseen."""
        self._tail = tail
        self._proxies = tail.proxies
        self._velocity = velocity_at_end(tail.proxies, tail.scale)
        self.energy = tail.energy
        self._sharpness = sharpness(tail.picture(-1).y)
        most = min(len(tail.proxies) - 1, round(_MOST_CALM_SECONDS * frame_rate))
        self._calm = most if is_calm else _calm_frames(tail.proxies, frame_rate)
        self._planner = None if self._calm else Planner(tail.proxies, _footing(tail, self._velocity, frame_rate), seed)
        self._seed = seed
        self._frame_rate = frame_rate

    @property
    def is_calm(self) -> bool:
        """Whether nothing moves but noise, so that the last moments go round unseen."""
        return self._planner is None

    @cached_property
    def turns_by_itself(self) -> bool:
        """Whether the planner's walk begins with a turn: nothing in the clip looks and moves like its end."""
        return self._planner is not None and isinstance(next(self._planner.walk())[0], Turn)

    def plan(self, num_frames: int) -> Iterator[tuple[Piece, int]]:
        """Pieces, each with how many of its frames are wanted: together exactly `num_frames`."""
        for piece, length in self._walk():
            yield piece, min(length, num_frames)
            num_frames -= length
            if num_frames <= 0:
                return

    def _walk(self) -> Iterator[tuple[Piece, int]]:
        """The planner's walk; where that would turn back at once: on as it went, or forwards again, if that can be."""
        last = len(self._proxies) - 1
        if self._planner is None:
            length, target = min(round(_CALM_SECONDS * self._frame_rate), self._calm // 2), last - self._calm
            while True:
                yield Jump(last, target, 1, length, length), length
                yield Run(target + length + 1, 1, self._calm - length), self._calm - length
        turns = self.turns_by_itself
        if turns and self._coasting is not None:
            yield coast(self._frame_rate), _ENDLESS
            return
        if not turns or not self._ways:
            yield from self._planner.walk()
            return
        for turn in count(self._seed):
            way = self._ways[turn % len(self._ways)]
            yield way, way.num_frames
            yield Run(way.target + 1, 1, last - way.target), last - way.target

    @cached_property
    def _ways(self) -> list[Morph]:
        return ways_back(self._tail, self._frame_rate)

    @cached_property
    def _coasting(self) -> Coasting | None:
        return coasting(self._tail, self._frame_rate)

    def _morph(self, way: Morph) -> Iterator[Draw]:
        """Eased in and out, while what moves at either end goes on moving; where the two pictures do not meet at all
        after all, a servo's dissolve."""
        first, second = self._tail.picture(-1), self._tail.picture(way.target)
        between = interpolation(first, second)
        if between is None:
            servo = Servo(way.num_frames - 1, self.energy, first)
            yield from (still(servo.mix(first, second)) for _ in range(1, way.num_frames))
        else:
            arriving = optical_flow(self._proxies[way.target], self._proxies[way.target + 1])
            yield from (partial(self._between, between, arriving, way, step) for step in range(1, way.num_frames))
        yield still(second)

    def _between(self, between: Interpolation, arriving: Field, way: Morph, step: int) -> Frame:
        settling, share = _SETTLING_SECONDS * self._frame_rate, step / way.num_frames
        share = _EVEN * share + (1 - _EVEN) * share * share * (3 - 2 * share)
        left, ahead = (settled(steps, settling) for steps in (step, way.num_frames - step))
        own = (1 - share) ** 2 * left * self._velocity.field - share**2 * ahead * arriving
        drift = follow(own.astype(np.float32), 1.0) * np.float32(self._velocity.scale)
        return sharpen_to(between.at(share, drift), self._sharpness)

    def render(self, piece: Piece, length: int) -> Iterator[Frame]:
        """The first `length` frames of one piece. Whole frames are views on the clip's own."""
        return (draw() for draw in self.draws(piece, length))

    def draws(self, piece: Piece, length: int, start: int = 0) -> Iterator[Draw]:
        """The same, each to be made when it is wanted, from the one numbered `start` on."""
        if isinstance(piece, Run | Coast):
            return (partial(self._one, piece, step) for step in range(start, length))
        if isinstance(piece, Turn):
            return islice(self._turn(piece), start, length)
        return islice(self._morph(piece) if isinstance(piece, Morph) else self._jump(piece), start, length)

    def draws_backwards(self, piece: Piece, length: int, start: int = 0) -> Iterator[Draw]:
        """The same from the last one to the first. What is mixed in its own order is held whole: a second at most."""
        if isinstance(piece, Run | Coast):
            return (partial(self._one, piece, step) for step in reversed(range(length - start)))
        return islice(reversed(list(self.draws(piece, length))), start, None)

    def _one(self, piece: Run | Coast, step: int) -> Frame:
        if isinstance(piece, Run):
            return self._at(piece.start + piece.direction * step)
        assert self._coasting is not None
        carried = self._coasting.carry(piece.steps(step + 1), step + 1)
        return sharpen_to(carried, self._sharpness)

    def _turn(self, turn: Turn) -> Iterator[Draw]:
        """What slows down comes back through the same places."""
        half = turn.half
        places = [turn.at + turn.direction * (k - k * k / (2 * half)) for k in range(1, half)]
        ahead = [Once(partial(self._at, place)) for place in places]
        yield from ahead
        yield partial(self._at, turn.at + turn.direction * half / 2)
        yield from reversed(ahead)
        yield partial(self._at, turn.at)

    def _jump(self, jump: Jump) -> Iterator[Draw]:
        servo = Servo(jump.num_mixed, self.energy, self._at(jump.source))
        for step in range(1, jump.num_frames + 1):
            ahead = jump.direction * step
            arrived = partial(self._at, jump.target + ahead)
            if step > jump.num_mixed:
                yield arrived
            else:
                yield still(servo.mix(self._at(jump.source + ahead), arrived()))

    def _in_light(self, index: int) -> Frame:
        """A frame of the clip; where that is calm, in the last one's light, so that nothing pulses as it goes round."""
        frame = self._tail.picture(index)
        if not self._calm:
            return frame
        lack = cv2.mean(self._proxies[-1])[0] - cv2.mean(self._proxies[index])[0]
        return shift_tone(frame, (lack, 0.0, 0.0), 1.0) if abs(lack) > _SEEN_LEVELS else frame

    def _at(self, position: float) -> Frame:
        """The picture at a fractional frame number, past the clip's end too.

        Only the nearest frame is warped: a mix of two would be softer than either.
        """
        last = len(self._proxies) - 1
        nearest = min(max(round(position), 0), last)
        away = position - nearest
        if abs(away) < 1e-6:
            return self._in_light(nearest)
        if position > last:
            warped = self._velocity.carry(self._tail.picture(last), away)
        else:
            towards = nearest + (1 if away > 0 else -1)
            flow = optical_flow(self._proxies[nearest], self._proxies[towards])
            part = Velocity(flow, self._velocity.scale, 1.0, 0.0)
            warped = part.carry(self._tail.picture(nearest), abs(away))
        return sharpen_to(warped, self._sharpness)


class Rest:
    """What comes after a scene in which nothing is left to go on: its last frame."""

    energy = 0.0

    def __init__(self, tail: Tail) -> None:
        self._tail = tail

    def plan(self, num_frames: int) -> Iterator[tuple[Piece, int]]:
        yield Run(len(self._tail.proxies) - 1, 1, num_frames), num_frames

    def draws(self, _piece: Piece, length: int, start: int = 0) -> Iterator[Draw]:
        return repeat(still(self._tail.picture(-1)), length - start)

    draws_backwards = draws


def drawn_from(start: int, pieces: Iterable[tuple[Any, int]], draws: Draws) -> Iterator[Draw]:
    """The draws of all pieces in their order but the first `start`; pieces that lie ahead of that are not begun."""
    for piece, length in pieces:
        if start < length:
            yield from draws(piece, length, start)
        start = max(0, start - length)


def _calm_frames(proxies: Sequence[Plane], frame_rate: float) -> int:
    """How many of the last frames show nothing that moves but noise; 0 where they are too few to go on with."""
    baseline = max(1, round(_CALM_BASELINE_SECONDS * frame_rate))
    last, calm = cv2.blur(proxies[-1], (5, 5)).astype(np.float32), 0
    most = min(len(proxies) - 1, round(_MOST_CALM_SECONDS * frame_rate))
    for back in range(baseline, most + 1, baseline):
        apart = last - cv2.blur(proxies[-1 - back], (5, 5))
        tone = float(apart.mean())
        if float(np.mean(np.abs(apart - tone) > _CALM_LEVELS)) > _CALM_SHARE or abs(tone) > _CALM_TONE:
            break
        calm = back
    return calm if calm >= _LEAST_CALM_SECONDS * frame_rate else 0


def _footing(tail: Tail, velocity: Velocity, frame_rate: float) -> Footing:
    far = velocity.camera_pixels > 3
    most = max(1, len(tail.proxies) - 4)
    half = min(most, max(2, round(_STOP_SECONDS * frame_rate)))
    end_half = min(most, round((0.22 if far else _STOP_SECONDS) * velocity.confidence * frame_rate))
    return Footing(
        frame_rate=frame_rate,
        turn_half=half,
        end_turn_half=end_half if end_half >= 2 else 0,
        one_way=_one_way(tail.proxies),
        can_jump=velocity.camera_pixels == 0,
    )


def _one_way(proxies: list[Plane]) -> float:
    """|sum of flow| over sum of |flow|, of up to 8 flows spread over the clip: 1 where all moves one way."""
    chosen = [int(at) for at in np.linspace(0, len(proxies) - 2, min(8, len(proxies) - 1))]

    def flow(at: int) -> Field:
        small = [proxy(plane, _ONE_WAY_SIDE) for plane in proxies[at : at + 2]]
        return np.asarray(cv2.resize(quick_flow(*small), (40, 24)), np.float32)

    flows = each(flow, chosen)
    total = float(np.sum(np.linalg.norm(flows, axis=-1)))
    return float(np.sum(np.linalg.norm(np.sum(flows, axis=0), axis=-1))) / max(total, 1e-3)
