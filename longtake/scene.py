"""What one run makes, and out of what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from longtake.footage import Look, Run, Source, Tell, timeline_in
from longtake.orders import Order
from longtake.planning import Capabilities, Plan, plan
from longtake.store import Store


@dataclass(frozen=True, slots=True)
class Scene:
    """All takes of a new part, their joins and their sound have it in common; an edit has one as well."""

    run: Run
    order: Order
    plan: Plan
    before: Source
    """Of an edit, what is edited."""
    after: Source
    store: Store
    tell: Tell

    @classmethod
    def of(
        cls,
        run: Run,
        order: Order,
        before: Source,
        after: Source,
        capabilities: Capabilities,
        store: Store,
        tell: Tell = lambda _stage, _part: None,
    ) -> Scene:
        """Planned by what the ends are and what the engine is able to do. Raises as `planning.plan` does."""
        planned = plan(order, timeline_in(before), timeline_in(after), capabilities)
        return cls(run, order, planned, before, after, store, tell)

    def look(self, stage: str, part: float = 1.0) -> Look:
        """For what takes long, with so much of the stage done."""
        return partial(self.tell, stage, part)
