"""The camera's motion between two frames: what corners all over the picture agree on, and whether it explains them.

Corners (Shi and Tomasi, 1994) are followed by Lucas-Kanade, and a motion that is linear in its few parameters is fitted
by iteratively reweighted least squares (Holland and Welsch, "Robust regression using iteratively reweighted
least-squares", 1977). Pixels are those of the proxies.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.frame import Field, Map, grid_size, pixel_grid, sample_grid, stretch
from longtake.frames import Plane

Numbers = npt.NDArray[np.float64]

_MOST_REST = 0.4
"""Of the squared change between two frames at most so much may be left once the camera's motion is taken out."""
_MOST_APART = 0.12
"""The share of the picture that may move by itself."""
_MOST_STANDING = 0.2
"""What stands still, as a share of what the camera explains: a big thing may pass before a bare ground."""
_LEAST_PIXELS = 0.3
"""A camera that goes less far between two frames stands still."""
_GRID_SIDE = 80
_TILES = 4
_LEAST_TEXTURE = 1e-5
"""The least eigenvalue of a corner worth following, as OpenCV scales it: gradients of about half a level."""
_MODELS = ((0, 1, 2, 3), (0, 1, 2, 3, 4), (0, 1, 2, 3, 5, 6, 7))
"""Columns of `motion_basis`: a similarity, one with a pull, one with parallax. A richer one has to earn its place."""


def motion_basis(offset: Field, half: npt.NDArray[np.float32], depth: Map) -> npt.NDArray[np.float32]:
    """(…, 2, 8): how a point at `offset` from the centre moves for one unit of each way to move.

    Scale, turn, shift along x and y, pull (the form of `camera.view`), near scale, near shift along x and y.
    """
    x, y = offset[..., 0], offset[..., 1]
    none, all_alike = np.zeros_like(x), np.ones_like(x)
    rim = 1 - np.square(offset / np.maximum(half, 0.5))
    pull = np.clip(rim[..., 0] * rim[..., 1], 0, 1) * (0.6 + 0.4 * depth)
    near = 2 * depth - 1
    across = (x, -y, all_alike, none, x * pull, x * near / 2, near, none)
    down = (y, x, none, all_alike, y * pull, y * near / 2, none, near)
    return np.asarray(np.stack([np.stack(across, -1), np.stack(down, -1)], -2), np.float32)


def carried(motion: Numbers, offset: Field, half: npt.NDArray[np.float32], depth: Map) -> Field:
    """By how much the points at `offset` (…, 2) from the centre move; `half`: (x, y) of the last pixel from there."""
    return np.asarray(motion_basis(offset, half, depth) @ motion.astype(np.float32), np.float32)


def pixel_weights(proxy: Plane) -> Numbers:
    """Pixels, in the mean over the picture, for one unit of each of `motion_basis`."""
    radius = 0.29 * math.hypot(*proxy.shape)
    return np.array([radius, radius, 1.0, 1.0, 0.3 * radius, 0.25 * radius, 0.5, 0.5])


def pixels(motion: Numbers, proxy: Plane) -> float:
    """How far the picture moves, in the mean, in proxy pixels."""
    return float(np.linalg.norm(motion * pixel_weights(proxy)))


def measured(last: Plane, earlier: Plane, depth: Map, guess: Numbers | None = None) -> Numbers | None:
    """The camera's motion from `last` back to `earlier`, if it explains them. `guess`: where to begin to look."""
    found = fitted(last, earlier, depth, guess)
    if found is None or not found[1] or pixels(found[0], last) < _LEAST_PIXELS:
        return None
    if not _explains(found[0], last, earlier, depth):
        return None
    return found[0]


def fitted(last: Plane, earlier: Plane, depth: Map, guess: Numbers | None = None) -> tuple[Numbers, bool] | None:
    """The motion that most corners agree on, and whether they do so all over the picture; None where none do."""
    start, end = _tracks(last, earlier, np.zeros(2) if guess is None else guess[2:4])
    if len(start) < 24:
        return None
    half = np.asarray((np.array(last.shape[::-1], np.float32) - 1) / 2, np.float32)
    at = start.astype(int)
    basis = motion_basis(np.asarray(start - half, np.float32), half, depth[at[:, 1], at[:, 0]]).astype(np.float64)
    best, best_error = np.zeros(8), math.inf
    for model in _MODELS:
        motion = np.zeros(8)
        motion[list(model)] = _robust(basis[..., list(model)], end - start)
        error = float(np.minimum(np.linalg.norm(basis @ motion - (end - start), axis=1), 2.0).mean())
        if error < 0.7 * best_error and best_error > 0.12:
            best, best_error = motion, error
    agrees = np.linalg.norm(basis @ best - (end - start), axis=1) < max(0.6, 0.06 * pixels(best, last))
    if agrees.mean() < 0.6:
        return None
    still = np.linalg.norm(end - start, axis=1) < 0.3 * np.linalg.norm(basis @ best, axis=1)
    places = (start * _TILES / np.array(last.shape[::-1])).astype(int)[agrees]
    quarters = np.bincount((start[agrees] > half) @ np.array([1, 2]), minlength=4)
    spread = np.sum(quarters >= 5) >= 3 and all(len(np.unique(places[:, axis])) >= 3 for axis in (0, 1))
    return best, bool(spread and (still & ~agrees).mean() < 0.12)


def _tracks(last: Plane, earlier: Plane, guess: Numbers) -> tuple[Numbers, Numbers]:
    """Corners of `last`, in all its parts alike, and where they are in `earlier`, sought about `guess` (x, y) from
    there: twice (n, 2), pixels."""
    strength = cv2.cornerMinEigenVal(last, 3)
    rows, columns = (np.linspace(0, side, _TILES + 1).astype(int) for side in last.shape)
    places = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            found = cv2.goodFeaturesToTrack(last[top:bottom, left:right], 20, 0.05, 6)
            if found is not None:
                places.append(found[:, 0] + np.array([left, top], np.float32))
    corners = np.concatenate([np.zeros((0, 2), np.float32), *places])
    at = corners.astype(int)
    corners = corners[strength[at[:, 1], at[:, 0]] > _LEAST_TEXTURE][:, None]
    if not len(corners):
        return np.zeros((0, 2)), np.zeros((0, 2))
    guess, flags = guess.astype(np.float32), cv2.OPTFLOW_USE_INITIAL_FLOW
    followed, found, _ = cv2.calcOpticalFlowPyrLK(last, earlier, corners, corners + guess, flags=flags)
    back, _, _ = cv2.calcOpticalFlowPyrLK(earlier, last, followed, followed - guess, flags=flags)
    good = (found[:, 0] == 1) & (np.linalg.norm(back - corners, axis=-1)[:, 0] < 0.7)
    return corners[good, 0].astype(np.float64), followed[good, 0].astype(np.float64)


def _robust(basis: Numbers, moved: Numbers) -> Numbers:
    """The coefficients of `basis` (n, 2, k) that give most of `moved` (n, 2): first least absolute errors, then
    Tukey's biweight."""
    weights = np.ones(len(moved))
    for step in range(14):
        root = np.sqrt(weights)[:, None]
        fitted = np.linalg.lstsq((basis * root[..., None]).reshape(-1, basis.shape[2]), (moved * root).ravel(), None)[0]
        error = np.linalg.norm(basis @ fitted - moved, axis=1)
        far = max(1.0, 4 * float(np.median(error)))
        weights = 1 / np.maximum(error, 0.2) if step < 9 else np.square(1 - np.minimum(error / far, 1) ** 2) + 1e-9
    return np.asarray(fitted)


def _explains(motion: Numbers, last: Plane, earlier: Plane, depth: Map) -> bool:
    """Whether `earlier`, moved by the camera alone, is `last`, but for little things here and there."""
    now, then = (cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1.0) for plane in (last, earlier))
    size = (last.shape[1], last.shape[0])
    half = np.asarray((np.array(size, np.float32) - 1) / 2, np.float32)
    coarse = grid_size(size, _GRID_SIDE)
    offset = (pixel_grid(coarse) + np.float32(0.5)) * (np.array(size) / np.array(coarse)) - 0.5 - half
    moved = stretch(carried(motion, np.asarray(offset, np.float32), half, stretch(depth, coarse)), size)
    where = pixel_grid(size) + moved
    inside = np.all((where >= 0) & (where <= 2 * half), axis=-1)
    if inside.mean() < 0.4:
        return False
    rest = np.where(inside, (sample_grid(np.asarray(then, np.float32), moved) - now) ** 2, 0)
    change = np.where(inside, (then - now) ** 2, 0)
    if float(rest.sum()) > _MOST_REST * float(change.sum()):
        return False
    window = max(size) // 32 * 2 + 1
    rest, change = (cv2.blur(error, (window, window)) for error in (rest, change))
    stands, goes = (rest > np.maximum(2 * change, 4.0)), (change > np.maximum(2 * rest, 4.0))
    if float(stands[inside].mean()) > _MOST_STANDING * float(goes[inside].mean()):
        return False
    apart = rest > np.maximum(0.6 * change, max(0.25 * float(change.mean()), 4.0))
    return float(apart[inside].mean()) < _MOST_APART
