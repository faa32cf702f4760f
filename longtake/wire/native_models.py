"""The bodies of our own protocol, as pydantic models: the published one's, and more."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from longtake.errors import OrderError
from longtake.orders import MOST_PRIORITY, MOST_TAKES, PROMPT_LIMIT, KeyFrame, Order, parse_frame_rate
from longtake.wire.fields import (
    AFTER,
    BEFORE,
    WHOLE,
    Duration,
    Id,
    ShotBody,
    Strict,
    Url,
    duration_seconds,
    never_looped,
    one_of,
    plain_id,
)
from longtake.wire.links import Links

At = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, description="Seconds into the video: it is cut there.")]
Text = Annotated[str, Field(max_length=PROMPT_LIMIT)]
_URL_OR_UPLOAD = ConfigDict(json_schema_extra=one_of("url", "upload"))


class ImageEnd(Strict):
    """A still: from an address, or brought by an upload."""

    model_config = _URL_OR_UPLOAD
    type: Literal["image"]
    url: Url | None = None
    upload: Id | None = None


class VideoEnd(Strict):
    """Any video: from an address, or brought by an upload."""

    model_config = _URL_OR_UPLOAD
    type: Literal["video"]
    url: Url | None = None
    upload: Id | None = None
    at: At | None = None


class GenerationEnd(Strict):
    """A video made before."""

    type: Literal["generation"]
    id: Id
    at: At | None = None


NativeFrame = Annotated[ImageEnd | VideoEnd | GenerationEnd, Field(discriminator="type")]


class NativeKeyframes(Strict):
    """The two ends of the shot: what comes before the new frames, and what after."""

    frame0: Annotated[NativeFrame | None, Field(description=BEFORE)] = None
    frame1: Annotated[NativeFrame | None, Field(description=AFTER)] = None


ConceptName = Annotated[
    str, Field(min_length=1, max_length=60, strict=True, json_schema_extra={"format": "camera-move"})
]


class Concept(Strict):
    key: ConceptName


class NativeBody(ShotBody):
    """What is to be made. Nulls stand for the defaults."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"not": {"required": ["keyframes", "keywords"]}},
                never_looped("keyframes"),
                never_looped("keywords"),
                {
                    "not": {
                        "required": ["duration", "seconds"],
                        "properties": {name: {"not": {"type": "null"}} for name in ("duration", "seconds")},
                    }
                },
            ],
        }
    )
    prompt: Annotated[Text, Field(description="What is to be seen.")] = ""
    negative_prompt: Annotated[Text, Field(description="What is not to be seen.")] = ""
    keyframes: NativeKeyframes | None = None
    keywords: Annotated[NativeKeyframes | None, Field(description="Another name for `keyframes`.")] = None
    duration: Duration | None = None
    seconds: (
        Annotated[
            float,
            Field(ge=0.1, le=600, allow_inf_nan=False, description="Of the new part: in place of `duration`, exact."),
        ]
        | None
    ) = None
    fps: Annotated[
        float, Field(ge=1, le=120, allow_inf_nan=False, description="Frames per second. An extension has its video's.")
    ] = 24.0
    concepts: Annotated[
        tuple[ConceptName | Concept, ...],
        Field(max_length=20, strict=False, description="Camera moves, such as `zoom_in`."),
    ] = ()
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Of the random numbers."), WHOLE] | None = None
    takes: Annotated[
        int,
        Field(ge=1, le=MOST_TAKES, description="Render so many, with this seed and those after it; keep the best."),
        WHOLE,
    ] = 1
    sound: Annotated[
        Literal["silence", "continue"],
        Field(
            description="Under the new part: silence, or a continuation of the ambient sound beside it; speech and"
            " music are not continued."
        ),
    ] = "silence"
    priority: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_PRIORITY,
            description="Of the orders of your account that wait, those with a greater one go first. It says nothing"
            " against other accounts.",
        ),
        WHOLE,
    ] = 0

    def order(self, links: Links, base_url: str) -> Order:
        """Raises OrderError."""
        if self.duration is not None and self.seconds is not None:
            raise OrderError("duration and seconds are two names of one thing: give one of them", field="seconds")
        name = self.frames_name()
        frames = self.keyframes or self.keywords or NativeKeyframes()
        return Order(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            before=_key_frame(frames.frame0, f"{name}.frame0", links, base_url),
            after=_key_frame(frames.frame1, f"{name}.frame1", links, base_url),
            seconds=self._seconds(),
            frame_rate=parse_frame_rate(self.fps),
            concepts=self._concepts(),
            seed=self.seed,
            takes=self.takes,
            sound=self.sound,
            priority=self.priority,
            **self.shared_order(),
        )

    def request(self) -> dict[str, Any]:
        """The body with its defaults filled in, in the one spelling."""
        filled = self.shared_request()
        del filled["duration"]
        return {
            **filled,
            "seconds": float(self._seconds()),
            "fps": float(parse_frame_rate(self.fps)),
            "concepts": list(self._concepts()),
        }

    def _seconds(self) -> Fraction:
        return duration_seconds(self.duration) if self.seconds is None else Fraction(str(self.seconds))

    def _concepts(self) -> tuple[str, ...]:
        return tuple(concept if isinstance(concept, str) else concept.key for concept in self.concepts)


def _key_frame(
    frame: ImageEnd | VideoEnd | GenerationEnd | None, field: str, links: Links, base_url: str
) -> KeyFrame | None:
    if frame is None:
        return None
    if isinstance(frame, GenerationEnd):
        return KeyFrame(type="generation", id=plain_id(frame.id), at=_fraction(frame.at))
    at = _fraction(frame.at) if isinstance(frame, VideoEnd) else None
    if frame.url is None or frame.upload is not None:
        return KeyFrame(type=frame.type, url=frame.url, upload=frame.upload, at=at)
    named = links.key_frame(frame.type, frame.url, base_url, f"{field}.url")
    return KeyFrame(type=named.type, url=named.url, upload=named.upload, at=at)


def _fraction(seconds: float | None) -> Fraction | None:
    return None if seconds is None else Fraction(str(seconds))
