"""Requests that run as they stand, by the id of the call: in the OpenAPI documents, and as curl on `/docs`.

What differs from reader to reader stands in shell variables: `LONGTAKE_KEY`, `ID` of a generation, `UPLOAD` of a file.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

ID = "755f9bbb-d99b-4880-992b-f05244ddba61"
UPLOAD = "1c5dc0a6-7a44-4e0c-9d4f-6f2f1f0c2b1a"
VARIABLES = {ID: "$ID", UPLOAD: "$UPLOAD"}
PIXELS = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAA"
    "GElEQVR42mPUCFhgxMAAQSwMcgxwgJsDAFqmAhaa6pmGAAAAAElFTkSuQmCC"
)
"""A picture of four by four pixels: any address of an image will do in its place."""
PROMPT = "A jellyfish drifts into the light"
IMAGE = {"type": "image", "url": PIXELS}
MADE = {"type": "generation", "id": ID}
BROUGHT = {"type": "video", "upload": UPLOAD}


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    title: str = "As it stands"
    body: dict[str, Any] | None = None
    """Sent as JSON."""
    query: str = ""
    args: tuple[str, ...] = ()
    """Of curl, after all others."""
    url: str | None = None
    """In place of the call's own address."""


FROM_WORDS = Sample("From words", {"prompt": PROMPT})
FROM_IMAGE = Sample("From an image", {"prompt": PROMPT, "keyframes": {"frame0": IMAGE}})
APPEND = Sample("Append", {"prompt": PROMPT, "keyframes": {"frame0": MADE}})
PREPEND = Sample("Prepend", {"prompt": PROMPT, "keyframes": {"frame1": MADE}})
TUS = ("-H", "Tus-Resumable: 1.0.0")
VIDEO_FILE, SAVED = ("-F", "video=@video.mp4"), ("-o", "saved.mp4")

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "aimlapi_create": (FROM_WORDS, FROM_IMAGE, APPEND, PREPEND),
    "aimlapi_read": (
        Sample("Now", query=f"generation_id={ID}"),
        Sample("When it is completed, or after 30 s", query=f"generation_id={ID}&state=completed"),
    ),
    "aimlapi_read_many": (Sample(query=f"generation_ids={ID}&generation_ids={ID}"),),
    "aimlapi_create_universal": (
        Sample("From words", {"model": "luma/ray-2", "prompt": PROMPT, "duration": 5}),
        Sample("Append", {"model": "luma/ray-2", "prompt": PROMPT, "keyframes": {"frame0": MADE}}),
    ),
    "aimlapi_read_universal": (Sample(query=f"generation_id={ID}"),),
    "luma_create": (
        FROM_WORDS,
        FROM_IMAGE,
        APPEND,
        Sample("With a camera move", {"prompt": PROMPT, "concepts": [{"key": "zoom_in"}]}),
    ),
    "luma_create_video": (FROM_WORDS,),
    "luma_page": (Sample(query="limit=10&offset=0"),),
    "luma_upscale": (Sample(body={"resolution": "4k"}),),
    "luma_reframe": (Sample(body={"media": MADE, "aspect_ratio": "9:16"}),),
    "luma_modify": (Sample(body={}),),
    "luma_image": (Sample(body={"prompt": PROMPT}),),
    "luma_reframe_image": (Sample(body={}),),
    "luma_audio": (Sample(body={"prompt": "Waves"}),),
    "openai_create": (
        Sample("From words", {"prompt": PROMPT, "seconds": "4", "size": "1280x720"}),
        Sample("From an image", {"prompt": PROMPT, "input_reference": {"image_url": PIXELS}}),
        Sample("From a file", args=("-F", f"prompt={PROMPT}", "-F", "input_reference=@photo.jpg")),
    ),
    "openai_page": (Sample(query="limit=10&order=desc"),),
    "openai_extend": (
        Sample("A video made here", {"prompt": PROMPT, "seconds": "4", "video": {"id": ID}}),
        Sample("A file", args=("-F", f"prompt={PROMPT}", "-F", "seconds=4", *VIDEO_FILE)),
    ),
    "openai_remix": (Sample(body={"prompt": "A jellyfish drifts into the dark"}),),
    "openai_content": (
        Sample("The video", args=SAVED),
        Sample("Its first frame", query="variant=thumbnail", args=("-o", "saved.webp")),
    ),
    "longtake_create": (
        Sample("From words", {"prompt": PROMPT, "seconds": 4}),
        Sample("Append to a file, cut at 0.2 s", {"seconds": 4, "keyframes": {"frame0": {**BROUGHT, "at": 0.2}}}),
        Sample(
            "Append to a generation", {"seconds": 4, "takes": 2, "sound": "continue", "keyframes": {"frame0": MADE}}
        ),
        Sample("Bridge", {"seconds": 2, "keyframes": {"frame0": MADE, "frame1": BROUGHT}}),
    ),
    "longtake_page": (Sample(query="limit=10&offset=0"),),
    "longtake_read": (Sample("Now"), Sample("When it is completed, or after 30 s", query="wait=completed")),
    "longtake_events_of_one": (Sample(args=("--no-buffer",)),),
    "longtake_events": (Sample("Until you stop it", args=("--no-buffer",)),),
    "get_download": (Sample("MP4", args=("-L", *SAVED)),),
    "longtake_create_upload": (
        Sample("A form", args=("-F", "file=@video.mp4")),
        Sample(
            "The file as the body", args=("-H", "Content-Type: application/octet-stream", "--data-binary", "@video.mp4")
        ),
        Sample("The first of several parts (tus)", args=(*TUS, "-H", "Upload-Length: 1000000", "-X", "POST", "-i")),
    ),
    "longtake_head_upload": (Sample(args=TUS),),
    "longtake_delete_upload": (Sample(args=TUS),),
    "longtake_append_upload": (
        Sample(
            args=(
                *TUS,
                "-H",
                "Upload-Offset: 0",
                "-H",
                "Content-Type: application/offset+octet-stream",
                "--data-binary",
                "@part",
            )
        ),
    ),
    "media_get": (Sample("The address comes in an answer: assets.video", url="$VIDEO_URL", args=SAVED),),
    "media_head": (Sample("The address comes in an answer: assets.video", url="$VIDEO_URL"),),
    "get_hls": (Sample("The address comes in an answer: playlist", url="$PLAYLIST_URL"),),
    "head_hls": (Sample("The address comes in an answer: playlist", url="$PLAYLIST_URL"),),
}
for _suffix in ("", "_v1"):
    SAMPLES |= {
        f"aimlapi_create_legacy{_suffix}": (Sample(body={"user_prompt": PROMPT, "aspect_ratio": "16:9"}),),
        f"aimlapi_list_legacy{_suffix}": (Sample(query="limit=10"),),
        f"aimlapi_read_legacy{_suffix}": (Sample(query=f"ids={ID}"),),
        f"aimlapi_extend_legacy{_suffix}": (Sample(body={"user_prompt": PROMPT}),),
        f"aimlapi_upload{_suffix}": (Sample(body={"url": PIXELS}),),
    }


def curl(sample: Sample, method: str, address: str, *, locked: bool) -> str:
    """A command for a shell, on several lines. `address`: the call's, with `{…}` where an id belongs."""
    place = "$UPLOAD" if "/api/uploads/" in address else "$ID"
    url = sample.url or address.replace("{id}", place) + (f"?{sample.query}" if sample.query else "")
    parts = [f'curl "{_with_variables(url)}"']
    has_body = sample.body is not None or any(arg in ("-F", "--data-binary") for arg in sample.args)
    if method == "HEAD":
        parts[0] = parts[0].replace("curl", "curl --head", 1)
    elif method != ("POST" if has_body else "GET") and "-X" not in sample.args:
        parts[0] = parts[0].replace("curl", f"curl -X {method}", 1)
    if locked:
        parts.append('-H "Authorization: Bearer $LONGTAKE_KEY"')
    words = [shlex.quote(word) for word in sample.args]
    while words:
        num = 2 if words[0] in ("-F", "-H", "-X", "-o", "--data-binary") else 1
        parts.append(" ".join(words[:num]))
        words = words[num:]
    if sample.body is None:
        return " \\\n  ".join(parts)
    text = _with_variables(json.dumps(sample.body, indent=2))
    parts.append("-H 'Content-Type: application/json'")
    if "$" in text:
        return " \\\n  ".join([*parts, "-d @- <<BODY"]) + f"\n{text}\nBODY"
    return " \\\n  ".join([*parts, f"-d {shlex.quote(text)}"])


def _with_variables(text: str) -> str:
    for id, variable in VARIABLES.items():
        text = text.replace(id, variable)
    return text
