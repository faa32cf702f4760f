"""Of a file that breaks off, or breaks, what is whole ahead of that can be extended: from where its owner says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet

from longtake.errors import MediaError
from longtake.footage import Footage, Run
from longtake.media.bring import Brought, bring
from longtake.orders import KeyFrame, Order
from longtake.planning import Capabilities, plan
from longtake.sources import keep_footage, match
from longtake.store import Store
from longtake.timeline import Timeline
from tests.footage import frame_hashes, frames_and_times, moving, video_frames, write_foreign

NUM, RATE = 96, 12
ANY = Capabilities(name="any")
VIDEO = KeyFrame(type="video", url="-")
KINDS: dict[str, dict[str, Any]] = {
    "H.264 with B-frames": {"options": {"x264-params": "bframes=3:b-adapt=0:keyint=24:scenecut=0"}},
    "H.264 without B-frames": {"options": {"x264-params": "bframes=0:keyint=24:scenecut=0"}},
    "H.264 with open groups": {"options": {"x264-params": "bframes=3:b-adapt=0:keyint=24:open-gop=1:scenecut=0"}},
    "HEVC with B-frames": {"codec": "libx265", "options": {"x265-params": "log-level=error:keyint=24:frame-threads=1"}},
    "ProRes": {"codec": "prores_ks"},
}


def written(kind: str, folder: Path) -> bytes:
    """Eight seconds, index first."""
    pixels = "yuv422p10le" if kind == "ProRes" else "yuv420p"
    frames = [frame.reformat(format=pixels) for frame in video_frames(moving(NUM, 96, 64))]
    path = write_foreign(folder / "whole.mov", frames, muxer={"movflags": "faststart"}, **KINDS[kind])
    return path.read_bytes()


def cut_off(data: bytes) -> bytes:
    media = data.index(b"mdat") + 4
    return data[: media + (len(data) - media) * 6 // 10]


def broken(data: bytes) -> bytes:
    """Noise over the last sixth of the media: the index is as it was."""
    first = len(data) - (len(data) - data.index(b"mdat")) // 6
    return data[:first] + Random(1).randbytes(len(data) - first)


def kept(data: bytes, folder: Path) -> tuple[Footage, Store]:
    store = Store.in_folder(folder / "store")
    (folder / "in.mov").write_bytes(data)
    return keep_footage(folder / "in.mov", "sources/a", "upload:a", store, lambda *_: None), store


def refusal(timeline: Timeline) -> str:
    with pytest.raises(MediaError) as caught:
        plan(Order(before=VIDEO), timeline, None, ANY)
    assert caught.value.field == "keyframes.frame0"
    return str(caught.value)


@pytest.mark.parametrize("breaks", [cut_off, broken])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused_with_where_it_breaks_and_where_it_could_be_cut_and_cut_there_it_goes_on(
    kind: str, breaks: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    data = written(kind, tmp_path)
    footage, store = kept(breaks(data), tmp_path)
    timeline, num = footage.timeline, footage.timeline.num_frames
    assert (kind == "ProRes") == bool(footage.converted)
    assert NUM // 3 < num < NUM
    found = re.search(r"(\d+\.\d\d) s; it could be cut before that: at=([\d.]+)$", refusal(timeline))
    assert found
    assert abs(Fraction(found[1]) - Fraction(num, RATE)) <= Fraction(5, RATE)
    order = Order(before=replace(VIDEO, at=Fraction(found[2])), seconds=Fraction(1))
    planned = plan(order, timeline, None, ANY)
    assert planned.outline.before_stop == num
    if kind != "ProRes":
        object_path = store.open(timeline.segments[0].key)
        assert isinstance(object_path, str)
        assert frame_hashes(Path(object_path))[0] == frames_and_times(tmp_path / "whole.mov")[0][:num]
    with pytest.raises(MediaError, match="its end would be missing; as frame0 it could be cut before that: at="):
        plan(Order(after=replace(VIDEO, at=Fraction(1))), None, timeline, ANY)
    assert Footage.from_json(footage.to_json()).timeline.broken == timeline.broken
    assert not planned.head or not planned.head.broken


def test_a_bridge_from_it_needs_the_cut_as_well_even_where_it_is_encoded_again(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    footage, store = kept(cut_off(written("HEVC with B-frames", tmp_path)), tmp_path)
    path = write_foreign(tmp_path / "other.mp4", video_frames(moving(NUM, 96, 64)))
    other = keep_footage(path, "sources/b", "upload:b", store, lambda *_: None)
    before, after = match(Run("x"), footage, other, store, lambda *_: None)
    assert before.converted
    with pytest.raises(MediaError, match="could be cut before that"):
        plan(Order(before=VIDEO, after=VIDEO), before.timeline, after.timeline, ANY)
    order = Order(before=replace(VIDEO, at=Fraction(2)), after=VIDEO, seconds=Fraction(1))
    before, after = match(Run("y"), footage, other, store, lambda *_: None, order)
    assert plan(order, before.timeline, after.timeline, ANY).outline.before_stop == 2 * RATE


def test_a_file_of_which_no_frame_is_whole_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    data = written("H.264 with B-frames", tmp_path)
    store = Store.in_folder(tmp_path / "store")
    (tmp_path / "in.mov").write_bytes(data[: data.index(b"mdat") + 100])
    with pytest.raises(MediaError, match="cut off or broken"):
        keep_footage(tmp_path / "in.mov", "sources/a", "upload:a", store, lambda *_: None)
    assert not list(store.keys("sources"))


def brought(folder: Path, stamps: Sequence[int], undecodable: Sequence[int] = ()) -> Brought:
    """Of PNG frames at `stamps` in ms, some of them broken, and sound from 0 s on."""
    with av.open(str(folder / "in.mov"), "w") as container:
        picture = container.add_stream("png", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frames = [frame.reformat(format="rgb24") for frame in video_frames(moving(len(stamps), 64, 48))]
        for frame, pts in zip(frames, stamps, strict=True):
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
        packets = [packet for frame in [*frames, None] for packet in picture.encode(frame)]
        for number, packet in enumerate(packets):
            if number in undecodable:
                noise = Packet(bytes(packet.size))
                noise.pts, noise.dts, noise.duration = packet.pts, packet.dts, packet.duration
                noise.time_base, noise.stream, noise.is_keyframe = packet.time_base, picture, True
                packet = noise
            container.mux(packet)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 96_000), np.int16), "s16", "mono")
        samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
        container.mux([*sound.encode(samples), *sound.encode(None)])
    return bring(lambda _: None, folder / "in.mov", folder / "picture.mp4", folder / "sound.mp4")


@pytest.mark.parametrize("steps", [(40, 40, 40), (95, 40, 40)], ids=["constant rate", "variable rate"])
@pytest.mark.parametrize(
    ("undecodable", "first"),
    [((25,), 0), (range(10), 10), ((*range(10), 25), 10)],
    ids=["in the middle", "at the start", "at both"],
)
def test_what_can_not_be_decoded_does_not_shift_the_sound(
    undecodable: Sequence[int], first: int, steps: tuple[int, ...], tmp_path: Path
) -> None:
    stamps = [sum(steps[place % 3] for place in range(number)) for number in range(50)]
    whole = brought(tmp_path, stamps)
    made = brought(tmp_path, stamps, undecodable)
    assert (made.segment.num_frames < whole.segment.num_frames, bool(made.segment.broken)) == (True, 25 in undecodable)
    assert whole.sound_start is not None
    assert made.sound_start == whole.sound_start - Fraction(stamps[first], 1000)


def test_a_whole_file_is_not_called_broken(tmp_path: Path) -> None:
    footage, _ = kept(written("H.264 with open groups", tmp_path), tmp_path)
    assert (footage.timeline.broken, footage.timeline.num_frames) == ("", NUM)
    assert "broken" not in footage.timeline.to_json()["segments"][0]
