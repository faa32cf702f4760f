"""Any video that can be decoded comes home: its frames, colours, rate and bearing, and a word on what was changed."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from longtake.errors import MediaError
from longtake.frames import Frames
from longtake.media.colour import to_rgb
from longtake.media.house import bring_home
from longtake.media.probe import probe
from longtake.media.survey import survey
from longtake.video import HOUSE, VideoFormat
from tests.footage import decode_linearly, flat, moving, video_frames, write_foreign

TWELVE = VideoFormat(64, 48, Fraction(12))
LOSSLESS = {"qp": "0"}


def home(source: Path | BytesIO, folder: Path, **limits: float) -> tuple[Frames, VideoFormat, str]:
    encoded, format, remarks = bring_home(source, folder / "home.mp4", **limits)  # type: ignore[arg-type]
    found = probe(folder / "home.mp4")
    assert found.is_kept, found.why_converted
    assert (found.format, found.num_frames, found.format.coding) == (format, encoded.num_frames, HOUSE)
    assert survey(folder / "home.mp4").key_frames == encoded.key_frames
    return decode_linearly(folder / "home.mp4")[0], format, " | ".join(remarks)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "remark"),
    [
        ("video.mp4", "mpeg4", "yuv420p", "MPEG-4"),
        ("video.mkv", "libx265", "yuv420p", "HEVC"),
        ("video.webm", "libvpx-vp9", "yuv420p", "VP9"),
        ("video.avi", "mjpeg", "yuvj420p", "MJPEG"),
        ("video.mov", "prores_ks", "yuv422p10le", "ProRes"),
        ("video.mkv", "ffv1", "yuv444p", "FFV1"),
        ("video.gif", "gif", "rgb8", "GIF"),
        ("video.ts", "libx264", "yuv420p", "H.264"),
    ],
)
def test_codecs_and_containers_come_home_frame_for_frame(
    name: str, codec: str, pixel_format: str, remark: str, tmp_path: Path
) -> None:
    source = moving(12)
    path = write_foreign(tmp_path / name, video_frames(source, pixel_format), codec=codec)
    decoded, format, remarks = home(path, tmp_path)
    assert decoded.num_frames == 12
    assert abs(float(format.frame_rate) - 12) < 0.6
    assert remarks.startswith(remark)
    assert np.abs(decoded.planes[0].mean(axis=(1, 2)) - source.planes[0].mean(axis=(1, 2))).max() < 6


def test_b_frames_are_named_and_sound_is_no_matter_of_the_picture(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(30)), sound=True, max_b_frames=3)
    decoded, format, remarks = home(path, tmp_path)
    assert (decoded.num_frames, format) == (30, TWELVE)
    assert "H.264 with B-frames → house H.264" in remarks
    assert not [remark for remark in remarks if "sound" in remark]


MATRICES = {
    Colorspace.ITU601: (5, 0.299, 0.114),
    Colorspace.ITU709: (1, 0.2126, 0.0722),
    Colorspace.BT2020: (9, 0.2627, 0.0593),
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_tagged_matrix_and_range_give_the_colours_meant(matrix: Colorspace, full: bool, tmp_path: Path) -> None:
    tag, kr, kb = MATRICES[matrix]
    y, u, v = 110, 100, 160
    luma, blue, red = (
        (y / 255, (u - 128) / 255, (v - 128) / 255) if full else ((y - 16) / 219, (u - 128) / 224, (v - 128) / 224)
    )
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    meant = np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b]) * 255
    path = write_foreign(
        tmp_path / "video.mp4",
        video_frames(flat(3, y, u, v)),
        options=LOSSLESS,
        colorspace=tag,
        color_range=int(ColorRange.JPEG if full else ColorRange.MPEG),
    )
    decoded, _, _ = home(path, tmp_path)
    assert np.abs(to_rgb(decoded).planes[0][1, 20, 20] - meant).max() < 3


CONVERTED = ["colours taken as BT.601 limited range → BT.709 limited range"]


@pytest.mark.parametrize(("size", "said"), [((64, 48), CONVERTED), ((1280, 720), [])])
def test_untagged_colours_are_taken_by_size(size: tuple[int, int], said: list[str], tmp_path: Path) -> None:
    frames = video_frames(flat(2, 110, 100, 160, width=size[0], height=size[1]))
    _, _, remarks = home(write_foreign(tmp_path / "video.mp4", frames), tmp_path)
    assert [remark for remark in remarks.split(" | ") if remark.startswith("colours")] == said


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_rotated_video_is_turned_as_players_turn_it(degrees: int, tmp_path: Path) -> None:
    frames = flat(3, 60)
    frames.planes[0][:, :24, :32] = 200  # the upper left quarter is bright
    path = write_foreign(tmp_path / "video.mp4", video_frames(frames), rotation=degrees, options=LOSSLESS)
    decoded, format, remarks = home(path, tmp_path)
    assert (format.width, format.height) == ((64, 48) if degrees == 180 else (48, 64))
    height, width = decoded.height, decoded.width
    corners = {90: (-1, 0), 180: (-1, -1), -90: (0, -1)}  # counter-clockwise, as FFmpeg's display matrix counts
    y, x = corners[degrees]
    assert decoded.planes[0][1, y * 4 + (height if y < 0 else 0) - (y == 0) * -4, x * 4 + (width if x < 0 else 4)] > 180
    assert "turned upright" in remarks


def test_odd_sizes_are_cropped_to_even_and_to_a_multiple(tmp_path: Path) -> None:
    frames = [frame.reformat(width=67, height=51, format="yuv444p") for frame in video_frames(moving(4))]
    path = write_foreign(tmp_path / "video.mkv", frames, codec="ffv1")
    assert home(path, tmp_path)[1] == VideoFormat(66, 50, Fraction(12))
    _, format, remarks = home(path, tmp_path, size_multiple=32)
    assert format == VideoFormat(64, 32, Fraction(12))
    assert "cropped from 67x51 to 64x32" in remarks


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(4)), sample_aspect_ratio=Fraction(4, 3))
    decoded, format, remarks = home(path, tmp_path)
    assert (format.width, format.height) == (84, 48)
    assert decoded.width == 84
    assert "pixels of 4/3" in remarks


def test_a_variable_rate_is_resampled_to_its_most_frequent_interval(tmp_path: Path) -> None:
    levels = [40, 70, 100, 130, 160, 190, 220]
    frames = [video_frames(flat(1, level))[0] for level in levels]
    pts = [0, 1, 2, 5, 6, 7, 8]  # the third frame stands for three
    path = write_foreign(tmp_path / "video.mp4", frames, pts=pts, options=LOSSLESS)
    decoded, format, remarks = home(path, tmp_path)
    assert format == TWELVE
    shown = [int(level) for level in np.median(decoded.planes[0], axis=(1, 2))]
    expected = [levels[max(k for k, at in enumerate(pts) if at <= place)] for place in range(9)]
    scale = np.polyfit(expected, shown, 1)  # untagged: BT.601 → BT.709 keeps grey
    assert len(shown) == 9
    assert np.abs(np.polyval(scale, expected) - shown).max() < 3
    assert "frame rate → constant 12 fps" in remarks


def test_interlaced_video_becomes_progressive(tmp_path: Path) -> None:
    path = write_foreign(
        tmp_path / "video.mkv",
        video_frames(moving(12)),
        codec="mpeg2video",
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        options={"flags": "+ildct+ilme", "top": "1"},
    )
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    if not first.interlaced_frame:
        pytest.fail("the encoder did not mark its frames as interlaced")
    decoded, _, remarks = home(path, tmp_path)
    assert decoded.num_frames == 12
    assert "interlaced → progressive" in remarks


def test_too_long_a_video_is_refused(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(30)))
    with pytest.raises(MediaError, match=r"up to 2 s, got 2\.5 s"):
        bring_home(path, tmp_path / "home.mp4", max_seconds=2)
    assert not (tmp_path / "home.mp4").exists()


def test_a_file_that_breaks_in_the_middle_names_the_second_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(60)), options={"x264-params": "keyint=6"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    broken = packets[36]
    assert broken.pos is not None
    assert broken.pos > start
    data[broken.pos + 4 : broken.pos + broken.size] = bytes(broken.size - 4)
    (tmp_path / "in.mp4").write_bytes(data)
    with pytest.raises(MediaError, match=r"decoding failed at [23]\.\d\d s"):
        bring_home(tmp_path / "in.mp4", tmp_path / "home.mp4")
    assert not (tmp_path / "home.mp4").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_stream_that_starts_between_key_frames_starts_at_its_first(tmp_path: Path) -> None:
    path = write_foreign(
        tmp_path / "video.ts", video_frames(moving(60)), options={"x264-params": "keyint=24:scenecut=0"}
    )
    data = path.read_bytes()
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut = positions[10]
    assert cut is not None
    path.write_bytes(data[:564] + data[cut:])  # the tables stay
    decoded, _, remarks = home(path, tmp_path)
    assert decoded.num_frames == 36
    assert "ahead of the first key frame left out" in remarks


def test_file_objects_come_home_too(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "video.mp4", video_frames(moving(8)))
    assert home(BytesIO(path.read_bytes()), tmp_path)[0].num_frames == 8
