"""A camera that goes on as it moved: its speed where a clip ends, and where it comes from there.

The clip's last frame is all the picture there is. Moves inwards may use it up to a limit; all others would uncover what
no frame shows. They slow down within what a gentle push-in opens ahead of them, and what is missing meanwhile is taken
from the picture's rim, which is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.flow import similarity
from longtake.engines.motion.frame import Field, Map, grid_size, pixel_grid, sample_grid, stretch
from longtake.engines.motion.tail import Tail
from longtake.frames import Plane

Numbers = npt.NDArray[np.float64]

_SLOW_BASES = (0.5, 1.0)
_FAST_BASES = (1 / 6, 1 / 3)
"""Seconds over which the speed is measured, near to the end and further back."""
_FAR_PIXELS = 8.0
"""A camera that goes further in half a second (proxy pixels) is measured over the short bases."""
_LEAST_PIXELS = 1.0
_MOST_REST = 0.4
"""Of the squared change between two frames at most so much may be left once the camera's motion is taken out."""
_MOST_APART = 0.12
"""The share of the picture that may move by itself."""
_MOST_ZOOM = math.log(1.24)
_MOST_ZOOM_OUT = 0.15
_MOST_ROLL = 0.06
_PUSH = 0.14
_STRETCH = 0.02
"""The share of the picture's side by which its rim may lastingly be stretched."""
_SPENT = 0.9
_SLOW_SHARE = 0.35
"""Of the way that is left, the share kept for drifting on at an even speed."""
_LAG_SECONDS = 0.3
_HANDOVER_SECONDS = 0.4
_RIM_BEGINS = 0.3
"""How far from the centre (1: the border) the stretching begins."""
_GRID_SIDE = 160


@dataclass(frozen=True, slots=True)
class Speed:
    """How the view moves in a frame, seen from the frame that stands at the clip's end."""

    zoom: float
    """Natural logarithm of the magnification, about the centre."""
    roll: float
    """Radians; positive turns the scene counterclockwise."""
    shift: tuple[float, float]
    """Luma pixels; positive moves the view right and down, the scene left and up."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where the camera is in each frame of a stretch, from the frame that stands at the clip's end."""

    size: tuple[int, int]
    zoom: Numbers
    roll: Numbers
    shift: Numbers
    """(frames, 2)."""
    slows_down: bool
    """Whether the clip's own speed could not be kept."""

    def view(self, index: int) -> Field:
        """The backward displacement for frame `index` of the stretch; it never points outside of the picture."""
        width, height = self.size
        columns, rows = grid_size(self.size, _GRID_SIDE)
        cell = np.array([width / columns, height / rows], np.float32)
        centre = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
        offset = np.asarray((pixel_grid((columns, rows)) + 0.5) * cell - np.float32(0.5) - centre, np.float32)
        scale, angle = math.exp(-self.zoom[index]), self.roll[index]
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shift = self.shift[index]
        source = offset @ turn.T.astype(np.float32) + shift.astype(np.float32)
        source[..., 0] += _stretched(offset[0, :, 0], offset[:, 0, 1], turn[0], shift[0], centre).T
        source[..., 1] += _stretched(offset[:, 0, 1], offset[0, :, 0], turn[1, ::-1], shift[1], centre[::-1])
        return np.asarray(np.clip(source, -centre, centre) - offset, np.float32)


def _stretched(
    along: Map, across: Map, turn: Numbers, shift: float, centre: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(along, across): what brings the coordinate along one axis back into the picture, none of it in the middle."""
    added = np.zeros((len(along), len(across)), np.float32)
    for side in (-1, 1):
        border = turn[0] * side * centre[0] + turn[1] * across + shift
        lack = np.maximum(side * border - centre[0], 0)
        rim = np.clip((side * along / centre[0] - _RIM_BEGINS) / (1 - _RIM_BEGINS), 0, 1) ** 2
        added -= np.asarray(side * rim[:, None] * lack[None, :], np.float32)
    return added


def camera_speed(tail: Tail, frame_rate: float) -> Speed | None:
    """The camera's speed in the last frame; None where something else moves the picture, or nothing does."""
    proxies = tail.proxies
    for seconds in (_SLOW_BASES, _FAST_BASES):
        near, far = (min(max(2, round(base * frame_rate)), len(proxies) - 1) for base in seconds)
        late = _mean_speed(proxies, near)
        if late is None or (seconds is _SLOW_BASES and _pixels(late, near, proxies[-1]) > _FAR_PIXELS):
            continue
        early = _mean_speed(proxies, far)
        if early is None or _pixels(early, far, proxies[-1]) < _LEAST_PIXELS:
            return None
        # The change of speed goes on, within reason: a camera that slows down is slower at the end than on average.
        change = late - early
        most, size = (_pixels(part, 1, proxies[-1]) for part in (0.3 * late, change))
        zoom, roll, x, y = late + change * (min(most, size) / max(size, 1e-9))
        return Speed(float(zoom), float(roll), (float(x * tail.scale), float(y * tail.scale)))
    return None


def _mean_speed(proxies: Sequence[Plane], num_frames: int) -> Numbers | None:
    """(zoom, roll, x, y) for one frame, on average of the last `num_frames`, if the camera explains them.

    A move outwards over a still shrinks its middle and leaves its rim: then the middle tells the speed.
    """
    last, earlier = proxies[-1], proxies[-1 - num_frames]
    rows, columns = last.shape
    for inner in (1.0, 0.6):
        matrix = similarity(last, earlier, inner)
        if matrix is None:
            continue
        centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
        shift = matrix[:, :2] @ centre + matrix[:, 2] - centre
        zoom, roll = -math.log(math.hypot(matrix[0, 0], matrix[1, 0])), math.atan2(matrix[1, 0], matrix[0, 0])
        if inner == 1.0:
            grid = pixel_grid((columns, rows))
            motion = np.asarray(grid @ (matrix[:, :2].T - np.eye(2)) + matrix[:, 2], np.float32)
        else:
            way = Course((columns, rows), np.array([zoom]), np.array([roll]), shift[None], slows_down=False)
            motion = np.asarray(stretch(way.view(0), (columns, rows)), np.float32)
        if _explains(motion, last, earlier):
            return np.array([zoom, roll, *shift]) / num_frames
    return None


def _explains(motion: Field, last: Plane, earlier: Plane) -> bool:
    """Whether `earlier`, moved by the camera alone, is `last`, but for little things here and there."""
    now, then = (cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1.0) for plane in (last, earlier))
    size = (last.shape[1], last.shape[0])
    where = pixel_grid(size) + motion
    inside = np.all((where >= 0) & (where <= np.array(size, np.float32) - 1), axis=-1)
    if inside.mean() < 0.4:
        return False
    rest = np.where(inside, (sample_grid(np.asarray(then, np.float32), motion) - now) ** 2, 0)
    change = np.where(inside, (then - now) ** 2, 0)
    if float(rest.sum()) > _MOST_REST * float(change.sum()):
        return False
    rest, change = (cv2.blur(error, (31, 31)) for error in (rest, change))
    apart = rest > np.maximum(0.6 * change, max(0.25 * float(change.mean()), 4.0))
    return float(apart[inside].mean()) < _MOST_APART


def _weights(proxy: Plane) -> Numbers:
    """Pixels, in the mean over the picture, for one unit of zoom, roll, x and y."""
    radius = 0.29 * math.hypot(*proxy.shape)
    return np.array([radius, radius, 1.0, 1.0])


def _pixels(speed: Numbers, num_frames: int, proxy: Plane) -> float:
    return float(np.linalg.norm(speed * _weights(proxy))) * num_frames


def course(speed: Speed, size: tuple[int, int], num_frames: int, frame_rate: float, *, hands_over: bool) -> Course:
    """Away from a clip's end: its speed at first, kept where the picture reaches so far, else slowing down.

    `hands_over`: comes to rest in half a second, for another move to take its place.
    """
    sides = np.array(size, np.float64)
    pan = float(np.hypot(*speed.shift))
    outwards = speed.zoom < 0 and -speed.zoom * float(sides.min()) / 4 > pan
    stop = _HANDOVER_SECONDS * frame_rate if hands_over else math.inf
    room = _MOST_ZOOM if speed.zoom >= 0 else _MOST_ZOOM_OUT if outwards else 0.02
    zoom = _travel(speed.zoom, room, num_frames, stop)
    roll = _travel(speed.roll, _MOST_ROLL, num_frames, stop)
    own = max(float(zoom[-1]), 0.0)
    most = own if outwards else max(own, min(own + _PUSH, 0.16))
    ahead = sides * (_SPENT * (1 - math.exp(-most)) / 2 + _STRETCH)
    parts = np.abs(speed.shift) / np.maximum(ahead, 1e-9)
    way = _travel(pan, pan / max(float(parts.max()), 1e-9), num_frames, stop)
    shift = way[:, None] * (np.array(speed.shift) / max(pan, 1e-9))
    slows_down = max(
        abs(speed.zoom) * num_frames - abs(zoom[-1]), abs(speed.roll) * num_frames - abs(roll[-1])
    ) > 0.01 or pan * num_frames - way[-1] > 0.01 * max(size)
    if not outwards:
        needed = np.minimum(_needed_zoom(roll, shift, sides), most) - zoom
        zoom = zoom + _lagging(np.maximum.accumulate(np.maximum(needed, 0)), _LAG_SECONDS * frame_rate)
    return Course(size, zoom, roll, shift, slows_down)


def _travel(rate: float, room: float, num_frames: int, stop: float) -> Numbers:
    """How far one has come after 1 … `num_frames` frames, starting at `rate` and never going beyond `room`.

    The speed is kept if there is room, else it falls exponentially to a slow one. `stop`: the frames in which it falls
    to 1/e of itself, and on to rest.
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
        way = (speed - slow) * -math.expm1(-decay * num_frames) / decay
        low, high = (decay, high) if way > room - slow * num_frames else (low, decay)
    return np.asarray(math.copysign(1, rate) * ((speed - slow) * -np.expm1(-high * time) / high + slow * time))


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
