"""What the native protocol answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel

from longtake.records import Generation, Result, Upload
from longtake.timeline import Timeline
from longtake.wire.answers import GenerationAnswer, generation_fields
from longtake.wire.links import Links, playlist_key


class Allowance(BaseModel):
    """`limit` and `left` are null where there is no limit, `used` where nothing is counted without one."""

    limit: float | None
    used: float | None
    left: float | None

    @classmethod
    def of(cls, limit: float | None, used: float) -> Allowance:
        return cls(limit=limit, used=used, left=None if limit is None else max(0.0, limit - used))

    @classmethod
    def with_left(cls, limit: float | None, left: float | None) -> Allowance:
        """`left` is null where there is no limit."""
        return cls(limit=limit, used=None if limit is None or left is None else limit - left, left=left)


class NativeUsage(BaseModel):
    """What a key may use. One credit renders one second."""

    credits: Allowance
    generations_at_once: Allowance
    seconds_per_day: Allowance
    """Of video ordered in the last 24 hours."""
    requests_per_minute: Allowance


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
    priority: int
    """Among its account's waiting orders those with a greater one go first."""
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


def native_fields(generation: Generation, links: Links, base_url: str, *, watchable: bool) -> dict[str, Any]:
    """The fields of `NativeAnswer`; `watchable`: its playlist answers."""
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
        "playlist": links.url(playlist_key(generation.id), base_url) if watchable else None,
        "progress": generation.progress,
        "stage": generation.stage,
        "engine": generation.engine,
        "priority": generation.order.priority,
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
