"""The figures of a continuation, as pure functions of luma: what each means, and nothing of where the frames are from.

`tail` is what was given, `extension` what follows it: uint8 `(num_frames, height, width)`, either full size or
`proxies`. Steps are mean squared differences of consecutive proxies, in levels squared.
"""

from __future__ import annotations

import itertools
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from longtake.frames import Plane

PROXY_WIDTH: Final = 480
TINY_WIDTH: Final = 80
STEP_FLOOR: Final = 0.3
"""Levels squared: footage whose frames differ by less is still; both sides of a ratio are floored by it."""
SHARPNESS_FLOOR: Final = 1.0
"""Levels squared: a plain surface."""
FLOW_FLOOR: Final = 0.02
"""Pixels of a proxy: a change of flow below it is measuring noise."""
STOP_SHARE: Final = 0.1
"""A step below this share of the tail's median step (a third of its speed) is a near-stop."""
BEST_PSNR: Final = 50.0
"""Decibels: what two encodings of one still differ by; more is not counted."""
CHANGE_SECONDS: Final = 0.1
REPEAT_SECONDS: Final = 0.5
"""Frames nearer than this are alike because time is continuous, not because anything repeats."""

Values = npt.NDArray[np.float64]


def proxies(luma: Plane, width: int = PROXY_WIDTH) -> Plane:
    """Area-averaged copies, at most `width` wide, at least 16 pixels high."""
    scale = min(1.0, width / luma.shape[2])
    size = max(16, round(luma.shape[2] * scale)), max(16, round(luma.shape[1] * scale))
    return np.stack([np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in luma])


def steps(luma: Plane) -> Values:
    """The mean squared difference of each frame to the one before it: one value less than there are frames."""
    pairs = itertools.pairwise(luma)
    return np.array([cv2.norm(a, b, cv2.NORM_L2SQR) / a.size for a, b in pairs], np.float64)


def by_second(values: Values, rate: float) -> Values:
    """The mean of each whole second; of all values where they last no second."""
    length = max(1, round(rate))
    whole = len(values) // length
    means = values[: whole * length].reshape(whole, length).mean(axis=1) if whole else values.mean(keepdims=True)
    return np.asarray(means, np.float64)


def energy(tail_steps: Values, extension_steps: Values, rate: float) -> Values:
    """The mean step of each second of the extension over the tail's mean step; 1 for still beside still."""
    own = max(float(tail_steps.mean()), STEP_FLOOR)
    return np.maximum(by_second(extension_steps, rate), STEP_FLOOR) / own


def sharpness(luma: Plane) -> Values:
    """The variance of the Laplacian (3 × 3) of each frame, in levels squared, at full size."""
    deviations = (float(cv2.meanStdDev(cv2.Laplacian(plane, cv2.CV_16S))[1][0, 0]) for plane in luma)
    return np.maximum(np.array([deviation**2 for deviation in deviations], np.float64), SHARPNESS_FLOOR)


def longest_stop(tail_steps: Values, extension_steps: Values, rate: float) -> float:
    """Seconds: the longest run of steps below `STOP_SHARE` of the tail's median step; 0 where the tail is still."""
    own = float(np.median(tail_steps))
    if own < STEP_FLOOR:
        return 0.0
    longest = run = 0
    for step in extension_steps:
        run = run + 1 if step < STOP_SHARE * own else 0
        longest = max(longest, run)
    return longest / rate


def velocity_break(tail: Plane, extension: Plane) -> float:
    """How much optical flow (DIS) changes at the seam, over the median of its change from frame to frame in the tail.

    A change is the mean length of `flow(k → k + 1) - flow(k - 1 → k)`, in pixels of the proxies given. The seam's is
    between the tail's last step and the step across the seam. At least `FLOW_FLOOR` on both sides of the ratio.
    """
    own = flows(tail)
    across = flows(np.stack([tail[-1], extension[0]]))[0]
    changes = [_length(later - earlier) for earlier, later in itertools.pairwise(own)]
    return max(_length(across - own[-1]), FLOW_FLOOR) / max(float(np.median(changes)), FLOW_FLOOR)


def flows(luma: Plane) -> list[npt.NDArray[np.float32]]:
    """Optical flow of each frame to the next: float32 (height, width, 2)."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    pairs = itertools.pairwise(luma)
    return [np.asarray(dis.calc(a, b, None), np.float32) for a, b in pairs]  # type: ignore[call-overload]


def psnr(luma: Plane, truth: Plane) -> float:
    """Peak signal-to-noise ratio of luma in decibels, 255 the peak; at most `BEST_PSNR`."""
    error = cv2.norm(luma, truth, cv2.NORM_L2SQR) / luma.size
    return min(BEST_PSNR, 10 * float(np.log10(255**2 / max(error, 1e-9))))


def repetition(tail: Plane, extension: Plane, rate: float) -> float:
    """0 to 1: how much more the extension repeats than the footage does by itself.

    The autocorrelation of the video's change at lags of `REPEAT_SECONDS` and more: of each change of the picture
    over `CHANGE_SECONDS`, the highest absolute correlation with any change before it (absolute, since what is played
    back changes the other way). Natural is the mean of that over the tail's later half; the figure is
    `max(0, extension's mean - natural) / max(1 - natural, 0.1)`. 1 for exact copies, played either way; about 0 for new
    motion and for what repeats by nature (a clock); 0 where nothing changes, as in a freeze.
    """
    small = np.concatenate([proxies(tail, TINY_WIDTH), proxies(extension, TINY_WIDTH)]).astype(np.float32)
    apart = max(1, round(CHANGE_SECONDS * rate))
    changes = (small[apart:] - small[:-apart]).reshape(len(small) - apart, -1)
    length = np.linalg.norm(changes, axis=1)
    changes /= np.maximum(length, STEP_FLOOR * np.sqrt(changes.shape[1]))[:, None]
    alike = np.abs(changes @ changes.T)
    lag = max(apart, round(REPEAT_SECONDS * rate))
    peaks = np.array([alike[k, : k - lag + 1].max() if k >= lag else 0.0 for k in range(len(changes))])
    own = len(tail) - apart
    natural = float(peaks[max(lag, own // 2) : own].mean())
    return float(np.clip((peaks[len(tail) :].mean() - natural) / max(1 - natural, 0.1), 0, 1))


def jerk(luma: Plane) -> float:
    """How unsteadily a picture moves as a whole: the mean change of its velocity from frame to frame, in pixels.

    Corners of the first frame are followed by Lucas-Kanade; the median over corners of |x(k + 1) - 2 x(k) + x(k - 1)|
    is taken for each frame, and the mean of those.
    """
    corners = cv2.goodFeaturesToTrack(luma[0], 200, 0.01, 12)
    if corners is None:
        return 0.0
    paths, found = [corners[:, 0]], np.ones(len(corners), bool)
    for a, b in itertools.pairwise(luma):
        points, status, _ = cv2.calcOpticalFlowPyrLK(a, b, paths[-1][:, None], None)  # type: ignore[call-overload]
        paths.append(points[:, 0])
        found &= status[:, 0] == 1
    second = np.diff(np.stack(paths)[:, found], n=2, axis=0)
    return float(np.median(np.linalg.norm(second, axis=-1), axis=1).mean()) if second.size else 0.0


def _length(flow: npt.NDArray[np.float32]) -> float:
    return float(np.linalg.norm(flow, axis=-1).mean())


def camera_stands(tail: Plane) -> bool:
    """Whether most of the picture's edges move less than 0.35 pixels of the proxy, in a quarter of up to 8 places.

    A quarter: what moves close by, or over a plain ground, pulls the flow of all around it for a while.
    """
    places = np.linspace(0, len(tail) - 2, min(8, len(tail) - 1)).astype(int)
    still = []
    for place in places:
        edges = np.hypot(*(cv2.Sobel(tail[place], cv2.CV_32F, dx, 1 - dx) for dx in (1, 0))) > 20
        lengths = np.linalg.norm(flows(tail[place : place + 2])[0], axis=-1)
        still.append(float((lengths[edges] < 0.35).mean()) if edges.any() else 1.0)
    return float(np.percentile(still, 75)) > 0.55
