"""What passes through the picture where a clip ends: each as a layer with a path, a matte and its own latest looks.

An actor goes on as it went. Its looks are its own last frames, in its own coordinates: where they recur (a gait, a
wheel) they go round from the moment that looked most like the last one, else the last look is kept (video textures,
Schödl et al. 2000, of one thing instead of a picture).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import takewhile

import cv2
import numpy as np

from longtake.engines.motion.coast import settled
from longtake.engines.motion.flat import Flat
from longtake.engines.motion.foreground import Foreground, Mask, difference, grown, opened, shifted
from longtake.engines.motion.frame import Map
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.tracks import FlowBack, Numbers, moving_part, parted, path_of, velocity_of, wobble

Box = tuple[int, int, int, int]
"""(left, top, right, bottom)"""

_HISTORY_SECONDS = 1.4
_PATH_SECONDS = (0.6, 0.3)
"""Over these a path is straight: the shorter for what only just started to move."""
_RECENT_SECONDS = 0.2
_RECENT_FRAMES = 5
_SETTLING_SECONDS = 0.15
_LEAST_HISTORY_SECONDS = 0.3
_MOST_ACTORS = 12
LEAST_AREA = 0.0007
"""Of the picture: smaller things are noise, or leaves."""
_MOST_AREA = 0.35
_LEAST_PIXELS = 5.0
"""Proxy pixels that a passer comes along meanwhile."""
_LEAST_SHARE = 0.17
"""The same as a share of its own size: who sways on the spot does not pass."""
_MOST_WOBBLE = 0.12
"""How far from its straight path a passer may be, as a share of that path."""
_LEAST_RETURN, _RETURN_SHARE, _RETURN_OF_WAY = 2.0, 0.06, 0.18
"""Proxy pixels, of its size and of its way: so far may a passer have gone the other way before; more is to and fro."""
_AT_REST = 0.35
"""An actor whose speed, where its path begins, is below this share of its speed now, stood there before."""
_MARGIN = 2
"""Proxy pixels of room around a matte, which is softened."""
_MOST_MIXED = 4
_SWING = 0.1
"""Of an actor's size: how far its limbs may reach beyond its shape in the last frame."""
_CROWDED = 0.3
_NEARLY = 0.5
_NEAR = 5
_LEAST_CYCLE_SECONDS = 0.45
_RECURS = 1.2
"""A look came back if it differs no more from the last one than the look half-way there did, times this."""
_SAME_LOOKS = 100.0
"""Mean squared levels: what is of one colour and differs by less from a quarter of its looks keeps its shape."""
_MOST_STEP = 4.0
"""How many times the change of one frame the way back to it may be: it is taken in so many frames."""
_SOLID = 0.75
"""The share of a passer that differs from the plate: of who stays on the spot, the plate shows a part."""


@dataclass(frozen=True)
class Look:
    """What an actor looks like in one frame."""

    frame: int
    """Counted from the end: -1 is the clip's last."""
    moved: tuple[float, float]
    """Where it stands there, seen from where it stands in the last frame."""
    matte: Map
    """float32 (rows, columns), 0 to 1, over its box moved by `moved`, in whole pixels."""


@dataclass(frozen=True)
class Actor:
    """A layer that moves through the picture; lengths in proxy pixels, times in frames."""

    box: Box
    """Of its matte in the last frame, with room around it."""
    velocity: tuple[float, float]
    """On average of the last moments, in pixels a frame: how it goes on."""
    latest: tuple[float, float]
    """In the very last frames: how it starts."""
    settling: float
    """The frames in which the one goes over into the other, by 1/e."""
    looks: list[Look]
    """From the last frame backwards; they go round, and a single one is kept."""
    num_mixed: int
    """How many frames the way from the last look of a round to its first takes."""
    own: Mask
    """Its place in the last frame."""
    path: Numbers
    """(frames, 2): where it was 0, 1, … frames ago, seen from there."""
    stood: bool
    """Whether it stood where its path begins, so that nothing is known of what was behind it there."""

    def was(self, back: int) -> Mask:
        """Its place `back` frames ago, by its shape in the last frame."""
        return shifted(self.own, self.path[min(back, len(self.path) - 1)])

    def paced(self, pace: float) -> Actor:
        """The same, going on at another share of its speed."""
        return replace(self, velocity=(self.velocity[0] * pace, self.velocity[1] * pace))

    def place(self, steps: float) -> tuple[float, float]:
        """How far it has come `steps` frames after the last one."""
        faded = settled(steps, self.settling)
        x, y = (v * steps + (u - v) * faded for v, u in zip(self.velocity, self.latest, strict=True))
        return x, y

    def look(self, steps: int) -> tuple[Look, Look, float]:
        """The two looks that it shows `steps` frames after the last one, and the share of the second.

        A round begins with a short cross-over from the look that the one before ended with."""
        step = (steps - 1) % len(self.looks)
        return self.looks[0], self.looks[-1 - step], min(1.0, (step + 1) / (self.num_mixed + 1))


def find_actors(front: Foreground, flow_back: FlowBack, frame_rate: float) -> list[Actor]:
    """Those in the last frame that pass through; nearest (lowest in the picture) last."""
    found, labels, stats, _ = cv2.connectedComponentsWithStats(front.masks[-1])
    areas = stats[:, cv2.CC_STAT_AREA]
    largest = sorted(range(1, found), key=lambda index: -int(areas[index]))[:_MOST_ACTORS]
    wanted = [index for index in largest if areas[index] >= LEAST_AREA * labels.size]
    masks = [part for index in wanted for part in parted(np.asarray(labels == index, np.uint8), flow_back(0))]
    actors = [_actor(mask, front, flow_back, frame_rate) for mask in masks]
    return sorted((actor for actor in actors if actor is not None), key=lambda actor: actor.box[3])


def _actor(mask: Mask, front: Foreground, flow_back: FlowBack, rate: float) -> Actor | None:
    """None for what stands, sways on the spot, comes in, fills the picture or has only just appeared."""
    go_on()
    for seconds in _PATH_SECONDS:
        window = max(3, round(seconds * rate))
        first = path_of(mask, front, flow_back, window, refined=False)
        if len(first) <= max(2, _LEAST_HISTORY_SECONDS * rate):
            return None
        if _reach(first) < _LEAST_PIXELS / 2:
            return None
        own = moving_part(mask, front, first)
        if not own.any():
            return None
        path = path_of(own, front, flow_back, max(2, round(_HISTORY_SECONDS * rate)), refined=True)
        velocity, length = velocity_of(path[: window + 1]), min(len(path) - 1, window)
        way = float(np.linalg.norm(velocity)) * length
        size = math.sqrt(np.count_nonzero(own))
        if _came_back(path, velocity) > max(_LEAST_RETURN, _RETURN_SHARE * size, _RETURN_OF_WAY * way):
            continue
        if _passes(mask, own, front, way, velocity) and wobble(path[: length + 1], velocity) < _MOST_WOBBLE * way:
            return _with_looks(own, path, velocity, front, rate)
    return None


def _reach(path: Numbers) -> float:
    """How far apart the ends of a path are, in pixels."""
    return float(np.linalg.norm(path[-1] - path[0]))


def _came_back(path: Numbers, velocity: Numbers) -> float:
    """How far against the way that it takes now a thing has come before: a pendulum, who paces up and down."""
    ahead = path @ (velocity / max(float(np.linalg.norm(velocity)), 1e-9))
    return float(np.max(ahead - np.minimum.accumulate(ahead)))


def _passes(mask: Mask, own: Mask, front: Foreground, way: float, velocity: Numbers) -> bool:
    if np.count_nonzero(own) > _MOST_AREA * mask.size or _comes_in(own, velocity):
        return False
    if way < max(_LEAST_PIXELS, _LEAST_SHARE * math.sqrt(np.count_nonzero(mask))):
        return False
    return Flat.of(own, front.lumas[-1]) is not None or _is_solid(own, front)


def _is_solid(own: Mask, front: Foreground) -> bool:
    """Whether it differs from the plate as a whole."""
    apart = difference(front.lumas[-1], front.plate) > front.threshold
    filled = np.zeros_like(own)
    cv2.drawContours(filled, cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0], -1, 1, -1)
    return float(apart[filled > 0].mean()) > _SOLID


def _with_looks(own: Mask, path: Numbers, velocity: Numbers, front: Foreground, rate: float) -> Actor:
    box = _box(own, _NEAR + _MARGIN)
    reach = _inside(path, _box(own, 0), own.shape)
    alone = takewhile(lambda back: front.tones[-1 - back].is_same and _is_alone(own, path, front, back), range(reach))
    looks = [Look(-1 - k, _pair(path[k]), _matte(_shape(own, path[k], front, k), path[k], box)) for k in alone]
    cycle, num_mixed = _cycle(path[: len(looks)], box, own, front, rate)
    latest = velocity_of(path[: max(_RECENT_FRAMES, round(_RECENT_SECONDS * rate)) + 1])
    first = path[-4:]
    stood = float(np.linalg.norm(first[0] - first[-1])) < _AT_REST * float(np.linalg.norm(velocity)) * (len(first) - 1)
    settling = _SETTLING_SECONDS * rate
    return Actor(box, _pair(velocity), _pair(latest), settling, looks[:cycle], num_mixed, own, path, stood)


def _comes_in(own: Mask, velocity: Numbers) -> bool:
    """Whether more of it is still to come from beyond the border: that, no frame shows."""
    x, y = velocity / max(float(np.linalg.norm(velocity)), 1e-6)
    rims = ((own[:, :2], x), (own[:, -2:], -x), (own[:2], y), (own[-2:], -y))
    return any(inwards > 0.3 and np.count_nonzero(rim) > 4 for rim, inwards in rims)


def _box(own: Mask, room: int) -> Box:
    left, top, width, height = cv2.boundingRect(own)
    rows, columns = own.shape
    return max(0, left - room), max(0, top - room), min(columns, left + width + room), min(rows, top + height + room)


def _inside(path: Numbers, box: Box, shape: tuple[int, ...]) -> int:
    """For how many frames back it was as much in the picture as it is in the last."""
    left, top, right, bottom = box
    low = path + np.array([left, top]) >= np.array([min(left, 0), min(top, 0)]) - 1.0
    high = path + np.array([right, bottom]) <= np.array([shape[1], shape[0]]) + 1.0
    within = np.all(low & high, axis=1)
    return int(np.argmin(within)) if not within.all() else len(path)


def _shape(own: Mask, moved: Numbers, front: Foreground, back: int) -> Mask:
    """Its shape `back` frames ago: what differs from the plate near to where it stood, next to it half of the
    difference too (hysteresis), but not what stands there still."""
    apart = difference(front.lumas[-1 - back], front.plate)
    nearly = opened(np.asarray(apart > _NEARLY * front.threshold, np.uint8), 3)
    if back == 0:
        others = front.masks[-1] & (1 - own)
        return np.asarray(own | (nearly & grown(own, _NEAR) & (1 - others)), np.uint8)
    near = grown(shifted(own, moved), max(2, round(_SWING * math.sqrt(np.count_nonzero(own)))))
    changed = np.asarray(difference(front.lumas[-1 - back], front.lumas[-1]) > front.threshold, np.uint8)
    return np.asarray(near & (front.masks[-1 - back] | nearly) & (own | grown(changed, 1)), np.uint8)


def _is_alone(own: Mask, path: Numbers, front: Foreground, back: int) -> bool:
    """Whether no more moves around it than in the last frame: what came near would be taken for a part of it."""
    around = [
        np.count_nonzero((grown(there, _NEAR) - there) & front.masks[-1 - back])
        for back, there in ((0, own), (back, shifted(own, path[back])))
    ]
    return bool(around[1] - around[0] < _CROWDED * np.count_nonzero(own))


def _matte(shape: Mask, moved: Numbers, box: Box) -> Map:
    """Softened, over the box moved in whole pixels."""
    x, y = (round(float(value)) for value in moved)
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.0)
    left, top, right, bottom = box
    size = right - left, bottom - top
    centre = (left + x + (size[0] - 1) / 2, top + y + (size[1] - 1) / 2)
    return np.asarray(cv2.getRectSubPix(soft, size, centre), np.float32)


def _cycle(path: Numbers, box: Box, own: Mask, front: Foreground, rate: float) -> tuple[int, int]:
    """The number of frames after which its looks came back to the last one, 1 where they did not; and in how many the
    rest that they differ by is no more than they change anyway."""
    left, top, right, bottom = box
    size, middle = (right - left, bottom - top), np.array([(left + right - 1) / 2, (top + bottom - 1) / 2])

    def seen(back: int) -> Map:
        at = middle + path[back]
        return np.asarray(cv2.getRectSubPix(front.lumas[-1 - back], size, (float(at[0]), float(at[1]))), np.float32)

    here, last = own[top:bottom, left:right] > 0, seen(0)
    apart = [float(np.mean((seen(back)[here] - last[here]) ** 2)) for back in range(len(path))]
    if Flat.of(own, front.lumas[-1]) is not None and float(np.quantile(apart[1:] or [0.0], 0.25)) < _SAME_LOOKS:
        return 1, 0
    least = max(3, round(_LEAST_CYCLE_SECONDS * rate))
    recurs = {back: apart[back] / max(apart[back // 2], 1e-3) for back in range(least, len(path) - 1)}
    fits = [back for back, share in recurs.items() if share < _RECURS and apart[back] < _MOST_STEP * apart[1]]
    if not fits:
        return 1, 0
    best = min(fits, key=apart.__getitem__)
    steps = math.ceil(apart[best] / max(apart[1], 1e-3))
    return best, min(max(steps - 1, 0), _MOST_MIXED, best // 3)


def _pair(values: Numbers) -> tuple[float, float]:
    return float(values[0]), float(values[1])
