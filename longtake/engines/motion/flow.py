"""Optical flow, camera registration and the velocity with which a clip leaves its last frame.

Flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016) on luma proxies. All motion here is
in proxy pixels; `Velocity` scales it to the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import local

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.frame import Field, Frame, Map, pixel_grid, sample_grid, warp
from longtake.frames import Plane

FLOW_SIDE = 480
"""The longer side of the luma proxies that flow is measured on, in pixels."""
_LEAST_SIDE = 16
"""DIS refuses smaller pictures, or dies of wide ones."""
_LEAST_GAIN = 1.25
"""A camera moves only if registration lowers the mean squared error by this factor."""
_STILL_PIXELS = 0.35
"""A corner that moves less than this between two frames stands still."""
_OF_THREAD = local()


def optical_flow(source: Plane, target: Plane) -> Field:
    """Where each pixel of `source` has gone in `target`: float32 (rows, columns, 2). Zero for tiny proxies."""
    return _flow(source, target, quick=False)


def quick_flow(source: Plane, target: Plane) -> Field:
    """As `optical_flow`, in half the time: with wider spaced patches and less refinement. It predicts what comes next
    as well (within 0.2 dB), and pictures in between a little less well (up to 0.4 dB)."""
    return _flow(source, target, quick=True)


def _flow(source: Plane, target: Plane, *, quick: bool) -> Field:
    if min(source.shape) < _LEAST_SIDE:
        return np.zeros((*source.shape, 2), np.float32)
    flow = _dense_inverse_search(quick).calc(source, target, None)  # type: ignore[call-overload]
    return np.asarray(flow, np.float32)


def camera_field(source: Plane, target: Plane) -> Field | None:
    """The motion from `source` to `target` that a similarity transform of the whole picture explains.

    None where the camera stands still or can't be told from what moves before it.
    """
    matrix = similarity(source, target)
    if matrix is None:
        return None
    grid = pixel_grid((source.shape[1], source.shape[0]))
    return np.asarray(grid @ (matrix[:, :2].T - np.eye(2)) + matrix[:, 2], np.float32)


def similarity(source: Plane, target: Plane) -> npt.NDArray[np.float64] | None:
    """The (2, 3) matrix that takes the points of `source` to where they are in `target`; None as in `camera_field`.

    Corners are followed by Lucas-Kanade and the transform is fitted by RANSAC.
    """
    corners = cv2.goodFeaturesToTrack(source, 250, 0.01, 6)
    if corners is None or len(corners) < 12:
        return None
    followed, found, _ = cv2.calcOpticalFlowPyrLK(source, target, corners, None)  # type: ignore[call-overload]
    back, _, _ = cv2.calcOpticalFlowPyrLK(target, source, followed, None)  # type: ignore[call-overload]
    good = (found[:, 0] == 1) & (np.linalg.norm(back - corners, axis=-1)[:, 0] < 0.7)
    start, end = corners[good, 0], followed[good, 0]
    if len(start) < 12 or _stand_still(start, end, source.shape):
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=1.0)
    if matrix is None or inliers is None or inliers.mean() < 0.4:
        return None
    return np.asarray(matrix, np.float64)


def follow(velocity: Field, steps: float) -> Field:
    """The backward displacement, in grid pixels, that carries a picture `steps` frames along `velocity`.

    Solves `u(x) = -steps * velocity(x + u(x))` by fixed-point steps.
    """
    displacement = -np.float32(steps) * velocity
    for _ in range(2):
        displacement = -np.float32(steps) * sample_grid(velocity, displacement)
    return displacement


@dataclass(frozen=True)
class Velocity:
    """How the picture moves at one end of a clip, seen from its end frame."""

    field: Field
    """Proxy pixels a frame."""
    scale: float
    """Luma pixels for one proxy pixel."""
    confidence: float
    """0 to 1: the share of the clip's own change from frame to frame that this motion makes."""
    camera_pixels: float
    """How far the camera moves in a frame, in proxy pixels; 0 where it stands still."""

    def carry(self, frame: Frame, steps: float) -> Frame:
        """`frame` as it would look `steps` (fractional, negative: earlier) frames later.

        What would come in over the border, which no frame shows, is drawn out from what is at the border.
        """
        if steps == 0:
            return frame
        grid = pixel_grid((self.field.shape[1], self.field.shape[0]))
        most = np.array([self.field.shape[1] - 1, self.field.shape[0] - 1], np.float32)
        inside = np.clip(grid + follow(self.field, steps), 0, most) - grid
        return warp(frame, np.asarray(inside, np.float32) * np.float32(self.scale))


def velocity_at_end(proxies: Sequence[Plane], scale: float) -> Velocity:
    """Measured over two frames, and trusted where it would have predicted the last frame from earlier ones."""
    last = proxies[-1]
    base = min(2, len(proxies) - 1)
    camera = camera_field(last, proxies[-1 - base]) if _is_registered(proxies) else None
    steady = np.zeros((*last.shape, 2), np.float32) if camera is None else camera / np.float32(-base)
    raw = quick_flow(last, proxies[-1 - base]) / np.float32(-base)
    calm = np.dstack([cv2.medianBlur(np.ascontiguousarray(raw[..., axis]), 5) for axis in (0, 1)])
    flow = np.asarray(cv2.GaussianBlur(calm, (0, 0), 1.5), np.float32)
    trust = _back_test(proxies, flow, steady)
    field = np.asarray(steady + trust[..., None] * (flow - steady), np.float32)
    camera_pixels = float(np.linalg.norm(steady, axis=-1).mean())
    return Velocity(field, scale, _share_of_change(proxies, field), camera_pixels)


def _is_registered(proxies: Sequence[Plane]) -> bool:
    """Whether registering earlier frames to the last one explains them: waves and cars pull at a camera that stands."""
    last = proxies[-1].astype(np.float32)
    for steps in (2, 8):
        earlier = proxies[max(-len(proxies), -1 - steps)]
        camera = camera_field(proxies[-1], earlier)
        if camera is None:
            return False
        registered = float(np.mean((sample_grid(earlier.astype(np.float32), camera) - last) ** 2))
        if mean_squared(earlier, proxies[-1]) < _LEAST_GAIN * registered:
            return False
    return True


def _back_test(proxies: Sequence[Plane], flow: Field, camera: Field) -> Map:
    """0 to 1 at each pixel: how much better `flow` than `camera` predicts the last frame from those before."""
    trust, tests = np.zeros(flow.shape[:2], np.float32), 0
    for steps in (1, 2, 4):
        if steps < len(proxies):
            by_flow = _prediction_error(proxies, flow, steps)
            by_camera = _prediction_error(proxies, camera, steps)
            trust += np.clip(3 * (by_camera - by_flow) / (by_camera + 1.0), 0, 1)
            tests += 1
    return trust / np.float32(max(tests, 1))


def _prediction_error(proxies: Sequence[Plane], velocity: Field, steps: int) -> Map:
    """Mean squared error in 21 px windows of the last frame predicted from `steps` before."""
    earlier = proxies[-1 - steps].astype(np.float32)
    error = sample_grid(earlier, -np.float32(steps) * velocity) - proxies[-1]
    return np.asarray(cv2.blur(error * error, (21, 21)), np.float32)


def _share_of_change(proxies: Sequence[Plane], velocity: Field) -> float:
    last = proxies[-1].astype(np.float32)
    predicted = float(np.mean((sample_grid(last, follow(velocity, 1.0)) - last) ** 2))
    changes = [mean_squared(a, b) for a, b in pairwise(proxies[-9:])]
    return float(np.clip(predicted / max(float(np.median(changes)), 0.3), 0, 1))


def mean_squared(a: Plane, b: Plane) -> float:
    """Mean squared difference of two planes, in levels squared."""
    return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / a.size


def _stand_still(start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], shape: tuple[int, ...]) -> bool:
    still = start[np.linalg.norm(end - start, axis=1) < _STILL_PIXELS]
    if len(still) < 0.3 * len(start):
        return False
    spread = np.ptp(still, axis=0)
    return bool(spread[0] * spread[1] > 0.08 * shape[0] * shape[1])


def _dense_inverse_search(quick: bool) -> cv2.DISOpticalFlow:
    """One for each thread: it keeps its working memory from call to call."""
    if not hasattr(_OF_THREAD, "searches"):
        _OF_THREAD.searches = {}
    searches: dict[bool, cv2.DISOpticalFlow] = _OF_THREAD.searches
    if quick not in searches:
        searches[quick] = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if quick:
            searches[quick].setPatchStride(4)
            searches[quick].setVariationalRefinementIterations(2)
    return searches[quick]
