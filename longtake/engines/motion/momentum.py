"""A camera that goes on as it moved: its speed where a clip ends, and where it comes from there.

The clip's last frame is all the picture there is. Moves inwards may use it up to a limit; all others would uncover what
no frame shows. They slow down within what a gentle push-in opens ahead of them, and what is missing meanwhile is taken
from the picture's rim, which is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from longtake.engines.motion.camera_fit import Numbers, carried, fitted, measured, pixel_weights, pixels
from longtake.engines.motion.frame import Field, Frame, Map, frame_at, grid_size, pixel_grid, sample_grid, stretch
from longtake.engines.motion.stills import pseudo_depth
from longtake.engines.motion.tail import Tail
from longtake.frames import Plane

_BASES = ((0.5, 1.0), (1 / 6, 1 / 3))
"""Seconds over which the speed is measured, near to the end and further back: of slow moves, and of fast ones."""
_STEADY_SECONDS = 2.0
"""So long, where the clip lasts so long, the camera must have moved about as it does at the end."""
_FAR_PIXELS = 8.0
"""A camera that goes further in half a second (proxy pixels) is measured over the short bases."""
_LEAST_PIXELS = 2.0
"""A camera that goes less far within `_STEADY_SECONDS` trembles."""
_MOST_CHANGE = 0.35
"""By how much, of itself, the speed may differ between the two bases."""
_MOST_ZOOM = math.log(1.24)
_MOST_ZOOM_OUT = 0.15
_MOST_PULL = 0.2
_MOST_NEAR = 0.12
_MOST_ROLL = 0.06
_PUSH = 0.14
_STRETCH = 0.02
"""The share of the picture's side by which its rim may lastingly be stretched."""
_STRETCH_OUT = 0.04
"""The same for a pan that comes with a move outwards: no push-in can make room for it."""
_SPENT = 0.9
_SLOW_SHARE = 0.35
"""Of the way that is left, the share kept for drifting on at an even speed."""
_LAG_SECONDS = 0.3
_HANDOVER_SECONDS = 0.4
_RIM_BEGINS = 0.3
"""How far from the centre (1: the border) the stretching begins."""
_GRID_SIDE = 160
_HALF_ROOT_PI = math.sqrt(math.pi) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Speed:
    """How the view moves in a frame, seen from the frame that stands at the clip's end."""

    zoom: float
    """Natural logarithm of the magnification, about the centre."""
    roll: float
    """Radians; positive turns the scene counterclockwise."""
    shift: tuple[float, float]
    """Luma pixels; positive moves the view right and down, the scene left and up."""
    pull: float = 0.0
    """By how much the middle shrinks while the rim stays, as in `camera.Pose`."""
    near: float = 0.0
    """By how much less (negative: more) what is near is magnified than what is far."""
    parallax: tuple[float, float] = (0.0, 0.0)
    """The shift of what is near, over the mean; what is far moves the other way."""
    depth: Map = field(default_factory=lambda: np.full((2, 2), 0.5, np.float32))
    """The picture's: 0 far away, 1 near."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Where the camera is in each frame of a stretch, from the frame that stands at the clip's end."""

    size: tuple[int, int]
    zoom: Numbers
    motion: Numbers
    """(frames, 8): coefficients for the columns of `motion_basis`, in luma pixels, `zoom` and roll included."""
    depth: Map
    slows_down: bool
    """Whether the clip's own speed could not be kept."""

    def view(self, index: int) -> Field:
        """The backward displacement for frame `index` of the stretch; it never points outside of the picture."""
        columns, rows = grid_size(self.size, _GRID_SIDE)
        cell = np.array(self.size, np.float32) / np.array([columns, rows], np.float32)
        centre = np.asarray((np.array(self.size, np.float32) - 1) / 2, np.float32)
        offset = np.asarray((pixel_grid((columns, rows)) + 0.5) * cell - np.float32(0.5) - centre, np.float32)
        depth, motion = stretch(self.depth, (columns, rows)), self.motion[index]
        moved = carried(motion, offset, centre, depth)
        if np.any(motion[5:]):
            for _ in range(2):
                moved = carried(motion, offset, centre, sample_grid(depth, np.asarray(moved / cell, np.float32)))
        source = offset + moved
        rim = np.clip((np.abs(offset) / np.maximum(centre, 0.5) - _RIM_BEGINS) / (1 - _RIM_BEGINS), 0, 1) ** 2
        for axis, ends in ((0, source[:, [0, -1], 0]), (1, source[[0, -1], :, 1].T)):
            # What brings the border back into the picture, none of it in the middle.
            lack = np.maximum(np.array([-1, 1], np.float32) * ends - centre[axis], 0)
            lack = lack[:, None, :] if axis == 0 else lack[None]
            after = offset[..., axis] > 0
            source[..., axis] += rim[..., axis] * np.where(after, -lack[..., 1], lack[..., 0])
        return np.asarray(np.clip(source, -centre, centre) - offset, np.float32)


def camera_speed(tail: Tail, frame_rate: float) -> Speed | None:
    """The camera's speed in the last frame; None where something else moves the picture, or nothing does.

    The camera is believed where one motion explains most of the change, all over the picture, and has for a while.
    """
    proxies, last = tail.proxies, tail.proxies[-1]
    depth = pseudo_depth(Frame(*(np.ascontiguousarray(plane) for plane in frame_at(tail.frames, -1))))
    depth = stretch(depth, (last.shape[1], last.shape[0]))
    for seconds in _BASES:
        near, far = (min(max(2, round(base * frame_rate)), len(proxies) - 1) for base in seconds)
        found = measured(last, proxies[-1 - near], depth)
        if found is None or (seconds is _BASES[0] and pixels(found, last) > _FAR_PIXELS):
            continue
        motion = _motion_at_end(proxies, depth, found, near, far)
        span = min(round(_STEADY_SECONDS * frame_rate), len(proxies) - 1)
        if motion is None or span * pixels(motion, last) < _LEAST_PIXELS:
            return None
        if not _is_steady(proxies, depth, motion, far, span):
            return None
        return _speed(motion, tail.scale, depth)
    return None


def _speed(motion: Numbers, scale: float, depth: Map) -> Speed:
    zoom, roll = -math.log(math.hypot(1 + motion[0], motion[1])), math.atan2(motion[1], 1 + motion[0])
    x, y, near_x, near_y = (float(part) * scale for part in motion[[2, 3, 6, 7]])
    return Speed(zoom, roll, (x, y), float(motion[4]), float(motion[5]), (near_x, near_y), depth)


def _motion_at_end(proxies: Sequence[Plane], depth: Map, late: Numbers, near: int, far: int) -> Numbers | None:
    """The motion in one frame, if that of the last `near` frames is that of the last `far`."""
    early = measured(proxies[-1], proxies[-1 - far], depth, late * (far / near))
    if early is None:
        return None
    late, early = late / near, early / far
    change = late - early
    size, whole = (pixels(part, proxies[-1]) for part in (change, late))
    if size > _MOST_CHANGE * whole + 0.3 / near:
        return None
    # The longer base tells the speed best, and a change of it goes on: what slows down is slowest at the end.
    return np.asarray(early + change * min(1.5, 0.3 * whole / max(size, 1e-9)))


def _is_steady(proxies: Sequence[Plane], depth: Map, motion: Numbers, window: int, span: int) -> bool:
    """Whether the camera moved alike before: a hand that sways does not, nor does one that has just set out."""
    weights = pixel_weights(proxies[-1])
    for start in range(window, span - window + 1, window):
        found = fitted(proxies[-1 - start], proxies[-1 - start - window], depth, motion * window)
        if found is None:
            return False
        share = float(np.dot(found[0] / window * weights, motion * weights)) / float(np.sum((motion * weights) ** 2))
        if not 0.4 < share < 2.2:
            return False
    return True


def course(
    speed: Speed, size: tuple[int, int], num_frames: int, frame_rate: float, *, hands_over: bool, spent: float = 1.0
) -> Course:
    """Away from a clip's end: its speed at first, kept where the picture reaches so far, else slowing down.

    `hands_over`: comes to rest in half a second, for another move to take its place. `spent`: the share that it takes
    of the way there is.
    """
    sides, pan = np.array(size, np.float64), math.hypot(*speed.shift, *speed.parallax)
    outwards = speed.zoom < 0 and -speed.zoom * float(sides.min()) / 4 > 0.15 * pan
    stop = _HANDOVER_SECONDS * frame_rate if hands_over else math.inf
    limit = _MOST_ZOOM if speed.zoom >= 0 else _MOST_ZOOM_OUT if outwards else 0.02
    rates = np.abs([speed.zoom / limit, speed.pull / _MOST_PULL, speed.near / _MOST_NEAR]) / spent
    inwards = _travel(1.0, 1 / max(float(rates.max()), 1e-9), num_frames, stop)
    roll = speed.roll * _travel(1.0, spent * _MOST_ROLL / max(abs(speed.roll), 1e-9), num_frames, stop)
    zoom = speed.zoom * inwards
    own = max(float(zoom[-1]), 0.0)
    most = own if outwards else max(own, min(own + _PUSH, 0.16))
    ahead = sides * (_STRETCH_OUT if outwards else _SPENT * (1 - math.exp(-most)) / 2 + _STRETCH)
    reach = (np.abs(speed.shift) + 0.7 * np.abs(speed.parallax)) / spent
    along = _travel(1.0, 1 / max(float((reach / np.maximum(ahead, 1e-9)).max()), 1e-9), num_frames, stop)
    lost = (num_frames - inwards[-1]) * float(np.max(rates * [limit, 0.3 * _MOST_PULL, 0.25 * _MOST_NEAR]))
    slows_down = lost > 0.01 or pan * (num_frames - along[-1]) > 0.01 * max(size)
    slows_down = slows_down or abs(speed.roll) * num_frames - abs(roll[-1]) > 0.01
    if not outwards:
        needed = np.minimum(_needed_zoom(roll, along[:, None] * reach * spent, sides), most) - zoom
        zoom = zoom + _lagging(np.maximum.accumulate(np.maximum(needed, 0)), _LAG_SECONDS * frame_rate)
    turned = np.stack([np.exp(-zoom) * np.cos(roll) - 1, np.exp(-zoom) * np.sin(roll)], 1)
    shifts, pulls = along[:, None] * np.array(speed.shift), inwards[:, None] * np.array([speed.pull, speed.near])
    motion = np.concatenate([turned, shifts, pulls, along[:, None] * np.array(speed.parallax)], axis=1)
    return Course(size, zoom, motion, speed.depth, slows_down)


def _travel(rate: float, room: float, num_frames: int, stop: float) -> Numbers:
    """How far one has come after 1 … `num_frames` frames, starting at `rate` and never going beyond `room`.

    The speed is kept if there is room, else it falls to a slow one, as a bell does from its top. `stop`: the frames in
    which it falls to 1/e of itself, and on to rest.
    """
    time = np.arange(1, num_frames + 1, dtype=np.float64)
    speed = abs(rate)
    if math.isfinite(stop) and speed > 0:
        stop = min(stop, room / speed)
        return np.asarray(rate * stop * (1 - np.exp(-time / stop)))
    if speed * num_frames <= room:
        return rate * time
    slow = _SLOW_SHARE * room / num_frames
    low, high = 1e-6, 1e3
    for _ in range(80):
        decay = math.sqrt(low * high)
        way = (speed - slow) * _HALF_ROOT_PI * math.erf(decay * num_frames) / decay
        low, high = (decay, high) if way > room - slow * num_frames else (low, decay)
    fallen = np.array([math.erf(high * frame) for frame in time])
    return np.asarray(math.copysign(1, rate) * ((speed - slow) * _HALF_ROOT_PI * fallen / high + slow * time))


def _needed_zoom(roll: Numbers, shift: Numbers, sides: Numbers) -> Numbers:
    """The zoom at which a view so rolled and shifted lies within the picture."""
    cos, sin = np.cos(roll)[:, None], np.abs(np.sin(roll))[:, None]
    spans = sides * cos + sides[::-1] * sin
    return np.asarray(np.log(np.max(spans / np.maximum(sides - 2 * np.abs(shift), 1), axis=1)))


def _lagging(values: Numbers, num_frames: float) -> Numbers:
    """`values` followed softly, from rest: two first-order lags of `num_frames` one after the other."""
    share = 1 - math.exp(-1 / max(num_frames, 1e-3))
    followed, first, second = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values):
        first += share * (float(value) - first)
        second += share * (first - second)
        followed[index] = second
    return followed
