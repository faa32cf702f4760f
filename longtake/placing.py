"""Where an edit puts the picture that it works on: how large, where on the canvas, and what of it is kept. Pure.

Sizes and places are even numbers of pixels, for chroma has half as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from longtake.errors import OrderError
from longtake.orders import Reframe, Upscale

MOST_SCALED_PIXELS = 8192 * 8192
"""Of a source made larger, of which the canvas may show a part."""
ONE = Fraction(1)
NOTICEABLE = Fraction(2, 100)
LANCZOS_REACH = 3
"""Samples on either side, of the coarser of the two pictures."""
MOST_OFF = Fraction(1, 32)
"""Of a source's pixel: so far a part of it that is scaled alone may lie from where it would lie in the whole."""
LARGE = 4
"""Times; of a source made so much larger an even number of pixels is near enough anywhere."""
SNAP = 4
"""So few pixels short of the canvas's side are no margin, they are what sizes are rounded by."""


class Rectangle(NamedTuple):
    """Pixels `[left, right)` by `[top, bottom)`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def within(self, other: Rectangle) -> Rectangle:
        """What both have in common; it may be empty, with a width or a height below 1."""
        low = max(self.left, other.left), max(self.top, other.top)
        return Rectangle(*low, min(self.right, other.right), min(self.bottom, other.bottom))

    def moved(self, x: int, y: int) -> Rectangle:
        return Rectangle(self.left + x, self.top + y, self.right + x, self.bottom + y)


@dataclass(frozen=True, slots=True)
class Placement:
    """A scaled source on a canvas, both measured in the canvas's pixels."""

    canvas: tuple[int, int]
    """Width and height."""
    source: Rectangle
    """Where the whole source would stand; parts of it may lie outside the canvas."""
    kept: Rectangle
    """What of the canvas shows the source; around it the picture is continued."""
    notes: tuple[str, ...]

    @property
    def is_full(self) -> bool:
        """The source covers the whole canvas."""
        return self.kept == Rectangle(0, 0, *self.canvas)


def place(edit: Upscale | Reframe, width: Fraction, height: Fraction) -> Placement:
    """Where a source of this size, in square pixels as it is shown, comes to stand. Raises OrderError."""
    return _enlarged(edit, width, height) if isinstance(edit, Upscale) else _reframed(edit, width, height)


def _enlarged(edit: Upscale, width: Fraction, height: Fraction) -> Placement:
    short = min(width, height)
    made = _even(edit.short_side)
    if made <= short:
        rounded = f", which makes {made}: sizes are even" if made != edit.short_side else ""
        raise OrderError(
            f"upscale makes it larger: resolution must be above its {round(short)}p, got {edit.short_side}p{rounded}",
            field="resolution",
        )
    size = _even(width * edit.short_side / short), _even(height * edit.short_side / short)
    whole = Rectangle(0, 0, *size)
    done = f"Enlarged from {round(width)}x{round(height)} to {size[0]}x{size[1]}"
    return Placement(size, whole, whole, (f"{done} by Lanczos resampling: no model adds detail.",))


def _reframed(edit: Reframe, width: Fraction, height: Fraction) -> Placement:
    canvas = edit.canvas
    across = _bounds(edit.x_start, edit.x_end, canvas[0])
    down = _bounds(edit.y_start, edit.y_end, canvas[1])
    bounds = Rectangle(across[0], down[0], across[1], down[1])
    size = _scaled_size(edit, bounds, width, height)
    if size[0] * size[1] > MOST_SCALED_PIXELS:
        raise OrderError(
            f"the source may be made {MOST_SCALED_PIXELS} pixels large at most, got {size[0]}x{size[1]}",
            field="resized_width" if edit.resized_width else "resized_height",
        )
    left = _corner(edit.grid_position_x, size[0], *across)
    top = _corner(edit.grid_position_y, size[1], *down)
    source = Rectangle(left, top, left + size[0], top + size[1])
    kept = source.within(bounds)
    if kept.width < 2 or kept.height < 2:
        axis = "x" if kept.width < 2 else "y"
        raise OrderError(
            f"nothing of the source would be seen: it is {size[0]}x{size[1]} at {left}, {top}, outside of the bounds"
            f" {bounds.left} to {bounds.right} by {bounds.top} to {bounds.bottom}",
            field=f"grid_position_{axis}",
        )
    return Placement(canvas, source, kept, tuple(_remarks(edit, canvas, source, kept, width, height)))


def _bounds(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """Even ones along one axis, and two pixels at least between them: one pixel is not rounded to none."""
    high = _even(size if end is None else end)
    return min(_even(start or 0), high - 2), high


def _corner(asked: int | None, size: int, low: int, high: int) -> int:
    """Where along one axis a source begins: as asked, or in the middle of the bounds; even. What reaches into them
    by one pixel reaches into them by two.
    """
    at = Fraction(low + high - size, 2) if asked is None else asked
    found = _even(at)
    return min(max(found, low + 2 - size), high - 2) if low - size < at < high else found


def _scaled_size(edit: Reframe, bounds: Rectangle, width: Fraction, height: Fraction) -> tuple[int, int]:
    """Of the whole source."""
    wide, high = edit.resized_width, edit.resized_height
    if wide is not None and high is not None:
        return _even(wide), _even(high)
    if wide is not None:
        return _even(wide), _even(wide * height / width)
    if high is not None:
        return _even(high * width / height), _even(high)
    across, down = bounds.width / width, bounds.height / height
    is_bounded = any(end is not None for end in (edit.x_start, edit.x_end, edit.y_start, edit.y_end))
    scale = max(across, down) if is_bounded else min(across, down)
    size = width * scale, height * scale
    sides = zip(size, (bounds.width, bounds.height), strict=True)
    found = [side if abs(own - side) < SNAP else _even(own) for own, side in sides]
    return found[0], found[1]


def part_seen(placed: Placement, width: int, height: int) -> tuple[Rectangle, Rectangle]:
    """What of a source of `width` x `height` stored pixels is to be scaled, for `placed.kept` to be as if all were.

    In the source's own pixels, and where on the canvas it comes to stand; all even. It holds what the filters reach,
    and begins and ends where its scale is the whole's, or nearly: see `MOST_OFF` and `LARGE`.
    """
    source, kept = placed.source, placed.kept
    left, right = _sides_seen(kept.left - source.left, kept.right - source.left, width, source.width)
    top, bottom = _sides_seen(kept.top - source.top, kept.bottom - source.top, height, source.height)
    of_source, made = (Rectangle(*sides) for sides in zip(left, top, right, bottom, strict=True))
    return of_source, made.moved(source.left, source.top)


def _sides_seen(start: int, stop: int, size: int, scaled: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Along one axis of `size` pixels that become `scaled` ones, of which `[start, stop)` are seen: where the part
    begins and where it ends, each in the source's pixels and in those that are made.
    """
    scale = Fraction(scaled, size)
    # Chroma has half as many samples; after FFmpeg's filter they are moved, by another of a few samples (`Scaler`).
    scaling, moving = LANCZOS_REACH / min(ONE, scale), (LANCZOS_REACH + 1 + abs(scale - 1) / 4) / scale
    reach = ceil(2 * (scaling + moving)) + 2
    most_off = ONE if scale >= LARGE else MOST_OFF * max(ONE, scale)

    def is_in_place(at: int) -> bool:
        return abs(_even(at * scale) - at * scale) <= most_off

    first = max(0, floor(start / scale) - reach) // 2 * 2
    last = min(size, -(-(ceil(stop / scale) + reach) // 2) * 2)
    first = next((at for at in range(first, 0, -2) if is_in_place(at)), 0)
    last = next((at for at in range(last, size, 2) if is_in_place(at)), size)
    return (first, _even(first * scale)), (last, _even(last * scale))


def _remarks(
    edit: Reframe, canvas: tuple[int, int], source: Rectangle, kept: Rectangle, width: Fraction, height: Fraction
) -> list[str]:
    remarks = []
    if kept != Rectangle(0, 0, *canvas):
        remarks.append(
            f"The picture is {kept.width}x{kept.height} at {kept.left}, {kept.top} of {canvas[0]}x{canvas[1]}; around"
            " it the motion engine continues it by its blurred mirror image and invents nothing."
        )
    if kept != source:
        cut = f"{kept.width}x{kept.height} of its {source.width}x{source.height} pixels are kept"
        remarks.append(f"The source was cut: {cut}.")
    stretch = source.width * height / (source.height * width)
    if abs(stretch - 1) > NOTICEABLE:
        remarks.append(f"The source was stretched {float(stretch):.2f} times in width, as its resized sides say.")
    given = [
        getattr(edit, name) for name in edit.__dataclass_fields__ if name.startswith(("resized", "grid", "x", "y"))
    ]
    if any(value is not None and value % 2 for value in given):
        remarks.append("Places and sizes were rounded to even pixels.")
    return remarks


def _even(value: Fraction | int) -> int:
    """The nearest even number; not 0 for what is above it."""
    found = 2 * round(Fraction(value) / 2)
    return max(found, 2) if value >= 1 and not found else found
