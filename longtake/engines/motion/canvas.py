"""What drawn scenes are painted on: planar Y'CbCr 4:2:0, float32 while layers are laid over each other.

Mixing by alpha gives the same in Y'CbCr as in R'G'B', since one is an affine transform of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from longtake.engines.motion.frame import Frame, Map
from longtake.engines.motion.scene_words import RGB


@dataclass
class Canvas:
    """float32 planes in limited range: y (height, width), u and v (height / 2, width / 2)."""

    y: Map
    u: Map
    v: Map
    cover: Map | None = None
    """Where set, what is painted is marked here too: 0 to 1, of the size of y."""

    @classmethod
    def blank(cls, size: tuple[int, int]) -> Canvas:
        width, height = size
        half = (height // 2, width // 2)
        return cls(np.zeros((height, width), np.float32), np.zeros(half, np.float32), np.zeros(half, np.float32))

    def copy(self) -> Canvas:
        return Canvas(self.y.copy(), self.u.copy(), self.v.copy())

    @property
    def size(self) -> tuple[int, int]:
        return self.y.shape[1], self.y.shape[0]

    def rows(self, top: int, bottom: int) -> Canvas:
        """The canvas from row `top` to row `bottom`, both even; painting on it paints on this one."""
        return self.region(0, top, self.size[0], bottom)

    def region(self, left: int, top: int, right: int, bottom: int) -> Canvas:
        """A rectangle of it, all bounds even; painting on it paints on this one."""
        whole = (slice(top, bottom), slice(left, right))
        half = (slice(top // 2, bottom // 2), slice(left // 2, right // 2))
        cover = None if self.cover is None else self.cover[whole]
        return Canvas(self.y[whole], self.u[half], self.v[half], cover)

    def paint(self, alpha: Map, colour: RGB) -> None:
        """Lays one colour over it; `alpha` 0 to 1, stretched to the canvas."""
        full, half = self._alphas(alpha)
        self._mark(full)
        for plane, value, share in zip((self.y, self.u, self.v), yuv(colour), (full, half, half), strict=True):
            plane += (np.float32(value) - plane) * share

    def paint_gradient(self, alpha: Map, colours: list[RGB]) -> None:
        """Lays colours over it that change from the top row to the bottom row."""
        full, half = self._alphas(alpha)
        self._mark(full)
        values = gradient(colours, self.y.shape[0])
        for index, (plane, share) in enumerate(((self.y, full), (self.u, half), (self.v, half))):
            column = values[:: 1 if index == 0 else 2, index : index + 1][: plane.shape[0]]
            plane += (column - plane) * share

    def light(self, amount: Map, colour: RGB) -> None:
        """Adds light of one colour; `amount` 0 to 1."""
        full, half = self._alphas(amount)
        luma, blue, red = yuv(colour)
        self.y += np.float32(luma - 16) * full
        self.u += np.float32(blue - 128) * half
        self.v += np.float32(red - 128) * half

    def frame(self, dither: Map) -> Frame:
        """Rounded to uint8; `dither` (height, width), -0.5 to 0.5, keeps smooth skies free of bands."""
        half = dither[: self.u.shape[0], : self.u.shape[1]]
        planes = ((self.y, dither, 235), (self.u, half, 240), (self.v, half, 240))
        return Frame(*(np.clip(plane + noise + 0.5, 16, top).astype(np.uint8) for plane, noise, top in planes))

    def _mark(self, alpha: Map) -> None:
        if self.cover is not None:
            np.maximum(self.cover, alpha, out=self.cover)

    def _alphas(self, alpha: Map) -> tuple[Map, Map]:
        width, height = self.size
        full = alpha if alpha.shape == (height, width) else cv2.resize(alpha, (width, height))
        half = cv2.resize(alpha, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return np.asarray(full, np.float32), np.asarray(half, np.float32)


def yuv(colour: RGB) -> tuple[float, float, float]:
    """R'G'B', 0 to 255, to limited-range Y'CbCr by ITU-R BT.709."""
    red, green, blue = (channel / 255 for channel in colour)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748


def gradient(colours: list[RGB], length: int) -> Map:
    """(length, 3) Y'CbCr from the first colour to the last, evenly spaced."""
    stops = np.linspace(0, 1, len(colours))
    where = np.linspace(0, 1, length)
    values = np.array([yuv(colour) for colour in colours])
    channels = [np.interp(where, stops, values[:, channel]) for channel in range(3)]
    return np.asarray(np.stack(channels, axis=1), np.float32)


def between(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with `share` of `b` mixed in."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def fractal_noise(rng: np.random.Generator, size: tuple[int, int], falloff: float) -> Map:
    """(height, width) noise of spectrum 1 / f^falloff, 0 to 1, that tiles without a seam in both directions."""
    width, height = size
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None, :] * height)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency**falloff, (height, width))
    low, high = np.percentile(noise, (1, 99))
    return np.asarray(np.clip((noise - low) / max(high - low, 1e-9), 0, 1), np.float32)


def window(tile: Map, turns: float, width: int) -> Map:
    """`width` columns of a tile that has been moved left by `turns` of its own width, at sub-pixel steps."""
    columns = tile.shape[1]
    offset = (turns % 1.0) * columns
    whole, part = int(offset), np.float32(offset % 1.0)
    index = (np.arange(width + 1) + whole) % columns
    taken = tile[:, index]
    return np.asarray(taken[:, :-1] * (1 - part) + taken[:, 1:] * part, np.float32)


def smoothstep(values: Map, low: float, high: float) -> Map:
    """0 below `low`, 1 above `high`, an S between them."""
    share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
