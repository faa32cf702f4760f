"""High dynamic range → standard: PQ and HLG pictures in BT.2020, as a BT.709 screen shows them.

The curve is the EETF of Report ITU-R BT.2390 (5.4.1), on the largest of R, G and B so that hues stay; diffuse white is
203 cd/m² (Report ITU-R BT.2408). Transfer functions are those of BT.2100, the screen's that of BT.1886. A table of all
colours is made once for a video, and FFmpeg looks each pixel up in it.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from longtake.media.colour import EXACT, THREADS
from longtake.media.survey import side_data

Light = npt.NDArray[np.float64]
PQ, HLG = 16, 18
"""Transfer characteristics of ISO/IEC 23091-2."""
WHITE: Final = 203.0
"""cd/m², what the whitest of the result stands for."""
HLG_PEAK: Final = 1000.0
USUAL_PEAK: Final = 1000.0
MOST: Final = 10_000.0
SIZE: Final = 49
"""Steps of the table a side."""
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
LUMA_2020: Final = np.array([0.2627, 0.6780, 0.0593])
TO_709: Final = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
"""BT.2020 → BT.709 in linear light (Report ITU-R BT.2407)."""


class ToneMap:
    """Makes the frames of one video SDR."""

    def __init__(self, transfer: int, peak: float) -> None:
        """`transfer` is PQ or HLG, `peak` the brightest of the video in cd/m²."""
        self._table = to_sdr(transfer, peak, _grid())
        self._scaler = VideoReformatter()
        self._graph: Graph | None = None

    def of(self, frame: VideoFrame) -> VideoFrame:
        """RGB in full range, 12 bits, BT.709; the time stamp stays."""
        full = frame.color_range == ColorRange.JPEG
        rgb = self._scaler.reformat(
            frame,
            format="gbrp12le",
            src_colorspace=Colorspace.BT2020,
            dst_colorspace=Colorspace.BT2020,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
            threads=THREADS,
        )
        self._graph = self._graph or self._made_for(rgb)
        self._graph.vpush(rgb)
        return self._graph.vpull()

    def _made_for(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        with TemporaryDirectory(prefix="longtake-") as folder:
            cube = Path(folder) / "table.cube"
            _write_cube(cube, self._table)
            graph.link_nodes(source, graph.add("lut3d", f"file={cube}"), graph.add("buffersink")).configure()
        return graph


def peak_of(frame: VideoFrame) -> float:
    """The brightest of a video in cd/m², as a frame of it says: MaxCLL, or the mastering screen's, or what is usual."""
    light, screen = side_data(frame, Type.CONTENT_LIGHT_LEVEL), side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if len(light) >= 4 and (level := int.from_bytes(light[:4], sys.byteorder)):
        return min(max(float(level), WHITE), MOST)
    if len(screen) >= 88:  # AVMasteringDisplayMetadata: ten rationals, two flags
        numerator, denominator, _, has_luminance = map(int, struct.unpack_from("=4i", screen, 72))
        if has_luminance and denominator > 0 and numerator > 0:
            return min(max(float(numerator) / denominator, WHITE), MOST)
    return USUAL_PEAK


def to_sdr(transfer: int, peak: float, coded: Light) -> Light:
    """Coded BT.2020 R'G'B', 0 to 1, `(…, 3)` → coded BT.709 R'G'B', 0 to 1."""
    light = _hlg_light(coded) if transfer == HLG else pq_light(coded)
    peak = HLG_PEAK if transfer == HLG else peak
    strongest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    mapped = pq_light(_eetf(pq_code(strongest), pq_code(np.array(peak)), pq_code(np.array(WHITE))))
    shown = (light * mapped / strongest / WHITE) @ TO_709.T
    return np.asarray(_into_gamut(shown) ** (1 / 2.4))


def pq_light(code: Light) -> Light:
    """The EOTF of SMPTE ST 2084: 0 to 1 → cd/m²."""
    power = np.clip(code, 0, 1) ** (1 / M2)
    return np.asarray(MOST * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1))


def pq_code(light: Light) -> Light:
    """Its inverse."""
    power = (np.clip(light, 0, MOST) / MOST) ** M1
    return np.asarray(((C1 + C2 * power) / (1 + C3 * power)) ** M2)


def _hlg_light(code: Light) -> Light:
    """The inverse OETF and the OOTF of a screen of 1000 cd/m² (gamma 1.2)."""
    code = np.clip(code, 0, 1)
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - HLG_C) / HLG_A) + HLG_B) / 12)
    luminance = np.maximum(scene @ LUMA_2020, 1e-9)[..., None]
    return np.asarray(HLG_PEAK * luminance**0.2 * scene)


def _eetf(code: Light, peak: Light, target: Light) -> Light:
    """BT.2390, 5.4.1: PQ codes up to `peak` → up to `target`, unchanged below the knee, black at 0."""
    most = target / peak
    if most >= 1:
        return code
    knee = 1.5 * most - 0.5
    given = np.clip(code / peak, 0, 1)
    t = np.maximum((given - knee) / (1 - knee), 0)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return np.asarray(np.where(given < knee, given, curve) * peak)


def _into_gamut(light: Light) -> Light:
    """Colours that BT.709 has not got are drawn towards grey of their luminance until it has."""
    grey = np.clip(light @ np.array([0.2126, 0.7152, 0.0722]), 0, 1)[..., None]
    away = light - grey
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(away > 0, (1 - grey) / away, np.where(away < 0, -grey / away, np.inf))
    return np.asarray(np.clip(grey + away * np.clip(room.min(axis=-1, keepdims=True), 0, 1), 0, 1))


def _grid() -> Light:
    """All colours in steps: `(SIZE, SIZE, SIZE, 3)`, by blue, green and red, as a .cube file lists them."""
    steps = np.linspace(0, 1, SIZE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    return np.stack([red, green, blue], axis=-1)


def _write_cube(path: Path, table: Light) -> None:
    with path.open("w") as file:
        file.write(f"LUT_3D_SIZE {SIZE}\n")
        np.savetxt(file, table.reshape(-1, 3), fmt="%.6f")
