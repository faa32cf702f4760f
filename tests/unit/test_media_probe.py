"""What is a video, what is none, and what our segments can be joined to as it is."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from longtake.errors import MediaError
from longtake.media.encode import encode
from longtake.media.house import bring_home
from longtake.media.probe import Probe, probe
from longtake.video import VideoFormat
from tests.footage import TINY, moving, store, video_frames, write_foreign


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
    "cut in the packets": (lambda folder: house_bytes(folder)[:-900], r"cut off or broken.*after \d"),
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


def test_a_path_and_a_file_object_give_the_same_answer(tmp_path: Path) -> None:
    data = house_bytes(tmp_path)
    expected = Probe("h264", TINY, 30, (0, 12, 24), False, True, ())
    assert probe(tmp_path / "source.mp4") == probe(BytesIO(data)) == expected


def reasons(path: Path) -> str:
    found = probe(path)
    assert found.is_house == (not found.why_not_house)
    return " | ".join(found.why_not_house)


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        ("B-frames", {"max_b_frames": 2}),
        ("parameter sets", {}),
        ("not square", {"sample_aspect_ratio": Fraction(4, 3)}),
        ("turned by 90", {"rotation": 90}),
        ("codec is mpeg4", {"codec": "mpeg4"}),
        ("not equally long", {"pts": [0, 1, 2, 4, 5, 8, 9, 10]}),
        ("start at 0", {"pts": [3, 4, 5, 6, 7, 8, 9, 10]}),
        ("BT.709", {}),
    ],
)
def test_why_a_video_is_not_house_is_said(reason: str, settings: dict[str, object], tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(8)), **settings)  # type: ignore[arg-type]
    assert reason in reasons(path)


def test_other_pixel_formats_are_not_house(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(4), "yuv444p"))
    assert "yuv444p" in reasons(path)


def test_the_format_is_upright_square_and_even(tmp_path: Path) -> None:
    frames = video_frames(moving(4, 64, 48))
    turned = write_foreign(tmp_path / "turned.mp4", frames, rotation=-90)
    wide = write_foreign(tmp_path / "wide.mp4", frames, sample_aspect_ratio=Fraction(4, 3))
    assert probe(turned).format == VideoFormat(48, 64, Fraction(12))
    assert probe(wide).format == VideoFormat(84, 48, Fraction(12))


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert probe(write_foreign(tmp_path / "video.mp4", video_frames(moving(12)), sound=True)).has_sound


def test_real_footage_has_its_known_formats(clips: Path) -> None:
    known = {
        "mdn_flower.mp4": (VideoFormat(960, 540, Fraction(30000, 1001)), 150, True),
        "intel_bottle-detection.mp4": (VideoFormat(640, 360, Fraction(179, 6)), 1189, False),
        "intel_car-detection.mp4": (VideoFormat(768, 432, Fraction(25, 2)), 377, True),
        "sam2_juggle.mp4": (VideoFormat(1280, 720, Fraction(24)), 247, False),
        "cv_vtest.avi": (VideoFormat(480, 360, Fraction(10)), 795, True),
    }
    for name, (format, num_frames, has_sound) in known.items():
        found = probe(clips / name)
        assert (found.codec, found.format, found.num_frames) == ("h264", format, num_frames), name
        assert not found.is_house
        assert found.has_sound == has_sound or name == "cv_vtest.avi"


def test_other_encoder_settings_of_ours_would_not_pass_as_house(tmp_path: Path) -> None:
    encode([moving(3)], VideoFormat(64, 48, Fraction(8)), tmp_path / "video.mp4")
    data = (tmp_path / "video.mp4").read_bytes()
    at = data.index(b"avcC") + 4 + 8
    (tmp_path / "video.mp4").write_bytes(data[: at + 3] + bytes([data[at + 3] ^ 1]) + data[at + 4 :])
    assert "parameter sets" in reasons(tmp_path / "video.mp4")
