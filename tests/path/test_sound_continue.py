"""Sound that goes on under the new part, from an order to what a player hears; and silence where none was asked for."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer

from longtake.errors import OrderError
from longtake.footage import Run
from longtake.media.ambience import spectral_jump
from longtake.orders import Order
from longtake.store import Store
from tests.path.test_command_line import longtake
from tests.path.test_watching import digests, watched
from tests.servers import Server
from tests.sounds import Samples, ambience, heard, write_video

RATE, NUM_FRAMES = 48000, 75
SECONDS = 2
END = RATE * NUM_FRAMES // 25


def clip(path: Path, seed: int) -> Path:
    """Three seconds with the sound of a room, which goes on for a while after them."""
    return write_video(path, "aac", ambience(END + 4096, RATE, seed=seed), num_frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def sources(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Samples]]:
    """An end of a shot, and what is heard of it."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for seed, name in enumerate(("one", "two")):
        path = clip(folder / f"{name}.mp4", seed)
        made[name] = {"type": "video", "upload": server.upload(path)}, heard(path)[0][:, :END]
    return made


def level(samples: Samples) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(samples.astype(float) ** 2)) + 1e-9))


def without_gaps(path: Path, seam: int) -> Samples:
    """A tenth of a second about a seam as players have it that put packet after packet."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.audio[0]))
    at = sum(frame.samples for frame in frames if (frame.time or 0) * RATE < seam)
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return np.asarray(samples[:, at - RATE // 20 : at + RATE // 20], np.float32)


@pytest.mark.parametrize("ends", [("one", None), (None, "one"), ("one", "two")])
def test_sound_goes_on_under_the_new_part_and_is_as_before_under_the_old_ones(
    server: Server, sources: dict[str, tuple[dict[str, Any], Samples]], tmp_path: Path, ends: tuple[str | None, ...]
) -> None:
    frames = {f"frame{k}": sources[name][0] for k, name in enumerate(ends) if name}
    made = server.make({"keyframes": frames, "seconds": SECONDS, "seed": 3, "takes": 2, "sound": "continue"})
    assert made["request"]["sound"] == made["sound"]["mode"] == "continue"
    assert 0 < made["sound"]["jump"] < made["sound"]["inside"] + 1
    assert any("speech and music are not continued" in note for note in made["notes"])
    assert "sound" in made["timings"]
    played, _ = heard(server.download(made["assets"]["video"], tmp_path / "made.mp4"))
    begin = END if ends[0] else 0
    stop = begin + SECONDS * RATE
    if ends[0]:
        assert np.array_equal(played[:, :END], sources[ends[0]][1])
    if ends[1]:
        assert np.array_equal(played[:, stop : stop + END], sources[ends[1]][1])
    new, own = played[:, begin:stop], sources["one"][1]
    assert level(new) == pytest.approx(level(own), abs=1.5)
    assert spectral_jump(own[:, -RATE:], new[:, RATE // 2 : -RATE // 2], RATE) < 1.5
    for seam in [begin, stop][not ends[0] : 1 + bool(ends[1])]:
        step = np.abs(np.diff(without_gaps(tmp_path / "made.mp4", seam))).max()
        assert step <= 1.1 * np.abs(np.diff(own)).max()
    with av.open(made["playlist"]) as container:
        assert isinstance(container, InputContainer)
        num_heard = sum(frame.samples for frame in container.decode(container.streams.audio[0]))
    assert num_heard / RATE == pytest.approx(played.shape[1] / RATE, abs=0.1)


def test_a_child_goes_on_from_the_sound_that_was_made_and_what_is_deleted_leaves_nothing(
    server: Server, sources: dict[str, tuple[dict[str, Any], Samples]], tmp_path: Path
) -> None:
    body = {"seconds": 1, "seed": 1, "sound": "continue"}
    first = server.make({**body, "keyframes": {"frame0": sources["one"][0]}})
    second = server.make({**body, "keyframes": {"frame0": {"type": "generation", "id": first["id"]}}})
    played, _ = heard(server.download(second["assets"]["video"], tmp_path / "second.mp4"))
    last = played[:, END + RATE : END + 2 * RATE]
    assert level(last) == pytest.approx(level(sources["one"][1]), abs=1.5)
    objects = server.data / "objects"
    runs = [Run(made["id"]) for made in (first, second)]
    parts = [[objects / run.segment(), objects / run.sound()] for run in runs]
    assert all(path.is_file() for paths in parts for path in paths)
    for made in (first, second):
        server.client.delete(f"/api/generations/{made['id']}")
    assert [path.is_file() for paths in parts for path in paths] == [True, True, False, False]


def test_sound_is_silence_unless_it_is_asked_for(
    server: Server, sources: dict[str, tuple[dict[str, Any], Samples]], tmp_path: Path
) -> None:
    made = server.make({"keyframes": {"frame0": sources["one"][0]}, "seconds": 1, "seed": 1})
    assert made["request"]["sound"] == "silence"
    assert made["sound"] == {"mode": "silence", "jump": None, "inside": None}
    played, _ = heard(server.download(made["assets"]["video"], tmp_path / "made.mp4"))
    assert np.abs(played[:, END + 4096 :]).max() < 1e-3


def test_where_there_is_no_sound_to_go_on_from_a_note_says_so(server: Server, tmp_path: Path) -> None:
    mute = server.upload(write_video(tmp_path / "mute.mp4", None, num_frames=20))
    for frames in ({}, {"frame0": {"type": "video", "upload": mute}}):
        made = server.make({"keyframes": frames, "seconds": 0.5, "resolution": "540p", "sound": "continue"})
        assert "The new part is silent: there is no sound to go on from." in made["notes"]
        assert made["sound"]["mode"] == "silence"


def test_another_word_for_sound_is_refused(server: Server) -> None:
    answer = server.client.post("/api/generations", json={"sound": "music"})
    assert answer.status_code == 400
    assert "sound" in answer.text
    with pytest.raises(OrderError, match="sound must be silence or continue, got music") as refused:
        Order(sound="music")  # type: ignore[arg-type]
    assert refused.value.field == "sound"


def test_an_order_carries_it_both_ways_and_one_from_before_has_silence() -> None:
    assert Order.from_json(Order(sound="continue").to_json()).sound == "continue"
    kept = {name: value for name, value in Order().to_json().items() if name != "sound"}
    assert Order.from_json(kept).sound == "silence"


def test_the_command_line_continues_sound_and_reports_its_joins(tmp_path: Path) -> None:
    clip(tmp_path / "clip.mp4", 0)
    asked = ("extend", "clip.mp4", "--seconds", "1", "--sound", "continue", "--at", "2")
    said = longtake(tmp_path, *asked, "-o", "a.mp4")
    assert said.returncode == 0, said.stderr
    assert "dB apart at its joins" in said.stdout
    figures = json.loads(longtake(tmp_path, *asked, "-o", "b.mp4", "--json").stdout)
    assert figures["sound"]["mode"] == "continue"
    assert figures["sound"]["jump"] < figures["sound"]["inside"] + 1
    a, b = (heard(tmp_path / name)[0] for name in ("a.mp4", "b.mp4"))
    assert np.array_equal(a, b)
    assert level(a[:, 2 * RATE : 3 * RATE]) == pytest.approx(level(a[:, : 2 * RATE]), abs=1.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert Fraction(container.duration or 0, av.time_base) >= 3


def test_what_has_no_result_leaves_no_sound(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path)
    run = Run("id", 2, 3)
    later = Run("id", 2, 4).segment()
    keys = [key for take in range(3) for key in (run.segment(take), run.sound(take), run.part(0, take))]
    for key in (*keys, *run.again, Run("id", 1, 9).segment(), later):
        store.put(key, b"x")
    run.forget(store)
    assert list(store.keys("segments")) == [later]


@pytest.mark.parametrize("end", ["frame0", "frame1"])
def test_who_watches_while_it_is_rendered_hears_the_old_parts_and_the_next_one_hears_it_all(
    server: Server, sources: dict[str, tuple[dict[str, Any], Samples]], tmp_path: Path, end: str
) -> None:
    body = {"keyframes": {end: sources["one"][0]}, "seconds": 6, "seed": 1, "sound": "continue"}
    id = server.create(body)
    live, later = watched(server, id), watched(server, id)
    made = server.completed(id)
    whole = server.download(made["assets"]["video"], tmp_path / "whole.mp4")
    for seen in (live, later):
        assert digests(seen.write(tmp_path / "seen.mp4")) == digests(whole)
    stretch = slice(0, END) if end == "frame0" else slice(-END - 2048, None)
    seconds = []
    for seen in (live, later):
        with av.open(str(seen.write(tmp_path / "seen.mp4"))) as container:
            assert isinstance(container, InputContainer)
            frames = list(container.decode(container.streams.audio[0]))
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        assert level(samples[:, stretch]) == pytest.approx(level(sources["one"][1]), abs=1.5)
        seconds.append(samples.shape[1] / RATE)
    assert seconds == pytest.approx([9, 9], abs=0.1)
    assert level(samples) == pytest.approx(level(sources["one"][1]), abs=1.5)
