"""Several takes of one new part: each is rendered and measured, and the best one is kept.

A take differs from the others in its seed alone. It is rendered by steps of its own, so that whoever is killed has lost
one take at most, and of a long one a piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from longtake.engines.base import Engine
from longtake.joining import measure_seams, timeline_of
from longtake.media.seams import Seam
from longtake.orders import Order
from longtake.parts import Do, Rendered, make_in_pieces
from longtake.planning import Plan
from longtake.rendering import Rendering, seed_of
from longtake.scene import Scene
from longtake.store import Store

JUMP_TOLERANCE: Final = math.log(1.25)
"""Footage's own steps differ by so much: within it one join is as good as another."""
LEAST_JUMP: Final = 0.05
COLOUR_TOLERANCE: Final = 1.0
"""CIEDE2000: what is just noticeable."""
COLOUR_WEIGHT: Final = 0.25
REVERSAL_WEIGHT: Final = 2.0
"""All that moves running backwards is as bad as a jump of seven times the footage's own."""


@dataclass(frozen=True, slots=True)
class Take:
    """One rendering of the new part, in the store, with its figures."""

    seed: int
    rendered: Rendered
    seams: tuple[Seam, ...]
    """All joins of the video that it makes, the parents' own ones too."""
    joins: tuple[Seam, ...]
    """Those of `seams` that are its own."""

    @property
    def score(self) -> float:
        return score(self.joins, self.rendered.reversal)

    def to_json(self, *, chosen: bool) -> dict[str, Any]:
        """As the answer shows it."""
        return {
            "seed": self.seed,
            "chosen": chosen,
            "score": self.score,
            "reversal": self.rendered.reversal,
            "seams": [seam.to_json() for seam in self.joins],
        }


def score(joins: Iterable[Seam], reversal: float | None) -> float:
    """How bad a take is, from 0: its own joins' figures and its reversal in one number, for comparing takes only.

    For each join, |ln jump| beyond `JUMP_TOLERANCE` (a freeze is as bad as a jump of twenty), |ln motion| / 2,
    |ln sharpness| / 2, and `COLOUR_WEIGHT` for each CIEDE2000 beyond the first; and `REVERSAL_WEIGHT` × reversal.
    """
    worth = REVERSAL_WEIGHT * (reversal or 0.0)
    for seam in joins:
        worth += max(0.0, abs(math.log(max(seam.jump, LEAST_JUMP))) - JUMP_TOLERANCE)
        worth += (abs(math.log(seam.motion)) + abs(math.log(max(seam.sharpness, 1e-3)))) / 2
        worth += COLOUR_WEIGHT * max(0.0, seam.colour - COLOUR_TOLERANCE)
    return round(worth, 4)


def shoot(
    scene: Scene,
    engine: Engine,
    do: Do,
    *,
    live: bool = False,
    part_seconds: Fraction | float | None = None,
) -> tuple[Take, ...]:
    """Renders and measures `order.takes` takes, one after another, of which is told as of one piece of work.

    `live`: the only one can be watched while it is rendered. What is longer than `part_seconds` is rendered in pieces.
    """
    takes: list[Take] = []
    order, plan, tell = scene.order, scene.plan, scene.tell

    def told(stage: str, part: float) -> None:
        tell(stage, (len(takes) + part) / order.takes)

    scene = replace(scene, tell=told)
    for number in range(order.takes):
        earlier = takes[-1].rendered if takes else None
        watched, step = live and order.takes == 1, _step("render", number)
        making = Rendering(scene, engine, take=number, earlier=earlier, live=watched)
        made = make_in_pieces(scene, making, do, step, part_seconds, take=number)

        def measured(made: Rendered = made) -> list[dict[str, Any]]:
            told("measure", 1.0)
            timeline, _ = timeline_of(plan, made)
            return [seam.to_json() for seam in measure_seams(scene, timeline)]

        seams = tuple(Seam.from_json(seam) for seam in do(_step("measure", number), measured))
        takes.append(Take(seed_of(order, number), made, seams, _own(plan, order, seams)))
    return tuple(takes)


def choose(takes: Sequence[Take]) -> int:
    """The number of the take with the lowest score; of equals the first."""
    return min(range(len(takes)), key=lambda number: (takes[number].score, number))


def remarks(takes: Sequence[Take]) -> tuple[str, ...]:
    """What the answer has to say about the choice: takes that are one another's equals, and that none was ranked."""
    notes = []
    first: dict[str, int] = {}
    for number, take in enumerate(takes, 1):
        same = first.setdefault(take.rendered.sha256, number) if take.rendered.sha256 else number
        if same != number:
            notes.append(f"Take {number} is the same as take {same}: its seed, {take.seed}, changes nothing here.")
    if len(takes) > 1 and not any(take.joins for take in takes):
        notes.append(f"Nothing is joined here by which to rank {len(takes)} takes: the first was kept.")
    return tuple(notes)


def drop(takes: Sequence[Take], kept: int, store: Store) -> None:
    """Removes the segments of all takes but one."""
    for number, take in enumerate(takes):
        if number != kept:
            store.delete(take.rendered.segment.key)


def _step(name: str, number: int) -> str:
    return f"{name} take {number + 1}" if number else name


def _own(plan: Plan, order: Order, seams: Sequence[Seam]) -> tuple[Seam, ...]:
    """The joins at either end of the new part, and that of a loop's end with its start."""
    start = plan.outline.before_stop
    own = {start, start + plan.outline.num_frames} | ({0} if order.loop else set())
    return tuple(seam for seam in seams if seam.frame in own)
