"""What can be asked: one frozen order, checked here, the same from every protocol.

Fields in errors are written as in the seed's JSON (`keyframes.frame0.at`): every wire shares these names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar, Literal

from longtake.errors import OrderError
from longtake.video import Cell, End

PROMPT_LIMIT = 5000
"""The longest prompt of any protocol, in characters; a wire may allow less."""
ASPECT_LIMITS = (Fraction(9, 21), Fraction(21, 9))
RESOLUTIONS = {"540p": 540, "720p": 720, "1080p": 1080, "4k": 2160}
"""The short side in pixels."""
NTSC_RATES = {23.976: 24000, 29.97: 30000, 47.952: 48000, 59.94: 60000, 119.88: 120000}
"""As people write them → the numerator over 1001."""
MOST_RATE_DENOMINATOR = 1001
"""Of a frame rate: that of the NTSC rates. Numerators up to 120 × 1001 fit every container's 32 bits."""
MOST_TAKES = 4
MOST_PRIORITY = 9
MOST_RESIZED = 16384
"""Pixels: how large a source may be made, and how far off it may be put."""
SOUNDS = ("silence", "continue")
LOOP_CELLS = frozenset({Cell("nothing", "nothing"), Cell("still", "nothing"), Cell("clip", "nothing")})


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One end of the shot, as the client names it: an image, or a video made or brought before."""

    type: Literal["image", "generation", "video"]
    url: str | None = None
    upload: str | None = None
    id: str | None = None
    """A generation's."""
    at: Fraction | None = None
    """Seconds into the video: it is cut there, and the new part goes on from (or leads up to) that frame."""

    def check(self, field: str) -> None:
        given = [name for name in ("url", "upload", "id") if getattr(self, name) is not None]
        allowed = {"image": ("url", "upload"), "video": ("url", "upload"), "generation": ("id",)}[self.type]
        if len(given) != 1 or given[0] not in allowed:
            wanted = " or ".join(allowed)
            raise OrderError(
                f"a frame of type {self.type} needs exactly one of {wanted}, got {' and '.join(given) or 'none'}",
                field=field,
            )
        if self.at is not None and self.type == "image":
            raise OrderError(
                "an image has no time to cut at: at goes with a generation or a video", field=f"{field}.at"
            )
        if self.at is not None and self.at < 0:
            raise OrderError(f"at must be 0 seconds or more, got {float(self.at):g}", field=f"{field}.at")

    @property
    def end(self) -> End:
        return "still" if self.type == "image" else "clip"


@dataclass(frozen=True, slots=True)
class Upscale:
    """Another edit of a video made before: the same frames, larger."""

    short_side: int
    """Of what is made, in pixels; more than the video's own."""

    kind: ClassVar = "upscale"

    def __post_init__(self) -> None:
        _check_short_side(self.short_side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reframe:
    """A video or an image placed on a canvas of another shape; around it the picture is continued.

    All places are in pixels of the canvas, whose short side is `short_side`. The source is scaled to `resized_width` x
    `resized_height` (one alone keeps its shape) and its upper left corner put at `grid_position_x`, `grid_position_y`,
    which may lie outside; of it, what is inside the bounds is kept. What is not given: the bounds are the whole canvas,
    the source is as large as it can be without being cut by the canvas, or just so large that it fills bounds that are
    given, and stands in their middle.
    """

    aspect_ratio: tuple[int, int]
    short_side: int = 720
    resized_width: int | None = None
    resized_height: int | None = None
    grid_position_x: int | None = None
    grid_position_y: int | None = None
    x_start: int | None = None
    x_end: int | None = None
    y_start: int | None = None
    y_end: int | None = None

    kind: ClassVar = "reframe"

    def __post_init__(self) -> None:
        _check_aspect_ratio(self.aspect_ratio)
        _check_short_side(self.short_side)
        for name, size in (("resized_width", self.resized_width), ("resized_height", self.resized_height)):
            if size is not None and not 16 <= size <= MOST_RESIZED:
                raise OrderError(f"{name} must be from 16 to {MOST_RESIZED} pixels, got {size}", field=name)
        for name, place in (("grid_position_x", self.grid_position_x), ("grid_position_y", self.grid_position_y)):
            if place is not None and abs(place) > MOST_RESIZED:
                raise OrderError(f"{name} must be from -{MOST_RESIZED} to {MOST_RESIZED}, got {place}", field=name)
        for axis, start, end, size in zip(
            "xy", (self.x_start, self.y_start), (self.x_end, self.y_end), self.canvas, strict=True
        ):
            low, high = start or 0, size if end is None else end
            if not 0 <= low < size:
                raise OrderError(f"{axis}_start must be from 0 to {size - 1}, got {low}", field=f"{axis}_start")
            if not low < high <= size:
                raise OrderError(
                    f"{axis}_end must be from {low + 1} to {size}, the canvas's, got {high}", field=f"{axis}_end"
                )

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of what is made: even, the short side as asked for."""
        wide, high = self.aspect_ratio
        short = self.short_side // 2 * 2
        long = round(self.short_side * Fraction(max(wide, high), min(wide, high)) / 2) * 2
        return (long, short) if wide >= high else (short, long)


Edit = Upscale | Reframe


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client asks for. Nothing in it is looked up yet: addresses and ids are as given."""

    prompt: str = ""
    negative_prompt: str = ""
    before: KeyFrame | None = None
    after: KeyFrame | None = None
    model: str = "ray-2"
    seconds: Fraction = Fraction(5)
    aspect_ratio: tuple[int, int] = (16, 9)
    short_side: int = 720
    frame_rate: Fraction = Fraction(24)
    loop: bool = False
    concepts: tuple[str, ...] = ()
    seed: int | None = None
    """None: one is drawn when the order is taken, and written into the answer."""
    takes: int = 1
    """So many are rendered, with this seed and those that follow it, and the best one is kept."""
    sound: Literal["silence", "continue"] = "silence"
    """Under the new part: none, or ambient sound that goes on from the footage's own."""
    callback_url: str | None = None
    priority: int = 0
    """Among the waiting orders of its account those with a greater one go first; across accounts it says nothing."""
    edit: Edit | None = None
    """Frames that are there are made anew: those of `before`, which is all that stands beside it. An image is shown for
    `seconds`; a video keeps its length, its rate and its sound. None: new frames are rendered."""

    def __post_init__(self) -> None:
        if len(self.prompt) > PROMPT_LIMIT:
            raise OrderError(
                f"prompt must have at most {PROMPT_LIMIT} characters, got {len(self.prompt)}", field="prompt"
            )
        if not Fraction(1, 10) <= self.seconds <= 600:
            raise OrderError(f"duration must be from 0.1 to 600 seconds, got {float(self.seconds):g}", field="duration")
        _check_aspect_ratio(self.aspect_ratio)
        _check_short_side(self.short_side)
        _check_frame_rate(self.frame_rate)
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise OrderError(f"seed must be from 0 to {2**32 - 1}, got {self.seed}", field="seed")
        if not 1 <= self.takes <= MOST_TAKES:
            raise OrderError(f"takes must be from 1 to {MOST_TAKES}, got {self.takes}", field="takes")
        if self.sound not in SOUNDS:
            raise OrderError(f"sound must be {' or '.join(SOUNDS)}, got {self.sound[:80]}", field="sound")
        if not 0 <= self.priority <= MOST_PRIORITY:
            raise OrderError(f"priority must be from 0 to {MOST_PRIORITY}, got {self.priority}", field="priority")
        self._check_ends()

    def _check_ends(self) -> None:
        for frame, field in ((self.before, "keyframes.frame0"), (self.after, "keyframes.frame1")):
            if frame is not None:
                frame.check(field)
        if self.loop and self.cell not in LOOP_CELLS:
            raise OrderError(
                f"loop needs an open end: frame1 must be left out, got a {self.cell.after} there",
                field="loop",
            )
        if self.edit:
            self._check_edit(self.edit)

    def _check_edit(self, edit: Edit) -> None:
        if self.before is None:
            raise OrderError(f"{edit.kind} needs something to work on, got nothing", field="keyframes.frame0")
        if edit.kind == "upscale" and self.before.type != "generation":
            raise OrderError(f"upscale needs a generation, got {self.before.type}", field="keyframes.frame0")
        if self.before.at is not None:
            raise OrderError(f"{edit.kind} takes the whole video: at must be left out", field="keyframes.frame0.at")
        if self.after is not None:
            raise OrderError(f"{edit.kind} takes one video or image, got two", field="keyframes.frame1")
        for field, given in (
            ("loop", self.loop),
            ("concepts", self.concepts),
            ("takes", self.takes > 1),
            ("sound", self.sound != "silence"),
        ):
            if given:
                raise OrderError(f"{edit.kind} makes no new moments: {field} must be left out", field=field)

    @property
    def cell(self) -> Cell:
        return Cell(
            self.before.end if self.before else "nothing",
            self.after.end if self.after else "nothing",
        )

    @property
    def ends(self) -> tuple[tuple[Literal["frame0", "frame1"], KeyFrame], ...]:
        """The ends that are given, with the names that the wire has for them."""
        ends: list[tuple[Literal["frame0", "frame1"], KeyFrame]] = []
        if self.before:
            ends.append(("frame0", self.before))
        if self.after:
            ends.append(("frame1", self.after))
        return tuple(ends)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fraction):
                value = str(value)
            elif isinstance(value, KeyFrame):
                value = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) is not None}
                if "at" in value:
                    value["at"] = str(value["at"])
            elif isinstance(value, Upscale | Reframe):
                value = {"kind": value.kind} | asdict(value)
            elif isinstance(value, tuple):
                value = list(value)
            data[field.name] = value
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        def frame(value: dict[str, Any] | None) -> KeyFrame | None:
            if value is None:
                return None
            return KeyFrame(**{**value, "at": Fraction(value["at"]) if "at" in value else None})

        return cls(
            **{
                **data,
                "before": frame(data["before"]),
                "after": frame(data["after"]),
                "seconds": Fraction(data["seconds"]),
                "frame_rate": Fraction(data["frame_rate"]),
                "aspect_ratio": tuple(data["aspect_ratio"]),
                "concepts": tuple(data["concepts"]),
                "edit": _edit_from_json(data.get("edit")),
            }
        )


def _edit_from_json(data: dict[str, Any] | None) -> Edit | None:
    if data is None:
        return None
    given = {name: value for name, value in data.items() if name != "kind"}
    if data["kind"] == Upscale.kind:
        return Upscale(**given)
    return Reframe(**given | {"aspect_ratio": tuple(given["aspect_ratio"])})


def _check_aspect_ratio(aspect_ratio: tuple[int, int]) -> None:
    width, height = aspect_ratio
    least, most = ASPECT_LIMITS
    if width < 1 or height < 1 or not least <= Fraction(width, height) <= most:
        raise OrderError(f"aspect_ratio must be W:H from 9:21 to 21:9, got {width}:{height}", field="aspect_ratio")


def _check_short_side(short_side: int) -> None:
    if not 64 <= short_side <= 4096:
        raise OrderError(f"the short side must be from 64 to 4096 pixels, got {short_side}", field="resolution")


def _check_frame_rate(frame_rate: Fraction) -> None:
    if not 1 <= frame_rate <= 120:
        raise OrderError(f"fps must be from 1 to 120, got {float(frame_rate):g}", field="fps")
    if frame_rate.denominator > MOST_RATE_DENOMINATOR:
        raise OrderError(f"fps must be a fraction over {MOST_RATE_DENOMINATOR} at most, got {frame_rate}", field="fps")


def parse_aspect_ratio(text: str) -> tuple[int, int]:
    """`"16:9"` → `(16, 9)`. Raises OrderError."""
    width, colon, height = text.partition(":")
    if not (colon and width.isascii() and height.isascii() and width.isdigit() and height.isdigit() and len(text) < 12):
        raise OrderError('aspect_ratio must be W:H from 9:21 to 21:9, such as "16:9"', field="aspect_ratio")
    return int(width), int(height)


def parse_resolution(text: str) -> int:
    """`"720p"` → `720`, the short side in pixels. Raises OrderError."""
    if text not in RESOLUTIONS:
        raise OrderError(f"resolution must be one of {', '.join(RESOLUTIONS)}", field="resolution")
    return RESOLUTIONS[text]


def parse_frame_rate(fps: float | Fraction) -> Fraction:
    """29.97 → 30000/1001, and the other NTSC rates; else the nearest fraction over 1001 at most: 12.5 → 25/2."""
    for written, numerator in NTSC_RATES.items():
        if abs(fps - written) < 0.005 and not float(fps).is_integer():
            return Fraction(numerator, 1001)
    return Fraction(str(fps)).limit_denominator(MOST_RATE_DENOMINATOR)
