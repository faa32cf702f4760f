"""Where a clip ends with things passing through: what goes on as a layer, what is replayed behind it, and whether that
would have been right before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.motion.actors import LEAST_AREA, Actor, find_actors
from longtake.engines.motion.foreground import Foreground, Mask, foreground, grown, opened
from longtake.engines.motion.frame import Field, Frame
from longtake.engines.motion.layers import Layers
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.steady import SwayingLayers, steadied
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import both
from longtake.engines.motion.tracks import FlowBack, FlowsBack
from longtake.engines.motion.uncover import Opening, opening
from longtake.frames import Plane

_LEAST_CORNERS = 6
_STANDS_PIXELS = 0.7
_STANDS_SHARE = 0.5
_STANDS_SPREAD = 0.08
_LAGS_SECONDS = (0.25, 0.5, 1.0)
_FAR_FROM = 4
"""Proxy pixels around what moves, and its surroundings, that are not asked whether they change."""
_SAME_SHARE, _LEFT_OUT = 0.5, 0.001
"""Of the levels that count: what stays below is the same, but for this share of the picture."""
_NO_CORNER = 1e-4
"""The lesser eigenvalue of the structure tensor (`cv2.cornerMinEigenVal`); real footage has 7e-4 and more."""
_TEST_SECONDS = 0.4
_LEAST_GAIN = 0.85
"""Layers are taken where they would have predicted the last frame with an error below this share of a freeze's."""
_LEAST_FRAMES = 8
_LEAST_SECONDS = 0.5
_MOST_GROWTH = 1.3
"""What stays and was larger by more has met something else."""
_PACES = (0.9, 1.06)
_LITTLE = 0.3
_GOES_PIXELS = 12.0
"""Proxy pixels a second."""
_STIRS = 0.03
_STIR_SECONDS = 0.15
_MOST_AREA = 0.5
"""Of the picture: where more differs from the plate, there is no plate."""


@dataclass(frozen=True, slots=True)
class Passing:
    """A clip's end taken apart: `layers`, and the frames of the clip from `start` on to be replayed behind them."""

    layers: Layers
    start: int
    """So few frames may be left that there is nothing to replay."""

    def behind(self) -> Tail:
        """What is replayed behind the actors: a tail in which they are not."""
        count = len(self.layers.tail.proxies)
        proxies = []
        for index in range(self.start, count):
            luma = self.layers.front.lumas[index]
            mask = grown(self.layers.changed(index), 2)
            proxies.append(np.where(mask > 0, self.layers.backdrop_proxy, luma))
        return _Behind(self.layers.tail.frames[self.start :], proxies, self.layers, self.start)


@dataclass(frozen=True, slots=True)
class _Behind(Tail):
    layers: Layers
    start: int

    def picture(self, index: int) -> Frame:
        return self.layers.background(self.start + index % len(self.proxies))


Passer = tuple[Actor, Opening]


def passing(tail: Tail, frame_rate: float, seed: int) -> Passing | None:
    """None where the camera moves, nothing passes, or layers would have been wrong so far.

    Another seed (but 0) lets what passes go on a little slower or faster, once it has left the seam behind.
    """
    front, sway = foreground(tail.proxies), None
    if not front.masks[-1].any() or not _has_a_plate(front, frame_rate):
        steady = steadied(tail, frame_rate)
        if steady is None:
            return None
        tail, sway = steady
        front = foreground(tail.proxies)
        if not front.masks[-1].any() or not _has_a_plate(front, frame_rate):
            return None
    flow_back = FlowsBack(front)
    passers, was_right = both(
        partial(_passers, front, flow_back, frame_rate), partial(_would_have_been_right, tail, flow_back, frame_rate)
    )
    if not passers or not was_right:
        return None
    actors = [actor.paced(_pace(seed)) for actor, _ in passers]
    stays, alone = _who_stays(front, actors, frame_rate)
    other = [index for index, tone in enumerate(front.tones) if not tone.is_same]
    start, count = other[-1] + 1 if other else 0, len(front.lumas)
    least = max(_LEAST_FRAMES, round(_LEAST_SECONDS * frame_rate))
    if count - max(start, alone) >= least:
        start = max(start, alone)
    elif _left_standing(front, actors, flow_back(0), frame_rate) > _LITTLE:
        return None
    else:
        stays = np.zeros_like(stays)
    # Nobody asks any more what moved where: 16 MB of masks for five seconds.
    parts = (tail, replace(front, masks=[]), actors, [opening for _, opening in passers], stays)
    layers = Layers(*parts) if sway is None else SwayingLayers(*parts, sway)
    return Passing(layers, start if count - start >= least else count - 1)


def _left_standing(front: Foreground, actors: Sequence[Actor], flow: Field, frame_rate: float) -> float:
    """How much goes somewhere and would stand still all the same, as a share of what passes."""
    passes = np.maximum.reduce([actor.own for actor in actors])
    stirs, lag = _stirs(front, frame_rate)
    been = np.maximum.reduce([actor.was(back) for actor in actors for back in range(lag + 1)])
    goes = (np.linalg.norm(flow, axis=-1) * frame_rate > _GOES_PIXELS) & (front.masks[-1] > 0)
    left = opened(np.asarray(goes & stirs & (grown(been, 4) == 0), np.uint8), 5)
    return np.count_nonzero(left) / float(np.count_nonzero(passes))


def _stirs(front: Foreground, frame_rate: float) -> tuple[npt.NDArray[np.bool_], int]:
    """Where the picture has changed in the last moment, and how many frames that is."""
    lag = min(len(front.lumas) - 1, max(1, round(_STIR_SECONDS * frame_rate)))
    return cv2.absdiff(front.lumas[-1], front.lumas[-1 - lag]) > front.threshold, lag


def _pace(seed: int) -> float:
    return float(np.random.default_rng(seed).uniform(*_PACES)) if seed else 1.0


def _passers(front: Foreground, flow_back: FlowBack, frame_rate: float) -> list[Passer]:
    """Those behind which enough of the scene is known."""
    found = ((actor, opening(actor, front)) for actor in find_actors(front, flow_back, frame_rate))
    return [(actor, behind) for actor, behind in found if behind is not None]


def _has_a_plate(front: Foreground, frame_rate: float) -> bool:
    """Whether the camera stands: corners that nothing covers are where they were up to a second ago."""
    mask = front.masks[-1]
    if np.count_nonzero(mask) > _MOST_AREA * mask.size:
        return False
    lags = (min(len(front.lumas) - 1, max(1, round(seconds * frame_rate))) for seconds in _LAGS_SECONDS)
    return all(_stands(front, back) for back in lags)


def _stands(front: Foreground, back: int) -> bool:
    """The same of the last frame and the one `back` frames before."""
    go_on()
    last, earlier = front.lumas[-1], front.lumas[-1 - back]
    covered = grown(front.masks[-1] | front.masks[-1 - back], 4)
    is_same = _is_same(last, earlier, covered, front.threshold)
    if is_same and _has_no_detail(last, covered):
        return True
    found_corners = cv2.goodFeaturesToTrack(last, 300, 0.01, 6, mask=np.asarray(255 * (1 - covered), np.uint8))
    corners = np.zeros((0, 1, 2), np.float32) if found_corners is None else np.asarray(found_corners, np.float32)
    if len(corners) < (1 if is_same else _LEAST_CORNERS):
        return False
    followed, _, _ = cv2.calcOpticalFlowPyrLK(last, earlier, corners, None)  # type: ignore[call-overload]
    back_again, _, _ = cv2.calcOpticalFlowPyrLK(earlier, last, followed, None)  # type: ignore[call-overload]
    found = np.linalg.norm(back_again - corners, axis=-1)[:, 0] < _STANDS_PIXELS
    still = found & (np.linalg.norm(followed - corners, axis=-1)[:, 0] < _STANDS_PIXELS)
    if np.count_nonzero(still) < _STANDS_SHARE * np.count_nonzero(found):
        return False
    spread = np.ptp(corners[still, 0], axis=0) if np.count_nonzero(still) > 4 else np.zeros(2)
    return is_same or bool(spread[0] * spread[1] >= _STANDS_SPREAD * last.size)


def _is_same(last: Plane, earlier: Plane, covered: Mask, threshold: float) -> bool:
    """Whether nothing changes but what moves, not even by a camera's noise: footage that was drawn, and stands."""
    apart = cv2.absdiff(last, earlier)[grown(covered, _FAR_FROM) == 0]
    return apart.size > 0 and float(np.mean(apart > _SAME_SHARE * threshold)) < _LEFT_OUT


def _has_no_detail(luma: Plane, covered: Mask) -> bool:
    """Whether there is nothing to see by where a camera looks: a plain ground, one colour running into another."""
    corners = cv2.cornerMinEigenVal(luma, 3)[grown(covered, _FAR_FROM) == 0]
    return corners.size > 0 and float(corners.max()) < _NO_CORNER


def _would_have_been_right(tail: Tail, flow_back: FlowBack, frame_rate: float) -> bool:
    """Whether the same, begun a little earlier, would have told the last frame better than a freeze.

    A clip too short to tell, and one in which nothing passed then, get the benefit of the doubt.
    """
    steps = max(2, round(_TEST_SECONDS * frame_rate))
    if len(tail.proxies) < 3 * steps:
        return True
    past = foreground(tail.proxies[:-steps])
    passers = _passers(past, lambda back: flow_back(back + steps), frame_rate)
    if not passers:
        return True
    actors, openings = zip(*passers, strict=True)
    stage = Layers(_Lumas(tail.frames, past.lumas), past, actors, openings, np.zeros_like(past.masks[-1]))
    made, frozen = stage.compose(stage.backdrop, steps).y, past.lumas[-1]
    there = cv2.absdiff(made, frozen) > past.threshold
    if not there.any():
        return True
    truth = tail.proxies[-1].astype(np.float32)
    ours, freeze = (float(np.mean((plane.astype(np.float32) - truth)[there] ** 2)) for plane in (made, frozen))
    return ours < _LEAST_GAIN * freeze


class _Lumas(Tail):
    """The proxies themselves as pictures, of which only the luma counts."""

    def picture(self, index: int) -> Frame:
        luma = self.proxies[index]
        return Frame(luma, luma[::2, ::2], luma[::2, ::2])


def _who_stays(front: Foreground, actors: Sequence[Actor], frame_rate: float) -> tuple[Mask, int]:
    """Where something moves that does not pass, and since which frame it has been alone there."""
    found, labels, stats, _ = cv2.connectedComponentsWithStats(front.masks[-1])
    stirs, _ = _stirs(front, frame_rate)
    passes = np.maximum.reduce([actor.own for actor in actors])
    current = np.zeros_like(front.masks[-1])
    for index in range(1, found):
        there, area = labels == index, int(stats[index, cv2.CC_STAT_AREA])
        if area >= LEAST_AREA * there.size and np.count_nonzero(passes[there]) < 0.1 * area:
            current |= np.asarray(there & (float(stirs[there].mean()) > _STIRS), np.uint8)
    region, start, most = current.copy(), 0, _MOST_GROWTH * np.count_nonzero(current)
    for back in range(1, len(front.masks) if current.any() else 0):
        near = grown(current, 2)
        _, labels = cv2.connectedComponents(front.masks[-1 - back])
        touched = np.unique(labels[near > 0])
        earlier = np.asarray(np.isin(labels, touched[touched > 0]), np.uint8)
        met = any(np.any(actor.was(back) & earlier) for actor in actors if back < len(actor.path))
        if met or np.count_nonzero(earlier) > most:
            start = len(front.masks) - back
            break
        region |= earlier
        current = earlier if earlier.any() else current
    return grown(region, 4), start
