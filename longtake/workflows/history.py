"""Workflows that have ended, as DBOS remembers them: it forgets none by itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from dbos import DBOSClient

from longtake.workflows import names
from longtake.workflows.client import LIVE, quieten

ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_OF_GENERATION: Final = re.compile(r"([0-9a-f-]{36})\.[0-9]+")


class History:
    """Those that ended, of all versions and all processes."""

    def __init__(self, url: str) -> None:
        quieten()
        self._client = DBOSClient(system_database_url=names.database_address(url))

    def finished(self, before: float, *, limit: int, offset: int = 0) -> list[tuple[str, str | None]]:
        """Those that ended before then (Unix seconds), the oldest first: `(workflow id, generation id)`.

        Of a webhook's the generation is None: it has a row of its own, which needs no workflow that has ended.
        """
        return self._listed(limit, offset, status=ENDED, completed_before=_iso(before))

    def outdated(self, before: float, *, limit: int, offset: int = 0) -> list[tuple[str, str | None]]:
        """Those that began before then under an earlier `VERSION`, which no worker takes up any more."""
        earlier = [str(version) for version in range(1, int(names.VERSION))]
        return self._listed(limit, offset, status=sorted(LIVE), app_version=earlier, end_time=_iso(before))

    def forget(self, workflow_ids: list[str]) -> None:
        """Removes them, and the results of their steps."""
        self._client.delete_workflows(workflow_ids)

    def close(self) -> None:
        self._client.destroy()

    def _listed(self, limit: int, offset: int, **which: Any) -> list[tuple[str, str | None]]:
        found = self._client.list_workflows(limit=limit, offset=offset, load_input=False, load_output=False, **which)
        return [(status.workflow_id, _generation(status.workflow_id)) for status in found]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _generation(workflow_id: str) -> str | None:
    found = _OF_GENERATION.fullmatch(workflow_id)
    return found[1] if found else None
