"""Objects in S3: what goes wrong on the way there, what it costs to read a little of much, what is said of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longtake.errors import CallerError, StoreError, UnknownError
from longtake.store import Store, bucket
from longtake.store.ranged import FIRST_BYTES
from tests.s3 import BUCKET, KEYS, PAGE, S3, Relay

MB = 1 << 20


@dataclass
class Way:
    """A store, and what stands between it and its server."""

    store: Store
    relay: Relay


@pytest.fixture
def way(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.setattr(bucket, "READ_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(bucket, "WRITE_PATIENCE_SECONDS", 0.3)
    relay = Relay(s3)
    with relay.listening() as endpoint:
        s3.set_environment(monkeypatch, endpoint)
        yield Way(s3.store(tmp_path / "scratch"), relay)


def _file(folder: Path, num_bytes: int) -> Path:
    path = folder / "large"
    path.write_bytes(os.urandom(num_bytes))
    return path


def test_a_large_file_goes_in_parts_and_is_read_as_it_was(way: Way, tmp_path: Path) -> None:
    path = _file(tmp_path, 17 * MB)
    data = path.read_bytes()
    assert way.store.put_file("videos/a.mp4", path) == len(data)
    assert sum("partNumber=" in line for line in way.relay.requests) == 3
    assert not path.exists()
    assert b"".join(way.store.stream("videos/a.mp4", 0, len(data))) == data


def test_a_part_that_is_refused_leaves_no_object_and_no_parts(way: Way, s3: S3, tmp_path: Path) -> None:
    path = _file(tmp_path, 17 * MB)
    way.relay.refuse = "partNumber=2&"
    with pytest.raises(StoreError, match="refuses us") as told:
        way.store.put_file("videos/a.mp4", path)
    assert not told.value.retryable
    assert path.exists(), "it may be tried again"
    assert way.store.size("videos/a.mp4") is None
    assert s3.num_unfinished() == 0
    way.relay.refuse = ""
    way.store.put_file("videos/a.mp4", path)
    assert way.store.size("videos/a.mp4") == 17 * MB


def test_a_line_that_is_cut_in_the_midst_of_an_upload_shows_no_object(way: Way, tmp_path: Path) -> None:
    path = _file(tmp_path, 17 * MB)
    way.store.put("videos/b.mp4", b"1")
    way.relay.cut_at = "partNumber=2&"
    with pytest.raises(StoreError, match="does not answer") as told:
        way.store.put_file("videos/a.mp4", path)
    assert told.value.retryable
    way.relay.is_cut, way.relay.cut_at = False, ""
    assert list(way.store.keys()) == ["videos/b.mp4"]


def test_listings_and_deletions_go_on_after_a_page(way: Way) -> None:
    keys = {f"live/a/{number}" for number in range(2 * PAGE + 10)}
    for key in keys:
        way.store.put(key, b"")
    way.relay.forget()
    assert set(way.store.keys("live/a")) == keys
    assert len(way.relay.requests) == 3
    way.store.delete_under("live/a")
    assert sum(line.startswith(("POST", "DELETE")) for line in way.relay.requests) == 1
    assert list(way.store.keys("live")) == []


def test_many_are_deleted_with_few_requests_and_those_that_are_not_there_are_passed_over(way: Way) -> None:
    for number in range(5):
        way.store.put(f"live/a/{number}", b"")
    way.relay.forget()
    way.store.delete_many([f"live/a/{number}" for number in range(0, 1200, 2)])
    way.store.delete_many([f"live/b/{number}" for number in range(1001)])
    assert [line.partition(" ")[0] for line in way.relay.requests] == ["POST"] * 3
    assert set(way.store.keys("live")) == {"live/a/1", "live/a/3"}
    way.store.delete_many([])
    way.relay.refuse = "delete"
    with pytest.raises(StoreError, match="could not delete objects"):
        way.store.delete_many(["live/a/1", "live/a/3"])


def _long_video(path: Path, seconds: int) -> None:
    """Noise, of which an MP4 becomes large soon; its index stands at its end."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (90, 160, 3), dtype=np.uint8) for _ in range(8)]
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "10", "g": "24"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(seconds * 24):
            frame = av.VideoFrame.from_ndarray(noise[number % len(noise)], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def test_the_last_two_seconds_of_a_long_video_cost_little_more_than_their_bytes(way: Way, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    _long_video(path, 40)
    num_bytes = way.store.put_file("videos/long.mp4", path)
    way.relay.forget()
    file = way.store.open("videos/long.mp4")
    assert not isinstance(file, str)
    with file, av.open(file, "r", format="mp4") as container:
        stream = container.streams.video[0]
        assert stream.time_base
        container.seek(int(38 / stream.time_base), stream=stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == 48
    wanted = sum(packet.size for packet in packets)
    assert num_bytes > 12 * wanted
    assert way.relay.num_bytes < 2 * wanted + 3 * FIRST_BYTES
    assert len(way.relay.requests) <= 5


@pytest.mark.parametrize(
    "url", ["", "s3://", "s3://a", "gs://bucket", "s3://bucket//x", "s3://bucket/../x", "s3://Bucket", "s3:bucket"]
)
def test_a_url_that_names_no_bucket_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"s3://bucket/prefix, got"):
        Store.in_bucket(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", bucket.ENDPOINTS)
@pytest.mark.parametrize("address", ["ftp://host", "host:9000", "http://", "https://user:hush@host"])
def test_an_endpoint_that_is_no_address_is_refused_and_its_password_is_not_told(
    name: str, address: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.set_environment(monkeypatch)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, address)
    with pytest.raises(CallerError, match=f"^{name} must be") as told:
        Store.in_bucket("s3://bucket", tmp_path)
    assert "hush" not in str(told.value)


def _all_told(store: Store) -> list[StoreError]:
    """What every call says; each must fail."""
    errors = []
    for call in (
        store.check,
        lambda: store.put("videos/a.mp4", b"1"),
        lambda: store.size("videos/a.mp4"),
        lambda: store.open("videos/a.mp4"),
        lambda: list(store.stream("videos/a.mp4", 0, 1)),
        lambda: list(store.keys()),
        lambda: store.delete("videos/a.mp4"),
        lambda: store.delete_under("videos/a"),
    ):
        with pytest.raises(StoreError) as told:
            call()
        assert told.value.__cause__ is None
        assert not any(secret in str(told.value) for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], "Debug", "signature"))
        errors.append(told.value)
    return errors


def test_a_bucket_that_is_not_there_is_named_and_is_no_missing_object(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.set_environment(monkeypatch)
    for error in _all_told(Store.in_bucket("s3://no-such-bucket/x", tmp_path)):
        assert "there is no bucket no-such-bucket at 127.0.0.1:" in str(error)
        assert "check LONGTAKE_STORE_URL and AWS_ENDPOINT_URL" in str(error)
        assert not error.retryable


def test_a_server_that_is_gone_is_named_and_may_come_back(way: Way) -> None:
    way.store.put("videos/a.mp4", b"1")
    way.relay.cut()
    for error in _all_told(way.store):
        assert f"bucket {BUCKET} at 127.0.0.1:" in str(error)
        assert "does not answer" in str(error)
        assert error.retryable
    way.relay.is_cut = False
    way.store.check()
    assert way.store.read("videos/a.mp4") == b"1"


def test_keys_that_are_refused_are_named_but_not_told(way: Way) -> None:
    way.relay.refuse = "HTTP"
    for error in _all_told(way.store):
        assert "refuses us" in str(error)
        assert "check AWS_ACCESS_KEY_ID" in str(error)
        assert not error.retryable


def test_a_check_asks_once_and_little(way: Way) -> None:
    way.store.check()
    (request,) = way.relay.requests
    assert "list-type=2" in request
    way.relay.cut()
    with pytest.raises(StoreError):
        way.store.check()


def test_a_server_that_is_named_by_the_bucket_is_asked_by_that_name(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.set_environment(monkeypatch, "https://objects.invalid:9000")
    monkeypatch.setenv(bucket.PATH_STYLE, "false")
    with pytest.raises(StoreError, match=r"bucket longtake at longtake\.objects\.invalid:9000"):
        s3.store(tmp_path).check()


def test_two_prefixes_of_a_bucket_know_nothing_of_each_other(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.set_environment(monkeypatch)
    one, another = s3.store(tmp_path / "one"), s3.store(tmp_path / "another")
    one.put("videos/a.mp4", b"1")
    with pytest.raises(UnknownError):
        another.read("videos/a.mp4")
    assert list(another.keys()) == []


def test_what_a_dead_process_left_in_the_scratch_folder_is_swept(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.set_environment(monkeypatch)
    living, other = s3.store(tmp_path), s3.store(tmp_path)
    assert living.work_folder
    assert other.work_folder
    dead = living.work_folder.parent / "of-a-dead-one"
    dead.mkdir()
    (dead / "half").write_bytes(b"1")
    (living.work_folder / "in hand").write_bytes(b"1")
    other.sweep_work()
    assert not dead.exists()
    assert (living.work_folder / "in hand").exists()
