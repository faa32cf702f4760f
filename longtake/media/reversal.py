"""How much of what moves runs backwards: the figure that seams, energy and sharpness do not see.

A clip played back joins smoothly, moves as much and is as sharp as the clip, yet its people walk backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Frames, Plane
from longtake.media.colour import to_yuv

PROXY_WIDTH: Final = 240
BLOCK: Final = 8
"""Pixels of the proxy: motion and looks are compared in squares of this side."""
BASELINE_SECONDS: Final = 1 / 15
"""Flow is measured over about this long, so that it does not depend on the frame rate."""
SAMPLES_A_SECOND: Final = 6
MOVING_PIXELS: Final = 0.25
"""Proxy pixels over the baseline, camera taken out: a block that moves less stands still."""
COHERENCE: Final = 0.5
"""|mean flow| over mean |flow| inside a block: below it the flow is noise, not a direction."""
LIKENESS: Final = 0.2
"""Two moments look alike where they differ by less than this share of what a baseline changes there."""
NOISE: Final = 1.0
"""Levels squared on the proxy: what encoding adds to a block's mean squared difference."""
AGAINST: Final = -0.5
"""The mean cosine from which on motion runs against its past: 120 degrees."""
STILL_PIXELS: Final = 0.2
STILL_SHARE: Final = 0.3
"""The camera stands where this share of the blocks that have texture moves less than `STILL_PIXELS`."""
TEXTURE: Final = 20.0
"""Levels squared: the variance from which on a block's flow can be trusted."""
LEAST_MOVING: Final = 0.002
"""Of all blocks: footage in which less moves counts as still."""

Map = npt.NDArray[np.float32]


def reversal(before: Frames, after: Frames, frame_rate: float = 30.0) -> float:
    """The share, 0 to 1, of the moving area of `after` that runs against its own past in `before`.

    A block moves where its optical flow (DIS), less the similarity that the camera makes, is longer than
    `MOVING_PIXELS` and of one direction. Its past are the moments of `before` at which the same place looked alike
    (differed by less than `LIKENESS` of what a baseline changed there) and moved. It runs backwards where the mean
    cosine between its direction and theirs is below `AGAINST`. What has no such past (it has moved on to where it
    never was) and what the past shows both ways (a pendulum, a wave) runs forward. The share is pooled over
    `SAMPLES_A_SECOND` moments of `after`.

    About 0 for footage that goes on and for textures replayed forward, about 1 for one-way motion played back, 0 for
    noise, and by `LEAST_MOVING` for stills: a freeze runs nowhere. A camera that turns back is not seen, nor is a
    scene that moves as a whole, as a camera would move it. Costs about 3 ms a frame of `before`, on one core.
    Raises ValueError where the sizes differ.
    """
    if (before.width, before.height) != (after.width, after.height):
        raise ValueError(f"reversal needs frames of one size on both sides, got {before} and {after}")
    baseline = max(1, round(BASELINE_SECONDS * frame_rate))
    stride = max(1, round(frame_rate / SAMPLES_A_SECOND))
    if min(before.num_frames, after.num_frames) <= baseline:
        return 0.0
    past = _moments(_proxies(before), baseline, 1)
    now = _moments(_proxies(after), baseline, stride)
    if now.moves.mean() < LEAST_MOVING:
        return 0.0
    backwards = sum(_backwards(now, index, past) for index in range(len(now.luma)))
    return round(backwards / int(now.moves.sum()), 4)


@dataclass(frozen=True)
class _Moments:
    """What each block does at each moment."""

    luma: Map
    """(moments, height, width), cropped to whole blocks."""
    direction: Map
    """(moments, rows, columns, 2): unit vectors."""
    moves: npt.NDArray[np.bool_]
    """(moments, rows, columns)"""
    change: Map
    """(moments, rows, columns): the mean squared difference to the moment a baseline later."""


def _moments(proxies: list[Plane], baseline: int, stride: int) -> _Moments:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    lumas, directions, moves, changes = [], [], [], []
    for index in range(0, len(proxies) - baseline, stride):
        first, second = proxies[index], proxies[index + baseline]
        field = np.asarray(flow.calc(first, second, None), np.float32)  # type: ignore[call-overload]
        luma = first.astype(np.float32)
        texture = _blocks(luma * luma) - _blocks(luma) ** 2
        field -= _camera(field, texture > TEXTURE)
        mean = np.stack([_blocks(field[..., axis]) for axis in (0, 1)], axis=-1)
        length = np.linalg.norm(mean, axis=-1)
        speed = _blocks(np.linalg.norm(field, axis=-1))
        lumas.append(_cropped(luma))
        directions.append(mean / np.maximum(length, 1e-6)[..., None])
        moves.append((length > MOVING_PIXELS) & (length > COHERENCE * speed) & (texture > TEXTURE))
        changes.append(_blocks((luma - second) ** 2))
    return _Moments(np.stack(lumas), np.stack(directions), np.stack(moves), np.stack(changes))


def _backwards(now: _Moments, index: int, past: _Moments) -> int:
    """How many blocks of one moment run backwards."""
    difference = _blocks((past.luma - now.luma[index]) ** 2)
    alike = past.moves & (difference < LIKENESS * past.change + NOISE)
    cosine = (past.direction * now.direction[index]).sum(axis=-1)
    count = alike.sum(axis=0)
    mean = (cosine * alike).sum(axis=0) / np.maximum(count, 1)
    return int((now.moves[index] & (count > 0) & (mean < AGAINST)).sum())


def _camera(flow: Map, textured: npt.NDArray[np.bool_]) -> Map:
    """The part of the flow that one similarity transform of the picture explains; zero where the camera stands."""
    rows, columns = textured.shape
    centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * BLOCK + (BLOCK - 1) / 2
    at = np.stack([_blocks(flow[..., axis]) for axis in (0, 1)], axis=-1)
    start, moved = centres[textured].astype(np.float32), at[textured]
    still = np.linalg.norm(moved, axis=-1) < STILL_PIXELS
    if len(start) < 12 or still.mean() > STILL_SHARE:
        return np.zeros_like(flow)
    matrix, inliers = cv2.estimateAffinePartial2D(start, start + moved, ransacReprojThreshold=0.5)
    if matrix is None or inliers is None or inliers.mean() < 0.4:
        return np.zeros_like(flow)
    height, width = flow.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return np.asarray(grid @ (matrix[:, :2].T - np.eye(2)) + matrix[:, 2], np.float32)


def _proxies(frames: Frames) -> list[Plane]:
    """Luma, at most `PROXY_WIDTH` wide, and big enough for the flow's patches."""
    luma = to_yuv(frames).planes[0]
    height, width = luma.shape[1:]
    scale = min(1.0, PROXY_WIDTH / width)
    size = max(16, round(width * scale)), max(16, round(height * scale))
    return [np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in luma]


def _cropped(plane: Map) -> Map:
    height, width = plane.shape[-2:]
    return plane[..., : height - height % BLOCK, : width - width % BLOCK]


def _blocks(planes: Map) -> Map:
    """The mean of each block of `(…, height, width)`."""
    whole = _cropped(planes)
    *rest, height, width = whole.shape
    split = whole.reshape(*rest, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(split.mean(axis=(-3, -1)), np.float32)
