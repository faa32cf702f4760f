"""HDR → SDR: what a BT.709 screen shows of PQ and HLG pictures."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame

from longtake.media.hdr import HLG, PQ, USUAL_PEAK, ToneMap, peak_of, pq_code, pq_light, to_sdr
from longtake.media.house import bring_home
from tests.footage import decode_linearly, write_foreign


def grey(light: float, transfer: int = PQ, peak: float = 1000.0) -> float:
    """The coded SDR level, 0 to 1, of a grey of so many cd/m² (PQ) or of such a code (HLG)."""
    code = float(pq_code(np.array(light))) if transfer == PQ else light
    red, green, blue = to_sdr(transfer, peak, np.full(3, code))
    assert red == pytest.approx(green, abs=1e-3) == pytest.approx(blue, abs=1e-3)
    return float(green)


def test_the_pq_curve_has_the_values_of_its_standard_and_its_inverse() -> None:
    for light, code in ((0.0, 0.0), (1.0, 0.149946), (100.0, 0.508078), (203.0, 0.580689), (10_000.0, 1.0)):
        assert float(pq_code(np.array(light))) == pytest.approx(code, abs=2e-6)
        assert float(pq_light(np.array(code))) == pytest.approx(light, rel=1e-4, abs=1e-4)


def test_below_the_knee_light_is_shown_as_it_is_and_the_peak_is_white() -> None:
    for light in (0.5, 2.0, 10.0):
        assert grey(light) ** 2.4 * 203 == pytest.approx(light, rel=0.01)
    assert grey(1000.0) == pytest.approx(1.0, abs=1e-3)
    assert grey(4000.0, peak=4000.0) == pytest.approx(1.0, abs=1e-3)


def test_brighter_is_never_darker_and_highlights_keep_their_differences() -> None:
    levels = [grey(float(light)) for light in np.geomspace(0.01, 1000, 200)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(levels))
    assert grey(600.0) - grey(203.0) > 0.03


def test_hlg_reference_white_is_near_white() -> None:
    assert 0.85 < grey(0.75, HLG) < 0.95  # 203 cd/m² of a screen of 1000
    assert grey(1.0, HLG) == pytest.approx(1.0, abs=1e-3)


def test_colours_that_bt709_has_not_got_keep_their_hue_and_stay_inside() -> None:
    code = float(pq_code(np.array(100.0)))
    red, green, blue = to_sdr(PQ, 1000.0, np.array([code, 0.0, 0.0]))
    assert 0 <= blue <= 1
    assert 0 <= green <= 1
    assert red > 2 * max(green, blue)


def test_the_peak_is_the_usual_one_where_nothing_says_it() -> None:
    assert peak_of(VideoFrame(16, 16, "yuv420p10le")) == USUAL_PEAK


@pytest.mark.parametrize(("said", "peak"), [(":max-cll=640,200", 640.0), ("", 4000.0)])
def test_the_peak_is_what_the_footage_says_of_itself(tmp_path: Path, said: str, peak: float) -> None:
    screen = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)"
    source = write_foreign(
        tmp_path / "in.mp4",
        [VideoFrame(64, 64, "yuv420p10le") for _ in range(3)],
        codec="libx265",
        options={"x265-params": f"log-level=error:{screen}{said}"},
    )
    with av.open(str(source)) as container:
        assert isinstance(container, InputContainer)
        assert peak_of(next(container.decode(container.streams.video[0]))) == peak


def test_each_frame_keeps_its_time_stamp() -> None:
    tone_map = ToneMap(PQ, 1000.0)
    for number in range(3):
        frame = VideoFrame(32, 16, "yuv420p10le")
        frame.pts, frame.time_base = number, Fraction(1, 24)
        assert tone_map.of(frame).pts == number


@pytest.mark.parametrize(("transfer", "name", "code"), [(PQ, "PQ", 0.508078), (HLG, "HLG", 0.5)])
def test_hdr_footage_comes_home_as_sdr_and_says_so(tmp_path: Path, transfer: int, name: str, code: float) -> None:
    frames = []
    for _ in range(6):
        packed = np.full((96 * 3 // 2, 128), 512, np.uint16)
        packed[:96] = round((code * 219 + 16) * 4)
        frames.append(VideoFrame.from_ndarray(packed, "yuv420p10le"))
    source = write_foreign(
        tmp_path / "in.mp4",
        frames,
        codec="libx265",
        options={"x265-params": "log-level=error"},
        color_primaries=9,
        color_trc=transfer,
        colorspace=9,
    )
    _, _, remarks = bring_home(source, tmp_path / "out.mp4")
    assert f"HDR ({name}) → SDR by the curve of BT.2390" in remarks
    made, _ = decode_linearly(tmp_path / "out.mp4")
    expected = 16 + 219 * grey(100.0 if transfer == PQ else code, transfer)
    assert np.abs(made.planes[0].astype(float) - expected).max() <= 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert isinstance(container, InputContainer)
        assert container.streams.video[0].codec_context.color_trc == 1
