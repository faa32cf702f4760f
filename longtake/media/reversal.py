"""How much of what moves runs backwards: the figure that seams, energy and sharpness do not see.

A clip played back joins smoothly, moves as much and is as sharp as the clip, yet its people walk backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Frames, Plane
from longtake.media.colour import to_yuv
from longtake.media.proxy import proxy

PROXY_WIDTH: Final = 160
BLOCK: Final = 8
"""Pixels of the proxy: motion and looks are compared in squares of this side."""
BASELINE_SECONDS: Final = 1 / 15
"""Flow is measured over about this long, so that it does not depend on the frame rate; the past is a chain of them."""
SAMPLES_A_SECOND: Final = 4
MOST_SAMPLES: Final = 40
"""Of the new part, however long it is."""
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


class Mirror:
    """Watches the frames of a new part go by, and keeps a few small pictures of them.

    `past` are stretches of the footage that the part is joined to, in which time runs as it should. Its cost is
    1 ms for each baseline of the past and each sample of the part, on one core; its memory some MB.
    """

    def __init__(self, past: Sequence[Frames], num_frames: int, frame_rate: float) -> None:
        self._baseline = max(1, round(BASELINE_SECONDS * frame_rate))
        self._past = [stretch for stretch in past if stretch.num_frames > self._baseline]
        self._starts = _starts(num_frames, self._baseline, frame_rate) if self._past else frozenset()
        self._wanted = self._starts | {start + self._baseline for start in self._starts}
        self._proxies: dict[int, Plane] = {}

    def watch(self, batches: Iterable[Frames], start: int = 0) -> Iterator[Frames]:
        """Passes the new part's frames on as they are; the first of them is its frame `start`."""
        for batch in batches:
            for place in range(start, start + batch.num_frames):
                if place in self._wanted:
                    self._proxies[place] = _proxy(batch, place - start)
            start += batch.num_frames
            yield batch

    def seen(self, start: int, stop: int) -> bytes:
        """What was kept of the frames `[start, stop)`, for a mirror that did not see them; empty where nothing was."""
        kept = {str(place): plane for place, plane in self._proxies.items() if start <= place < stop}
        file = BytesIO()
        if kept:
            np.savez_compressed(file, **kept)  # type: ignore[arg-type]
        return file.getvalue()

    def remember(self, seen: bytes) -> None:
        """What another mirror of this part has `seen`."""
        with np.load(BytesIO(seen), allow_pickle=False) as kept:
            self._proxies |= {int(place): plane for place, plane in kept.items()}

    def reversal(self, look: Callable[[], object] = lambda: None) -> float | None:
        """The share, see `reversal`, once all frames have gone by; None where there is no past to run against, or no
        frame a baseline after the first. `look` is called for each frame of the past that is looked at."""
        if not self._past:
            return None
        pairs = [
            (self._proxies[start], self._proxies[start + self._baseline])
            for start in sorted(self._starts)
            if start + self._baseline in self._proxies
        ]
        if not pairs:
            return None
        now = _moments(pairs)
        if now.moves.mean() < LEAST_MOVING:
            return 0.0
        return _share(now, _moments([pair for stretch in self._past for pair in _chain(stretch, self._baseline, look)]))


def reversal(before: Frames, after: Frames, frame_rate: float = 30.0) -> float:
    """The share, 0 to 1, of the moving area of `after` that runs against its own past in `before`.

    A block moves where its optical flow (DIS), less the similarity that the camera makes, is longer than
    `MOVING_PIXELS` and of one direction. Its past are the moments of `before`, a baseline apart, at which the same
    place looked alike (differed by less than `LIKENESS` of what a baseline changed there) and moved. It runs backwards
    where the mean cosine between its direction and theirs is below `AGAINST`. What has no such past (it has moved on to
    where it never was) and what the past shows both ways (a pendulum, a wave) runs forward. The share is pooled over
    `SAMPLES_A_SECOND`, in all at most `MOST_SAMPLES`, moments of `after`.

    About 0 for footage that goes on and for textures replayed forward, about 1 for one-way motion played back, 0 for
    noise, and by `LEAST_MOVING` for stills: a freeze runs nowhere. A camera that turns back is not seen, nor is a
    scene that moves as a whole, as a camera would move it. Raises ValueError where the sizes differ.
    """
    if (before.width, before.height) != (after.width, after.height):
        raise ValueError(f"reversal needs frames of one size on both sides, got {before} and {after}")
    mirror = Mirror([before], after.num_frames, frame_rate)
    for _ in mirror.watch([after]):
        pass
    return mirror.reversal() or 0.0


@dataclass(frozen=True)
class _Moments:
    """What each block does at each moment: `(blocks, moments)` and, where it says so, one axis more."""

    luma: Map
    """(…, pixels of a block), around 0."""
    direction: Map
    """(…, 2): unit vectors."""
    moves: npt.NDArray[np.bool_]
    change: Map
    """The mean squared difference to the moment a baseline later."""


def _starts(num_frames: int, baseline: int, frame_rate: float) -> frozenset[int]:
    """The frames at which the new part is looked at, evenly spread."""
    last = num_frames - baseline - 1
    if last < 0:
        return frozenset()
    stride = max(1, round(frame_rate / SAMPLES_A_SECOND))
    if last // stride < MOST_SAMPLES:
        return frozenset(range(0, last + 1, stride))
    return frozenset(int(place) for place in np.linspace(0, last, MOST_SAMPLES).round())


def _chain(stretch: Frames, baseline: int, look: Callable[[], object]) -> Iterator[tuple[Plane, Plane]]:
    """Moments a baseline apart, each with the one that follows."""
    before = _proxy(stretch, 0)
    for place in range(baseline, stretch.num_frames, baseline):
        look()
        after = _proxy(stretch, place)
        yield before, after
        before = after


def _moments(pairs: Iterable[tuple[Plane, Plane]]) -> _Moments:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    lumas, directions, moves, changes = [], [], [], []
    for first, second in pairs:
        field = np.asarray(flow.calc(first, second, None), np.float32)  # type: ignore[call-overload]
        luma = first.astype(np.float32)
        texture = _blocks(luma * luma) - _blocks(luma) ** 2
        field = _without_camera(field, texture > TEXTURE)
        mean = _blocks(field)
        length = np.hypot(mean[..., 0], mean[..., 1])
        speed = _blocks(np.asarray(cv2.magnitude(field[..., 0], field[..., 1]), np.float32))
        lumas.append(_tiles(luma - 128))
        directions.append((mean / np.maximum(length, 1e-6)[..., None]).reshape(-1, 2))
        moves.append(((length > MOVING_PIXELS) & (length > COHERENCE * speed) & (texture > TEXTURE)).ravel())
        changes.append(_blocks((luma - second) ** 2).ravel())
    return _Moments(np.stack(lumas, 1), np.stack(directions, 1), np.stack(moves, 1), np.stack(changes, 1))


def _share(now: _Moments, past: _Moments) -> float:
    """Of all that moves now, how much runs backwards."""
    product = past.luma @ now.luma.transpose(0, 2, 1) / now.luma.shape[2]
    difference = (past.luma**2).mean(axis=2)[..., None] + (now.luma**2).mean(axis=2)[:, None] - 2 * product
    alike = past.moves[..., None] & (difference < LIKENESS * past.change[..., None] + NOISE)
    cosine = past.direction @ now.direction.transpose(0, 2, 1)
    count = alike.sum(axis=1)
    mean = (cosine * alike).sum(axis=1) / np.maximum(count, 1)
    backwards = now.moves & (count > 0) & (mean < AGAINST)
    return round(float(backwards.sum() / now.moves.sum()), 4)


def _without_camera(flow: Map, textured: npt.NDArray[np.bool_]) -> Map:
    """The flow less what one similarity transform of the picture explains of it, unless the camera stands."""
    rows, columns = textured.shape
    centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * BLOCK + (BLOCK - 1) / 2
    start, moved = centres[textured].astype(np.float32), _blocks(flow)[textured]
    still = np.hypot(moved[:, 0], moved[:, 1]) < STILL_PIXELS
    if len(start) < 12 or still.mean() > STILL_SHARE:
        return flow
    matrix, inliers = cv2.estimateAffinePartial2D(start, start + moved, ransacReprojThreshold=0.5, maxIters=200)
    if matrix is None or inliers is None or inliers.mean() < 0.4:
        return flow
    height, width = flow.shape[:2]
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    return np.asarray(flow - (x * (matrix[:, 0] - (1, 0)) + y * (matrix[:, 1] - (0, 1)) + matrix[:, 2]), np.float32)


def _proxy(frames: Frames, index: int) -> Plane:
    """One frame's luma, at most `PROXY_WIDTH` wide; a copy, since it is kept for longer than the frame."""
    return np.array(proxy(to_yuv(frames[index : index + 1]).planes[0][0], PROXY_WIDTH), np.uint8)


def _cropped(plane: Map) -> Map:
    height, width = plane.shape[:2]
    return plane[: height - height % BLOCK, : width - width % BLOCK]


def _blocks(plane: Map) -> Map:
    """The mean of each block of `(height, width)` or `(height, width, channels)`."""
    whole = _cropped(plane)
    size = whole.shape[1] // BLOCK, whole.shape[0] // BLOCK
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)


def _tiles(plane: Map) -> Map:
    """(height, width) → (blocks, pixels of a block), in the order of `_blocks`."""
    whole = _cropped(plane)
    split = whole.reshape(whole.shape[0] // BLOCK, BLOCK, whole.shape[1] // BLOCK, BLOCK)
    return split.transpose(0, 2, 1, 3).reshape(-1, BLOCK * BLOCK)
