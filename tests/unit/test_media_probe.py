"""What is a video, what is none, and whose packets can be kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from longtake.errors import MediaError
from longtake.media.house import bring_home
from longtake.media.probe import Probe, is_video, probe
from longtake.media.survey import survey
from longtake.video import BT709, HOUSE, Coding, Colour, VideoFormat
from tests.footage import TINY, moving, store, video_frames, write_foreign

UNTAGGED = Colour(2, 2, 2, 0)


def house_bytes(folder: Path) -> bytes:
    store(folder, "source.mp4", moving(30))
    return (folder / "source.mp4").read_bytes()


def sound_only(folder: Path) -> bytes:
    with av.open(str(folder / "sound.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate = 48000
        for number in range(20):
            silence.pts = number * 1024
            output.mux(stream.encode(silence))
        output.mux(stream.encode(None))
    return (folder / "sound.mp4").read_bytes()


def picture(folder: Path) -> bytes:
    Image.new("RGB", (64, 48)).save(folder / "picture.png")
    return (folder / "picture.png").read_bytes()


def without_frames(folder: Path) -> bytes:
    data = house_bytes(folder)
    return data[: data.index(b"mdat") + 4] + bytes(400)


def insane_size(folder: Path) -> bytes:
    frames = video_frames(moving(2))
    path = write_foreign(folder / "large.avi", frames, codec="rawvideo")
    data = path.read_bytes()
    at = data.index(b"strf") + 12
    return data[:at] + (30000).to_bytes(4, "little") + (20000).to_bytes(4, "little") + data[at + 8 :]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
BROKEN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "text called mp4": (lambda folder: b"Dear diary, today I called myself a video.\n" * 50, "not a video of a kind"),
    "no bytes": (lambda folder: b"", "empty"),
    "zeros": (lambda folder: bytes(5000), "not a video of a kind"),
    "cut in the index": (lambda folder: house_bytes(folder)[:300], "cut off or broken"),
    "no frames": (without_frames, "cut off or broken|no frame"),
    "sound only": (sound_only, "sound only"),
    "a picture": (picture, "not a video of a kind"),
    "a playlist": (lambda folder: PLAYLIST, "not a video of a kind"),
    "30000 pixels": (insane_size, "8192 pixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_video_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    make, sentence = BROKEN[name]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in.mp4"
    path.write_bytes(make(tmp_path / "in"))
    for source in (path, BytesIO(path.read_bytes())):
        with pytest.raises(MediaError, match=sentence):
            probe(source)
    (tmp_path / "out").mkdir()
    with pytest.raises(MediaError):
        bring_home(path, tmp_path / "out" / "video.mp4")
    assert not list((tmp_path / "out").iterdir())


def test_of_a_video_that_is_cut_off_what_is_there_is_told_with_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(house_bytes(tmp_path)[:-900])
    found = probe(tmp_path / "cut.mp4")
    assert re.fullmatch(r"the video is cut off or broken: nothing can be read after [34]\.\d\d s", found.broken)
    assert (found.is_kept, found.is_constant) == (True, False)
    assert 12 < found.num_frames < 30
    with pytest.raises(MediaError, match=re.escape(found.broken)):
        survey(tmp_path / "cut.mp4")


def test_a_path_and_a_file_object_give_the_same_answer(tmp_path: Path) -> None:
    data = house_bytes(tmp_path)
    expected = Probe("h264", TINY, 30, 5.0, False, True, ())
    assert probe(tmp_path / "source.mp4") == probe(BytesIO(data)) == expected


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({"max_b_frames": 2}, {}),
        ({"sample_aspect_ratio": Fraction(4, 3)}, {"sample_aspect": Fraction(4, 3)}),
        ({"rotation": 90}, {"rotation": 90}),
        ({"rotation": -90}, {"rotation": 270}),
        ({"codec": "mpeg4"}, {"codec": "mpeg4"}),
        ({"pts": [0, 1, 2, 4, 5, 8, 9, 10]}, {}),
        ({"pts": [3, 4, 5, 6, 7, 8, 9, 10]}, {}),
        ({"colorspace": 5, "color_primaries": 5, "color_trc": 6}, {"colour": Colour(5, 6, 5, 1)}),
        ({"color_range": 2}, {"colour": Colour(2, 2, 2, 2)}),
        ({"options": {"x264-params": "tff=1"}}, {"interlaced": True}),
    ],
)
def test_a_video_that_can_be_joined_is_kept_with_its_own_coding(
    settings: dict[str, Any], own: dict[str, Any], tmp_path: Path
) -> None:
    found = probe(write_foreign(tmp_path / "video.mp4", video_frames(moving(8)), **settings))
    assert (found.is_kept, found.why_converted) == (True, ())
    assert found.format.coding == Coding(**{"colour": UNTAGGED, **own})
    assert found.format.stored_size == (64, 48)
    assert found.format.frame_rate == 12


@pytest.mark.parametrize("pixels", ["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_other_pixels_of_h264_are_kept(pixels: str, tmp_path: Path) -> None:
    found = probe(write_foreign(tmp_path / "video.mp4", video_frames(moving(4), pixels)))
    assert found.is_kept, found.why_converted
    assert found.format.coding.pix_fmt == pixels


@pytest.mark.parametrize(
    ("reason", "name", "settings"),
    [
        ("its codec is ffv1", "video.mkv", {"codec": "ffv1"}),
        ("it is MPEG-4 with B-frames", "video.mp4", {"codec": "mpeg4", "max_b_frames": 2}),
        ("its colours are HDR (PQ)", "video.mp4", {"color_trc": 16}),
        ("its colours are HDR (HLG)", "video.mp4", {"color_trc": 18}),
        ("its frames have no time stamps", "video.h264", {}),
    ],
)
def test_why_a_video_is_converted_is_said(reason: str, name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    found = probe(write_foreign(tmp_path / name, video_frames(moving(8)), **settings))
    assert not found.is_kept
    assert found.why_converted == (reason,)
    assert found.format.coding == HOUSE


def test_other_pixels_than_our_encoders_write_are_converted(tmp_path: Path) -> None:
    frames = video_frames(moving(4), "yuv440p")
    found = probe(write_foreign(tmp_path / "video.webm", frames, codec="libvpx-vp9", options={"deadline": "realtime"}))
    assert found.why_converted == ("its pixels are yuv440p",)


def test_hevc_that_is_too_narrow_for_our_encoder_is_converted(tmp_path: Path) -> None:
    frames, options = video_frames(moving(4, 32, 64)), {"x265-params": "log-level=error"}
    path = write_foreign(tmp_path / "video.mp4", frames, codec="libx265", options=options)
    assert probe(path).why_converted == ("it is HEVC under 64 pixels wide",)


def test_an_odd_size_is_converted(tmp_path: Path) -> None:
    frames = [frame.reformat(width=63, height=47, format="yuv444p") for frame in video_frames(moving(4))]
    found = probe(write_foreign(tmp_path / "video.mp4", frames))
    assert found.why_converted == ("its size is odd (63x47)",)
    assert found.format == VideoFormat(62, 46, Fraction(12))


def test_an_edit_list_that_hides_the_end_converts(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(24)))
    assert probe(path).is_kept
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # after version, flags and the number of edits: how long the first one lasts, in ms
    assert int.from_bytes(data[at : at + 4], "big") == 2000
    data[at : at + 4] = (1000).to_bytes(4, "big")
    found = probe(BytesIO(data))
    assert found.num_frames == 12
    assert found.why_converted == ("its edit list shows it in pieces, or hides its end",)


def test_a_kept_format_is_upright_and_a_converted_one_in_square_pixels_too(tmp_path: Path) -> None:
    frames = video_frames(moving(4, 64, 48))
    shape = {"rotation": -90, "sample_aspect_ratio": Fraction(4, 3)}
    kept = probe(write_foreign(tmp_path / "kept.mp4", frames, **shape)).format  # type: ignore[arg-type]
    assert (kept.width, kept.height, kept.pixel_aspect) == (48, 64, Fraction(3, 4))
    made = probe(write_foreign(tmp_path / "made.mp4", frames, codec="mpeg4", max_b_frames=1, **shape)).format  # type: ignore[arg-type]
    assert made == VideoFormat(48, 84, Fraction(12))


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert probe(write_foreign(tmp_path / "video.mp4", video_frames(moving(12)), sound=True)).has_sound


def test_real_footage_has_its_known_formats_and_is_kept(clips: Path) -> None:
    sd, hd = Colour(6, 6, 6, 1), BT709
    known = {
        "mdn_flower.mp4": (VideoFormat(960, 540, Fraction(30000, 1001), Coding(colour=sd)), 150, True),
        "mdn_friday.mp4": (VideoFormat(640, 480, Fraction(30), Coding(colour=Colour(1, 1, 6, 1))), 185, True),
        "intel_bottle-detection.mp4": (VideoFormat(640, 360, Fraction(179, 6), Coding(colour=UNTAGGED)), 1189, False),
        "intel_car-detection.mp4": (VideoFormat(768, 432, Fraction(25, 2), Coding(colour=sd)), 377, True),
        "sam2_bedroom.mp4": (VideoFormat(960, 540, Fraction(30), Coding(colour=Colour(2, 2, 5, 1))), 200, False),
        "sam2_dog.mp4": (VideoFormat(1280, 720, Fraction(30000, 1001), Coding(colour=hd)), 289, True),
        "sam2_juggle.mp4": (VideoFormat(1280, 720, Fraction(24), Coding(colour=hd)), 247, False),
        "cv_vtest.avi": (VideoFormat(480, 360, Fraction(10), Coding(colour=hd)), 795, True),
    }
    for name, (format, num_frames, has_sound) in known.items():
        found = probe(clips / name)
        assert (found.codec, found.format, found.num_frames) == ("h264", format, num_frames), name
        assert found.is_kept or name == "cv_vtest.avi", name  # only a closer look shows why it isn't: see `keep`
        assert found.has_sound == has_sound, name


def test_what_announces_itself_as_a_video_is_told_from_an_image(tmp_path: Path) -> None:
    stills = [Image.new("L", (16, 16), level) for level in (10, 200)]
    stills[0].save(tmp_path / "one.gif")
    stills[0].save(tmp_path / "moving.gif", save_all=True, append_images=stills[1:], duration=100)
    stills[0].save(tmp_path / "a.png")
    stills[0].convert("RGB").save(tmp_path / "a.avif")
    for name in ("a.mp4", "a.mkv", "a.avi"):
        write_foreign(tmp_path / name, video_frames(moving(3)))
    found = {path.name for path in tmp_path.iterdir() if is_video(path)}
    assert found == {"moving.gif", "a.mp4", "a.mkv", "a.avi"}
