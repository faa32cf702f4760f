"""What clients bring: files that are kept, and those of which a part has come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from longtake.dialects import read_only
from longtake.errors import ConflictError, UnknownError
from longtake.planning import Extent
from longtake.records.database import insert, lock_account, patiently
from longtake.records.tables import partial_uploads, uploads
from longtake.video import VideoFormat


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client brought."""

    id: str
    account: str
    kind: Literal["image", "video"]
    key: str
    width: int
    height: int
    seconds: float | None
    fps: float | None
    num_bytes: int
    sha256: str
    created_at: float
    extent: Extent | None = None
    """Of a video that is taken as it is, whose frames are therefore counted already."""


@dataclass(frozen=True, slots=True)
class PartialUpload:
    """A file that comes in parts. How much of it is there stands nowhere here: the file on disk says that."""

    id: str
    """Of the upload, too, that it becomes."""
    account: str
    num_bytes: int
    """Of the whole file."""
    metadata: str
    """As the client sent it: it is given back so."""
    sha256: str | None
    """What the whole file must have, in hexadecimal; None where the client said nothing."""
    created_at: float
    failure: str | None = None
    """Why the whole file was refused."""


UPLOAD = [uploads.c[name] for name in Upload.__dataclass_fields__]


class UploadRecords:
    """The one writer and reader of uploads."""

    def __init__(self, engine: sa.Engine, patience_seconds: float = 0.0) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        # For transactions of one statement: on Postgres it needs no BEGIN and no COMMIT.
        self._at_once = engine if engine.dialect.name == "sqlite" else self._reader
        self.patience_seconds = patience_seconds

    def add_upload(self, upload: Upload) -> Upload:
        """Returns what stands under its id: of two fronts that finish the same upload one is first."""
        values = {**asdict(upload), "extent": extent_json(upload.extent)}
        with self._at_once.begin() as connection:
            added = insert(connection, uploads).values(**values).on_conflict_do_nothing(index_elements=[uploads.c.id])
            if connection.execute(added).rowcount:
                return upload
        return self.get_upload(upload.id, upload.account)

    def get_upload(self, id: str, account: str) -> Upload:
        """Raises UnknownError."""
        upload = self.find_upload(id, account)
        if upload is None:
            raise UnknownError(f"there is no upload {id[:80]}")
        return upload

    @patiently
    def find_upload(self, id: str, account: str) -> Upload | None:
        query = sa.select(*UPLOAD).where(uploads.c.id == id, uploads.c.account == account)
        with self._reader.begin() as connection:
            row = connection.execute(query).one_or_none()
        return Upload(**{**row._mapping, "extent": extent_from(row.extent)}) if row else None

    def forget_upload(self, id: str, account: str) -> Upload | None:
        """Removes it. Returns what it was."""
        upload = self.find_upload(id, account)
        with self._at_once.begin() as connection:
            connection.execute(sa.delete(uploads).where(uploads.c.id == id, uploads.c.account == account))
        return upload

    @patiently
    def brought(self, id: str) -> dict[str, Any] | None:
        """What was made of an upload: its footage, as `keep_brought` was given it."""
        with self._reader.begin() as connection:
            found: dict[str, Any] | None = connection.execute(
                sa.select(uploads.c.footage).where(uploads.c.id == id)
            ).scalar_one_or_none()
        return found

    @patiently
    def keep_brought(self, id: str, footage: dict[str, Any]) -> dict[str, Any]:
        """Says what was made of an upload, once: returns what stands, this or what somebody said before."""
        first = sa.update(uploads).where(uploads.c.id == id, uploads.c.footage.is_(None)).values(footage=footage)
        with self._at_once.begin() as connection:
            connection.execute(first)
        return self.brought(id) or footage

    def begin_upload(self, partial: PartialUpload, *, most: int) -> None:
        """Raises ConflictError where the account has `most` of them under way."""
        ended = sa.exists().where(uploads.c.id == partial_uploads.c.id)
        open_ones = sa.select(sa.func.count()).where(
            partial_uploads.c.account == partial.account, partial_uploads.c.failure.is_(None), ~ended
        )
        with self._engine.begin() as connection:
            lock_account(connection, partial.account)
            if connection.execute(open_ones).scalar_one() >= most:
                raise ConflictError(f"{most} uploads are unfinished, which is the most: finish or delete one of them")
            connection.execute(sa.insert(partial_uploads).values(**asdict(partial)))

    def find_partial(self, id: str, account: str) -> PartialUpload | None:
        query = sa.select(partial_uploads).where(partial_uploads.c.id == id, partial_uploads.c.account == account)
        with self._reader.begin() as connection:
            row = connection.execute(query).one_or_none()
        return PartialUpload(**row._mapping) if row else None

    def refuse_partial(self, id: str, reason: str) -> None:
        """The whole file came, and can't be kept."""
        with self._at_once.begin() as connection:
            connection.execute(sa.update(partial_uploads).where(partial_uploads.c.id == id).values(failure=reason))

    def end_partial(self, id: str) -> None:
        """Forgets it."""
        with self._at_once.begin() as connection:
            connection.execute(sa.delete(partial_uploads).where(partial_uploads.c.id == id))

    def partial_uploads(self) -> list[PartialUpload]:
        """Of all accounts, those whose whole file was kept or refused too."""
        with self._reader.begin() as connection:
            return [PartialUpload(**row._mapping) for row in connection.execute(sa.select(partial_uploads))]


def extent_json(extent: Extent | None) -> dict[str, Any] | None:
    return {**extent.format.to_json(), "num_frames": extent.num_frames} if extent else None


def extent_from(data: dict[str, Any] | None) -> Extent | None:
    return Extent(VideoFormat.from_json(data), data["num_frames"]) if data else None
