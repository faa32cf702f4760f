"""What to play after a clip's last frame: the planner.

The clip's own frames are the only true pictures there are, so the plan is a walk over them: frame by frame, in either
direction, by *jumps* to frames that look alike and move alike (Schödl et al., "Video Textures", 2000) and by *turns*,
where the motion slows down, stops and goes back. Costs are in units of the clip's own change from frame to frame; the
best walk without end comes from the values of all states, as there; they are solved for by policy iteration (Howard,
"Dynamic Programming and Markov Processes", 1960).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.frame import proxy
from longtake.frames import Plane

_SIDE = 80
_BLOCK = 5
"""Frames are compared in blocks of 5 px of an 80 px proxy."""
_WORST_SHARE = 32
"""One block in 32 counts as much as all: a frame's mean hides a doubled ball."""
_MOST_STATES = 160
_JUMP_COST = 1.0
_UNLIKE_COST = 8.0
"""A passage that costs so much is mixed over all its length."""
_TURN_COST = 6.0
_HORIZON_SECONDS = 4.0
_TEMPERATURE = 0.4
"""How far from the best a step may be that the seed picks."""
_NEVER = 1e6

_MOST_ROUNDS = 50
_DOUBLINGS = 12
"""2^12 steps ahead nothing counts any more."""

Costs = npt.NDArray[np.float64]
Distances = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """Whole frames `start`, `start + direction`, … of the clip: `num_frames` of them."""

    start: int
    direction: int
    num_frames: int


@dataclass(frozen=True, slots=True)
class Jump:
    """A passage from the run that stands at frame `source` into one that stands at `target`, both going on."""

    source: int
    target: int
    direction: int
    num_frames: int
    num_mixed: int
    """How many of them show something of both: the less, the more alike the two are."""


@dataclass(frozen=True, slots=True)
class Turn:
    """From frame `at`, moving in `direction`, to a stop and back to `at`: frames `at + direction * (k - k^2 / 2n)`
    for k = 1 … 2n."""

    at: int
    direction: int
    half: int
    """n: the frames until the stop."""


Piece = Run | Jump | Turn


@dataclass(frozen=True, slots=True)
class Footing:
    """What the planner knows about a clip besides its pictures."""

    frame_rate: float
    turn_half: int
    """Frames in which a motion comes to a stop where true frames lie ahead."""
    end_turn_half: int
    """The same at the clip's end, where the motion has to be carried on by warping; 0 turns on the spot."""
    one_way: float
    """0: what moves goes to and fro; 1: it goes one way, so that playing it back looks wrong."""
    can_jump: bool
    """A moving camera has left the frames that a jump would lead to."""


class Planner:
    """Walks over `luma`, the planes of a clip's frames in order; the walk begins after the last one."""

    def __init__(self, luma: Sequence[Plane], footing: Footing, seed: int) -> None:
        self._footing = footing
        self._stride = -(-len(luma) // _MOST_STATES)
        self._last = len(luma) - 1
        self._states = list(range(self._last % self._stride, len(luma), self._stride))
        self._seed = seed
        self._passage = max(1, round(0.5 * footing.frame_rate / self._stride))
        self._least_run = max(self._passage + 1, round(0.75 * footing.frame_rate / self._stride))
        self._jumps = self._jump_costs([proxy(luma[index], _SIDE) for index in self._states])
        keep = float(np.exp(-self._stride / (_HORIZON_SECONDS * footing.frame_rate)))
        self._keeps = (keep, keep ** (2 * footing.turn_half / self._stride), keep**self._passage)
        """How much of what follows counts after going on, a turn and a jump."""
        self._actions = {1: self._action_costs(1), -1: self._action_costs(-1)}
        self._values = self._solve()
        self._totals = {1: self._total_costs(1), -1: self._total_costs(-1)}

    def walk(self) -> Iterator[tuple[Piece, int]]:
        """Pieces and how many frames each has, without end; the same each time."""
        state, direction, rng = len(self._states) - 1, 1, np.random.default_rng(self._seed)
        while True:
            piece, state, direction = self._choose(state, direction, rng)
            yield piece, 2 * piece.half if isinstance(piece, Turn) else piece.num_frames

    def _choose(self, state: int, direction: int, rng: np.random.Generator) -> tuple[Piece, int, int]:
        """The next piece, and the state and direction that it leaves the walk in."""
        costs = self._totals[direction][state]
        weights = np.exp(-(costs - costs.min()) / _TEMPERATURE)
        action = int(rng.choice(len(costs), p=weights / weights.sum()))
        at = self._states[state]
        if action == 0:
            return Run(at + direction, direction, self._stride), state + direction, direction
        if action == 1:
            half = self._footing.end_turn_half if at == self._last else self._footing.turn_half
            return Turn(at, direction, half), state, -direction
        target = action - 2
        length = self._passage * self._stride
        unlike = (float(self._jumps[state, target]) - _JUMP_COST) / _UNLIKE_COST
        jump = Jump(at, self._states[target], direction, length, round(min(unlike, 1.0) * length))
        return jump, target + direction * self._passage, direction

    def _jump_costs(self, proxies: list[Plane]) -> Costs:
        """(states, states): how much a passage from the frame of one state to that of another would show."""
        count = len(proxies)
        never = np.full((count, count), _NEVER)
        if not self._footing.can_jump or count < 2 * self._least_run:
            return never
        blocks = _blocks(proxies)
        steps = np.diff(blocks, axis=0, prepend=blocks[:1] * 2 - blocks[1:2])
        cost = _distances(blocks)
        _to_relative(cost, np.median(np.mean(steps**2, axis=2), axis=0))
        moves = _distances(steps)
        _to_relative(moves, np.median(moves[np.arange(1, count), np.arange(count - 1)], axis=0))
        moves *= np.float32(0.5)
        cost += moves
        worst = max(1, cost.shape[2] // _WORST_SHARE)
        mean = cost.mean(axis=2)
        cost.partition(cost.shape[2] - worst, axis=2)
        pairs = (0.5 * cost[..., -worst:].mean(axis=2) + 0.5 * mean).astype(np.float64)
        apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
        return np.where(apart >= self._least_run, pairs + _JUMP_COST, never)

    def _action_costs(self, direction: int) -> Costs:
        """(states, 2 + states): what going on, turning and jumping to each state cost in themselves."""
        count, footing = len(self._states), self._footing
        state = np.arange(count)
        back = 3.0 * footing.one_way * self._stride / footing.frame_rate if direction < 0 else 0.0
        costs = np.full((count, 2 + count), _NEVER)
        ahead = count - 1 - state if direction > 0 else state
        costs[ahead > 0, 0] = back
        room = footing.turn_half / 2 + 1
        at = np.array(self._states)
        costs[(at >= room) & (at <= self._last - room), 1] = _TURN_COST
        if direction > 0:
            lost = 1 - footing.end_turn_half / max(footing.turn_half, 1)
            costs[-1, 1] = _TURN_COST + 4 * lost + 0.5 * min(self._last / footing.frame_rate, 10)
        can_leave = (ahead >= self._passage) | ((ahead == 0) & (direction > 0))
        can_land = ahead >= self._least_run
        costs[:, 2:] = np.where(can_leave[:, None] & can_land[None, :], self._jumps + back, _NEVER)
        return costs

    def _total_costs(self, direction: int) -> Costs:
        """`_action_costs` and all that follows, nearer costs counting more."""
        side = 0 if direction > 0 else 1
        going, turned = self._values[:, side], self._values[:, 1 - side]
        keep, keep_turned, keep_jumped = self._keeps
        total = self._actions[direction].copy()
        total[:, 0] += keep * np.roll(going, -direction)
        total[:, 1] += keep_turned * turned
        total[:, 2:] += keep_jumped * np.roll(going, -direction * self._passage)[None, :]
        return np.minimum(total, _NEVER)

    def _solve(self) -> Costs:
        """(states, 2): the least cost of all that follows from each state, moving forward and moving back."""
        self._values = np.zeros((len(self._states), 2))
        chosen = np.zeros(0, np.intp)
        for _ in range(_MOST_ROUNDS):
            totals = np.concatenate([self._total_costs(1), self._total_costs(-1)])
            best = totals.argmin(axis=1)
            if np.array_equal(best, chosen):
                break
            chosen = best
            self._values = self._values_of(chosen)
        return self._values

    def _values_of(self, chosen: npt.NDArray[np.intp]) -> Costs:
        """(states, 2): what it costs to go on for ever by the actions `chosen` for each state, first all those that
        move forward, then all that move back. Each doubling looks twice as far ahead."""
        count = len(self._states)
        state, back = np.tile(np.arange(count), 2), np.repeat((0, 1), count)
        direction, jumps = 1 - 2 * back, chosen >= 2
        going = np.where(jumps, chosen - 2 + direction * self._passage, state + direction) % count
        following = np.where(chosen == 1, state + count * (1 - back), going + count * back)
        keeps = self._keeps
        kept = np.where(jumps, keeps[2], np.array(keeps)[np.minimum(chosen, 1)])
        actions = np.concatenate([self._actions[1], self._actions[-1]])
        values = actions[np.arange(2 * count), chosen]
        for _ in range(_DOUBLINGS):
            values = values + kept * values[following]
            kept = kept * kept[following]
            following = following[following]
        return np.asarray(np.minimum(values, _NEVER).reshape(2, count).T)


def _blocks(proxies: list[Plane]) -> Distances:
    """(frames, blocks, pixels of a block)."""
    height, width = proxies[0].shape
    rows, columns = max(1, height // _BLOCK), max(1, width // _BLOCK)
    size = (columns * _BLOCK, rows * _BLOCK)
    fitted = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in proxies])
    split = fitted.reshape(len(proxies), rows, _BLOCK, columns, _BLOCK).transpose(0, 1, 3, 2, 4)
    return split.reshape(len(proxies), rows * columns, _BLOCK * _BLOCK).astype(np.float32)


def _distances(blocks: Distances) -> Distances:
    """(frames, frames, blocks): mean squared difference of each block between each two frames."""
    # The sums are of whole numbers below 2^24, so that float32 holds them exactly.
    by_block = np.ascontiguousarray(blocks.transpose(1, 0, 2))
    square = np.einsum("bfp,bfp->bf", by_block, by_block)
    distance = by_block @ by_block.transpose(0, 2, 1)
    distance *= np.float32(-2)
    distance += square[:, :, None]
    distance += square[:, None, :]
    distance *= np.float32(1 / blocks.shape[2])
    return np.ascontiguousarray(distance.transpose(1, 2, 0))


def _to_relative(distance: Distances, natural: npt.NDArray[np.floating]) -> None:
    """In place, to units of each block's own change, which is floored by that of the whole picture."""
    floor = max(0.7 * float(np.mean(natural)), 0.3)
    distance /= np.maximum(natural, floor).astype(np.float32)
