"""From nothing to nothing: a scene drawn from the words of the prompt. A preview, and it says so."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from longtake.engines.base import Shot
from longtake.engines.motion.camera import CONCEPTS, Path, view
from longtake.engines.motion.canvas import Canvas, between
from longtake.engines.motion.frame import Frame, warp
from longtake.engines.motion.scene_ground import (
    Pane,
    paint_disc,
    paint_dunes,
    paint_ridge,
    paint_sky,
    paint_skyline,
    paint_trees,
)
from longtake.engines.motion.scene_layers import (
    Aurora,
    Clock,
    Clouds,
    Fall,
    Foreground,
    Layer,
    Sea,
    Shade,
    Stars,
    Windows,
)
from longtake.engines.motion.scene_water import Flow, Jellyfish, Motes, Shafts
from longtake.engines.motion.scene_words import RGB, Scenery, read_scenery
from longtake.engines.motion.stills import ground_depth

_MOST_SIDE = 1280
_LEAST_SIDE = 64
"""Scenes are drawn no larger and no smaller than this, and brought to size."""
_OUTWARDS = ("zoom_out", "pull_out")
_SKIES: dict[str, list[RGB]] = {
    "day": [(52, 112, 196), (104, 164, 226), (190, 220, 240)],
    "sunset": [(42, 44, 92), (128, 72, 112), (226, 112, 78), (250, 186, 104)],
    "night": [(5, 8, 22), (12, 20, 46), (30, 42, 78)],
    "storm": [(70, 78, 90), (106, 114, 124), (150, 156, 162)],
}
_SUNS: dict[str, RGB] = {"day": (255, 240, 205), "sunset": (255, 176, 84), "night": (214, 222, 240)}
_WATERS: dict[str, RGB] = {"day": (16, 78, 118), "sunset": (40, 40, 72), "night": (6, 14, 30), "storm": (44, 62, 72)}
_PALETTES: list[list[RGB]] = [
    [(12, 24, 58), (34, 82, 140), (98, 172, 192), (242, 218, 176)],
    [(34, 10, 52), (120, 30, 92), (228, 94, 92), (252, 192, 124)],
    [(8, 38, 44), (18, 106, 104), (126, 194, 150), (240, 236, 192)],
    [(22, 22, 58), (84, 62, 150), (188, 128, 200), (250, 216, 222)],
]
"""For prompts that name nothing."""
_LIGHTS = {"day": 1.0, "sunset": 0.5, "night": 0.3, "storm": 0.62}
"""How bright the ground is at each hour."""


class Lit(Protocol):
    """(colour, distance 0 to 1) → the colour in the hour's light, gone into haze by distance."""

    def __call__(self, colour: RGB, distance: float, /) -> RGB: ...


class Scene:
    """The words of a shot's prompt as layers that move. Frames can be drawn in any order."""

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._scenery = read_scenery(shot.prompt)
        self._rng = np.random.default_rng([shot.seed, zlib.crc32(shot.prompt.encode())])
        self._size = _drawn_size(shot.format.width, shot.format.height)
        self._seconds = float(shot.format.seconds(shot.num_frames))
        self._clock = Clock(self._seconds, shot.loop)
        self._still = Canvas.blank(self._size)
        self._layers: list[Layer] = []
        self._compose()
        self._dither = self._rng.random((self._size[1], self._size[0]), np.float32) - np.float32(0.5)
        self._concept = next((name for name in shot.concepts if name in CONCEPTS), "")

    def frames(self) -> Iterator[Frame]:
        """The shot's frames in order, from its `start` on."""
        rate = float(self._shot.format.frame_rate)
        path = Path(self._concept, self._seconds, loop=self._shot.loop, seed=self._shot.seed)
        depth = ground_depth(self._size)
        for index in range(self._shot.start, self._shot.num_frames):
            frame = self._draw(index / rate)
            if self._concept:
                # Outwards there is no picture beyond the rim, so such a move begins near and ends at the whole.
                late = self._seconds if self._concept in _OUTWARDS and not self._shot.loop else 0.0
                frame = warp(frame, view(path.pose(index / rate - late), depth, self._size))
            yield self._to_size(frame)

    def _draw(self, seconds: float) -> Frame:
        canvas = self._still.copy()
        for layer in self._layers:
            layer.paint(canvas, seconds)
        return canvas.frame(self._dither)

    def _to_size(self, frame: Frame) -> Frame:
        width, height = self._shot.format.width, self._shot.format.height
        if frame.size == (width, height):
            return frame
        sizes = ((width, height), (width // 2, height // 2), (width // 2, height // 2))
        way = cv2.INTER_CUBIC if width > frame.size[0] else cv2.INTER_AREA
        planes = zip(frame, sizes, strict=True)
        return Frame(*(np.asarray(cv2.resize(plane, size, interpolation=way), np.uint8) for plane, size in planes))

    def _compose(self) -> None:
        place = self._scenery.place
        if place == "underwater":
            self._under_water()
        elif not place:
            self._no_place()
        else:
            self._under_the_sky(self._scenery)
        for weather in ("snow", "rain"):
            if weather in self._scenery.weathers and place not in ("underwater", "space"):
                self._layers.append(Fall(self._rng, self._clock, self._size, is_snow=weather == "snow"))

    def _no_place(self) -> None:
        accents = list(self._scenery.tints.values())
        colours = _PALETTES[int(self._rng.integers(len(_PALETTES)))]
        if accents:
            colours = [shade for accent in accents for shade in (between(accent, (0, 0, 0), 0.65), accent)]
            colours.append(between(accents[0], (255, 255, 255), 0.55))
        self._layers.append(Flow(self._rng, self._clock, self._size, colours))

    def _under_water(self) -> None:
        water = self._scenery.tints.get("water", self._scenery.tints.get("accent", (10, 74, 120)))
        top, deep = between(water, (120, 220, 235), 0.45), between(water, (0, 4, 20), 0.82)
        paint_sky(self._still, [top, water, between(water, deep, 0.6), deep], self._size[1])
        self._layers.append(Shafts(self._rng, self._clock, self._size, (190, 240, 250)))
        glows: list[RGB] = [(150, 120, 255), (255, 130, 190), (120, 200, 255)]
        aspect = self._size[0] / self._size[1]
        for scale, x, y, glow in zip((0.45, 0.6, 1.25), (0.2, 0.78, 0.46), (0.62, 0.3, 0.38), glows, strict=True):
            jellyfish = Jellyfish(self._rng, self._clock, self._size, scale, glow)
            shift = self._rng.uniform(-0.05, 0.05)
            self._layers.append(jellyfish.at((x + shift) * aspect, y + shift))
        self._layers.append(Motes(self._rng, self._clock, 140))

    def _under_the_sky(self, scenery: Scenery) -> None:
        width, height = self._size
        horizon = round(height * {"sea": 0.52, "city": 0.8, "space": 1.0}.get(scenery.place, 0.62)) // 2 * 2
        sky = self._sky(scenery)
        paint_sky(self._still, sky, horizon)
        sun = self._light(scenery, horizon)
        is_clear = not scenery.weathers & {"snow", "rain"}
        if (scenery.hour == "night" and is_clear) or scenery.place == "space":
            count = max(20, width * height // (1500 if scenery.place == "space" else 3000))
            self._layers.append(Stars(self._rng, self._clock, (width, horizon), count))
        if "aurora" in scenery.weathers:
            self._layers.append(Aurora(self._rng, self._clock, (width, horizon), [(70, 255, 150), (150, 80, 230)]))
        elif scenery.place == "space":
            for cover, colour in ((0.9, (92, 40, 128)), (0.55, (30, 96, 140)), (0.3, (190, 90, 120))):
                self._layers.insert(0, Clouds(self._rng, self._clock, (width, horizon), cover, colour))
        else:
            cover = {"storm": 1.0, "night": 0.25}.get(scenery.hour, 0.75 if "clouds" in scenery.weathers else 0.5)
            bright = between(sky[-1], (255, 255, 255), 0.75 if scenery.hour == "day" else 0.12)
            self._layers.append(Clouds(self._rng, self._clock, (width, horizon), cover, bright))
        self._ground(scenery, sky, horizon, sun)

    def _sky(self, scenery: Scenery) -> list[RGB]:
        if scenery.place == "space":
            return [(3, 3, 12), (14, 8, 34), (6, 10, 30)]
        sky = _SKIES[scenery.hour]
        tint = scenery.tints.get("sky")
        return [between(colour, tint, 0.55 - 0.12 * index) for index, colour in enumerate(sky)] if tint else sky

    def _light(self, scenery: Scenery, horizon: int) -> tuple[float, RGB] | None:
        """Paints the sun or the moon; where it stands (0 to 1 across) and its colour."""
        if scenery.hour == "storm" or scenery.place == "space" or "aurora" in scenery.weathers:
            return None
        width, height = self._size
        x = float(self._rng.uniform(0.3, 0.7))
        high = {"day": 0.18, "sunset": 0.8, "night": 0.28}[scenery.hour]
        radius = height * {"day": 0.028, "sunset": 0.05, "night": 0.03}[scenery.hour]
        halo = {"day": 0.35, "sunset": 0.55, "night": 0.16}[scenery.hour]
        paint_disc(self._still.rows(0, horizon), x * width, high * horizon, radius, _SUNS[scenery.hour], halo)
        return x, _SUNS[scenery.hour]

    def _ground(self, scenery: Scenery, sky: list[RGB], horizon: int, sun: tuple[float, RGB] | None) -> None:
        haze, light = sky[-1], _LIGHTS[scenery.hour]
        self._still.cover = np.zeros(self._still.y.shape, np.float32)
        level = horizon / self._size[1]

        def lit(colour: RGB, distance: float) -> RGB:
            return between(between((0, 0, 0), between(colour, haze, 0.12), light), haze, distance)

        if scenery.place == "sea":
            water = scenery.tints.get("water", scenery.tints.get("accent"))
            tinted = between((0, 0, 0), water, 0.3 + 0.5 * light) if water else _WATERS[scenery.hour]
            self._layers.append(Sea(self._rng, self._clock, self._size, horizon, sky, tinted, sun))
        elif scenery.place == "city":
            panes = self._city(level, lit, scenery)
            self._layers.append(Foreground(self._still, self._still.cover, horizon))
            self._layers.append(Windows(self._rng, self._clock, panes))
        elif scenery.place != "space":
            self._land(level, lit, scenery)
            self._layers.append(Foreground(self._still, self._still.cover, horizon))
            self._layers.append(Shade(self._rng, self._clock, self._size, horizon + 4, 0.28 * light))

    def _city(self, level: float, lit: Lit, scenery: Scenery) -> list[Pane]:
        panes: list[Pane] = []
        body = scenery.tints.get("ground", (92, 98, 116))
        is_dark = scenery.hour in ("night", "sunset", "storm")
        for height, distance in ((0.55, 0.6), (0.42, 0.35), (0.2, 0.08)):
            glow = (255, 214, 140) if is_dark else None
            panes += paint_skyline(self._still, self._rng, 1.0, height + 1.0 - level, lit(body, distance), glow)
        return panes

    def _land(self, level: float, lit: Lit, scenery: Scenery) -> None:
        is_white = "snow" in scenery.weathers
        defaults: dict[str, RGB] = {"desert": (206, 146, 86), "mountains": (98, 104, 116), "forest": (48, 84, 56)}
        colour = scenery.tints.get(
            "ground", (224, 230, 240) if is_white else defaults.get(scenery.place, (92, 140, 62))
        )
        for index, distance in enumerate((0.62, 0.4, 0.2, 0.0)):
            top = level - 0.04 + 0.11 * index
            near = lit(between(colour, (0, 0, 0), 0.08 * index), distance * (0.5 if scenery.place == "desert" else 1.0))
            shades = [near, between(near, (0, 0, 0), 0.45)]
            if scenery.place == "desert":
                paint_dunes(self._still, self._rng, top + 0.04, 0.12 + 0.04 * index, shades)
            elif scenery.place == "forest":
                paint_trees(self._still, self._rng, top + 0.08, 0.22 + 0.09 * index, shades)
            elif scenery.place == "mountains":
                paint_ridge(self._still, self._rng, top - 0.08, 0.34 - 0.06 * index, shades, 0.85 - 0.2 * index)
            else:
                paint_ridge(self._still, self._rng, top, 0.16, shades, 0.1)


def _drawn_size(width: int, height: int) -> tuple[int, int]:
    """Even, of the format's shape as far as that goes, and not too large to draw in time."""
    scale = min(1.0, _MOST_SIDE / max(width, height))
    scale = max(scale, _LEAST_SIDE / min(width, height)) if min(width, height) < _LEAST_SIDE else scale
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
