"""The layers that drawn scenes are made of. Each paints itself on a canvas at a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from longtake.engines.motion.canvas import Canvas, between, fractal_noise, gradient, smoothstep, window
from longtake.engines.motion.frame import Map, stretch
from longtake.engines.motion.scene_words import RGB


@dataclass(frozen=True)
class Clock:
    """Turns rates into phases; where the scene loops, each rate is rounded to whole turns within it."""

    seconds: float
    loop: bool

    def turns(self, rate: float, seconds: float) -> float:
        """How often a motion of `rate` turns a second has gone round by `seconds`."""
        if self.loop:
            rate = math.copysign(max(1, round(abs(rate) * self.seconds)), rate) / self.seconds
        return rate * seconds


class Layer(Protocol):
    """Something that moves."""

    def paint(self, canvas: Canvas, seconds: float, /) -> None: ...


class Clouds:
    """Two sheets of fractal noise drift past each other; where they agree there is cloud."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], cover: float, colour: RGB):
        self._clock, self._colour = clock, colour
        self._width = max(8, size[0] // 4)
        rows = max(4, size[1] // 4)
        tiles = [fractal_noise(rng, (2 * self._width, 2 * rows), 1.7) for _ in range(2)]
        # Squeezed in height: clouds are seen from below and far away, so they are wider than tall.
        self._tiles = [stretch(tile, (2 * self._width, rows)) for tile in tiles]
        self._low, self._size = 0.66 - 0.3 * cover, size
        self._fade = np.linspace(1, 0.35, rows, dtype=np.float32)[:, None] * np.float32(0.55 + 0.4 * cover)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        first = window(self._tiles[0], self._clock.turns(0.012, seconds), self._width)
        second = window(self._tiles[1], self._clock.turns(0.02, seconds), self._width)
        alpha = smoothstep(0.6 * first + 0.4 * second, self._low, self._low + 0.3) * self._fade
        canvas.rows(0, self._size[1] // 2 * 2).paint(alpha, self._colour)


class Stars:
    """Points that twinkle, each at its own pace."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], count: int):
        self._clock = clock
        self._x, self._y = rng.integers(0, size[0], count), (size[1] * rng.random(count) ** 1.3).astype(int)
        self._bright = (40 + 180 * rng.random(count) ** 3).astype(np.float32)
        self._rate, self._phase = rng.uniform(0.1, 0.6, count), rng.random(count)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        turns = np.array([self._clock.turns(float(rate), seconds) for rate in self._rate])
        shine = self._bright * (0.7 + 0.3 * np.sin(2 * np.pi * (turns + self._phase))).astype(np.float32)
        for down, across, share in ((0, 0, 1.0), (0, 1, 0.35), (1, 0, 0.35)):
            rows = np.minimum(self._y + down, canvas.y.shape[0] - 1)
            columns = np.minimum(self._x + across, canvas.y.shape[1] - 1)
            canvas.y[rows, columns] += shine * np.float32(share)


class Aurora:
    """Curtains of light: folds wander along them, rays rise from their lower edge and fade upwards."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], colours: list[RGB]):
        self._clock, self._size, self._colours = clock, size, colours
        self._width, self._rows = max(8, size[0] // 4), max(4, size[1] // 4)
        self._folds = [fractal_noise(rng, (4 * self._width, 4), 2.2)[:1] for _ in range(3)]
        self._rays = [fractal_noise(rng, (4 * self._width, 4), 1.0)[:1] for _ in range(3)]
        self._height = np.arange(self._rows, dtype=np.float32)[:, None] / np.float32(self._rows)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        for index, (folds, rays) in enumerate(zip(self._folds, self._rays, strict=True)):
            side = -1 if index % 2 else 1
            fold = window(folds, self._clock.turns(side * 0.012, seconds), self._width)
            ray = window(rays, self._clock.turns(side * (0.02 + 0.006 * index), seconds), self._width)
            edge = 0.5 + 0.14 * index + 0.5 * (fold - 0.5)
            above = edge - self._height
            curtain = np.exp(-np.maximum(above, 0) / (0.12 + 0.22 * ray)) * smoothstep(above, -0.05, 0.02)
            glow = np.asarray(curtain * (0.12 + 0.6 * ray * ray), np.float32)
            low = np.asarray(glow * np.exp(-np.maximum(above, 0) * 5), np.float32)
            target = canvas.rows(0, self._size[1] // 2 * 2)
            target.light(low, self._colours[0])
            target.light(np.asarray(0.7 * (glow - low), np.float32), self._colours[1])


class Sea:
    """Sums of sines in perspective; each point mirrors the part of the sky that its slope points at."""

    def __init__(
        self,
        rng: np.random.Generator,
        clock: Clock,
        size: tuple[int, int],
        horizon: int,
        sky: list[RGB],
        water: RGB,
        sun: tuple[float, RGB] | None,
    ):
        self._clock, self._horizon, self._sun = clock, horizon, sun
        self._bottom = size[1]
        rows = size[1] - horizon
        x = np.arange(size[0], dtype=np.float32)[None, :] / size[1]
        down = ((np.arange(rows, dtype=np.float32) + 0.5) / max(rows, 1))[:, None]
        far = 1 / (down + 0.035)
        self._waves = []
        for length, steep in ((0.9, 0.5), (0.55, 0.8), (0.34, 1.0), (0.21, 1.0), (0.13, 0.9), (0.08, 0.8)):
            angle = rng.uniform(-0.7, 0.7)
            across, along = math.sin(angle) / length, math.cos(angle) / length
            phase = 2 * np.pi * (across * (x - 0.9) * far * 0.6 + along * far * 1.4 + rng.random())
            # What is smaller than a pixel far away would only flicker.
            seen = steep * np.clip(length * down * down * size[1] / 9, 0, 1)
            self._waves.append((0.28 / math.sqrt(length), np.sin(phase) * seen, np.cos(phase) * seen))
        mirrored = [
            between(colour, water, 0.25 + 0.5 * index / max(len(sky) - 1, 1))
            for index, colour in enumerate(reversed(sky))
        ]
        self._table = gradient([*mirrored, between(water, (0, 0, 0), 0.45)], 256)
        self._steepness = 16 + 60 * np.sqrt(down)
        self._base = 190 * down**0.8
        if sun is not None:
            spread = 0.05 + 0.22 * down
            self._glitter = np.exp(-0.5 * np.square((x - sun[0] * size[0] / size[1]) / spread)).astype(np.float32)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        slope = np.zeros_like(self._waves[0][1])
        for rate, sine, cosine in self._waves:
            angle = 2 * math.pi * self._clock.turns(rate, seconds)
            slope += np.float32(math.cos(angle)) * sine + np.float32(math.sin(angle)) * cosine
        index = np.clip(self._base + self._steepness * slope, 0, 255).astype(np.uint8)
        water = canvas.rows(self._horizon, self._bottom)
        small = np.asarray(cv2.resize(index, (index.shape[1] // 2, index.shape[0] // 2), interpolation=cv2.INTER_AREA))
        water.y[:] = cv2.LUT(index, self._table[:, 0])
        water.u[:] = cv2.LUT(small, self._table[:, 1])
        water.v[:] = cv2.LUT(small, self._table[:, 2])
        if self._sun is not None:
            water.light(
                smoothstep(np.asarray(-slope, np.float32), 0.25, 1.5) * self._glitter * np.float32(0.75), self._sun[1]
            )


class Foreground:
    """What stands in front of the sky, laid over whatever moved in it."""

    def __init__(self, ground: Canvas, cover: Map, horizon: int):
        rows = np.flatnonzero(cover.max(axis=1) > 0)
        self._top = int(rows[0]) // 2 * 2 if len(rows) else horizon
        self._horizon = max(horizon, self._top)
        self._ground = ground.rows(self._top, self._horizon)
        self._full = cover[self._top : self._horizon]
        half = (self._full.shape[1] // 2, self._full.shape[0] // 2)
        self._half = stretch(self._full, half) if self._full.size else self._full

    def paint(self, canvas: Canvas, _seconds: float, /) -> None:
        if self._full.size:
            sky = canvas.rows(self._top, self._horizon)
            sky.y += (self._ground.y - sky.y) * self._full
            sky.u += (self._ground.u - sky.u) * self._half
            sky.v += (self._ground.v - sky.v) * self._half


class Shade:
    """Shadows of clouds wander over the ground."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], top: int, depth: float):
        self._clock, self._top, self._bottom = clock, top, size[1]
        self._width, rows = max(8, size[0] // 8), max(2, (size[1] - top) // 8)
        self._fade = depth * np.minimum(np.linspace(0, 3, rows, dtype=np.float32), 1)[:, None]
        tile = fractal_noise(rng, (2 * self._width, 2 * rows), 1.9)
        self._tile = stretch(tile, (2 * self._width, rows))

    def paint(self, canvas: Canvas, seconds: float) -> None:
        shade = smoothstep(window(self._tile, self._clock.turns(0.03, seconds), self._width), 0.45, 0.8)
        ground = canvas.rows(self._top, self._bottom)
        ground.y -= (ground.y - 16) * stretch(np.asarray(shade * self._fade, np.float32), ground.size)


class Fall:
    """Snow or rain: near flakes are large and fast, all wrap round at the borders."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], *, is_snow: bool):
        self._clock, self._is_snow = clock, is_snow
        count = max(40, min(700, size[0] * size[1] // 1300))
        near = rng.random(count) ** 3
        self._x, self._y, self._phase = rng.random(count), rng.random(count), rng.random(count)
        self._near = near
        self._speed = (0.06 + 0.17 * near) if is_snow else (0.9 + 0.8 * near)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        width, height = canvas.size
        fallen = np.array([self._clock.turns(float(speed), seconds) for speed in self._speed])
        sway = 0.012 * np.sin(2 * np.pi * (self._clock.turns(0.25, seconds) + self._phase)) if self._is_snow else 0.0
        x = (self._x + sway + (0.0 if self._is_snow else 0.06) * (self._y + fallen)) % 1.0
        y = (self._y + fallen) % 1.1 if not self._clock.loop else (self._y + fallen) % 1.0
        mask = np.zeros((height, width), np.uint8)
        for centre_x, centre_y, near in zip(x * width * 16, y * height * 16, self._near, strict=True):
            place = (int(centre_x), int(centre_y))
            if self._is_snow:
                radius = int(16 * height * (0.0016 + 0.006 * near))
                cv2.circle(mask, place, radius, int(110 + 120 * near), -1, cv2.LINE_AA, 4)
            else:
                length = 16 * height * (0.02 + 0.04 * near)
                end = (int(centre_x - 0.06 * length), int(centre_y - length))
                cv2.line(mask, place, end, int(40 + 70 * near), 1, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, height / 1100)) if self._is_snow else mask
        canvas.paint(np.asarray(soft, np.float32) / np.float32(255), (240, 244, 250))


class Windows:
    """Lit windows; now and then one goes out or on."""

    def __init__(self, rng: np.random.Generator, clock: Clock, places: list[tuple[int, int, int, int]]):
        self._clock = clock
        chosen = rng.permutation(len(places))[: len(places) // 6]
        self._places = [(places[index], rng.uniform(0.02, 0.1), rng.random()) for index in chosen]

    def paint(self, canvas: Canvas, seconds: float) -> None:
        for (left, top, right, bottom), rate, phase in self._places:
            wave = math.sin(2 * math.pi * (self._clock.turns(rate, seconds) + phase))
            lit = min(max(0.5 + 6 * wave, 0.0), 1.0)
            pane = canvas.y[top:bottom, left:right]
            pane += np.float32(1 - lit) * (np.float32(34) - pane)
