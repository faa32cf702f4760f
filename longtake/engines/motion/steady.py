"""A camera that is held by hand: the clip's frames laid over its last one, and the sway that goes on after it.

Corners are followed by Lucas-Kanade from the last frame to each other one and a similarity is fitted by RANSAC
(Fischler and Bolles, 1981). The path is parted into where the hand drifts to and how it trembles by a Gaussian, as in
video stabilisation (Matsushita et al., "Full-frame video stabilization with motion inpainting", 2006). All motion is in
pixels of the proxies; a view is out(x) = picture of the last frame at (x + displacement).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.coast import settled
from longtake.engines.motion.frame import Frame, Map, sharpen_to, sharpness, warp
from longtake.engines.motion.layers import Layers
from longtake.engines.motion.momentum import Course
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import each
from longtake.frames import Plane

_MOST_CORNERS, _LEAST_CORNERS = 200, 24
_FOUND_PIXELS = 0.7
_FITS_PIXELS = 1.0
_WINDOW, _FAR_LEVELS, _NEAR_LEVELS = (15, 15), 3, 1
"""Of Lucas-Kanade: halvings of the picture where nothing is known, and from a neighbouring frame's motion on."""
_MOST_TRIES = 200
_LEAST_AGREE = 0.5
"""Of the corners that are found again, the share that one motion has to explain."""
_LEAST_SPREAD = 0.15
"""Of the picture: a box around those that agree is no smaller."""
_LEAST_SWAY = 1.0
_MOST_SWAY = 0.06
"""Of the longer side: a camera that goes further shows another scene."""
_MOST_TURN = 0.06
"""The same of its scale and roll."""
_LEAST_SECONDS = 1.5
_PROBE_SECONDS = (0.5, 1.0)
_SMOOTH_SECONDS = 0.35
_MOST_SECONDS = 2.0
"""So much of the hand's path is looked at, and trembled on."""
_STOP_SECONDS = 0.6
_MOST_DRIFT = 0.012
"""Of the longer side: so far the drift goes on, since beyond the border no frame shows anything."""
_CACHE_BYTES = 64 * 2**20

Matrix = npt.NDArray[np.float64]
"""(2, 3): the points of the last frame → where they are in another."""


@dataclass(frozen=True, slots=True)
class Sway:
    """The way of a hand-held camera on from a clip's last frame, where all is 0: scale, roll, shift (x, y)."""

    drift: npt.NDArray[np.float64]
    """(4,): by how much a frame it moves there, its trembling taken out."""
    settling: float
    """The frames in which that falls to 1/e."""
    tremble: npt.NDArray[np.float64]
    """(frames, 4): how it went about its way 0, 1, … frames before; 0 at both ends."""

    def at(self, steps: int) -> npt.NDArray[np.float64]:
        """(4,): where it has come to `steps` frames after the last one. The trembling goes on mirrored in place and
        time, so that neither place nor speed has a break, and then round."""
        length = len(self.tremble) - 1
        place = (steps + length) % (2 * length) - length
        trembles = np.sign(-place) * self.tremble[abs(place)]
        return np.asarray(self.drift * settled(steps, self.settling) + trembles, np.float64)


@dataclass(frozen=True, slots=True)
class Steady(Tail):
    """A tail whose pictures are laid over its last one; what they lack at the border is that one's."""

    moved: list[Matrix]
    known: OrderedDict[int, Frame] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def picture(self, index: int) -> Frame:
        index %= len(self.proxies)
        last = Tail.picture(self, -1)
        if index == len(self.proxies) - 1:
            return last
        with self.lock:
            if index in self.known:
                self.known.move_to_end(index)
                return self.known[index]
        planes = zip(Tail.picture(self, index), last, strict=True)
        made = Frame(*(laid_over(plane, below, _scaled(self.moved[index], plane, self)) for plane, below in planes))
        most = max(2, _CACHE_BYTES // (3 * made.y.size // 2))
        with self.lock:
            self.known[index] = made
            while len(self.known) > most:
                self.known.popitem(last=False)
        return made


@dataclass
class SwayingLayers(Layers):
    """Layers in front of a camera that sways: put together as the last frame sees them, then seen anew."""

    sway: Sway

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sharp = sharpness(self.tail.picture(-1).y)

    def compose(self, background: Frame, steps: int) -> Frame:
        whole = super().compose(background, steps)
        made = warp(whole, seen(self.sway, whole, self.tail.scale, steps).view(0))
        return sharpen_to(made, self._sharp)


def steadied(tail: Tail, frame_rate: float) -> tuple[Steady, Sway] | None:
    """None where the camera stands, goes far, or where the frames cannot be laid over the last one."""
    last = tail.proxies[-1]
    found = cv2.goodFeaturesToTrack(last, _MOST_CORNERS, 0.005, 6)
    if found is None or len(found) < _LEAST_CORNERS:
        return None
    corners = np.asarray(found, np.float32)
    probes = (min(len(tail.proxies) - 1, round(seconds * frame_rate)) for seconds in _PROBE_SECONDS)
    if any(_moved(corners, last, tail.proxies[-1 - back], _still(), _FAR_LEVELS) is None for back in probes):
        return None
    moved = [_still()]
    for luma in reversed(tail.proxies[:-1]):
        go_on()
        matrix = _moved(corners, last, luma, moved[-1], _NEAR_LEVELS)
        if matrix is None:
            break
        moved.append(matrix)
    if len(moved) < _LEAST_SECONDS * frame_rate:
        return None
    path = np.array([_place(matrix, last) for matrix in moved])
    if np.linalg.norm(path[:, 2:], axis=1).max() < _LEAST_SWAY:
        return None
    first, moved = len(tail.proxies) - len(moved), moved[::-1]
    kept = tail.after(first)
    registered = each(partial(_registered, last), list(zip(kept.proxies, moved, strict=True)))
    return Steady(kept.frames, registered, moved, filter=tail.filter), _sway(path, frame_rate, max(last.shape))


def seen(sway: Sway, picture: Frame, scale: float, steps: int) -> Course:
    """The one view of `picture`, which the last frame's camera sees, `steps` frames later; `scale`: luma pixels for one
    of the proxies."""
    motion = np.zeros((1, 8))
    motion[0, :4] = sway.at(steps) * np.array([1, 1, scale, scale])
    return Course(picture.size, np.zeros(1), motion, _flat(), slows_down=False)


def laid_over(plane: Plane, below: Plane, matrix: Matrix) -> Plane:
    """`plane` moved back by `matrix`, and `below` where it shows nothing."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (below.shape[1], below.shape[0])
    moved = cv2.warpAffine(plane, matrix, size, below.copy(), flags=flags, borderMode=cv2.BORDER_TRANSPARENT)
    return np.asarray(moved, np.uint8)


def _registered(last: Plane, luma_and_matrix: tuple[Plane, Matrix]) -> Plane:
    go_on()
    return laid_over(luma_and_matrix[0], last, luma_and_matrix[1])


def _moved(corners: Map, last: Plane, other: Plane, guess: Matrix, levels: int) -> Matrix | None:
    """Where the scene of `last` is in `other`; None where no motion, or one too far, explains most of it."""
    begin = np.asarray(corners @ guess[:, :2].T + guess[:, 2], np.float32)
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    followed, found, _ = cv2.calcOpticalFlowPyrLK(
        last, other, corners, begin, winSize=_WINDOW, maxLevel=levels, flags=flags
    )
    back, _, _ = cv2.calcOpticalFlowPyrLK(
        other, last, followed, corners.copy(), winSize=_WINDOW, maxLevel=0, flags=flags
    )
    good = (found[:, 0] == 1) & (np.linalg.norm(back - corners, axis=-1)[:, 0] < _FOUND_PIXELS)
    if np.count_nonzero(good) < _LEAST_CORNERS:
        return None
    start, end = corners[good, 0], followed[good, 0]
    matrix, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=_FITS_PIXELS, maxIters=_MOST_TRIES)
    if matrix is None or inliers is None or inliers.mean() < _LEAST_AGREE:
        return None
    spread = np.ptp(start[inliers[:, 0] > 0], axis=0)
    found_matrix, side = np.asarray(matrix, np.float64), max(last.shape)
    place = _place(found_matrix, last)
    too_far = np.abs(place[:2]).max() > _MOST_TURN or np.abs(place[2:]).max() > _MOST_SWAY * side
    return None if too_far or spread[0] * spread[1] < _LEAST_SPREAD * last.size else found_matrix


def _place(matrix: Matrix, luma: Plane) -> npt.NDArray[np.float64]:
    """Where a camera stands that sees the last frame so: scale, roll and shift of its view, at the centre."""
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    centre = (np.array(luma.shape[::-1]) - 1) / 2
    shift = back[:, :2] @ centre + back[:, 2] - centre
    return np.array([back[0, 0] - 1, back[1, 0], shift[0], shift[1]])


def _sway(path: npt.NDArray[np.float64], frame_rate: float, side: int) -> Sway:
    """From where the camera was 0, 1, … frames before the end."""
    length = min(len(path), round(_MOST_SECONDS * frame_rate) + 1)
    past = path[:length] - path[0]
    # Mirrored in place and time at the end, so that what is smoothed ends there too.
    whole = np.concatenate([-past[:0:-1], past])
    smooth = np.asarray(
        cv2.GaussianBlur(whole, (1, 0), sigmaX=0.01, sigmaY=_SMOOTH_SECONDS * frame_rate, borderType=cv2.BORDER_REFLECT)
    ).reshape(whole.shape)
    trend = smooth[length - 1 :]
    drift = (smooth[length - 2] - smooth[length]) / 2
    fade = np.square(np.cos(0.5 * np.pi * np.clip(np.arange(length) / (length - 1) * 2 - 1, 0, 1)))
    tremble = (past - trend) * fade[:, None]
    speed = float(np.abs(drift[2:]).max())
    settling = min(_STOP_SECONDS * frame_rate, _MOST_DRIFT * side / max(speed, 1e-9))
    return Sway(drift, max(settling, 1.0), tremble)


def _scaled(matrix: Matrix, plane: Plane, tail: Tail) -> Matrix:
    """The same for a plane of another size."""
    rows, columns = tail.proxies[0].shape
    x, y = plane.shape[1] / columns, plane.shape[0] / rows
    turn, scale = matrix[:, :2], np.array([x, y])
    half = (1 - scale) / 2
    # A similarity of pixels that are nearly, but for rounding, square.
    shift = scale * matrix[:, 2] + turn @ half - half
    return np.concatenate([turn, shift[:, None]], axis=1)


def _still() -> Matrix:
    return np.eye(2, 3)


def _flat() -> Map:
    return np.full((2, 2), 0.5, np.float32)
