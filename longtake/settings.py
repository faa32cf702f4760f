"""Every setting, once: name, default, what it does. Feeds the environment, `longtake settings` and the manual."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from longtake.errors import CallerError

PREFIX = "LONGTAKE_"
FOR_TESTS = {"LONGTAKE_REQUIRE", "LONGTAKE_CLIPS", "LONGTAKE_TEST_DATABASE_URL"}
"""Variables that only the tests and benchmarks read."""
FOR_CLIENTS = {"LONGTAKE_KEY"}
"""What the examples call a client's key: it may stand in the same shell."""

EXAMPLES = {
    "database_url": "an address like postgresql://USER:PASSWORD@HOST:5432/DATABASE or sqlite:////FOLDER/FILE",
    "store_url": "an address like s3://BUCKET/PREFIX",
    "public_url": "an address like https://video.example.com",
    "webhook_url": "an address like https://example.com/told",
    "log_format": "json, text or auto",
}
"""What a setting must be whose rule is a pattern."""


class Settings(BaseSettings):
    """Read from `LONGTAKE_…` variables; the command line goes before them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    data: Path = Field(
        Path("longtake-data"),
        description="The folder that holds the database and the objects; where both are elsewhere, half-made files.",
    )
    database_url: str | None = Field(
        None,
        pattern=r"^(postgres(ql)?(\+psycopg)?://|sqlite:///).+",
        description="postgresql://USER:PASSWORD@HOST/DATABASE, which any number of servers and workers share. By"
        " default a SQLite file in the data folder.",
    )
    store_url: str | None = Field(
        None,
        pattern="^s3://.+",
        description="s3://BUCKET/PREFIX, where objects are kept; where it is and who we are there, by the usual AWS_"
        " variables. By default a folder in the data folder.",
    )
    host: str = Field("127.0.0.1", description="The address that the server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="The port that the server listens on; 0 takes a free one.")
    api_key: str | None = Field(
        None, min_length=16, description="An API key that is to work, beside those in the database."
    )
    public_url: str | None = Field(
        None,
        pattern="^https?://.+",
        description="The address that links in answers begin with; by default the one that a request came to.",
    )
    secret: str | None = Field(
        None,
        min_length=32,
        description="Signs links; several servers need the same. By default one is made and kept in the database that"
        " LONGTAKE_DATABASE_URL names, where all find it, else in the data folder.",
    )
    link_seconds: int = Field(86400, ge=60, description="How long a link to a video works.")
    models: str = Field(
        "ray-1-6=motion,ray-2=motion,ray-flash-2=motion,sora-2=motion,sora-2-pro=motion,motion=motion",
        description="Model names that clients may ask for, each with the engine that serves it. Vendors' names are"
        " there so that their clients work unchanged: what renders is the engine.",
    )
    fetch_allow: str = Field(
        "", description="Networks that users' addresses may lie in though they are not public: 127.0.0.1/32,10.0.0.0/8."
    )
    fetch_max_bytes: int = Field(
        256 * 2**20, ge=1, description="The largest file that is fetched from a user's address."
    )
    fetch_timeout_seconds: float = Field(60.0, gt=0, description="How long fetching one file may take in all.")
    max_still_pixels: int = Field(64_000_000, ge=1, description="The most pixels that an image may have.")
    max_upload_bytes: int = Field(2 * 2**30, ge=1, description="The largest upload that comes in one request.")
    max_resumable_bytes: int = Field(
        10 * 2**30, ge=1, description="The largest upload that comes in parts, and can be resumed (tus)."
    )
    resumable_seconds: float = Field(
        86400.0, gt=0, description="How long an unfinished upload waits for its next byte before it is forgotten."
    )
    max_body_bytes: int = Field(2**20, ge=1024, description="The largest request body other than an upload.")
    webhook_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Told of every generation whose order names no address of its own. Links in it begin with the "
        "public URL, or, where there is none, with the address that the client used.",
    )
    webhook_secret: str | None = Field(
        None,
        description="What signs webhooks is made from it: whsec_ and base64; several workers need the same. By "
        "default one is made and kept in the database that LONGTAKE_DATABASE_URL names, where all find it, else in "
        "the data folder. `longtake webhooks secret` shows an account's.",
    )
    requests_per_minute: int | None = Field(None, ge=1, description="How many requests a key may send in a minute.")
    generations_at_once: int | None = Field(
        None, ge=1, description="How many generations of a key may be queued or rendered at once."
    )
    seconds_per_day: float | None = Field(
        None, gt=0, description="How many seconds of video a key may order in 24 hours."
    )
    worker_grace_seconds: float = Field(
        15.0,
        gt=0,
        le=3600,
        description="How long a worker's lock on Postgres may be missing before others take up what it had begun. On"
        " SQLite they do so at once.",
    )
    drain_seconds: float | None = Field(
        None,
        ge=0,
        le=86400,
        description="How long a step may go on in a worker that is told to end (SIGTERM); what is not done by then goes"
        " back to the queue. By default 25 s in `longtake worker`, and 1 s in the worker of `longtake serve`.",
    )
    part_seconds: float = Field(
        10.0,
        gt=0,
        le=86400,
        description="A longer new part is rendered in parts of so many seconds at most, whole groups of frames: so much"
        " is rendered again where a worker dies.",
    )
    poll_seconds: float = Field(
        0.1,
        ge=0.01,
        le=60,
        description="How long workers wait between two looks into a queue. So long at most an order, and a webhook,"
        " waits for a free worker to notice it, and a slot stands idle between two generations. Each look is a few"
        " statements in the database. The same in all workers.",
    )
    report_seconds: float = Field(
        0.1,
        ge=0.02,
        le=0.5,
        description="The time between two reports of progress while a video is made: each is a write into the database,"
        " and how a cancel comes to be noticed.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="The port where a worker shows its figures (/metrics), and whether it lives (/healthz) and can work"
        " (/readyz); 0 takes a free port. By default nowhere.",
    )
    log_format: str = Field(
        "auto", pattern="^(auto|json|text)$", description="json, text, or auto: text on a terminal."
    )

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{(self.data / 'longtake.db').resolve()}"


def load(**given: object) -> Settings:
    """The process's settings; `given` (those that are not None) go before its environment. Raises CallerError."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known | FOR_TESTS | FOR_CLIENTS:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), (one.removeprefix(PREFIX) for one in known), 1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else f"these are: {', '.join(sorted(known))}"
            raise CallerError(f"{name} is not a setting; {hint}", field=name)
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValueError as error:
        raise CallerError(_sentence(error)) from None


def parse_models(text: str) -> dict[str, str]:
    """`"ray-2=motion,…"` → model name → engine name. Raises CallerError."""
    models: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        model, equals, engine = entry.partition("=")
        if not (equals and model and engine):
            raise CallerError(f"{PREFIX}MODELS is a list of MODEL=ENGINE, got {entry!r}", field=f"{PREFIX}MODELS")
        models[model] = engine
    return models


def _sentence(error: ValueError) -> str:
    errors: list[Any] = getattr(error, "errors", list)()
    parts = [f"{PREFIX}{str(e['loc'][0]).upper()}: {_why(e)}" for e in errors if e["loc"]]
    return "; ".join(parts) or str(error)


def _why(error: Any) -> str:
    """In place of a regular expression, what it stands for."""
    example = EXAMPLES.get(str(error["loc"][0]))
    return f"must be {example}" if example and error["type"] == "string_pattern_mismatch" else str(error["msg"])


def manual() -> str:
    """The settings' reference page, in Markdown."""
    lines = [
        "# Settings",
        "",
        "Variables of the environment; `longtake serve` takes some as options too, which go before them.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(manual())
