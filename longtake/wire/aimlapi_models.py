"""The bodies of AI/ML API's protocol, as pydantic models."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from longtake.orders import KeyFrame, Order, parse_aspect_ratio
from longtake.records import Generation
from longtake.wire.answers import timestamp
from longtake.wire.fields import (
    AspectRatio,
    Duration,
    Keyframes,
    Model,
    ShotBody,
    Strict,
    Url,
    duration_seconds,
    shown,
    simple_frame,
)
from longtake.wire.links import Links

Prompt = Annotated[
    str, Field(min_length=1, max_length=2048, description="What is to be seen.", examples=["Flying jellyfish"])
]
VENDOR = "luma/"
"""Stands before the models' names in the universal form."""


class CreateBody(ShotBody):
    """What is to be made. Nulls stand for the defaults."""

    prompt: Prompt
    keyframes: Keyframes | None = None
    keywords: Annotated[Keyframes | None, Field(description="Another name for `keyframes`.")] = None
    duration: Duration | None = "5s"

    def order(self, links: Links, base_url: str) -> Order:
        """Raises OrderError."""
        name = self.frames_name()
        frames = self.keyframes or self.keywords or Keyframes()
        return Order(
            prompt=self.prompt,
            before=simple_frame(frames.frame0, f"{name}.frame0", links, base_url),
            after=simple_frame(frames.frame1, f"{name}.frame1", links, base_url),
            seconds=duration_seconds(self.duration),
            **self.shared_order(),
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in, in the one spelling."""
        return {**self.shared_request(), "duration": f"{duration_seconds(self.duration)}s"}


class UniversalBody(CreateBody):
    """The same under the names that all video models of the protocol share: `model` has to be named."""

    model: Annotated[Model, Field(examples=["luma/ray-2"])]


class LegacyBody(Strict):
    """The first version of the protocol. `expand_prompt` is read and passed over: prompts are taken as they are."""

    user_prompt: Prompt
    aspect_ratio: AspectRatio = "16:9"
    expand_prompt: Annotated[bool, Field(description="Passed over.")] = True
    image_url: Annotated[Url | None, Field(description="The image that the video starts at.")] = None
    image_end_url: Annotated[Url | None, Field(description="The image that it ends at.")] = None

    def order(self, links: Links, base_url: str, extends: str | None = None) -> Order:
        """`extends`: the generation that is appended to. Raises OrderError."""
        before = KeyFrame(type="generation", id=extends) if extends else None
        if self.image_url:
            before = links.key_frame("image", self.image_url, base_url, "image_url")
        after = links.key_frame("image", self.image_end_url, base_url, "image_end_url") if self.image_end_url else None
        return Order(
            prompt=self.user_prompt,
            before=before,
            after=after,
            seconds=Fraction(5),
            aspect_ratio=parse_aspect_ratio(self.aspect_ratio),
        )

    def request(self, extends: str | None = None) -> dict[str, Any]:
        """As a body of the present version."""
        mine = shown(self)
        frame0: dict[str, Any] | None = {"type": "generation", "id": extends} if extends else None
        if self.image_url:
            frame0 = {"type": "image", "url": mine["image_url"]}
        frame1 = {"type": "image", "url": mine["image_end_url"]} if self.image_end_url else None
        filled = shown(CreateBody(prompt=self.user_prompt, aspect_ratio=self.aspect_ratio))
        del filled["keywords"]
        return {**filled, "keyframes": {"frame0": frame0, "frame1": frame1} if frame0 or frame1 else None}


class LegacyExtendBody(LegacyBody):
    """The same of an extension, which starts where the video ends."""

    image_url: Annotated[Url | None, WithJsonSchema({"type": "null"})] = None


class FileBody(Strict):
    """An image or a video to keep."""

    url: Url


class UniversalVideo(BaseModel):
    url: str


class UniversalError(BaseModel):
    name: str
    message: str


class Usage(BaseModel):
    credits_used: float


class Meta(BaseModel):
    usage: Usage


class UniversalAnswer(BaseModel):
    id: str
    status: Literal["queued", "generating", "completed", "error"]
    video: UniversalVideo | None
    error: UniversalError | None
    meta: Meta | None


class LegacyVideo(BaseModel):
    url: str
    width: int
    height: int
    thumbnail: str


class LegacyAnswer(BaseModel):
    id: str
    prompt: str
    state: Literal["pending", "processing", "completed", "failed"]
    created_at: str
    estimate_wait_seconds: float | None = None
    liked: bool | None = None
    video: LegacyVideo | None


class LegacyEntry(BaseModel):
    luma_generation_id: str
    prompt: str


class FileAnswer(BaseModel):
    id: str
    presigned_url: str
    public_url: str


class ModelAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    type: Literal["video"] = "video"
    info: dict[str, str]
    features: list[str]
    endpoints: list[str]


class ModelsAnswer(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class BalanceAnswer(BaseModel):
    balance: float
    lowBalance: bool  # noqa: N815
    lowBalanceThreshold: float  # noqa: N815
    lastUpdated: str  # noqa: N815
    autoDebitStatus: str  # noqa: N815
    status: str
    statusExplanation: str  # noqa: N815


class FieldError(BaseModel):
    field: str
    message: str


class ErrorAnswer(BaseModel):
    requestId: str  # noqa: N815
    statusCode: int  # noqa: N815
    timestamp: str
    path: str
    message: str
    errors: list[FieldError] | None = None


def universal_answer(generation: Generation, links: Links, base_url: str) -> UniversalAnswer:
    statuses: dict[str, Any] = {"dreaming": "generating", "failed": "error"}
    result, error = generation.result, None
    if generation.state == "failed":
        name = {"caller": "InvalidInput", "world": "Unavailable", "cancelled": "Cancelled"}
        kind = generation.failure_kind or "fault"
        error = UniversalError(name=name.get(kind, "InternalError"), message=generation.failure_reason or "failed")
    return UniversalAnswer(
        id=f"{generation.id}:{vendor_model(generation.order.model)}",
        status=statuses.get(generation.state, generation.state),
        video=UniversalVideo(url=links.url(result.video_key, base_url)) if result else None,
        error=error,
        meta=Meta(usage=Usage(credits_used=generation.credits)) if result else None,
    )


def legacy_answer(generation: Generation, links: Links, base_url: str) -> LegacyAnswer:
    states: dict[str, Any] = {"queued": "pending", "dreaming": "processing"}
    result, video = generation.result, None
    if result is not None:
        video = LegacyVideo(
            url=links.url(result.video_key, base_url),
            width=result.timeline.format.width,
            height=result.timeline.format.height,
            thumbnail=links.url(result.image_key, base_url),
        )
    return LegacyAnswer(
        id=generation.id,
        prompt=generation.order.prompt,
        state=states.get(generation.state, generation.state),
        created_at=timestamp(generation.created_at),
        video=video,
    )


def vendor_model(model: str) -> str:
    """`ray-2` → `luma/ray-2`; names that are not Luma's stay."""
    return VENDOR + model if model.startswith("ray-") else model
