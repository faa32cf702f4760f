"""Pictures between two pictures of one scene: flow both ways, and for each pixel the candidate that fits best.

That of several motions a pixel takes the one along which the two pictures agree best is from Baker et al., "A Database
and Evaluation Methodology for Optical Flow", 2011 (interpolation), and, for the choice between candidate flows,
Lempitsky, Roth and Rother, "FusionFlow", 2008; here without their splatting and graph cuts, window by window.
Motion is in proxy pixels, as a field that stands at the moment asked for: a point x then was at
`x - moment * motion` in the first picture and will be at `x + (1 - moment) * motion` in the second.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.flow import FLOW_SIDE, optical_flow
from longtake.engines.motion.frame import (
    Field,
    FinePicture,
    Frame,
    Map,
    boxes_around,
    pixel_grid,
    proxy,
    sample_grid,
    stretch,
)
from longtake.engines.motion.threads import both
from longtake.frames import Plane

_LEAST_MATCHES = 25
_FAR_PIXELS = 4.0
"""A camera that moves less, on the mean, is left to the flow alone."""
_FITS_LEVELS = 10.0
_FITS_PIXELS = 2.0
_LEAST_SHARE = 0.15
"""Two pictures show one scene where this share of the pixels comes back from a trip there and back, looking alike."""
_SHARE_ENOUGH = 0.9
"""Where flow alone makes this share fit, no similarity is looked for."""
_WINDOW = 7
"""Disagreement is averaged over a window of so many proxy pixels."""
_STILL_BONUS = 1.0
"""Levels by which a motion must fit better than none."""
_UNSURE_FROM, _UNSURE_OVER, _MOST_UNSURE = 3.0, 10.0, 0.3
"""Levels of disagreement from which on, and over how many more, the plain cross-fade is mixed in, and its most."""
_STANDS_PIXELS = 0.1
"""What comes less far, of the picture's own pixels, stands."""
_CHOICE_SIDE = 240
"""The longer side of the grid on which motions are compared, in pixels."""
_SMOOTH = 0.8
"""Standard deviation, in its pixels, of the blur that takes the steps out of what was chosen."""
_LIFT = 0.085
"""Unsharp masking half way: what sampling between pixels and averaging two pictures cost."""
_TONE_BINS, _LEAST_IN_BIN = 16, 25
"""Bins of levels, and the least pixels, of every fourth, that a bin's median is taken over."""
_TONE_STEP = 4
"""Levels: a smaller change of tone is left to the averaging."""


class Interpolation:
    """The motion between two pictures, at any moment from 0 (the first) to 1 (the second)."""

    def __init__(self, first: Frame, second: Frame, proxies: tuple[Plane, Plane], flows: tuple[Field, Field]) -> None:
        """`proxies`: of the two, alike in tone. `flows`: first to second, second to first."""
        self._first, self._second = first, second
        self._fine = FinePicture(first), FinePicture(second)
        self._proxies = [looks.astype(np.float32) for looks in proxies]
        self._forward, self._backward = flows
        self._scale = np.float32(first.size[0] / proxies[0].shape[1])

    def at(self, moment: float, drift: Field | None = None) -> Frame:
        """The picture at `moment`, 0 < moment < 1; `drift`: a displacement of all of it besides, in pixels."""
        motion, disagreement = self._motion_at(np.float32(moment))
        ways = motion * np.float32(-moment * self._scale), motion * np.float32((1 - moment) * self._scale)
        if drift is not None:
            besides = stretch(drift, (motion.shape[1], motion.shape[0]))
            ways = ways[0] + besides, ways[1] + besides
        # Where no motion fits, both pictures would stand there at once: the change-over is kept short.
        steepness = 1 + np.clip(disagreement / 5 - 1, 0, 5)
        weight = np.clip(0.5 + steepness * np.float32(moment - 0.5), 0, 1).astype(np.float32)
        excess = (disagreement - np.float32(_UNSURE_FROM)) / np.float32(_UNSURE_OVER)
        unsure = np.clip(excess, 0, _MOST_UNSURE).astype(np.float32)
        # Where nothing moves and all fits, what is made below is this.
        pairs = zip(self._first, self._second, strict=True)
        made = Frame(*(np.asarray(cv2.addWeighted(a, 1 - moment, b, moment, 0), np.uint8) for a, b in pairs))
        goes = np.maximum.reduce([np.abs(way[..., axis]) for way in ways for axis in (0, 1)]) > _STANDS_PIXELS
        parts = boxes_around(goes | (disagreement > _UNSURE_FROM), made.size)
        early, late = (fine.warped_parts(way, parts) for fine, way in zip(self._fine, ways, strict=True))
        for channel, plane in enumerate(made):
            shares = [stretch(share, (plane.shape[1], plane.shape[0])) for share in (weight, unsure)]
            for part, a, b in zip(parts, early, late, strict=True):
                where = (part.halved() if channel else part).where
                here = np.ascontiguousarray(plane[where])
                weights = (np.ascontiguousarray(share[where]) for share in shares)
                plane[where] = _blend(a[channel], b[channel], here, *weights)
        return Frame(_lifted(made.y, _LIFT * 4 * moment * (1 - moment)), made.u, made.v)

    def _motion_at(self, moment: np.float32) -> tuple[Field, Map]:
        """Of three motions for each pixel the one along which the two pictures agree best, and by how much they
        still differ along it, in levels."""
        from_first, from_second = self._forward, -self._backward
        for _ in range(3):
            from_first = sample_grid(self._forward, -moment * from_first)
            from_second = -sample_grid(self._backward, (1 - moment) * from_second)
        candidates = [from_first, from_second, np.zeros_like(from_first)]
        errors = np.stack([self._disagreement(motion, moment) for motion in candidates])
        errors[2] += _STILL_BONUS
        best = cv2.medianBlur(np.argmin(errors, axis=0).astype(np.uint8), 5)
        motion = np.where((best == 0)[..., None], from_first, from_second)
        motion[best == 2] = 0
        motion = np.asarray(cv2.GaussianBlur(motion, (0, 0), _SMOOTH), np.float32)
        return motion, self._disagreement(motion, moment)

    def _disagreement(self, motion: Field, moment: np.float32) -> Map:
        early = sample_grid(self._proxies[0], -moment * motion)
        late = sample_grid(self._proxies[1], (1 - moment) * motion)
        return np.asarray(cv2.blur(cv2.absdiff(early, late), (_WINDOW, _WINDOW)), np.float32)


def interpolation(first: Frame, second: Frame) -> Interpolation | None:
    """None where the two pictures do not show the same scene well enough to move one into the other."""
    a, b = proxy(first.y, FLOW_SIDE), proxy(second.y, FLOW_SIDE)
    forward, backward = _flows(a, b)
    curve = _tone_curve(a, b, forward, backward)
    if curve is not None:
        a = np.asarray(cv2.LUT(a, curve), np.uint8)
        forward, backward = _flows(a, b)
    if _share_that_fits(a, b, forward, backward) < _LEAST_SHARE:
        return None
    small, flow_size = proxy(a, _CHOICE_SIDE), a.shape[1]
    size = (small.shape[1], small.shape[0])
    shrink = np.float32(size[0] / flow_size)
    flows = stretch(forward, size) * shrink, stretch(backward, size) * shrink
    return Interpolation(first, second, (small, proxy(b, _CHOICE_SIDE)), flows)


def _blend(early: Plane, late: Plane, unmoved: Plane, weight: Map, unsure: Map) -> Plane:
    """Early and late by `weight` (that of late), with the share `unsure` of what is not moved."""
    moved = cv2.blendLinear(early, late, 1 - weight, weight)
    if not unsure.any():
        return np.asarray(moved, np.uint8)
    return np.asarray(cv2.blendLinear(moved, unmoved, 1 - unsure, unsure), np.uint8)


def _lifted(luma: Plane, amount: float) -> Plane:
    soft = cv2.GaussianBlur(luma, (5, 5), 1.0)
    return np.asarray(cv2.addWeighted(luma, 1 + amount, soft, -amount, 0), np.uint8)


def _share_that_fits(a: Plane, b: Plane, forward: Field, backward: Field) -> float:
    looks_alike = np.abs(_along(b, forward) - a) < _FITS_LEVELS
    return float(np.mean(_comes_back(forward, backward) & looks_alike))


def _comes_back(forward: Field, backward: Field) -> npt.NDArray[np.bool_]:
    returned = forward + sample_grid(backward, forward)
    return np.asarray(cv2.magnitude(returned[..., 0], returned[..., 1]) < _FITS_PIXELS, np.bool_)


def _tone_curve(a: Plane, b: Plane, forward: Field, backward: Field) -> Plane | None:
    """The level in `b` of each of 256 levels of `a`: medians, by level, over the pixels that come back
    from a trip there and back. None where none differs by much."""
    sure = _comes_back(forward, backward)
    levels, changes = a[sure][::4], (_along(b, forward) - a)[sure][::4]
    where, by = [], []
    for number in range(_TONE_BINS):
        inside = changes[levels // (256 // _TONE_BINS) == number]
        if len(inside) >= _LEAST_IN_BIN:
            where.append((number + 0.5) * 256 / _TONE_BINS)
            by.append(float(np.median(inside)))
    if not by or max(abs(change) for change in by) < _TONE_STEP:
        return None
    steps = np.arange(256)
    return np.clip(steps + np.interp(steps, where, by), 0, 255).round().astype(np.uint8)


def _flows(a: Plane, b: Plane) -> tuple[Field, Field]:
    """From `a` to `b` and back: for each pixel the better of plain flow and flow on top of a similarity between
    matched ORB features: a camera's, or a large object's that moves too far for flow alone."""
    forward, backward = ([flow] for flow in both(partial(optical_flow, a, b), partial(optical_flow, b, a)))
    fits = _share_that_fits(a, b, forward[0], backward[0]) >= _SHARE_ENOUGH
    matrix = None if fits else _similarity(a, b)
    if matrix is not None:
        back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
        guided = both(partial(_guided, a, b, matrix), partial(_guided, b, a, back))
        forward, backward = forward + guided[0], backward + guided[1]
    return _closest(a, b, forward), _closest(b, a, backward)


def _guided(source: Plane, target: Plane, matrix: npt.NDArray[np.float64]) -> list[Field]:
    grid = pixel_grid((source.shape[1], source.shape[0]))
    camera = np.asarray(grid @ (matrix[:, :2].T - np.eye(2)) + matrix[:, 2], np.float32)
    if float(np.linalg.norm(camera, axis=-1).mean()) < _FAR_PIXELS:
        return []
    rest = optical_flow(source, np.clip(_along(target, camera), 0, 255).astype(np.uint8))
    return [rest + sample_grid(camera, rest)]


def _closest(source: Plane, target: Plane, flows: list[Field]) -> Field:
    """For each pixel the flow along which `target` is most like `source`."""
    if len(flows) == 1:
        return flows[0]
    looks = source.astype(np.float32)
    errors = [cv2.blur(cv2.absdiff(_along(target, flow), looks), (9, 9)) for flow in flows]
    best = cv2.medianBlur(np.argmin(np.stack(errors), axis=0).astype(np.uint8), 5)
    return np.where((best == 0)[..., None], *flows)


def _similarity(source: Plane, target: Plane) -> npt.NDArray[np.float64] | None:
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
    return np.asarray(matrix, np.float64)


def _along(target: Plane, flow: Field) -> Map:
    return sample_grid(target.astype(np.float32), flow)
