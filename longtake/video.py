"""What a video is made of, before any byte is touched: its format, its ends, exact time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

End = Literal["nothing", "still", "clip"]
"""What can stand at either end of a shot."""


class Cell(NamedTuple):
    """One of the nine cells of the shot table: what comes before the new frames, and what after."""

    before: End
    after: End

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


CELLS: tuple[Cell, ...] = tuple(
    Cell(before, after) for before in ("nothing", "still", "clip") for after in ("nothing", "still", "clip")
)


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The geometry and the clock of a video."""

    width: int
    height: int
    frame_rate: Fraction
    """Frames per second, exact: Fraction(30000, 1001), never 29.97."""

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2:
            raise ValueError(f"width and height must be 2 or more, got {self.width}x{self.height}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"width and height must be even (4:2:0 chroma), got {self.width}x{self.height}")
        if self.frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive, got {self.frame_rate}")

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {float(self.frame_rate):g} fps"

    def num_frames(self, seconds: Fraction) -> int:
        """The number of whole frames nearest to `seconds`; at least one. Ties go up."""
        return max(1, int(seconds * self.frame_rate + Fraction(1, 2)))

    def seconds(self, num_frames: int) -> Fraction:
        """How long `num_frames` last, exactly."""
        return Fraction(num_frames) / self.frame_rate

    def to_json(self) -> dict[str, Any]:
        return {"width": self.width, "height": self.height, "frame_rate": str(self.frame_rate)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> VideoFormat:
        return cls(data["width"], data["height"], Fraction(data["frame_rate"]))


@dataclass(frozen=True, slots=True)
class Still:
    """One image given by the user, in the store: upright, as sRGB, metadata removed."""

    key: str
    width: int
    height: int

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "width": self.width, "height": self.height}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Still:
        return cls(data["key"], data["width"], data["height"])
