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
from longtake.engines.motion.tail import Tail
from longtake.frames import Plane

_SIDE = 240
_BLOCK = 8
_CANDIDATES_A_SECOND = 12
_LEAST_RUN_SECONDS = 0.75
_APART_LEVELS = 16.0
"""A pixel that differs by more once it has been moved does not register."""
_MOST_APART = 0.17
"""The share of the picture that may not register: it is dissolved."""
_MOST_LOST = 0.21
_LOST_PIXELS = 1.5
_MOST_WAYS = 6
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
    baseline = max(1, round(frame_rate / 15))
    leaving = quick_flow(proxies[-1 - baseline], last)
    found = []
    for target in targets:
        flow = quick_flow(last, proxies[target])
        apart = _unregistered(last, proxies[target], flow)
        arriving = quick_flow(proxies[target], proxies[target + baseline])
        unlike = _unlike(leaving, sample_grid(arriving, flow))
        length = (count - target) / frame_rate
        found.append((apart + _UNLIKE_MOTION * unlike + _LONG_RUN / length, apart, target, flow))
    apart_by_time = np.array([apart for _, apart, _, _ in found])
    if np.ptp(apart_by_time) > 0 and float(np.corrcoef(np.arange(len(found)), apart_by_time)[0, 1]) < -_ONE_WAY:
        return []
    best = min(cost for cost, _, _, _ in found)
    speed = float(np.percentile(np.linalg.norm(leaving, axis=-1), 95)) / baseline
    good = [way for way in sorted(found, key=lambda way: way[0]) if way[1] < _MOST_APART and way[0] < best + _AS_GOOD]
    return [
        Morph(target, _num_frames(flow, speed, frame_rate))
        for _, _, target, flow in good[:_MOST_WAYS]
        if _lost(flow, quick_flow(proxies[target], last)) < _MOST_LOST
    ]


def _unregistered(last: Plane, other: Plane, flow: Field) -> float:
    """The share of the picture in which `other`, moved along the flow, still differs from `last`."""
    moved = sample_grid(other.astype(np.float32), flow)
    return float(np.mean(np.abs(cv2.blur(moved, (3, 3)) - cv2.blur(last.astype(np.float32), (3, 3))) > _APART_LEVELS))


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
