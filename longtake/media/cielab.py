"""Colours as people see them: CIE Lab, and the CIEDE2000 difference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Lab = npt.NDArray[np.float64]

SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""IEC 61966-2-1, relative to D65."""
WHITE = SRGB_TO_XYZ.sum(axis=1)


def rgb_to_lab(rgb: npt.NDArray[np.uint8]) -> Lab:
    """`(…, 3)` sRGB, 0 to 255 → `(…, 3)` L*, a*, b* under D65 (CIE 15:2004)."""
    encoded = rgb.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = linear @ SRGB_TO_XYZ.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(first: Lab, second: Lab) -> float:
    """The difference ΔE00 of two Lab colours, k_L = k_C = k_H = 1.

    Sharma, Wu, Dalal: "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
    mathematical observations", Color Research and Application 30(1), 2005; equation numbers are theirs.
    """
    (l1, a1, b1), (l2, a2, b2) = (map(float, colour) for colour in (first, second))
    chroma_mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma_mean**7 / (chroma_mean**7 + 25.0**7)))  # (4)
    a1, a2 = (1 + g) * a1, (1 + g) * a2  # (5)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)  # (6)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360  # (7)
    grey = c1 * c2 == 0
    turn = 0.0 if grey else (h2 - h1 + 180) % 360 - 180  # (10)
    if turn == -180:
        turn = 180.0
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))  # (11)
    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2  # (12), (13)
    h_mean = _mean_hue(h1, h2, grey)  # (14)
    t = (
        1
        - 0.17 * np.cos(np.radians(h_mean - 30))
        + 0.24 * np.cos(np.radians(2 * h_mean))
        + 0.32 * np.cos(np.radians(3 * h_mean + 6))
        - 0.20 * np.cos(np.radians(4 * h_mean - 63))
    )  # (15)
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)  # (18)
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t  # (19), (20)
    r_c = 2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7))  # (17)
    r_t = -np.sin(np.radians(60 * np.exp(-(((h_mean - 275) / 25) ** 2)))) * r_c  # (16), (21)
    lightness, chroma, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, delta_h / s_h
    return float(np.sqrt(lightness**2 + chroma**2 + hue**2 + r_t * chroma * hue))  # (22)


def _mean_hue(h1: float, h2: float, grey: bool) -> float:
    if grey:
        return h1 + h2
    if abs(h1 - h2) <= 180:
        return (h1 + h2) / 2
    return (h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2
