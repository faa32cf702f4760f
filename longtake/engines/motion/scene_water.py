"""What moves under water, and what moves where nothing could be named."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from longtake.engines.base import Plane
from longtake.engines.motion.canvas import Canvas, between, fractal_noise, gradient, smoothstep, window
from longtake.engines.motion.frame import Map
from longtake.engines.motion.scene_layers import Clock
from longtake.engines.motion.scene_words import RGB

_TAU = 2 * math.pi
Points = npt.NDArray[np.float64]
Put = Callable[[Points], npt.NDArray[np.int32]]
"""From the animal's own coordinates (x, y), the bell's radius being 1, to OpenCV's fixed point (4 bits)."""


class Shafts:
    """Light from above falls in slanted shafts that shift with the waves up there."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], colour: RGB):
        self._clock, self._colour = clock, colour
        columns, rows = max(8, size[0] // 6), max(4, size[1] // 6)
        x = (np.arange(columns, dtype=np.float32)[None, :] / columns - 0.35) * size[0] / size[1]
        y = np.arange(rows, dtype=np.float32)[:, None] / rows
        self._angle = ((x / (y + 0.9)) * 150 + 256).astype(np.float32)
        self._line = [fractal_noise(rng, (512, 4), 1.1)[:1] for _ in range(2)]
        self._fade = np.asarray(0.5 * np.exp(-2.2 * y) * np.ones_like(x), np.float32)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        first = window(self._line[0], self._clock.turns(0.012, seconds), 512)
        second = window(self._line[1], self._clock.turns(-0.017, seconds), 512)
        line = smoothstep(first * 0.5 + second * 0.5, 0.4, 0.85)
        beams = cv2.remap(line, self._angle, np.zeros_like(self._angle), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        canvas.light(np.asarray(beams * self._fade, np.float32), self._colour)


class Motes:
    """Specks that drift slowly upwards."""

    def __init__(self, rng: np.random.Generator, clock: Clock, count: int):
        self._clock = clock
        self._x, self._y, self._near = rng.random(count), rng.random(count), rng.random(count) ** 2
        self._speed, self._phase = 0.012 + 0.03 * self._near, rng.random(count)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        width, height = canvas.size
        risen = np.array([self._clock.turns(float(speed), seconds) for speed in self._speed])
        x = (self._x + 0.01 * np.sin(_TAU * (self._clock.turns(0.15, seconds) + self._phase))) % 1.0
        y = (self._y - risen) % 1.0
        mask = np.zeros((height, width), np.uint8)
        for left, top, near in zip(x * width * 16, y * height * 16, self._near, strict=True):
            radius = int(16 * height * (0.0008 + 0.003 * near))
            cv2.circle(mask, (int(left), int(top)), radius, int(40 + 60 * (1 - near)), -1, cv2.LINE_AA, 4)
        canvas.paint(np.asarray(mask, np.float32) / np.float32(255), (210, 240, 250))


class Jellyfish:
    """A bell that pulses and pushes itself on, oral arms and tentacles trailing after it."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], scale: float, colour: RGB):
        self._clock, self._colour, self._scale = clock, colour, scale
        self._radius = 0.13 * scale * size[1]
        self._x, self._y = rng.uniform(0.15, 0.85) * size[0], rng.uniform(0.3, 0.55) * size[1]
        self._sway = 0.05 * size[1] * scale
        self._phase, self._tilt = rng.random(), rng.uniform(-0.3, 0.3)
        self._threads = [(position, rng.uniform(1.6, 3.4), rng.random()) for position in np.linspace(-0.85, 0.85, 11)]

    def at(self, x: float, y: float) -> Jellyfish:
        """Moves it to (x, y), in parts of the picture's height; returns itself."""
        height = self._radius / (0.13 * self._scale)
        self._x, self._y = x * height, y * height
        return self

    def paint(self, canvas: Canvas, seconds: float) -> None:
        width, height = canvas.size
        # Drawn at half size: a body of light has no hard edges, and its glow is a blur of itself.
        mask = np.zeros((height // 2, width // 2), np.uint8)
        beat = _TAU * (self._clock.turns(0.45, seconds) + self._phase)
        wander = _TAU * (self._clock.turns(0.05, seconds) + self._phase)
        centre = np.array([
            self._x + 1.6 * self._sway * math.sin(wander),
            self._y + self._sway * (math.cos(wander) - 0.35 * math.sin(beat)),
        ])  # fmt: skip
        tilt = self._tilt + 0.12 * math.sin(wander + 1)
        turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])

        def put(points: Points) -> npt.NDArray[np.int32]:
            return np.asarray(np.rint((points @ turn.T * self._radius + centre) * 8), np.int32)

        squeeze = 1 + 0.13 * math.sin(beat)
        self._draw_threads(mask, put, beat, squeeze)
        self._draw_bell(mask, put, beat, squeeze)
        self._shine(canvas, mask)

    def _draw_threads(self, mask: Plane, put: Put, beat: float, squeeze: float) -> None:
        along = np.linspace(0, 1, 24)
        for index, (position, length, phase) in enumerate(self._threads):
            is_arm = index % 4 == 1
            swing = 0.10 * along * np.sin(beat - 5 * along + _TAU * phase) + 0.10 * along**2 * math.sin(_TAU * phase)
            x = position * squeeze * (1 - 0.3 * along) * (0.45 if is_arm else 1.0) + swing
            y = along * length * (0.8 if is_arm else 1.0) * (2 - squeeze)
            thickness = max(1, round(self._radius * (0.05 if is_arm else 0.012)))
            points = put(np.stack([x, y], axis=1))
            for part in range(len(points) - 1):
                level = int((120 if is_arm else 90) * (1 - along[part]) ** 0.8)
                start, end = points[part], points[part + 1]
                cv2.line(mask, tuple(start.tolist()), tuple(end.tolist()), level, thickness, cv2.LINE_AA, 4)

    def _draw_bell(self, mask: Plane, put: Put, beat: float, squeeze: float) -> None:
        turn = np.linspace(math.pi, 2 * math.pi, 40)
        edge = np.linspace(1, -1, 40)
        for share, level in ((1.0, 95), (0.86, 125), (0.66, 155), (0.42, 190)):
            dome = np.stack([share * squeeze * np.cos(turn), share * (2.1 - squeeze) * 0.85 * np.sin(turn)], axis=1)
            hem = 0.07 * np.cos(9 * np.pi * edge) + 0.14 * (1 - edge**2) - 0.05 * math.sin(beat)
            rim = np.stack([edge * share * squeeze * 0.98, hem * share], axis=1)
            cv2.fillPoly(mask, [put(np.concatenate([dome, rim]))], level, cv2.LINE_AA, 4)
        for lobe in (-0.36, -0.12, 0.12, 0.36):
            arc = np.stack([lobe * squeeze + 0.1 * np.cos(turn), -0.32 + 0.2 * np.sin(turn)], axis=1)
            cv2.polylines(mask, [put(arc)], False, 235, max(1, round(self._radius * 0.025)), cv2.LINE_AA, 4)

    def _shine(self, canvas: Canvas, mask: Plane) -> None:
        """The body and the glow round it, as light; only where there is any."""
        left, top, wide, high = cv2.boundingRect(mask)
        reach = round(self._radius * 0.3) // 2 * 2
        left, top = max(left - reach, 0), max(top - reach, 0)
        right, bottom = min(left + wide + 2 * reach, mask.shape[1]), min(top + high + 2 * reach, mask.shape[0])
        if not wide:
            return
        part, region = mask[top:bottom, left:right], canvas.region(2 * left, 2 * top, 2 * right, 2 * bottom)
        body = np.asarray(cv2.GaussianBlur(part, (0, 0), max(0.6, self._radius / 90)), np.float32) / np.float32(255)
        size = (max(2, part.shape[1] // 6), max(2, part.shape[0] // 6))
        small = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        glow = cv2.GaussianBlur(small / 255, (0, 0), max(1.0, self._radius / 22), borderType=cv2.BORDER_CONSTANT)
        region.light(np.asarray(glow * 0.5, np.float32), self._colour)
        pale = between(self._colour, (255, 255, 255), 0.35)
        region.light(np.asarray(body * min(1.0, 0.35 + 0.5 * self._scale), np.float32), pale)


class Flow:
    """Colours that run into each other: one noise is looked up through another (domain warping)."""

    def __init__(self, rng: np.random.Generator, clock: Clock, size: tuple[int, int], colours: list[RGB]):
        self._clock = clock
        self._width, rows = max(8, size[0] // 4), max(4, size[1] // 4)
        self._tiles = [fractal_noise(rng, (2 * self._width, rows), 2.3) for _ in range(3)]
        self._table = gradient([*colours, *colours[-2::-1]], 256)
        x, y = np.meshgrid(np.arange(self._width, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._x, self._y, self._reach = x, y, np.float32(0.55 * rows)

    def paint(self, canvas: Canvas, seconds: float) -> None:
        rates = (0.013, -0.011, 0.007)
        bend_x, bend_y, colour = (
            window(tile, self._clock.turns(rate, seconds), self._width)
            for tile, rate in zip(self._tiles, rates, strict=True)
        )
        map_x, map_y = self._x + self._reach * (bend_x - 0.5), self._y + self._reach * (bend_y - 0.5)
        bent = cv2.remap(colour, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        cycle = (1.6 * bent + self._clock.turns(0.04, seconds)) % 1.0
        full = np.asarray(
            cv2.resize(np.asarray(self._looked_up(cycle), np.float32), canvas.size, interpolation=cv2.INTER_CUBIC)
        )
        canvas.y[:] = full[..., 0]
        half = cv2.resize(full[..., 1:], (canvas.u.shape[1], canvas.u.shape[0]), interpolation=cv2.INTER_AREA)
        canvas.u[:], canvas.v[:] = half[..., 0], half[..., 1]

    def _looked_up(self, cycle: Map) -> Map:
        return self._table[np.clip(cycle * 255, 0, 255).astype(np.uint8)]
