"""What a video is made of, before any byte is touched: its format, its ends, exact time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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


class Colour(NamedTuple):
    """How samples mean colours: the code points of ISO/IEC 23091-2, as a stream is tagged. 2 is *not said*."""

    primaries: int
    transfer: int
    matrix: int
    range: int
    """FFmpeg's numbers: 0 not said, 1 limited, 2 full."""


BT709 = Colour(1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Coding:
    """How frames are coded, and to be shown: what a segment has to match to stand beside others in one timeline."""

    codec: str = "h264"
    """FFmpeg's name."""
    pix_fmt: str = "yuv420p"
    """FFmpeg's name; full range is said in `colour`, never as yuvj420p."""
    colour: Colour = BT709
    sample_aspect: Fraction = Fraction(1)
    """Of a pixel as stored."""
    rotation: int = 0
    """Degrees counter-clockwise that the stored picture has to be turned to be upright: 0, 90, 180 or 270."""
    interlaced: bool = False
    """Frames may be two fields. Readers give each as one progressive frame; new ones are coded progressive."""

    def __str__(self) -> str:
        facts = [f"{self.codec} {self.pix_fmt}"]
        if self.colour != BT709:
            facts.append("colours tagged {}-{}-{}-{}".format(*self.colour))
        if self.sample_aspect != 1:
            facts.append(f"pixels of {self.sample_aspect}")
        if self.rotation:
            facts.append(f"turned by {self.rotation}°")
        if self.interlaced:
            facts.append("interlaced")
        return ", ".join(facts)


HOUSE = Coding()
"""What we make from nothing."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The geometry, the clock and the coding of a video."""

    width: int
    height: int
    """Upright, in pixels as stored: not stretched by `coding.sample_aspect`."""
    frame_rate: Fraction
    """Frames per second, exact: Fraction(30000, 1001), never 29.97. Of new frames; kept ones may have `Stamps`."""
    coding: Coding = HOUSE

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2:
            raise ValueError(f"width and height must be 2 or more, got {self.width}x{self.height}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"width and height must be even (4:2:0 chroma), got {self.width}x{self.height}")
        if self.frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive, got {self.frame_rate}")

    def __str__(self) -> str:
        size = f"{self.width}x{self.height} at {float(self.frame_rate):g} fps"
        return size if self.coding == HOUSE else f"{size} ({self.coding})"

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height before it is turned upright."""
        return (self.height, self.width) if self.coding.rotation % 180 else (self.width, self.height)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a pixel when the picture is upright."""
        aspect = self.coding.sample_aspect
        return 1 / aspect if self.coding.rotation % 180 else aspect

    def num_frames(self, seconds: Fraction) -> int:
        """The number of whole frames nearest to `seconds`; at least one. Ties go up."""
        return max(1, int(seconds * self.frame_rate + Fraction(1, 2)))

    def seconds(self, num_frames: int) -> Fraction:
        """How long `num_frames` last, exactly."""
        return Fraction(num_frames) / self.frame_rate

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"width": self.width, "height": self.height, "frame_rate": str(self.frame_rate)}
        if self.coding != HOUSE:
            coding = asdict(self.coding) | {"colour": list(self.coding.colour)}
            data["coding"] = coding | {"sample_aspect": str(self.coding.sample_aspect)}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> VideoFormat:
        coding = HOUSE
        if found := data.get("coding"):
            exact = {"colour": Colour(*found["colour"]), "sample_aspect": Fraction(found["sample_aspect"])}
            coding = Coding(**(found | exact))
        return cls(data["width"], data["height"], Fraction(data["frame_rate"]), coding)


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
