"""What stands still in a drawn scene and is painted once: sky, sun and moon, ridges, dunes, trees, a skyline."""

from __future__ import annotations

import numpy as np

from longtake.engines.motion.canvas import Canvas, between, fractal_noise, smoothstep
from longtake.engines.motion.frame import Map
from longtake.engines.motion.scene_words import RGB

Pane = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def paint_sky(canvas: Canvas, colours: list[RGB], bottom: int) -> None:
    """Colours from the zenith to the horizon at row `bottom`; below it the last one."""
    canvas.paint(np.ones(canvas.y.shape, np.float32), colours[-1])
    sky = canvas.rows(0, bottom)
    sky.paint_gradient(np.ones(sky.y.shape, np.float32), colours)


def paint_disc(canvas: Canvas, x: float, y: float, radius: float, colour: RGB, halo: float) -> None:
    """A sun or a moon with its halo; x, y and radius in pixels."""
    rows, columns = np.ogrid[: canvas.y.shape[0], : canvas.y.shape[1]]
    away = np.hypot(columns - x, rows - y).astype(np.float32)
    canvas.light(np.asarray(halo * np.exp(-away / (radius * 5)), np.float32), colour)
    canvas.light(np.asarray(0.6 * halo * np.exp(-away / (radius * 1.6)), np.float32), colour)
    canvas.paint(smoothstep(-away, -radius - 1, -radius + 1), between(colour, (255, 255, 255), 0.55))


def paint_ridge(
    canvas: Canvas, rng: np.random.Generator, top: float, height: float, colours: list[RGB], rough: float
) -> None:
    """Everything below a line of noise; `top` and `height` in parts of the picture's height, `rough` 0 to 1."""
    line = ridge_line(rng, canvas.size[0], 2.6 - 1.1 * rough)
    edge = (top - height * (line - 0.5)) * canvas.size[1]
    _fill_below(canvas, edge, colours, rng, 0.10 + 0.2 * rough)


def paint_dunes(canvas: Canvas, rng: np.random.Generator, top: float, height: float, colours: list[RGB]) -> None:
    """A crest with faces in the light and faces in the shade, parted by lines that run down slantwise."""
    width, rows = canvas.size
    x = np.arange(width, dtype=np.float32) / width
    phases = rng.random(3)

    def crest(where: Map) -> Map:
        waves = [np.sin(2 * np.pi * (count * where + p)) for count, p in zip((0.7, 1.3, 2.3), phases, strict=True)]
        return np.asarray((waves[0] + 0.6 * waves[1] + 0.25 * waves[2]) / 1.85 * 0.5 + 0.5, np.float32)

    edge = np.asarray((top - height * (crest(np.asarray(x, np.float32)) - 0.5)) * rows, np.float32)
    _fill_below(canvas, edge, colours, rng, 0.05)
    down = np.maximum(np.arange(rows, dtype=np.float32)[:, None] - edge[None, :], 0) / np.float32(rows)
    side = float(rng.choice([-1.0, 1.0]))
    slanted = np.asarray(x[None, :] + side * (1.1 * down - 2.0 * down * down), np.float32)
    lean = crest(slanted + np.float32(0.004)) - crest(slanted - np.float32(0.004))
    face = smoothstep(np.asarray(side * lean, np.float32), -0.004, 0.004) - np.float32(0.5)
    body = smoothstep(down, 0, 2 / rows)
    ripple = np.sin(2 * np.pi * (slanted * 60 + 0.35 * np.sin(20 * down))) * smoothstep(down, 0.05, 0.3)
    canvas.y += np.asarray(body * (canvas.y - 16) * (0.42 * face * np.exp(-3 * down) + 0.012 * ripple), np.float32)


def paint_trees(canvas: Canvas, rng: np.random.Generator, base: float, height: float, colours: list[RGB]) -> None:
    """A row of conifers standing on `base`."""
    width, rows = canvas.size
    edge = np.full(width, base * rows, np.float32)
    x = np.arange(width, dtype=np.float32)
    for _ in range(round(width / (height * rows) * 5)):
        tall = height * rows * rng.uniform(0.5, 1.1)
        half = tall * rng.uniform(0.16, 0.24)
        away = np.abs(x - rng.uniform(0, width)) / half
        jag = 0.10 * np.abs((away * 5) % 1 - 0.5)
        edge = np.minimum(edge, base * rows - tall * np.clip(1 - away + jag * (away < 0.95), 0, 1))
    _fill_below(canvas, edge.astype(np.float32), colours, rng, 0.15)


def paint_skyline(
    canvas: Canvas, rng: np.random.Generator, base: float, height: float, body: RGB, lit: RGB | None
) -> list[Pane]:
    """Buildings side by side, standing on `base`; returns the panes of the lit windows."""
    width, rows = canvas.size
    left, panes = 0, []
    while left < width:
        wide = max(4, int(rows * rng.uniform(0.045, 0.11)))
        top = int((base - height * rng.beta(2, 2.6)) * rows)
        wall = np.zeros(canvas.y.shape, np.float32)
        wall[top : int(base * rows), left : left + wide] = 1
        canvas.paint(wall, between(body, (0, 0, 0), rng.uniform(0, 0.3)))
        if lit is not None:
            panes += _light_windows(canvas, rng, (left, top, min(left + wide, width), int(base * rows)), lit)
        left += wide + int(rng.integers(0, max(2, rows // 120)))
    return panes


def ridge_line(rng: np.random.Generator, width: int, falloff: float) -> Map:
    """(width,) 0 to 1."""
    noise = fractal_noise(rng, (2 * max(width, 4), 4), falloff)[0, :width]
    return np.asarray((noise - noise.min()) / max(float(np.ptp(noise)), 1e-6), np.float32)


def _fill_below(canvas: Canvas, edge: Map, colours: list[RGB], rng: np.random.Generator, grain: float) -> None:
    width, rows = canvas.size
    down = np.arange(rows, dtype=np.float32)[:, None] - edge[None, :]
    top = min(max(int(edge.min()) // 2 * 2 - 2, 0), rows - 2)
    body = np.clip(down + 0.5, 0, 1)[top:]
    part = canvas.rows(top, rows)
    part.paint_gradient(np.asarray(body, np.float32), colours)
    texture = fractal_noise(rng, (width, rows), 1.2)[top:]
    part.y += (part.y - 16) * (texture - np.float32(0.5)) * np.float32(grain) * body


def _light_windows(canvas: Canvas, rng: np.random.Generator, wall: Pane, lit: RGB) -> list[Pane]:
    left, top, right, bottom = wall
    pitch = max(4, canvas.size[1] // 72)
    pane = max(1, pitch // 2)
    panes, share = [], rng.uniform(0.1, 0.6)
    mask = np.zeros(canvas.y.shape, np.float32)
    for row in range(top + pitch // 2, bottom - pane, pitch):
        for column in range(left + pitch // 3, right - pane, pitch):
            if rng.random() < share:
                mask[row : row + pane, column : column + pane] = rng.uniform(0.35, 0.95)
                panes.append((column, row, column + pane, row + pane))
    canvas.paint(mask, between(lit, (255, 170, 90), float(rng.random()) * 0.5))
    return panes
