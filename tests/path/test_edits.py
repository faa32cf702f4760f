"""Edits from order to bytes: larger videos and new canvases, with their times and their sound, and on from there."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from PIL import Image

from longtake.edits import Editing
from longtake.engines.motion import Motion
from longtake.errors import Cancelled, OrderError
from longtake.fetch import Fetcher, FetchRules
from longtake.footage import Footage, Run
from longtake.frames import Frames
from longtake.media.colour import to_colour
from longtake.media.encode import encode
from longtake.media.scaling import Scaler
from longtake.orders import KeyFrame, Order, Reframe, Upscale
from longtake.parts import Rendered
from longtake.planning import Extent
from longtake.records import Generation, Upload
from longtake.scene import Scene
from longtake.store import Store
from longtake.timeline import Segment, Stamps, Timeline
from longtake.video import BT709, Colour, VideoFormat
from longtake.worker import Worker
from tests.footage import decode_linearly, frames_and_times, moving
from tests.sounds import first_frame_time, sound_packets, write_video
from tests.stage import Dead, Steps
from tests.wire_rig import KEY, Rig

UNTAGGED = Colour(2, 2, 2, 0)
SHORT = Fraction(1, 2)
TALL = Reframe(aspect_ratio=(9, 16), short_side=64)


@dataclass
class Bench:
    """A front, and a worker without a workflow."""

    rig: Rig
    worker: Worker

    @classmethod
    def build(cls, folder: Path) -> Bench:
        rig = Rig.build(folder)
        fetcher = Fetcher(FetchRules(max_bytes=1, timeout_seconds=1, allow=(ip_network("127.0.0.0/8"),)))
        return cls(rig, Worker(rig.records, rig.store, fetcher, engines={"motion": Motion()}, max_still_pixels=10**6))

    def bring(self, path: Path, type: Literal["image", "video"] = "video", extent: Extent | None = None) -> KeyFrame:
        key, num_bytes = f"uploads/{path.stem}.{type}", path.stat().st_size
        self.rig.store.put_file(key, path)
        facts = 64, 48, 2.0, 25.0, num_bytes, "", time.time(), extent
        self.rig.records.add_upload(Upload(path.stem, "default", type, key, *facts))
        return KeyFrame(type=type, upload=path.stem)

    def submit(self, order: Order) -> Generation:
        return self.rig.service.submit(self.rig.keys.check(KEY), order, wire="native", request={})

    def make(self, order: Order, steps: Steps | None = None) -> Generation:
        id = self.submit(order).id
        self.worker.run(id, 1, 1, steps or Steps())
        made = self.rig.records.get(id)
        assert made.state == "completed", made.failure_reason
        return made

    def video(self, made: Generation) -> Path:
        assert made.result
        return self.rig.folder / "objects" / made.result.video_key


def of(made: Generation) -> KeyFrame:
    return KeyFrame(type="generation", id=made.id)


def same_sound(first: Path, second: Path) -> bool:
    """All packets, each at its time."""
    return sound_packets(first) == sound_packets(second)


def test_an_upscale_keeps_all_times_and_all_sound_and_can_be_extended(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    given = bench.bring(write_video(tmp_path / "given.mp4", "aac"))
    parent = bench.make(Order(before=given, seconds=SHORT))
    larger = bench.make(Order(before=of(parent), edit=Upscale(96)))
    assert larger.result
    assert larger.extent
    assert larger.credits == float(larger.extent.num_frames / Fraction(25)) == 2.52
    assert [segment.owner for segment in larger.result.timeline.segments] == [larger.id]
    assert (larger.result.new_start, larger.result.new_frames, larger.result.seams) == (0, 63, ())
    assert larger.result.timeline.format == VideoFormat(128, 96, Fraction(25))
    assert larger.result.notes == ("Enlarged from 64x48 to 128x96 by Lanczos resampling: no model adds detail.",)
    small, large = decode_linearly(bench.video(parent))[0], decode_linearly(bench.video(larger))[0]
    wanted = Scaler((128, 96)).of(Frames(small.planes, UNTAGGED))
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(large.planes, wanted.planes, strict=True)) < 1
    assert frames_and_times(bench.video(parent))[1] == frames_and_times(bench.video(larger))[1]
    assert same_sound(bench.video(parent), bench.video(larger))

    longer = bench.make(Order(before=of(larger), seconds=SHORT))
    assert longer.result
    assert longer.result.timeline.segments[0] == larger.result.timeline.segments[0]
    assert frames_and_times(bench.video(longer))[0][:63] == frames_and_times(bench.video(larger))[0]


def test_a_reframed_video_stands_on_its_canvas_tagged_and_with_its_sound(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    given = bench.bring(write_video(tmp_path / "given.mp4", "aac"))
    made = bench.make(Order(before=given, edit=TALL))
    assert made.result
    assert made.result.timeline.format == VideoFormat(64, 114, Fraction(25))
    assert "blurred mirror image" in made.result.notes[0]
    brought = bench.rig.folder / "objects/uploads/given.video"
    theirs, ours = (
        to_colour(Frames(decode_linearly(brought)[0].planes, UNTAGGED), BT709),
        decode_linearly(bench.video(made))[0],
    )
    assert ours.num_frames == 50
    assert np.abs(ours.planes[0][:, 32:80].astype(int) - theirs.planes[0]).mean() < 1
    with av.open(str(bench.video(made))) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    zero, heard = first_frame_time(brought), dict(sound_packets(bench.video(made)))
    assert all(heard.get(at - zero) == data for at, data in sound_packets(brought) if at - zero < 2)


def test_an_image_becomes_a_video_that_stands(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    Image.fromarray(np.full((33, 65, 3), (200, 60, 60), np.uint8)).save(tmp_path / "red.png")
    made = bench.make(Order(before=bench.bring(tmp_path / "red.png", "image"), edit=TALL, seconds=SHORT))
    assert made.result
    assert made.credits == 0.5
    frames = decode_linearly(bench.video(made))[0]
    assert (frames.num_frames, frames.width, frames.height) == (12, 64, 114)
    assert int(np.ptp(frames.planes[0])) <= 3
    assert not bench.rig.store.size(f"segments/{made.id}-sound.mp4")


def edit(scene: Scene) -> Rendered:
    """All of it at once."""
    with closing(Editing(scene)) as making:
        return making.make(scene.run.segment(), 0, scene.plan.outline.num_frames, ())


def test_frames_that_are_not_equally_long_keep_their_lengths(tmp_path: Path) -> None:
    store, format = Store.in_folder(tmp_path), VideoFormat(64, 48, Fraction(12))
    stamps = Stamps(Fraction(1, 600), (0, 50, 120, 130, 300, 310, 400))
    (tmp_path / "sources").mkdir()
    encode([moving(6)], format, tmp_path / "sources/uneven.mp4", stamps)
    timeline = Timeline(format, (Segment("upload:a", "sources/uneven.mp4", 0, 6, (0,), stamps),))
    order = Order(before=KeyFrame(type="generation", id="a"), edit=Upscale(96))
    made = edit(Scene.of(Run("new"), order, Footage(timeline), None, Motion.capabilities, store))
    times = frames_and_times(tmp_path / made.segment.key)[1]
    assert times == [pts * stamps.time_base for pts in stamps.pts[:-1]]
    assert made.segment.seconds(6, format.frame_rate) == timeline.seconds


@pytest.mark.parametrize("dies_at", ["edit", "splice"])
def test_what_was_edited_is_not_edited_again_after_a_kill(tmp_path: Path, dies_at: str) -> None:
    bench, steps = Bench.build(tmp_path), Steps()
    id = bench.submit(Order(before=bench.bring(write_video(tmp_path / "given.mp4", "aac")), edit=TALL)).id
    steps.dies_at = dies_at
    with pytest.raises(Dead):
        bench.worker.carry_out(Run(id, 1), steps)
    steps.dies_at = ""
    bench.worker.carry_out(Run(id, 1), steps)
    assert list(steps.kept) == ["bring frame0", "edit", "splice", "poster"]
    assert bench.rig.records.get(id).state == "completed"


def test_a_cancel_ends_an_edit_and_leaves_nothing(tmp_path: Path) -> None:
    store, format = Store.in_folder(tmp_path), VideoFormat(64, 48, Fraction(12))
    (tmp_path / "sources").mkdir()
    encoded = encode([moving(48)], format, tmp_path / "sources/given.mp4")
    timeline = Timeline(format, (Segment("upload:a", "sources/given.mp4", 0, 48, encoded.key_frames),))
    order = Order(before=KeyFrame(type="generation", id="a"), edit=TALL)
    told: list[float] = []

    def tell(_: str, part: float) -> None:
        told.append(part)
        if part > 0.3:
            raise Cancelled("taken back")

    with pytest.raises(Cancelled):
        edit(Scene.of(Run("new"), order, Footage(timeline), None, Motion.capabilities, store, tell))
    assert told == sorted(told)
    assert list(store.keys("segments")) == []


class TestAtTheDoor:
    def test_an_upscale_that_is_not_larger_is_refused_though_its_parent_still_runs(self, tmp_path: Path) -> None:
        bench = Bench.build(tmp_path)
        parent = bench.submit(Order(prompt="hills", short_side=72))
        with pytest.raises(OrderError, match="above its 72p, got 64p") as refused:
            bench.submit(Order(before=of(parent), edit=Upscale(64)))
        assert refused.value.field == "resolution"
        assert bench.rig.records.count("default") == 1

    def test_an_edit_costs_the_seconds_of_what_it_is_made_of(self, tmp_path: Path) -> None:
        bench = Bench.build(tmp_path)
        given = bench.bring(
            write_video(tmp_path / "given.mp4", None), extent=Extent(VideoFormat(64, 48, Fraction(25)), 50)
        )
        assert bench.submit(Order(before=given, edit=TALL)).credits == 2.0
        parent = bench.submit(Order(prompt="hills", short_side=72, seconds=Fraction(9)))
        assert bench.submit(Order(before=of(parent), edit=Upscale(144))).credits == 9.0


def test_a_reframed_address_costs_as_many_seconds_as_it_has(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    order = Order(before=bench.bring(write_video(tmp_path / "given.mp4", "aac")), edit=TALL)
    made = bench.make(order)
    assert made.credits == 2.0
    poor, _ = bench.rig.keys.create("poor", limit=6)
    ids = [bench.rig.service.submit(poor, order, wire="luma", request={}).id]
    bench.rig.service.submit(poor, Order(prompt="x", seconds=Fraction(1)), wire="luma", request={})
    bench.worker.run(ids[0], 1, 1, Steps())
    assert bench.rig.keys.usage(poor.id).credits == 3.0


def test_a_reframed_address_that_the_key_can_not_pay_for_fails_and_costs_nothing(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    order = Order(before=bench.bring(write_video(tmp_path / "given.mp4", "aac")), edit=TALL, seconds=SHORT)
    poor, _ = bench.rig.keys.create("poor", limit=1)
    id = bench.rig.service.submit(poor, order, wire="luma", request={}).id
    bench.worker.run(id, 1, 1, Steps())
    failed = bench.rig.records.get(id)
    assert (failed.state, failed.failure_kind) == ("failed", "caller")
    assert failed.failure_reason == "this costs 2 credits, and the key has 1 left"
    assert bench.rig.keys.usage(poor.id).credits == 0
    assert not list(bench.rig.store.keys(f"segments/{id}"))


def test_nothing_stays_of_a_parent_that_goes_after_its_upscale(tmp_path: Path) -> None:
    bench = Bench.build(tmp_path)
    parent = bench.make(Order(before=bench.bring(write_video(tmp_path / "given.mp4", "aac")), seconds=SHORT))
    larger = bench.make(Order(before=of(parent), edit=Upscale(96)))
    for id in (larger.id, parent.id):
        bench.rig.service.delete(id, "default")
    assert [key for key in bench.rig.store.keys("segments/") if key != "segments/"] == []
