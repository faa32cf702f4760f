"""The engine without weights."""

from longtake.engines.motion.engine import Motion

__all__ = ["Motion"]
