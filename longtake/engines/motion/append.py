"""How a clip goes on after its last frame: its velocity, a plan, and the plan's pieces rendered one by one."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from longtake.engines.motion.blend import Servo
from longtake.engines.motion.flow import Velocity, optical_flow, velocity_at_end
from longtake.engines.motion.frame import Frame, frame_at, sharpen_to, sharpness
from longtake.engines.motion.plan import Footing, Jump, Piece, Planner, Run, Turn
from longtake.engines.motion.tail import Tail
from longtake.frames import Plane

_STOP_SECONDS = 0.3


class Continuation:
    """What comes after a clip, piece by piece."""

    def __init__(self, tail: Tail, frame_rate: float, seed: int) -> None:
        self._frames = tail.frames
        self._proxies = tail.proxies
        self._velocity = velocity_at_end(tail.proxies, tail.scale)
        self.energy = tail.energy
        self._sharpness = sharpness(frame_at(tail.frames, -1).y)
        footing = _footing(tail, self._velocity, frame_rate)
        self._planner = Planner(list(tail.frames.planes[0]), footing, seed)

    def plan(self, num_frames: int) -> Iterator[tuple[Piece, int]]:
        """Pieces, each with how many of its frames are wanted: together exactly `num_frames`."""
        for piece, length in self._planner.walk():
            yield piece, min(length, num_frames)
            num_frames -= length
            if num_frames <= 0:
                return

    def render(self, piece: Piece) -> Iterator[Frame]:
        """The frames of one piece. Whole frames are views on the clip's own."""
        if isinstance(piece, Run):
            for step in range(piece.num_frames):
                yield self._at(piece.start + piece.direction * step)
        elif isinstance(piece, Turn):
            for k in range(1, 2 * piece.half + 1):
                yield self._at(piece.at + piece.direction * (k - k * k / (2 * piece.half)))
        else:
            yield from self._jump(piece)

    def _jump(self, jump: Jump) -> Iterator[Frame]:
        servo = Servo(jump.num_mixed, self.energy, self._at(jump.source))
        for step in range(1, jump.num_frames + 1):
            ahead = jump.direction * step
            arrived = self._at(jump.target + ahead)
            yield servo.mix(self._at(jump.source + ahead), arrived) if step <= jump.num_mixed else arrived

    def _at(self, position: float) -> Frame:
        """The picture at a fractional frame number, past the clip's end too.

        Only the nearest frame is warped: a mix of two would be softer than either.
        """
        last = self._frames.num_frames - 1
        nearest = min(max(round(position), 0), last)
        away = position - nearest
        if abs(away) < 1e-6:
            return frame_at(self._frames, nearest)
        if position > last:
            warped = self._velocity.carry(frame_at(self._frames, last), away)
        else:
            towards = nearest + (1 if away > 0 else -1)
            flow = optical_flow(self._proxies[nearest], self._proxies[towards])
            part = Velocity(flow, self._velocity.scale, 1.0, 0.0)
            warped = part.carry(frame_at(self._frames, nearest), abs(away))
        return sharpen_to(warped, self._sharpness)


def _footing(tail: Tail, velocity: Velocity, frame_rate: float) -> Footing:
    far = velocity.camera_pixels > 3
    most = max(1, tail.frames.num_frames - 4)
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
    chosen = np.linspace(0, len(proxies) - 2, min(8, len(proxies) - 1)).astype(int)
    flows = [cv2.resize(optical_flow(proxies[i], proxies[i + 1]), (40, 24)) for i in chosen]
    total = float(np.sum(np.linalg.norm(flows, axis=-1)))
    return float(np.sum(np.linalg.norm(np.sum(flows, axis=0), axis=-1))) / max(total, 1e-3)
