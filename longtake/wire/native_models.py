"""The bodies of our own protocol, as pydantic models: the published one's, and more."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from longtake.errors import OrderError
from longtake.orders import MOST_TAKES, PROMPT_LIMIT, KeyFrame, Order, parse_frame_rate
from longtake.records import Generation, Result, Upload
from longtake.timeline import Timeline
from longtake.wire.answers import GenerationAnswer, generation_fields
from longtake.wire.fields import (
    Duration,
    Id,
    ShotBody,
    Strict,
    Url,
    duration_seconds,
    plain_id,
)
from longtake.wire.links import Links, playlist_key

At = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
"""Seconds into a video: it is cut there."""
Text = Annotated[str, Field(max_length=PROMPT_LIMIT)]
_URL_OR_UPLOAD = ConfigDict(json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["upload"]}]})


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

    frame0: NativeFrame | None = None
    frame1: NativeFrame | None = None


ConceptName = Annotated[str, Field(min_length=1, max_length=60, strict=True)]


class Concept(Strict):
    key: ConceptName


class NativeBody(ShotBody):
    """What is to be made. Nulls stand for the defaults."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"not": {"required": ["keyframes", "keywords"]}},
                {
                    "not": {
                        "required": ["duration", "seconds"],
                        "properties": {name: {"not": {"type": "null"}} for name in ("duration", "seconds")},
                    }
                },
            ],
        }
    )
    prompt: Text = ""
    negative_prompt: Text = ""
    keyframes: NativeKeyframes | None = None
    keywords: Annotated[NativeKeyframes | None, Field(description="Another name for `keyframes`.")] = None
    duration: Duration | None = None
    seconds: Annotated[float, Field(ge=0.1, le=600, allow_inf_nan=False)] | None = None
    fps: Annotated[float, Field(ge=1, le=120, allow_inf_nan=False)] = 24.0
    concepts: Annotated[tuple[ConceptName | Concept, ...], Field(max_length=20, strict=False)] = ()
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    takes: Annotated[
        int, Field(ge=1, le=MOST_TAKES, description="Render so many, with this seed and those after it; keep the best.")
    ] = 1
    sound: Annotated[
        Literal["silence", "continue"],
        Field(
            description="Under the new part: silence, or a continuation of the ambient sound beside it; speech and"
            " music are not continued."
        ),
    ] = "silence"

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


class SegmentAnswer(BaseModel):
    """A stretch of the finished video, and who made it. Seconds count from the video's start."""

    generation_id: str | None
    source: str | None
    """Where it is from if no generation made it: `upload:<id>`, or `url:…` for a video that was fetched."""
    start: float
    seconds: float
    frames: int


class NewPart(BaseModel):
    """Where the frames are that this generation added."""

    start: float
    seconds: float
    frames: int


class SeamAnswer(BaseModel):
    """The figures of one join; 1 is as smooth, as moving, as sharp as the footage itself, colour 0 is no change."""

    frame: int
    """The first frame after it; 0 is where a loop's end meets its start."""
    at: float
    """Seconds from the video's start."""
    jump: float
    motion: float
    sharpness: float
    colour: float


class TakeAnswer(BaseModel):
    """One of several renderings of the new part; the same order with this seed alone makes it again."""

    seed: int
    chosen: bool
    score: float
    """The lower, the better; 0 is perfect. Only takes of one generation can be compared by it."""
    reversal: float | None
    seams: list[SeamAnswer]
    """The joins that are new."""


class SourceAnswer(BaseModel):
    """What became of the videos that the order brought along."""

    converted: list[str]
    """What could not be kept as it was, such as `ProRes → house H.264`; empty where every frame is bit for bit."""


class SoundAnswer(BaseModel):
    """What is under the new part."""

    mode: Literal["silence", "continue"]
    """`silence` also where there was no sound to go on from: a note says so."""
    jump: float | None
    """How far the spectra of the half seconds on both sides of its joins are apart: dB, the mean over third octaves."""
    inside: float | None
    """The most by which half seconds next to each other differ inside the footage's own sound beside it."""


class NativeAnswer(GenerationAnswer):
    """A generation, with all that is known of it."""

    playlist: str | None
    """For HLS players: the video from when it begins to be rendered; what there is of it plays at once."""
    progress: float
    stage: str
    engine: str
    parents: list[str]
    timeline: list[SegmentAnswer] | None
    new_part: NewPart | None
    source: SourceAnswer | None
    seams: list[SeamAnswer] | None
    reversal: float | None
    """Of what moves in the new part, the share that runs against how it moved in the footage beside it: 0 to 1."""
    takes: list[TakeAnswer] | None
    sound: SoundAnswer | None
    timings: dict[str, float] | None


class NativeDetail(NativeAnswer):
    children: list[str]


class NativePage(BaseModel):
    generations: list[NativeAnswer]
    count: int
    limit: int
    offset: int
    has_more: bool


class UploadAnswer(BaseModel):
    id: str
    kind: Literal["image", "video"]
    width: int
    height: int
    seconds: float | None
    fps: float | None


def native_fields(generation: Generation, links: Links, base_url: str) -> dict[str, Any]:
    """The fields of `NativeAnswer`."""
    fields = generation_fields(generation, links, base_url)
    result = generation.result
    timeline, new_part, seams = None, None, None
    if result is not None:
        timeline = _segment_answers(result.timeline)
        seams = [_seam_answer(seam, result.timeline) for seam in result.seams]
        seconds = float(result.timeline.format.seconds(result.new_frames))
        new_part = NewPart(
            start=float(result.timeline.time_of(result.new_start)), seconds=seconds, frames=result.new_frames
        )
    return {
        **fields,
        "request": {**fields["request"], "seed": generation.order.seed},
        "playlist": _playlist(generation, links, base_url),
        "progress": generation.progress,
        "stage": generation.stage,
        "engine": generation.engine,
        "parents": [id for _, id in generation.parents],
        "timeline": timeline,
        "new_part": new_part,
        "source": SourceAnswer(converted=list(result.converted)) if result else None,
        "seams": seams,
        "reversal": result.reversal if result else None,
        "takes": _take_answers(result) if result else None,
        "sound": SoundAnswer(**result.sound) if result and result.sound else None,
        "timings": dict(result.timings) if result else None,
    }


def _playlist(generation: Generation, links: Links, base_url: str) -> str | None:
    is_watchable = generation.state == "completed" or (generation.state == "dreaming" and generation.order.takes == 1)
    return links.url(playlist_key(generation.id), base_url) if is_watchable else None


def _segment_answers(timeline: Timeline) -> list[SegmentAnswer]:
    answers, at = [], Fraction(0)
    for segment in timeline.segments:
        seconds = segment.seconds(segment.num_frames, timeline.format.frame_rate)
        answers.append(
            SegmentAnswer(
                generation_id=None if segment.is_brought else segment.owner,
                source=segment.owner if segment.is_brought else None,
                start=float(at),
                seconds=float(seconds),
                frames=segment.num_frames,
            )
        )
        at += seconds
    return answers


def _seam_answer(seam: dict[str, Any], timeline: Timeline) -> SeamAnswer:
    return SeamAnswer(at=float(timeline.time_of(int(seam["frame"]))), **seam)


def _take_answers(result: Result) -> list[TakeAnswer] | None:
    if result.takes is None:
        return None
    return [
        TakeAnswer(**{**take, "seams": [_seam_answer(seam, result.timeline) for seam in take["seams"]]})
        for take in result.takes
    ]


def upload_answer(upload: Upload) -> UploadAnswer:
    return UploadAnswer(
        id=upload.id,
        kind=upload.kind,
        width=upload.width,
        height=upload.height,
        seconds=upload.seconds,
        fps=upload.fps,
    )


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
