"""The commands that make a video from files: `extend`, `animate`, `bridge`, `generate`.

Each imports what it needs when it runs, as in `cli`.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from longtake.errors import CallerError, MediaError
from longtake.orders import (
    ASPECT_LIMITS,
    MOST_TAKES,
    SOUNDS,
    KeyFrame,
    Order,
    parse_aspect_ratio,
    parse_frame_rate,
    parse_resolution,
)

if TYPE_CHECKING:
    from longtake.local import Made

C = TypeVar("C", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)


def _exact(_context: click.Context, option: click.Parameter, value: float | None) -> Fraction | None:
    """The number as it was written."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds or frames.", param=option)
    return None if value is None else Fraction(str(value))


class ConceptOption(click.Option):
    """Names the camera moves that there are; the engines are asked only by who wants help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from longtake.engines.available import engines

        moves = sorted({move for engine in engines().values() for move in engine.capabilities.concepts})
        self.help = f"A camera move; of several the first is carried out. There are: {', '.join(moves)}."
        return super().get_help_record(ctx)


def shot_options(command: C) -> C:
    """What `extend`, `animate`, `bridge` and `generate` have in common."""
    for option in (
        click.option("-o", "--out", "out", type=FILE, required=True, help="The file to write: .mp4, or .webm or .gif."),
        click.option(
            "--seconds", type=float, callback=_exact, default=5.0, show_default=True, help="Length of the new part."
        ),
        click.option("--concept", "concepts", cls=ConceptOption, multiple=True),
        click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another take."),
        click.option(
            "--takes",
            type=click.IntRange(1, MOST_TAKES),
            default=1,
            show_default=True,
            help="Render so many, by this seed and those after it, and keep the one that joins best.",
        ),
        click.option("--force", is_flag=True, help="Write over OUT where it exists."),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
    )[::-1]:
        command = option(command)
    return command


prompt_option = click.option("--prompt", default="", help="What is to be seen, in words.")

sound_option = click.option(
    "--sound",
    type=click.Choice(SOUNDS),
    default="silence",
    show_default=True,
    help="Under the new part. continue: the ambient sound beside it (a room, a street, wind, a crowd) goes on; speech"
    " and music do not, they turn to babble. Where there is none, the part stays silent, and a note says so.",
)


def size_options(command: C) -> C:
    """What the commands have that set a video's format rather than take it over."""
    for option in (
        click.option("--aspect", help="Width to height, 9:21 to 21:9.  [default: the image's own, else 16:9]"),
        click.option("--resolution", default="720p", show_default=True, help="540p, 720p, 1080p or 4k."),
        click.option("--fps", type=float, callback=_exact, default=24.0, show_default=True, help="Frames per second."),
    )[::-1]:
        command = option(command)
    return command


@click.command()
@click.argument("clip", type=FILE)
@shot_options
@prompt_option
@sound_option
@click.option("--before", "prepend", is_flag=True, help="Put the new part ahead of the clip's start.")
@click.option(
    "--at", type=float, callback=_exact, help="Cut the clip there (seconds) and go on from, or lead up to, that frame."
)
@click.option("--to", "to", type=FILE, help="An image that the new part ends on.")
@click.option("--from", "start", type=FILE, help="With --before: an image that the new part starts on.")
@click.option("--loop", is_flag=True, help="Lead back to the clip's first frame.")
def extend(
    clip: Path, prepend: bool, at: Fraction | None, to: Path | None, start: Path | None, loop: bool, **options: Any
) -> None:
    """Make CLIP longer: go on after its end, or lead up to its start."""
    if to and prepend:
        raise click.UsageError("--to goes with an extension after the end; with --before it is --from")
    if start and not prepend:
        raise click.UsageError("--from goes with --before; after the end it is --to")
    video = KeyFrame(type="video", url=str(clip), at=at)
    image = _image(to or start)
    ends = (image, video) if prepend else (video, image)
    _run(ends, loop=loop, **options)


@click.command()
@click.argument("image", type=FILE)
@shot_options
@prompt_option
@size_options
@click.option("--end", type=FILE, help="Another image, that the video ends on.")
@click.option("--loop", is_flag=True, help="Lead back to the image.")
def animate(image: Path, end: Path | None, loop: bool, **options: Any) -> None:
    """Make a video that starts on IMAGE."""
    _run((_image(image), _image(end)), loop=loop, **options)


@click.command(short_help="Join FIRST and SECOND by a new part between them.")
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@shot_options
@prompt_option
@sound_option
def bridge(first: Path, second: Path, **options: Any) -> None:
    """Join FIRST and SECOND by a new part that leads from the one to the other."""
    _run((KeyFrame(type="video", url=str(first)), KeyFrame(type="video", url=str(second))), **options)


@click.command(short_help="Make a video from PROMPT alone: a preview, without a model.")
@click.argument("prompt")
@shot_options
@size_options
@click.option("--loop", is_flag=True, help="Let the end lead back to the start.")
def generate(loop: bool, **options: Any) -> None:
    """Make a video from PROMPT alone: without a model, a preview drawn from its words."""
    _run((None, None), loop=loop, **options)


def _image(path: Path | None) -> KeyFrame | None:
    return KeyFrame(type="image", url=str(path)) if path else None


def _run(ends: tuple[KeyFrame | None, KeyFrame | None], *, out: Path, force: bool, as_json: bool, **asked: Any) -> None:
    """Makes what is asked for, and prints what came of it; `asked` as `_order` takes it."""
    if out.exists() and not force:
        raise CallerError(f"{out} exists; --force writes over it")
    paths = [Path(end.url or "") for end in ends if end]
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        raise CallerError(f"{out} is what is to be extended: it is not written over")
    order = _order(ends, **asked)
    from longtake.engines.available import engines
    from longtake.local import make
    from longtake.settings import load

    signal.signal(signal.SIGTERM, _leave)
    with _progress() as tell:
        made = make(order, out, engines()["motion"], max_still_pixels=load().max_still_pixels, tell=tell, force=force)
    click.echo(json.dumps(_figures(made), indent=2) if as_json else _report(made))


def _order(
    ends: tuple[KeyFrame | None, KeyFrame | None],
    *,
    seconds: Fraction,
    prompt: str,
    concepts: tuple[str, ...],
    seed: int,
    takes: int,
    loop: bool = False,
    sound: Literal["silence", "continue"] = "silence",
    aspect: str | None = None,
    resolution: str = "720p",
    fps: Fraction = Fraction(24),
) -> Order:
    return Order(
        prompt=prompt,
        before=ends[0],
        after=ends[1],
        seconds=seconds,
        aspect_ratio=parse_aspect_ratio(aspect) if aspect else _own_aspect(ends[0]),
        short_side=parse_resolution(resolution),
        frame_rate=parse_frame_rate(fps),
        concepts=concepts,
        seed=seed,
        takes=takes,
        loop=loop,
        sound=sound,
    )


def _own_aspect(first: KeyFrame | None) -> tuple[int, int]:
    """The image's own, as far as videos have it; 16:9 where there is none."""
    if first is None or first.type != "image" or not Path(first.url or "").is_file():
        return (16, 9)
    from longtake.media.stills import read_still

    try:
        width, height = read_still(Path(first.url or "")).size
    except MediaError:  # whoever reads it for its pixels says what is wrong with it
        return (16, 9)
    least, most = ASPECT_LIMITS
    return min(max(Fraction(width, height), least), most).limit_denominator(1000).as_integer_ratio()


def _leave(number: int, _frame: object) -> None:
    """As an exception, the signal passes through whatever cleans up; the exit code is the shell's for it."""
    sys.exit(128 + number)


class _progress:  # noqa: N801
    """A bar on a terminal, nothing in a pipe."""

    def __enter__(self) -> Callable[[str, float], None]:
        self._bar: Any = None
        if not sys.stderr.isatty():
            return lambda stage, part: None
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:22}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.start()
        task = self._bar.add_task("starting", total=1.0)
        return lambda stage, part: self._bar.update(task, description=stage, completed=part)

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


def _figures(made: Made) -> dict[str, Any]:
    return {
        "file": str(made.path),
        "format": str(made.timeline.format),
        "seconds": float(made.timeline.seconds),
        "new": {
            "start": float(made.timeline.time_of(made.new_start)),
            "seconds": float(made.timeline.format.seconds(made.new_frames)),
        },
        "bytes": made.num_bytes,
        "seams": [{**seam.to_json(), "at": float(made.timeline.time_of(seam.frame))} for seam in made.seams],
        "reversal": made.takes[made.best].rendered.reversal,
        "takes": [take.to_json(chosen=number == made.best) for number, take in enumerate(made.takes)],
        "sound": made.sound,
        "notes": list(made.notes),
    }


def _report(made: Made) -> str:
    data = _figures(made)
    lines = [f"{data['file']}  {data['format']}, {data['seconds']:.2f} s, {data['bytes'] / 1e6:.1f} MB"]
    for seam in made.seams:
        at = float(made.timeline.time_of(seam.frame))
        lines.append(
            f"  seam at {at:.2f} s   jump {seam.jump:.2f}   motion {seam.motion:.2f}"
            f"   sharpness {seam.sharpness:.2f}   colour {seam.colour:.2f}"
        )
    if data["reversal"] is not None:
        lines.append(f"  runs backwards: {100 * data['reversal']:.0f} % of what moves in the new part")
    if made.sound["jump"] is not None:
        lines.append(
            f"  sound goes on: {made.sound['jump']:.1f} dB apart at its joins;"
            f" inside the footage's own {made.sound['inside']:.1f} dB at most"
        )
    if len(made.takes) > 1:
        scores = ", ".join(f"seed {take.seed}: {take.score:.2f}" for take in made.takes)
        lines.append(f"  kept the take of seed {made.takes[made.best].seed}; scores, lower is better: {scores}")
    return "\n".join(lines + [f"  {note}" for note in made.notes])
