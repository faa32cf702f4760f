"""The ends of an order, for the worker: what a parent has become, what lies at an address, what an upload holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from longtake.errors import CallerError, FaultError, FetchError
from longtake.fetch import Fetcher
from longtake.footage import Footage, Run, Tell, keys_of, work_file
from longtake.media.seams import Seam
from longtake.orders import KeyFrame
from longtake.records import Generation, Records
from longtake.sources import at_end, fetch_patiently, find_footage, keep_footage, keep_still, opener
from longtake.store import Store
from longtake.video import Still


class Bringing:
    """Brings what stands at an order's ends into the store, in children that open the files."""

    def __init__(self, records: Records, store: Store, fetcher: Fetcher, max_still_pixels: int) -> None:
        self._records = records
        self._store = store
        self._fetcher = fetcher
        self._max_still_pixels = max_still_pixels
        self._opener = opener()

    def bring(self, run: Run, generation: Generation, end: str, frame: KeyFrame, tell: Tell) -> dict[str, Any]:
        """What stands at this end, as JSON. Raises CallerError and FetchError that name the end."""
        if frame.id:
            parent = self._records.get(frame.id)
            if parent.result is None:
                raise FaultError(f"{generation.id} was begun before its parent {frame.id} had completed")
            seams = tuple(Seam.from_json(seam) for seam in parent.result.seams)
            return {"footage": Footage(parent.result.timeline, seams).to_json()}
        try:
            if frame.upload:
                return self._bring_upload(run, generation, frame.upload, tell)
            with work_file(self._store, f"fetched/{run.id}-{end}") as path:
                fetch_patiently(self._fetcher, frame.url or "", path, lambda: tell("fetch", 0.0))
                if frame.type == "image":
                    return {"still": self._keep_still(path, run.still(end), tell).to_json()}
                owner, stem = f"url:{run.id}-{end}", run.key("sources", f"-{end}")
                return {"footage": self._keep_footage(path, stem, owner, tell).to_json()}
        except CallerError as error:
            raise at_end(end, error) from error
        except FetchError as error:
            raise FetchError(f"keyframes.{end}: {error}") from error

    def _bring_upload(self, run: Run, generation: Generation, id: str, tell: Tell) -> dict[str, Any]:
        """What an upload is, or is made into: once, by whichever generation says so first."""
        upload = self._records.get_upload(id, generation.account)
        if upload.kind == "image":
            return {"still": Still(upload.key, upload.width, upload.height).to_json()}
        if brought := self._records.brought(id):
            return {"footage": brought}
        if older := find_footage(f"sources/{id}", self._store):
            return {"footage": self._records.keep_brought(id, older.to_json())}
        with work_file(self._store, f"fetched/{id}") as path:
            with path.open("wb") as file:
                for chunk in self._store.stream(upload.key, 0, upload.num_bytes):
                    tell("fetch", 0.0)
                    file.write(chunk)
            made = self._keep_footage(path, run.footage_of(id), f"upload:{id}", tell)
        tell("bring", 1.0)  # a run that slept and is over records nothing that may be gone by now
        kept = self._records.keep_brought(id, made.to_json())
        needed = set(keys_of(Footage.from_json(kept).timeline))
        for key in keys_of(made.timeline):
            if key not in needed:  # another was first
                self._store.delete(key)
        return {"footage": kept}

    def _keep_still(self, path: Path, key: str, tell: Tell) -> Still:
        look, most = partial(tell, "bring", 0.0), self._max_still_pixels
        return keep_still(path, key, self._store, max_pixels=most, confined=self._opener, look=look)

    def _keep_footage(self, path: Path, stem: str, owner: str, tell: Tell) -> Footage:
        return keep_footage(path, stem, owner, self._store, tell, confined=self._opener)
