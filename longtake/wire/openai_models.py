"""The bodies of OpenAI's video protocol, as pydantic models, and what the OpenAPI document says of them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from longtake.orders import ASPECT_LIMITS, PROMPT_LIMIT, KeyFrame, Order
from longtake.records import Upload
from longtake.wire.fields import NOT_BLANK_PATTERN, Id, Model, Strict, Url, shown
from longtake.wire.links import Links

DEFAULT_MODEL = "sora-2"
DATED = re.compile(r"-20[0-9]{2}-[0-9]{2}-[0-9]{2}$")
SHORT_SIDES = 64, 4096
SIZE = re.compile("[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")


def _check_size(text: str) -> str:
    if not SIZE.fullmatch(text):
        raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1280x720")
    width, height = parse_size(text)
    least, most = SHORT_SIDES
    narrow, wide = ASPECT_LIMITS
    if width % 2 or height % 2:
        raise ValueError(f"must be two even numbers, got {text}")
    if not least <= min(width, height) <= most or not narrow <= Fraction(width, height) <= wide:
        raise ValueError(f"must have a short side from {least} to {most} and a shape from 9:21 to 21:9, got {text}")
    return text


Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=PROMPT_LIMIT,
        pattern=NOT_BLANK_PATTERN,
        examples=["A jellyfish drifts into the light"],
    ),
]
Size = Annotated[
    str,
    Field(
        description="Width x height in pixels, both even.",
        examples=["1280x720"],
        json_schema_extra={"pattern": f"^{SIZE.pattern}$", "format": "frame-size"},
    ),
    AfterValidator(_check_size),
]
NewSeconds = Literal["4", "8", "12", 4, 8, 12]
MoreSeconds = Literal["4", "8", "12", "16", "20", 4, 8, 12, 16, 20]


class InputReference(Strict):
    """An image: at an address (`data:` too), or a file that was brought to `POST /api/uploads` before."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("image_url", "file_id")
            ]
        }
    )
    image_url: Url | None = None
    file_id: Id | None = None

    @model_validator(mode="after")
    def _check(self) -> InputReference:
        if (self.image_url is None) == (self.file_id is None):
            raise ValueError("must have an image_url or a file_id, and not both")
        return self


class CreateBody(Strict):
    """What is to be made."""

    prompt: Prompt
    model: Model | None = DEFAULT_MODEL
    seconds: NewSeconds | None = "4"
    size: Size | None = "720x1280"
    input_reference: InputReference | None = None

    @property
    def engine_model(self) -> str:
        """Without the date that OpenAI puts behind its names."""
        return DATED.sub("", self.model or DEFAULT_MODEL)

    def order(self, links: Links, base_url: str, file: Upload | None) -> Order:
        """`file`: the first frame, where it came as a file. Raises OrderError."""
        reference, before = self.input_reference, None
        if file:
            before = KeyFrame(type="image", upload=file.id)
        elif reference and reference.image_url:
            before = links.key_frame("image", reference.image_url, base_url, "input_reference.image_url")
        elif reference:
            before = KeyFrame(type="image", upload=reference.file_id)
        width, height = parse_size(self.size or "720x1280")
        ratio = Fraction(width, height)
        return Order(
            prompt=self.prompt,
            before=before,
            model=self.engine_model,
            seconds=Fraction(self.seconds or 4),
            aspect_ratio=(ratio.numerator, ratio.denominator),
            short_side=min(width, height),
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in, in the one spelling."""
        size = self.size or "720x1280"
        return {**shown(self), "model": self.engine_model, "seconds": str(self.seconds or 4), "size": size}


class ExtendWords(Strict):
    """What is said of an extension beside its video, which may come as a file."""

    prompt: Prompt
    seconds: MoreSeconds

    def order(self, video: KeyFrame, model: str) -> Order:
        return Order(prompt=self.prompt, before=video, model=model, seconds=Fraction(self.seconds))

    def request(self, video: dict[str, Any]) -> dict[str, Any]:
        """The body in the one spelling."""
        return {"prompt": self.prompt, "seconds": str(self.seconds), "video": video}


class VideoReference(Strict):
    id: Id


def _as_reference(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


class ExtendBody(ExtendWords):
    """What is to be appended, and to which video. `seconds` is the new part's length."""

    video: Annotated[VideoReference, BeforeValidator(_as_reference, json_schema_input_type=VideoReference | Id)]


class RemixBody(Strict):
    """The words that take the place of the old ones."""

    prompt: Prompt


def parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def body_doc(model: type[BaseModel], file: str) -> dict[str, Any]:
    """For the OpenAPI document: the model as JSON, and as a form in which the field `file` may be one.

    There the field may also be said in words, by the fields that its object has: `video[id]`.
    """
    whole = _inlined(model.model_json_schema())
    texts = {name: _as_text(one) for name, one in whole["properties"].items() if name != file}
    choices = whole["properties"][file]["anyOf"]
    inside = next(one["properties"] for one in choices if "properties" in one)
    words = {f"{file}[{name}]": _as_text(one) for name, one in inside.items()}
    names = [file, *words]
    is_required = file in whole["required"]
    form = {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in whole["required"] if name != file],
        "properties": {**texts, **words, file: {"type": "string", "format": "binary", "minLength": 1}},
        "oneOf": [{"required": [name]} for name in names]
        + ([] if is_required else [{"not": {"anyOf": [{"required": [name]} for name in names]}}]),
    }
    content = {"application/json": {"schema": whole}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _as_text(schema: dict[str, Any]) -> dict[str, Any]:
    """As a part of a form has it: all values are words, and none is null."""
    (first, *_) = (one for one in schema.get("anyOf", [schema]) if one.get("type") != "null")
    kept = {name: value for name, value in first.items() if name != "type"}
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if isinstance(value, str)]
    return {**kept, "type": "string"}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The same without references: what a route writes into the document by hand has no definitions there."""
    definitions = schema.pop("$defs", {})

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return replaced(definitions[value["$ref"].rpartition("/")[2]])
            return {name: replaced(one) for name, one in value.items()}
        return [replaced(one) for one in value] if isinstance(value, list) else value

    inlined: dict[str, Any] = replaced(schema)
    return inlined
