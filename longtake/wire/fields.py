"""Fields that several wires have in common: strict pydantic types, and what they stand for in an order."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from longtake.errors import OrderError
from longtake.orders import KeyFrame, parse_aspect_ratio, parse_resolution
from longtake.planning import Extent
from longtake.wire.links import Links

DATA_URL_LIMIT = 200
"""Characters of a `data:` URL that an answer's `request` repeats."""
URL_PATTERN = "^(?i:https?://|data:)"
CALLBACK_PATTERN = "^(?i:https?://)"
BEFORE = "What comes before the new frames: they start at this image, or go on after this video."
AFTER = "What comes after the new frames: they end at this image, or lead up to this video."
NOT_BLANK_PATTERN = r"\S"
ASPECT_RATIO_PATTERN = "^[0-9]{1,5}:[0-9]{1,5}$"


class Strict(BaseModel):
    """Takes nothing for something else: no unknown field, no number in a string."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _check_aspect_ratio(text: str) -> str:
    try:
        parse_aspect_ratio(text)
    except OrderError as error:
        raise ValueError(error.message) from None
    return text


Url = Annotated[
    str,
    Field(
        min_length=1,
        pattern=URL_PATTERN,
        description="An `https:`, `http:` or `data:` address.",
        examples=["https://example.com/image1.png"],
        json_schema_extra={"format": "uri"},
    ),
]
CallbackUrl = Annotated[
    str,
    Field(
        min_length=1,
        pattern=CALLBACK_PATTERN,
        description="Is sent the generation as it starts and as it ends.",
        examples=["https://example.com/hook"],
        json_schema_extra={"format": "uri"},
    ),
]
Id = Annotated[str, Field(min_length=1, max_length=200, examples=["755f9bbb-d99b-4880-992b-f05244ddba61"])]
AspectRatio = Annotated[
    str,
    Field(
        pattern=ASPECT_RATIO_PATTERN,
        description="Width to height, from 9:21 to 21:9. An extension has its video's.",
        examples=["16:9", "19:9"],
        json_schema_extra={"format": "aspect-ratio"},
    ),
    AfterValidator(_check_aspect_ratio),
]
Resolution = Annotated[
    Literal["540p", "720p", "1080p", "4k"],
    Field(description="The short side, in pixels. An extension has its video's."),
]
Duration = Annotated[Literal["5s", "9s", "5", "9", 5, 9], Field(description="Of the new part, in seconds.")]
Model = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="One that this server has.",
        examples=["ray-2"],
        json_schema_extra={"format": "model"},
    ),
]
Loop = Annotated[bool, Field(description="Make the end of the video lead back to its start.")]
OnlyVideo = Annotated[Literal["video"], Field(description="There is only this.")]


def _as_whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_as_whole)
"""After an integer's limits: takes `8.0`, which is an integer to JSON."""


def one_of(*names: str) -> dict[str, Any]:
    """Of a schema: one of these is given, and the others are not."""
    null, given = {"type": "null"}, {"type": "string"}
    return {
        "oneOf": [
            {"required": [name], "properties": {other: given if other == name else null for other in names}}
            for name in names
        ]
    }


def never_looped(frames: str) -> dict[str, Any]:
    """Of a schema: there is no loop where something comes after the new frames."""
    after = {"type": "object", "required": ["frame1"], "properties": {"frame1": {"type": "object"}}}
    return {"not": {"required": ["loop", frames], "properties": {"loop": {"const": True}, frames: after}}}


class ImageFrame(Strict):
    """A still, from an address."""

    type: Literal["image"]
    url: Url


class GenerationFrame(Strict):
    """A video made before."""

    type: Literal["generation"]
    id: Id


Frame = Annotated[ImageFrame | GenerationFrame, Field(discriminator="type")]


class Keyframes(Strict):
    """The two ends of the shot: what comes before the new frames, and what after."""

    frame0: Annotated[Frame | None, Field(description=BEFORE)] = None
    frame1: Annotated[Frame | None, Field(description=AFTER)] = None


class ShotBody(Strict):
    """What the published body and our own have in common.

    Both add `keyframes`, which may also be called `keywords`, as the published page does in its prose.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"not": {"required": ["keyframes", "keywords"]}},
                never_looped("keyframes"),
                never_looped("keywords"),
            ]
        }
    )
    aspect_ratio: AspectRatio = "16:9"
    loop: Loop = False
    model: Model = "ray-2"
    resolution: Resolution | None = "720p"
    generation_type: OnlyVideo = "video"
    callback_url: CallbackUrl | None = None

    def shared_order(self) -> dict[str, Any]:
        """The arguments of `Order` that these fields stand for. Raises OrderError."""
        return {
            "model": plain_model(self.model),
            "aspect_ratio": parse_aspect_ratio(self.aspect_ratio),
            "short_side": parse_resolution(self.resolution or "720p"),
            "loop": self.loop,
            "callback_url": self.callback_url,
        }

    def shared_request(self) -> dict[str, Any]:
        """The body with its defaults filled in, in the one spelling."""
        filled = shown(self)
        keywords = filled.pop("keywords")
        return {
            **filled,
            "model": plain_model(self.model),
            "keyframes": filled["keyframes"] or keywords,
            "resolution": self.resolution or "720p",
        }

    def frames_name(self) -> str:
        """The name that the client used. Raises OrderError where it used both."""
        if {"keyframes", "keywords"} <= self.model_fields_set:
            raise OrderError("keyframes and keywords are two names of one field: give one of them", field="keywords")
        return "keywords" if "keywords" in self.model_fields_set else "keyframes"


def duration_seconds(duration: str | int | None) -> Fraction:
    """`5`, `"5"`, `"5s"` → 5; None → the default."""
    return Fraction(5 if duration is None else int(str(duration).removesuffix("s")))


def plain_id(id: str) -> str:
    """`<uuid>:luma/ray-2` → `<uuid>`."""
    return id.partition(":")[0]


def plain_model(model: str) -> str:
    """`luma/ray-2` → `ray-2`: the universal form's name for the same model."""
    return model.removeprefix("luma/")


def simple_frame(
    frame: ImageFrame | GenerationFrame | None, field: str, links: Links, base_url: str
) -> KeyFrame | None:
    """The end of a shot as the published protocol names it. Raises OrderError."""
    if isinstance(frame, ImageFrame):
        return links.key_frame("image", frame.url, base_url, f"{field}.url")
    return KeyFrame(type="generation", id=plain_id(frame.id)) if frame else None


def shown(body: BaseModel) -> dict[str, Any]:
    """The body as an answer's `request` repeats it: defaults filled in, the bytes of `data:` URLs left out."""

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shorten(inner) for name, inner in value.items()}
        if isinstance(value, str) and value[:5].lower() == "data:" and len(value) > DATA_URL_LIMIT:
            return f"{value[: value.find(',') + 1][:DATA_URL_LIMIT]}… ({len(value)} characters)"
        return value

    filled: dict[str, Any] = shorten(body.model_dump(mode="json"))
    return filled


def aspect_ratio_of(extent: Extent) -> str:
    """`16:9`, in lowest terms."""
    ratio = Fraction(extent.format.width, extent.format.height) * extent.format.pixel_aspect
    return f"{ratio.numerator}:{ratio.denominator}"
