"""Which engines this machine can run: for `app`, and for the commands that need neither a database nor a front."""

from __future__ import annotations

from longtake.engines.base import Engine
from longtake.engines.motion import Motion


def engines() -> dict[str, Engine]:
    """All of them, by name."""
    return {"motion": Motion()}
