"""From a clip's last frame forwards into an earlier moment of it that can be reached: the other way out than a turn.

Where nothing in the clip looks just like its end, something in it often looks nearly so: another pose of the same
person in the same place. The picture is moved from the one into the other by optical flow, at about the speed at which
things move there anyway, and the clip runs on from there, forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from longtake.engines.motion.flow import quick_flow
from longtake.engines.motion.frame import Field, Map, proxy, sample_grid
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import each
from longtake.frames import Plane

_SIDE = 240
_CANDIDATES_A_SECOND = 8
_LEAST_RUN_SECONDS = 0.75
_APART_LEVELS = 16.0
"""A pixel that differs by more once it has been moved does not register."""
_MOST_APART = 0.15
"""The share of the picture that may not register: it is dissolved."""
_MOST_TONE = 3.0
"""Levels: a moment in another light is not one to go back to."""
_LARGEST_PIECE = 0.009
"""The same in one piece: more would be seen as a ghost."""
_PIECE = 3.0
_MOST_LOST = 0.3
_LOST_PIXELS = 1.5
_MOST_TRIED, _MOST_WAYS = 12, 6
_LONG_RUN = 0.02
_UNLIKE_MOTION = 0.03
_AS_GOOD = 0.03
_LEAST_SECONDS, _MOST_SECONDS = 0.6, 0.9
_ONE_WAY = 0.9
"""How strictly difference may grow with distance in time before a clip counts as one that never comes back."""


@dataclass(frozen=True, slots=True)
class Morph:
    """From the last frame to frame `target`, in `num_frames` steps; the last of them is `target` itself."""

    target: int
    num_frames: int


def ways_back(tail: Tail, frame_rate: float) -> list[Morph]:
    """The moments that the end can lead to, best first; none where the clip never comes back to what it shows."""
    proxies = [proxy(plane, _SIDE) for plane in tail.proxies]
    count, last = len(proxies), proxies[-1]
    stop = count - max(2, round(_LEAST_RUN_SECONDS * frame_rate))
    targets = list(range(0, stop, max(1, round(frame_rate / _CANDIDATES_A_SECOND))))
    if len(targets) < 6:
        return []
    flows = dict(zip(targets, each(lambda target: quick_flow(last, proxies[target]), targets), strict=True))
    looked_at = each(lambda target: _unregistered(last, proxies[target], flows[target]), targets)
    apart = {
        at: (tail.share * share, tail.share * piece) for at, (share, piece) in zip(targets, looked_at, strict=True)
    }
    by_time = np.array([share for share, _ in apart.values()])
    if np.ptp(by_time) > 0 and float(np.corrcoef(np.arange(len(by_time)), by_time)[0, 1]) < -_ONE_WAY:
        return []
    fit = [target for target in targets if apart[target][0] < _MOST_APART and apart[target][1] < _LARGEST_PIECE]
    baseline = max(1, round(frame_rate / 15))
    leaving = quick_flow(proxies[-1 - baseline], last)

    def looks(target: int) -> float:
        return apart[target][0] + _PIECE * apart[target][1] + _LONG_RUN * frame_rate / (count - target)

    def cost(target: int) -> float:
        arriving = sample_grid(quick_flow(proxies[target], proxies[target + baseline]), flows[target])
        return looks(target) + _UNLIKE_MOTION * _unlike(leaving, arriving)

    tried = sorted(fit, key=looks)[:_MOST_TRIED]
    costs = dict(zip(tried, each(cost, tried), strict=True))
    good = [target for target in sorted(costs, key=costs.__getitem__) if costs[target] < min(costs.values()) + _AS_GOOD]
    speed = float(np.percentile(np.linalg.norm(leaving, axis=-1), 95)) / baseline
    return [
        Morph(target, _num_frames(flows[target], speed, frame_rate))
        for target in good[:_MOST_WAYS]
        if _lost(flows[target], quick_flow(proxies[target], last)) < _MOST_LOST
    ]


def _unregistered(last: Plane, other: Plane, flow: Field) -> tuple[float, float]:
    """Of the picture, the share in which `other`, moved along the flow, still differs from `last`, and the largest part
    of that in one piece: a thing that is only in one of the two."""
    go_on()
    moved = cv2.blur(sample_grid(other.astype(np.float32), flow), (5, 5))
    differences = moved - cv2.blur(last.astype(np.float32), (5, 5))
    if abs(float(np.median(differences))) > _MOST_TONE:
        return 1.0, 1.0
    apart = np.abs(differences) > _APART_LEVELS
    solid = cv2.morphologyEx(np.asarray(apart, np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    found, _, stats, _ = cv2.connectedComponentsWithStats(solid)
    largest = float(stats[1:, cv2.CC_STAT_AREA].max()) if found > 1 else 0.0
    return float(apart.mean()), largest / solid.size


def _lost(there: Field, back: Field) -> float:
    """The share of the picture that does not come back from a trip there and back: it is covered, or not the same."""
    return float(np.mean(np.linalg.norm(there + sample_grid(back, there), axis=-1) > _LOST_PIXELS))


def _unlike(leaving: Field, arriving: Map) -> float:
    """0 where things move on as they moved, 1 where they move otherwise."""
    apart = float(np.linalg.norm(leaving - arriving, axis=-1).mean())
    both = float(np.linalg.norm(leaving, axis=-1).mean() + np.linalg.norm(arriving, axis=-1).mean())
    return apart / max(both, 0.05)


def _num_frames(flow: Field, speed: float, frame_rate: float) -> int:
    """So many that things move about as fast as they moved."""
    way = float(np.percentile(np.linalg.norm(flow, axis=-1), 95))
    return round(float(np.clip(way / max(speed, 0.05), _LEAST_SECONDS * frame_rate, _MOST_SECONDS * frame_rate)))
