"""Pictures between two pictures of one scene: flow both ways, and for each pixel the candidate that fits best."""

from __future__ import annotations

import cv2
import numpy as np

from longtake.engines.motion.blend import mix
from longtake.engines.motion.flow import FLOW_SIDE, optical_flow
from longtake.engines.motion.frame import Field, Frame, Map, pixel_grid, proxy, sample_grid, stretch, warp
from longtake.frames import Plane

_LEAST_MATCHES = 25
_FITS_LEVELS = 10.0
_FITS_PIXELS = 2.0
_LEAST_SHARE = 0.6
"""Two pictures match where this share of the pixels comes back from a trip there and back, looking alike."""


class Interpolation:
    """The motion between two pictures, at any moment from 0 (the first) to 1 (the second)."""

    def __init__(self, first: Frame, second: Frame, forward: Field, backward: Field) -> None:
        self._first, self._second = first, second
        self._forward, self._backward = forward, backward
        self._proxies = [proxy(frame.y, FLOW_SIDE).astype(np.float32) for frame in (first, second)]
        self._scale = np.float32(first.size[0] / forward.shape[1])

    def at(self, moment: float) -> Frame:
        """The picture at `moment`, 0 < moment < 1."""
        motion, disagreement = self._motion_at(np.float32(moment))
        early = warp(self._first, motion * np.float32(-moment * self._scale))
        late = warp(self._second, motion * np.float32((1 - moment) * self._scale))
        # Where no motion fits, both pictures would stand there at once: the change-over is kept short.
        steepness = 1 + np.clip(disagreement / 5 - 1, 0, 5)
        weight = np.clip(0.5 + steepness * np.float32(moment - 0.5), 0, 1).astype(np.float32)
        return mix(early, late, stretch(weight, early.size))

    def _motion_at(self, moment: np.float32) -> tuple[Field, Map]:
        """Of three motions for each pixel the one along which the two pictures agree best, and by how much they
        still differ along it, in levels."""
        from_first, from_second = self._forward, -self._backward
        for _ in range(3):
            from_first = sample_grid(self._forward, -moment * from_first)
            from_second = -sample_grid(self._backward, (1 - moment) * from_second)
        candidates = [from_first, from_second, np.zeros_like(from_first)]
        errors = np.stack([self._disagreement(motion, moment) for motion in candidates])
        errors[2] += 1.0
        best = cv2.medianBlur(np.argmin(errors, axis=0).astype(np.uint8), 5)
        motion = np.choose(best[..., None], candidates)
        return np.asarray(cv2.GaussianBlur(motion, (0, 0), 1.5), np.float32), np.min(errors, axis=0)

    def _disagreement(self, motion: Field, moment: np.float32) -> Map:
        early = sample_grid(self._proxies[0], -moment * motion)
        late = sample_grid(self._proxies[1], (1 - moment) * motion)
        return np.asarray(cv2.blur(np.abs(early - late), (9, 9)), np.float32)


def interpolation(first: Frame, second: Frame) -> Interpolation | None:
    """None where the two pictures do not show the same scene well enough to move one into the other."""
    a, b = proxy(first.y, FLOW_SIDE), proxy(second.y, FLOW_SIDE)
    forward, backward = _flow_from(a, b), _flow_from(b, a)
    returned = forward + sample_grid(backward, forward)
    comes_back = np.linalg.norm(returned, axis=-1) < _FITS_PIXELS
    looks_alike = np.abs(sample_grid(b.astype(np.float32), forward) - a) < _FITS_LEVELS
    if float(np.mean(comes_back & looks_alike)) < _LEAST_SHARE:
        return None
    return Interpolation(first, second, forward, backward)


def _flow_from(source: Plane, target: Plane) -> Field:
    """Flow, on top of a similarity between matched ORB features where that brings the pictures closer."""
    plain = optical_flow(source, target)
    camera = _similarity(source, target)
    if camera is None:
        return plain
    aligned = sample_grid(target.astype(np.float32), camera)
    rest = optical_flow(source, np.clip(aligned, 0, 255).astype(np.uint8))
    guided = rest + sample_grid(camera, rest)
    return min((plain, guided), key=lambda flow: _error(source, target, flow))


def _similarity(source: Plane, target: Plane) -> Field | None:
    orb = cv2.ORB.create(600)
    points, marks = orb.detectAndCompute(source, None)
    others, other_marks = orb.detectAndCompute(target, None)
    if not points or not others:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(marks, other_marks)
    if len(matches) < _LEAST_MATCHES:
        return None
    start = np.array([points[match.queryIdx].pt for match in matches], np.float32)
    end = np.array([others[match.trainIdx].pt for match in matches], np.float32)
    matrix, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=3.0)
    if matrix is None or int(inliers.sum()) < _LEAST_MATCHES:
        return None
    grid = pixel_grid((source.shape[1], source.shape[0]))
    return np.asarray(grid @ (matrix[:, :2].T - np.eye(2)) + matrix[:, 2], np.float32)


def _error(source: Plane, target: Plane, flow: Field) -> float:
    return float(np.mean(np.abs(sample_grid(target.astype(np.float32), flow) - source)))
