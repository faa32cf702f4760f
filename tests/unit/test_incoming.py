"""Files that come in parts, on disk: what a process that dies leaves, and what is swept away."""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from longtake.errors import ConflictError, DatabaseError, OrderError, StoreError, TooLargeError, UnknownError
from longtake.incoming import MOST_UNFINISHED, Incoming, PartialFile
from longtake.incoming.on_disk import DiskFile
from longtake.records import PartialUpload, Records
from tests.wire_rig import Rig

DATA = bytes(range(256)) * 4


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig.build(tmp_path, max_partial_bytes=2000, partial_seconds=100.0)


@pytest.fixture
def incoming(rig: Rig) -> Incoming:
    return rig.incoming


def opened(path: Path) -> DiskFile:
    file = DiskFile.open(path)
    assert file
    return file


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(
        st.tuples(st.binary(max_size=40), st.sampled_from(["kept", "trusted", "died untrusted", "rolled back"]))
    )
)
def test_only_what_was_written_for_good_is_there_whoever_died_meanwhile(
    tmp_path: Path, parts: list[tuple[bytes, str]]
) -> None:
    path, expected = tmp_path / str(uuid.uuid4()), b""
    for data, how in parts:
        file = opened(path)
        assert file.size == len(expected)
        if how != "kept":
            file.distrust()
        file.write(data)
        if how == "trusted":
            file.trust()
        if how == "rolled back":
            file.roll_back()
        if how in ("kept", "trusted"):
            expected += data
        file.close()  # of a process that dies the kernel closes it
    file = opened(path)
    assert path.read_bytes() == expected
    file.close()


def test_one_has_it_open_and_no_other(incoming: Incoming) -> None:
    partial = incoming.begin("default", 100)
    file = incoming.open(partial)
    assert file
    assert incoming.open(partial) is None
    file.close()
    again = incoming.open(partial)
    assert again
    again.close()


def test_how_much_there_is_does_not_count_what_is_not_trusted(incoming: Incoming) -> None:
    partial = incoming.begin("default", 100)
    assert incoming.offset(partial) == 0
    file = incoming.open(partial)
    assert file
    file.write(b"12345")
    file.distrust()
    file.write(b"678")
    assert incoming.offset(partial) == 5
    file.trust()
    assert incoming.offset(partial) == 8
    file.close()


def test_what_can_not_be_is_refused_at_the_beginning(incoming: Incoming) -> None:
    with pytest.raises(TooLargeError, match="at most 2000 bytes, got 2001"):
        incoming.begin("default", 2001)
    with pytest.raises(OrderError, match="empty"):
        incoming.begin("default", 0)
    for _ in range(MOST_UNFINISHED):
        incoming.begin("default", 1)
    with pytest.raises(ConflictError, match="unfinished"):
        incoming.begin("default", 1)
    incoming.begin("another", 1)


def test_it_is_swept_so_long_after_its_last_byte(incoming: Incoming, rig: Rig) -> None:
    partial = incoming.begin("default", 100)
    file = incoming.open(partial)
    assert file
    file.write(b"1")
    file.close()
    path = rig.store.partial_folder / partial.id
    later = time.time() + 1000
    os.utime(path, (later, later))
    assert incoming.expires_at(partial) == pytest.approx(later + 100, abs=0.01)
    incoming.sweep(later + 99)
    assert incoming.find(partial.id, "default") == partial
    held = incoming.open(partial)
    assert held
    incoming.sweep(later + 101)
    assert path.exists(), "who has it in hand keeps it"
    held.close()
    incoming.sweep(later + 101)
    assert not path.exists()
    with pytest.raises(UnknownError):
        incoming.find(partial.id, "default")


def test_files_that_belong_to_nothing_are_swept_and_no_others(incoming: Incoming, rig: Rig) -> None:
    folder, partial = rig.store.partial_folder, incoming.begin("default", 100)
    stray = uuid.uuid4()
    for name in (str(stray), f"{stray}.whole", f"{uuid.uuid4()}.upright", partial.id, "what is this"):
        (folder / name).write_bytes(b"1")
    incoming.sweep()
    assert {path.name for path in folder.iterdir()} == {partial.id, "what is this"}
    assert list(rig.store.keys()) == []


def test_an_upload_that_was_ended_meanwhile_is_unknown_and_leaves_no_file(incoming: Incoming, rig: Rig) -> None:
    partial = incoming.begin("default", 100)
    rig.records.end_partial(partial.id)
    with pytest.raises(UnknownError):
        incoming.open(partial)
    assert list(rig.store.partial_folder.iterdir()) == []


def test_a_disk_that_takes_no_more_is_said_and_what_went_is_there(incoming: Incoming) -> None:
    partial = incoming.begin("default", 100)
    file = incoming.open(partial)
    assert isinstance(file, DiskFile)
    file.write(b"123")
    read_only = DiskFile(file.path, os.open(file.path, os.O_RDONLY))
    with pytest.raises(StoreError):
        read_only.write(b"4")
    read_only.close()
    file.close()
    assert incoming.offset(partial) == 3


def test_a_refused_one_keeps_no_byte_and_stays_in_the_hand_that_has_it(incoming: Incoming) -> None:
    partial = incoming.begin("default", 100)
    file = incoming.open(partial)
    assert file
    file.write(b"123")
    incoming.refuse(partial, file, "no picture")
    assert (file.size, incoming.offset(partial)) == (0, 0)
    assert incoming.open(partial) is None
    assert incoming.find(partial.id, "default").failure == "no picture"
    file.close()


class Killed(BaseException):
    """Stands for a kill."""


@pytest.fixture(params=[DatabaseError("away", retryable=True), Killed()], ids=["away", "killed"])
def error(request: pytest.FixtureRequest) -> BaseException:
    found = request.param
    assert isinstance(found, BaseException)
    return found


def fails(act: Callable[[], object], owner: type, method: str, error: BaseException) -> None:
    """Where `method` raises that error, `act` does."""

    def fail(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, fail)
        with pytest.raises(type(error)):
            act()


def is_free(incoming: Incoming, partial: PartialUpload) -> bool:
    file = incoming.open(partial)
    if file is not None:
        file.close()
    return file is not None


@pytest.mark.parametrize(("owner", "method"), [(Records, "find_partial"), (DiskFile, "roll_back")])
def test_one_that_could_not_be_opened_is_free(
    incoming: Incoming, owner: type, method: str, error: BaseException
) -> None:
    partial = incoming.begin("default", 100)
    fails(lambda: incoming.open(partial), owner, method, error)
    assert is_free(incoming, partial)


def test_one_that_was_ended_meanwhile_and_could_not_be_removed_is_free(
    incoming: Incoming, rig: Rig, error: BaseException
) -> None:
    partial = incoming.begin("default", 100)
    rig.records.end_partial(partial.id)
    fails(lambda: incoming.open(partial), DiskFile, "remove", error)
    with pytest.raises(UnknownError):
        incoming.open(partial)


def test_one_that_could_not_be_swept_is_free(incoming: Incoming, error: BaseException) -> None:
    partial = incoming.begin("default", 100)
    fails(lambda: incoming.sweep(time.time() + 101), Records, "end_partial", error)
    assert is_free(incoming, partial)


def test_a_stray_that_could_not_be_removed_is_swept_the_next_time(
    incoming: Incoming, rig: Rig, error: BaseException
) -> None:
    (rig.store.partial_folder / str(uuid.uuid4())).write_bytes(b"1")
    fails(lambda: incoming.sweep(), DiskFile, "remove", error)
    assert incoming.sweep() == 1
    assert list(rig.store.partial_folder.iterdir()) == []


@pytest.fixture
def whole(rig: Rig) -> Iterator[tuple[PartialUpload, PartialFile]]:
    """A picture, all of which has come."""
    picture = io.BytesIO()
    Image.linear_gradient("L").resize((16, 8)).save(picture, "PNG")
    partial = rig.incoming.begin("default", len(picture.getvalue()))
    file = rig.incoming.open(partial)
    assert file
    file.write(picture.getvalue())
    yield partial, file
    file.close()


@pytest.mark.parametrize("dies_in", ["Records.add_upload", "Store.put_file", "DiskFile.remove"])
def test_a_kill_while_a_whole_file_is_kept_loses_nothing(
    rig: Rig, whole: tuple[PartialUpload, PartialFile], dies_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, file = whole
    name = {"Records": "longtake.records.Records", "Store": "longtake.store.Store"}
    owner, _, method = dies_in.partition(".")
    with monkeypatch.context() as patched:

        def die(*_: object) -> None:
            raise Killed

        patched.setattr(f"{name.get(owner, 'longtake.incoming.on_disk.DiskFile')}.{method}", die)
        with pytest.raises(Killed):
            rig.service.finish_upload(partial, file)
    assert rig.incoming.offset(partial) == partial.num_bytes
    upload = rig.service.finish_upload(partial, file)
    assert (upload.id, upload.width) == (partial.id, 16)
    assert rig.records.get_upload(partial.id, "default") == upload
    assert list(rig.store.keys("uploads")) == [upload.key]
    assert list(rig.store.partial_folder.iterdir()) == []
