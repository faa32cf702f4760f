"""The bodies of Luma Dream Machine's protocol, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from longtake.errors import OrderError
from longtake.orders import (
    MOST_RESIZED,
    PROMPT_LIMIT,
    KeyFrame,
    Order,
    Reframe,
    Upscale,
    parse_aspect_ratio,
    parse_resolution,
)
from longtake.video import Cell
from longtake.wire.fields import (
    WHOLE,
    AspectRatio,
    CallbackUrl,
    Duration,
    Id,
    Keyframes,
    Loop,
    Model,
    OnlyVideo,
    Resolution,
    Strict,
    Url,
    duration_seconds,
    never_looped,
    one_of,
    plain_id,
    plain_model,
    shown,
    simple_frame,
)
from longtake.wire.links import Links

LEAST_PROMPT = 3
PROMPT_REQUIRED = "Prompt is required"
PROMPT_SHORT = f"Prompt is too short, minimum length is {LEAST_PROMPT} characters"
PROMPT_LONG = f"Prompt is too long, maximum length is {PROMPT_LIMIT} characters"
NO_KEYFRAMES = "No keyframes provided"
LOOPS_REFUSED = {
    Cell("nothing", "still"): "Loop is not supported for end frame",
    Cell("still", "still"): "Loop is not supported for keyframes",
    Cell("nothing", "clip"): "Loop is not supported for extend reverse",
    Cell("clip", "still"): "Loop is not supported for interpolate video to image",
    Cell("still", "clip"): "Loop is not supported for interpolate image to video",
    Cell("clip", "clip"): "Loop is not supported for interpolate between two videos",
}
TEXTS = frozenset({PROMPT_REQUIRED, PROMPT_SHORT, PROMPT_LONG, NO_KEYFRAMES, *LOOPS_REFUSED.values()})
"""What clients match on: these stand alone in an error, without the field's name ahead of them."""
VIDEO_URL = re.compile(
    r"/media/(?P<key>videos/(?P<id>[0-9a-f-]{36})(?:/[0-9]+-[0-9]+)?\.mp4)\?expires=(?P<expires>[0-9]+)&signature=(?P<signature>[0-9a-f]+)"
)
DEFAULT_MODEL = "ray-2"
DEFAULT_SHAPE = "16:9"
DEFAULT_RESOLUTION: Literal["720p"] = "720p"
DEFAULT_UPSCALE: Literal["1080p"] = "1080p"


def _check_prompt(text: str) -> str:
    if len(text) < LEAST_PROMPT:
        raise ValueError(PROMPT_SHORT)
    if len(text) > PROMPT_LIMIT:
        raise ValueError(PROMPT_LONG)
    return text


Prompt = Annotated[
    str,
    AfterValidator(_check_prompt),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": LEAST_PROMPT,
            "maxLength": PROMPT_LIMIT,
            "description": "What is to be seen.",
            "examples": ["A tiger walking in snow"],
        }
    ),
]
GUIDED = "Refused: no engine is guided by one."
Pixels = Annotated[int, Field(ge=-MOST_RESIZED, le=MOST_RESIZED), WHOLE]
Resized = Annotated[Pixels, Field(json_schema_extra={"minimum": 16})]


FRAMES = ("frame0", "frame1")
IMAGE = {"properties": {"type": {"const": "image"}}}


def _holds(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": [name], "properties": {name: schema}}


def _has_frame(name: str, kind: dict[str, Any] | None = None) -> dict[str, Any]:
    """Of a schema: that end of the shot is given."""
    return _holds("keyframes", {"type": "object", **_holds(name, {"type": "object", **(kind or {})})})


class Concept(Strict):
    """A camera move."""

    key: Annotated[
        str, Field(min_length=1, max_length=60, examples=["pan_left"], json_schema_extra={"format": "camera-move"})
    ]


class CreateBody(Strict):
    """What is to be made. Nulls stand for the defaults; `prompt` may be left out where a keyframe is an image."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"anyOf": [_holds("prompt", {"type": "string"}), *(_has_frame(name, IMAGE) for name in FRAMES)]},
                {"anyOf": [{"properties": {"keyframes": {"type": "null"}}}, *(_has_frame(name) for name in FRAMES)]},
                never_looped("keyframes"),
            ]
        }
    )
    generation_type: OnlyVideo | None = "video"
    model: Model | None = DEFAULT_MODEL
    prompt: Prompt | None = None
    aspect_ratio: AspectRatio | None = DEFAULT_SHAPE
    loop: Loop | None = False
    keyframes: Keyframes | None = None
    concepts: (
        Annotated[
            tuple[Concept, ...],
            Field(max_length=20, strict=False, description="Camera moves: `concepts/list` has them."),
        ]
        | None
    ) = None
    resolution: Resolution | None = DEFAULT_RESOLUTION
    duration: Duration | None = "5s"
    callback_url: CallbackUrl | None = None

    def order(self, links: Links, base_url: str) -> Order:
        """Raises OrderError."""
        frames = self.keyframes or Keyframes()
        if self.keyframes and frames.frame0 is None and frames.frame1 is None:
            raise OrderError(NO_KEYFRAMES, field="keyframes")
        before = simple_frame(frames.frame0, "keyframes.frame0", links, base_url)
        after = simple_frame(frames.frame1, "keyframes.frame1", links, base_url)
        if self.prompt is None and not any(frame and frame.type == "image" for frame in (before, after)):
            raise OrderError(PROMPT_REQUIRED, field="prompt")
        cell = Cell(before.end if before else "nothing", after.end if after else "nothing")
        if self.loop and cell in LOOPS_REFUSED:
            raise OrderError(LOOPS_REFUSED[cell], field="loop")
        return Order(
            prompt=self.prompt or "",
            before=before,
            after=after,
            model=plain_model(self.model or DEFAULT_MODEL),
            seconds=duration_seconds(self.duration),
            aspect_ratio=parse_aspect_ratio(self.aspect_ratio or DEFAULT_SHAPE),
            short_side=parse_resolution(self.resolution or DEFAULT_RESOLUTION),
            loop=bool(self.loop),
            concepts=tuple(concept.key for concept in self.concepts or ()),
            callback_url=self.callback_url,
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in, in the one spelling."""
        spelled = {"model": plain_model(self.model or DEFAULT_MODEL), "duration": f"{duration_seconds(self.duration)}s"}
        return {**_filled(self), **spelled}


class UpscaleBody(Strict):
    """How large the video is to be made."""

    generation_type: Literal["upscale_video"] | None = "upscale_video"
    resolution: Resolution | None = DEFAULT_UPSCALE
    callback_url: CallbackUrl | None = None

    def order(self, id: str, model: str) -> Order:
        """`model`: that of the generation `id`. Raises OrderError."""
        return Order(
            before=KeyFrame(type="generation", id=id),
            model=model,
            edit=Upscale(parse_resolution(self.resolution or DEFAULT_UPSCALE)),
            callback_url=self.callback_url,
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in."""
        return _filled(self)


class Media(Strict):
    """A video: at an address, or made before."""

    model_config = ConfigDict(
        json_schema_extra={
            **one_of("url", "id"),
            "not": {"required": ["url", "type"], "properties": {"url": {"type": "string"}, "type": {"type": "string"}}},
        }
    )
    url: Url | None = None
    type: Literal["generation"] | None = None
    id: Id | None = None

    def key_frame(self, links: Links, base_url: str) -> KeyFrame:
        """The address of a video that was made here stands for its generation. Raises OrderError."""
        if self.id is not None and self.url is None:
            return KeyFrame(type="generation", id=plain_id(self.id))
        if self.url is None or self.id is not None or self.type is not None:
            raise OrderError("give either url, or the id of a generation", field="media")
        own = VIDEO_URL.search(self.url)
        if own and links.seconds_left(own["key"], own["expires"], own["signature"]) is not None:
            return KeyFrame(type="generation", id=own["id"])
        return links.key_frame("video", self.url, base_url, "media.url")


class FirstFrame(Strict):
    url: Url


class ReframeBody(Strict):
    """A video in another shape. Places are pixels of what is made; around the video its picture is continued."""

    generation_type: Literal["reframe_video"] | None = "reframe_video"
    model: Model | None = DEFAULT_MODEL
    media: Media
    aspect_ratio: AspectRatio
    prompt: Prompt | None = None
    resolution: Resolution | None = DEFAULT_RESOLUTION
    first_frame: Annotated[FirstFrame | None, WithJsonSchema({"type": "null", "description": GUIDED})] = None
    resized_width: Resized | None = None
    resized_height: Resized | None = None
    grid_position_x: Pixels | None = None
    grid_position_y: Pixels | None = None
    x_start: Pixels | None = None
    x_end: Pixels | None = None
    y_start: Pixels | None = None
    y_end: Pixels | None = None
    callback_url: CallbackUrl | None = None

    def order(self, links: Links, base_url: str) -> Order:
        """Raises OrderError."""
        edit = Reframe(
            aspect_ratio=parse_aspect_ratio(self.aspect_ratio),
            short_side=parse_resolution(self.resolution or DEFAULT_RESOLUTION),
            resized_width=self.resized_width,
            resized_height=self.resized_height,
            grid_position_x=self.grid_position_x,
            grid_position_y=self.grid_position_y,
            x_start=self.x_start,
            x_end=self.x_end,
            y_start=self.y_start,
            y_end=self.y_end,
        )
        return Order(
            prompt=self.prompt or "",
            before=self.media.key_frame(links, base_url),
            model=plain_model(self.model or DEFAULT_MODEL),
            edit=edit,
            callback_url=self.callback_url,
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in."""
        return {**_filled(self), "model": plain_model(self.model or DEFAULT_MODEL)}


def _filled(body: Strict) -> dict[str, Any]:
    """The body as it is shown, with the defaults that nulls stand for."""
    defaults = {name: field.default for name, field in type(body).model_fields.items()}
    return {name: defaults[name] if value is None else value for name, value in shown(body).items()}


def moves_named(prompt: str, able: frozenset[str]) -> tuple[str, ...]:
    """The camera moves that a prompt names in the words of `camera_motion/list`, in the order in which they stand."""
    found = {name: re.search(rf"\b{re.escape(camera_words(name))}\b", prompt, re.IGNORECASE) for name in able}
    places = {name: match.start() for name, match in found.items() if match}
    return tuple(sorted(places, key=lambda name: places[name]))


def camera_words(concept: str) -> str:
    """`pan_left` → `camera pan left`."""
    return "camera " + concept.replace("_", " ")
