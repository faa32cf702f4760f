from __future__ import annotations

from collections.abc import Iterator

from longtake.engines.base import Shot
from longtake.engines.motion.frame import Frame


class Scene:
    def __init__(self, shot: Shot) -> None: ...
    def frames(self) -> Iterator[Frame]:
        raise NotImplementedError
