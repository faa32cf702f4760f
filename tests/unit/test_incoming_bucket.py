"""Files that come in parts to several fronts that share a bucket: what is there, whoever brought it and died."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from longtake.errors import StoreError, UnknownError
from longtake.incoming import Incoming, PartialFile, in_bucket
from longtake.incoming.in_bucket import BucketFile
from longtake.records import Upload
from longtake.store import Listed, Store
from longtake.store.folder import Folder
from longtake.store.scratch import Scratch
from tests.s3 import S3
from tests.wire_rig import Rig, client, serving

PIECE = 1000
DATA = bytes(np.random.default_rng(1).integers(0, 255, 5 * PIECE, np.uint8))
TUS = {"tus-resumable": "1.0.0"}
PART = {**TUS, "content-type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def fronts(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Rig]]:
    """Two, with one database and one bucket, and a disk each."""
    folder, prefix, scratch = tmp_path_factory.mktemp("fronts"), uuid.uuid4().hex, iter(("one", "another"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_bucket, "PIECE_BYTES", PIECE)
        s3.set_environment(patch)
        patch.setattr(Store, "in_folder", lambda _: s3.store(folder / next(scratch), prefix))
        one, another = (Rig.build(folder, max_partial_bytes=100_000, partial_seconds=100.0) for _ in range(2))
        yield one, another


def opened(incoming: Incoming, id: str) -> PartialFile:
    file = incoming.open(incoming.find(id, "default"))
    assert file
    return file


def pieces(rig: Rig, *ids: str) -> list[Listed]:
    return [found for id in ids for found in rig.store.listed(f"partial/{id}")]


def test_what_one_front_took_another_goes_on_with(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    for start, front in zip(range(0, len(DATA), 1250), (one, another, another, one), strict=True):
        file = opened(front, partial.id)
        assert file.size == start == one.offset(partial) == another.offset(partial)
        for at in range(start, start + 1250, 125):
            file.write(DATA[at : at + 125])
        file.trust()
        file.close()
    file = opened(another, partial.id)
    with file.whole() as path:
        assert path.read_bytes() == DATA
    file.close()
    for rig in fronts:
        assert rig.store.work_folder
        assert list(rig.store.work_folder.iterdir()) == [], "nothing is left on its disk"
        assert not list(rig.store.keys("uploads")), "no object that is not whole is one"


def test_a_kill_loses_less_than_a_piece(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    killed = opened(one, partial.id)
    for at in range(0, 3456, 8):
        killed.write(DATA[at : at + 8])
    assert another.offset(partial) == 3000
    assert opened_size(another, partial.id) == 3000
    killed.close()


def opened_size(incoming: Incoming, id: str) -> int:
    file = opened(incoming, id)
    file.close()
    return file.size


def test_a_request_that_breaks_off_leaves_what_came(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    file = opened(one, partial.id)
    file.write(DATA[:123])
    file.roll_back()
    file.close()
    assert another.offset(partial) == 123


def test_what_is_not_trusted_is_never_there(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    file = opened(one, partial.id)
    file.write(DATA[:500])
    file.distrust()
    file.write(DATA[500:3000])
    assert another.offset(partial) == 500
    file.roll_back()
    assert (file.size, another.offset(partial)) == (500, 500)
    file.distrust()
    file.write(DATA[500:2500])
    file.trust()
    file.close()
    assert another.offset(partial) == 2500


def test_two_that_bring_the_same_at_once_take_nothing_from_each_other(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    first, second = opened(one, partial.id), opened(another, partial.id)
    first.write(DATA[:1100])
    second.write(DATA[:700])
    second.trust()
    assert one.offset(partial) == 1100
    second.write(DATA[700:2000])
    second.trust()
    first.write(DATA[1100:1200])
    first.trust()
    assert one.offset(partial) == another.offset(partial) == 2000
    with first.whole() as path:
        assert path.read_bytes() == DATA[:2000]
    first.close()
    second.close()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12))))
def test_what_pieces_cover_without_a_gap_is_there(spans: list[tuple[int, int]]) -> None:
    id = str(uuid.UUID(int=0))
    listed = [
        Listed(f"partial/{id}/{start:015}-{start + length:015}-{number:032x}", length, 0.0)
        for number, (start, length) in enumerate(spans)
    ]
    chain = in_bucket._chain(reversed(listed))
    covered = {byte for start, length in spans for byte in range(start, start + length)}
    assert in_bucket._size(chain) == next(byte for byte in range(40) if byte not in covered)
    assert [byte for piece in chain for byte in range(piece.start, piece.stop)] == list(range(in_bucket._size(chain)))
    assert all(piece.at <= piece.start < piece.stop for piece in chain)


def test_too_much_is_cut_off_again(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    file = opened(one, partial.id)
    file.write(DATA[:500])
    file.trust()
    file.write(DATA[500:2000])
    file.write(DATA[2000:2010])
    file.cut(500)
    assert (file.size, another.offset(partial)) == (500, 500)
    file.write(DATA[500:600])
    file.trust()
    file.close()
    assert another.offset(partial) == 600


def test_a_cut_in_the_midst_of_a_piece_leaves_no_hole(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    file = opened(one, partial.id)
    for start in (0, 1000, 2000):
        file.write(DATA[start : start + 1000])
    file.cut(1500)
    at = file.size
    assert at <= 1500
    assert another.offset(partial) == at
    file.write(DATA[at:2500])
    file.trust()
    with file.whole() as path:
        assert path.read_bytes() == DATA[:2500]
    file.close()


def test_a_cut_takes_no_piece_that_another_request_brought(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    before = opened(one, partial.id)
    before.write(DATA[:500])
    before.trust()
    before.close()
    first, second = opened(one, partial.id), opened(another, partial.id)
    first.write(DATA[500:1700])
    second.write(DATA[500:1600])
    assert another.offset(partial) == 1700
    first.cut(0)
    assert (first.size, another.offset(partial)) == (500, 1600)
    first.write(DATA[500:1800])
    first.trust()
    with second.whole() as path:
        assert path.read_bytes() == DATA[:1800]
    first.close()
    second.close()


def test_of_a_refused_one_all_goes_whoever_brought_it(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", 2000)
    for front, part in ((one, DATA[:500]), (another, DATA[500:2000])):
        file = opened(front, partial.id)
        file.write(part)
        file.trust()
        file.close()
    file = opened(one, partial.id)
    one.refuse(partial, file, "no picture")
    assert file.size == 0
    file.close()
    assert pieces(fronts[0], partial.id) == []


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder does where no second front is needed."""
    monkeypatch.setattr(in_bucket, "PIECE_BYTES", PIECE)
    scratch = Scratch(tmp_path)
    return Store(Folder(tmp_path, scratch), scratch)


def held(store: Store) -> list[Path]:
    """What this process has open below its work folder, and what is there."""
    assert store.work_folder
    found = list(store.work_folder.iterdir())
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(descriptor.readlink())
    return [path for path in found if store.work_folder in path.parents]


def test_a_bucket_that_is_away_leaves_nothing_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Iterator[Listed]:
        raise StoreError("away", retryable=True)

    monkeypatch.setattr(store, "listed", away)
    with pytest.raises(StoreError):
        BucketFile(store, str(uuid.uuid4()))
    assert held(store) == []


def test_a_bucket_that_takes_nothing_leaves_nothing_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = BucketFile(store, str(uuid.uuid4()))
    file.write(DATA[:10])

    def away(*_: object) -> None:
        raise StoreError("away", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_file", away)
        with pytest.raises(StoreError):
            file.roll_back()
    file.close()
    assert held(store) == []


def test_where_no_file_can_be_opened_what_is_in_the_bucket_stays_and_the_next_part_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = str(uuid.uuid4())
    file = BucketFile(store, id)
    file.write(DATA[:10])

    really = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        file.trust()
        with pytest.raises(StoreError, match="Too many open files") as told:
            file.write(DATA[10:20])
    assert told.value.retryable
    assert file.size == 10
    file.write(DATA[10:20])
    file.trust()
    file.close()
    assert held(store) == []
    again = BucketFile(store, id)
    with again.whole() as path:
        assert path.read_bytes() == DATA[:20]
    again.close()
    assert held(store) == []


def test_those_begun_lately_are_asked_for_nothing(fronts: tuple[Rig, Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    incoming, listed, asked = fronts[0].incoming, Store.listed, []
    partials = [incoming.begin("default", len(DATA)) for _ in range(3)]

    def counted(store: Store, prefix: str = "") -> Iterator[Listed]:
        asked.append(prefix)
        return listed(store, prefix)

    monkeypatch.setattr(Store, "listed", counted)
    incoming.sweep()
    assert asked == ["partial"]
    assert not any(incoming.is_expired(partial) for partial in partials)
    assert asked == ["partial"]


def test_expired_ones_and_strays_are_swept_and_no_others(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    kept, ended = (one.begin("default", len(DATA)) for _ in range(2))
    for partial in (kept, ended):
        file = opened(one, partial.id)
        file.write(DATA[:10])
        file.trust()
        file.close()
    fronts[0].records.end_partial(ended.id)
    assert another.sweep() == 1
    assert pieces(fronts[0], ended.id) == []
    assert len(pieces(fronts[0], kept.id)) == 1
    assert kept.created_at + 98 < another.expires_at(kept) < time.time() + 102
    another.sweep(time.time() + 103)
    assert pieces(fronts[0], kept.id) == []
    with pytest.raises(UnknownError):
        one.find(kept.id, "default")


def test_one_that_is_ended_while_it_is_put_together_may_be_asked_for_again(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", len(DATA))
    file = opened(one, partial.id)
    file.write(DATA)
    file.trust()
    found = pieces(fronts[0], partial.id)
    opened_again = opened(another, partial.id)
    patched = pytest.MonkeyPatch()
    patched.setattr(Store, "listed", lambda *_: iter(found))
    file.remove()
    with pytest.raises(StoreError) as told, opened_again.whole():
        pass
    patched.undo()
    assert told.value.retryable
    for each in (file, opened_again):
        each.close()


def test_who_finds_the_pieces_gone_puts_nothing_together_and_leaves_no_file(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.incoming for rig in fronts)
    partial = one.begin("default", 2000)
    file = opened(one, partial.id)
    file.write(DATA[:2000])
    file.trust()
    late = opened(another, partial.id)
    assert late.size == 2000
    folder = fronts[1].store.work_folder
    assert folder
    with late.whole() as path:
        assert path.read_bytes() == DATA[:2000]
    file.remove()  # the other front was quicker
    before = set(folder.rglob("*"))
    with pytest.raises(StoreError) as told, late.whole():
        pass
    assert told.value.retryable
    assert set(folder.rglob("*")) == before
    for each in (file, late):
        each.close()


def test_two_fronts_that_finish_one_upload_keep_it_once(fronts: tuple[Rig, Rig]) -> None:
    one, another = (rig.records for rig in fronts)
    upload = Upload(str(uuid.uuid4()), "default", "image", "uploads/x.png", 4, 4, None, None, 9, "", 1.0)
    assert one.add_upload(upload) == upload
    assert another.add_upload(replace(upload, created_at=2.0)) == upload


@pytest.fixture
def https(fronts: tuple[Rig, Rig]) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    with serving(fronts[0]) as one, serving(fronts[1]) as another, client(one) as first, client(another) as second:
        yield first, second


def test_clients_go_on_at_whichever_front_they_come_to(
    fronts: tuple[Rig, Rig], https: tuple[httpx2.Client, httpx2.Client]
) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.frombuffer(DATA[:4800], np.uint8).reshape(40, 40, 3)).save(picture, "PNG")
    data = picture.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    begun = https[0].post("/api/uploads", headers={**TUS, "upload-length": str(len(data))})
    path = "/api/uploads/" + begun.headers["location"].rpartition("/")[2]
    for start, http in zip(range(0, len(data), 1500), (https * 3), strict=False):
        assert int(http.head(path, headers=TUS).headers["upload-offset"]) == start
        headers = {**PART, "upload-offset": str(start)}
        assert http.patch(path, content=data[start : start + 1500], headers=headers).status_code == 204
    for http in https:
        answer = http.get(path).json()
        assert (answer["kind"], answer["width"]) == ("image", 40)
    rig = fronts[0]
    upload = rig.records.get_upload(path.rpartition("/")[2], "default")
    assert upload.sha256 == digest
    assert list(rig.store.keys()) == [upload.key]
    assert pieces(rig, upload.id) == []
