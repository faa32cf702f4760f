"""The sound of a file that somebody brought: its own packets, at their exact times."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer

from longtake.media.sound_codec import CodedSound, look_at, opus_samples
from longtake.media.sound_encode import SoundEncoder, encoder_like
from longtake.media.sound_keep import KeptSound, keep_sound
from tests.sounds import Samples, first_frame_time, heard, sound_packets, tones, write_video


def keep(source: Path) -> tuple[KeptSound, list[tuple[Fraction, bytes]], tuple[str, ...]]:
    """What was kept, and its packets at the times they have after the first frame."""
    path = source.with_suffix(".sound")
    kept, remarks = keep_sound(source, first_frame_time(source), path)
    assert kept is not None, remarks
    assert kept.num_bytes == path.stat().st_size
    packets = sound_packets(path)
    assert packets[0][0] == 0
    return kept, [(kept.start + seconds, data) for seconds, data in packets], remarks


def delay_of(samples: Samples, played: Samples) -> int:
    """By how many samples `played` comes later, by their cross-correlation."""
    num = samples.shape[1] + played.shape[1]
    spectrum = np.fft.rfft(played[0], num) * np.conj(np.fft.rfft(samples[0], num))
    found = int(np.argmax(np.fft.irfft(spectrum, num)))
    return found if found < num // 2 else found - num


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "first"),
    [
        ("a.mp4", "aac", 48000, 2, -1024),
        ("a.mov", "aac", 44100, 1, -1024),
        ("a.mkv", "aac", 48000, 6, -1024),
        ("a.mkv", "libmp3lame", 48000, 2, -1105),
        ("a.mp4", "libmp3lame", 44100, 2, -1105),
        ("a.mkv", "libopus", 48000, 2, -312),
        ("a.mp4", "flac", 44100, 2, 0),
        ("a.mkv", "flac", 44100, 1, 0),
        ("a.mov", "alac", 48000, 2, 0),
        ("a.mkv", "ac3", 48000, 6, -256),
        ("a.mp4", "eac3", 48000, 2, -256),
    ],
)
def test_packets_come_in_untouched_at_their_times(
    tmp_path: Path, name: str, codec: str, rate: int, channels: int, first: int
) -> None:
    source = write_video(tmp_path / name, codec, tones(2 * rate, rate, channels), rate=rate)
    kept, packets, remarks = keep(source)
    own = sound_packets(source)
    assert not remarks
    assert (kept.rate, kept.channels) == (rate, channels)
    assert [data for _, data in packets] == [data for _, data in own]
    assert kept.start == Fraction(first, rate)
    rounded = Fraction(1, 1000) if name.endswith("mkv") else 0
    assert all(abs(there - here) <= rounded for (there, _), (here, _) in zip(packets, own, strict=True))


def test_a_transport_streams_headers_go_where_mp4_wants_them(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.ts", "aac")
    kept, packets, _ = keep(source)
    own = sound_packets(source)
    zero = first_frame_time(source)
    assert zero > 0
    assert [data for _, data in packets] == [data[7:] for _, data in own]  # ADTS: 7 bytes
    assert all(
        abs(there - (here - zero)) < Fraction(1, 45000) for (there, _), (here, _) in zip(packets, own, strict=True)
    )
    assert kept.start == Fraction(-1024, 48000)


@pytest.mark.parametrize("delay", [Fraction(1, 2), Fraction(-1, 4), Fraction(7, 48000)])
@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.ts"])
def test_sound_that_begins_later_or_earlier_than_the_picture_stays_so(
    tmp_path: Path, name: str, delay: Fraction
) -> None:
    source = write_video(
        tmp_path / name, "alac" if name == "a.mov" else "aac", delay=delay, muxing={"movie_timescale": "48000"}
    )
    kept, _, _ = keep(source)
    primed = 0 if name == "a.mov" else Fraction(1024, 48000)
    assert abs(kept.start - (delay - primed)) <= (Fraction(1, 1000) if name == "a.mkv" else Fraction(1, 48000))


@pytest.mark.parametrize(
    ("name", "codec", "sample_format", "remark"),
    [
        ("a.mov", "pcm_s16le", None, "PCM → AAC"),
        ("a.mkv", "pcm_s24le", None, "PCM → AAC"),
        ("a.avi", "mp2", None, "MPEG layer II → AAC"),
        ("a.mkv", "vorbis", None, "Vorbis → AAC"),
        ("a.wmv", "wmav2", None, "WMA → AAC"),
    ],
)
def test_what_mp4_does_not_carry_is_encoded_once_in_its_place(
    tmp_path: Path, name: str, codec: str, sample_format: str | None, remark: str
) -> None:
    source = write_video(tmp_path / name, codec, options={"strict": "-2"}, sample_format=sample_format)
    kept, _, remarks = keep(source)
    assert (kept.codec, remarks) == ("aac", (remark,))
    own, _ = heard(source)
    there, _ = heard(source.with_suffix(".sound"))
    zero = round(first_frame_time(source) * 48000)
    shift = delay_of(own[:, : 48000 + zero], there[:, :50000])
    assert abs(shift + round(kept.start * 48000) + zero) <= 48  # own: within a millisecond, as some round


@pytest.mark.parametrize(
    ("rate", "channels", "expected"), [(96000, 1, (96000, 1)), (37800, 2, (48000, 2)), (48000, 6, (48000, 6))]
)
def test_rates_that_aac_does_not_know_become_48_khz(
    tmp_path: Path, rate: int, channels: int, expected: tuple[int, int]
) -> None:
    samples = tones(2 * rate, rate, channels)
    kept, _, _ = keep(write_video(tmp_path / "a.mkv", "pcm_s16le", samples, rate=rate))
    assert (kept.rate, kept.channels) == expected
    assert kept.start == Fraction(-1024, kept.rate)
    assert abs(heard(tmp_path / "a.sound")[0].shape[1] / kept.rate - 2) < 0.06


def remux(source: Path, path: Path, stamp: dict[int, int], codec: str = "aac") -> None:
    """Copies a file, and adds so many samples to the times of sound packets from the given one on."""
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        assert isinstance(output, OutputContainer)
        copies = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = [packet for packet in container.demux() if packet.size]
        place, shift = 0, 0
        for packet in packets:
            if packet.stream.type == "audio":
                shift += stamp.get(place, 0)
                place += 1
                packet.pts = packet.dts = (packet.pts or 0) + round(shift * Fraction(1, 48000) / packet.time_base)
            packet.stream = copies[packet.stream.index]
            output.mux_one(packet)


def test_gaps_in_the_time_stamps_are_kept(tmp_path: Path) -> None:
    remux(write_video(tmp_path / "a.mp4", "flac"), tmp_path / "b.mkv", {10: 24000})
    _, packets, _ = keep(tmp_path / "b.mkv")
    times = [seconds for seconds, _ in packets]
    assert times[10] - times[9] == Fraction(4608 + 24000, 48000)
    assert len(packets) == len(sound_packets(tmp_path / "a.mp4"))


def test_gaps_in_sound_that_is_encoded_are_silent(tmp_path: Path) -> None:
    loud = np.asarray(0.5 * np.sin(np.arange(96000) / 20)[None], np.float32)
    remux(write_video(tmp_path / "a.mkv", "pcm_s16le", loud), tmp_path / "b.mkv", {40: 24000})
    kept, _, _ = keep(tmp_path / "b.mkv")
    played, _ = heard(tmp_path / "b.sound")
    power = played[0, -round(kept.start * 48000) :] ** 2
    begin = 40 * 1024
    assert power[begin + 2000 : begin + 22000].max() < 0.001
    assert power[begin + 26000 : begin + 40000].mean() > 0.1
    assert power[begin - 10000 : begin - 2000].mean() > 0.1


def test_a_long_gap_is_left_in_the_time_stamps() -> None:
    frames = list(coded(tones(4800, 48000)).decode(coded(tones(48000, 48000)).head))
    encoder = SoundEncoder(encoder_like(coded(tones(4800, 48000))))
    packets = [p for k, f in enumerate(frames) for p in encoder.write(f, Fraction(k * 1024, 48000) + 600 * (k > 5))]
    times = [p.pts or 0 for p in [*packets, *encoder.finish()]]
    assert len(times) < len(frames) + 8
    assert times[-1] / 48000 > 600
    assert all(b - a == 1024 or b - a > 599 * 48000 for a, b in pairwise(times))


def coded(samples: Samples) -> CodedSound:
    blank = CodedSound("aac", b"\x11\x90", 48000, "stereo", 2, 1024, ())
    encoder = SoundEncoder(encoder_like(blank))
    frames = []
    for at in range(0, samples.shape[1] - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(samples[:, at : at + 1024].copy(), "fltp", "stereo")
        frame.sample_rate = 48000
        frames.append(frame)
    packets = [bytes(p) for frame in frames for p in encoder.write(frame, None)]
    return CodedSound("aac", b"\x11\x90", 48000, "stereo", 2, 1024, tuple(packets))


def test_a_clock_that_is_set_anew_goes_on(tmp_path: Path) -> None:
    remux(write_video(tmp_path / "a.mp4", "flac"), tmp_path / "b.mkv", {10: 48000 * 9000})
    _, packets, _ = keep(tmp_path / "b.mkv")
    assert packets[-1][0] < 3


def test_the_default_stream_is_taken(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.mkv", "aac", tones(96000, 48000, 1))
    with av.open(str(one)) as container, av.open(str(tmp_path / "two.mkv"), "w") as output:
        assert isinstance(output, OutputContainer)
        video, sound = container.streams.video[0], container.streams.audio[0]
        copies = [output.add_stream_from_template(stream) for stream in (video, sound, sound)]
        copies[1].disposition = av.stream.Disposition(0)
        copies[2].disposition = av.stream.Disposition.default
        for packet in container.demux():
            if packet.size:
                is_sound = packet.stream.type == "audio"
                packet.stream = copies[2] if is_sound else copies[0]
                output.mux_one(packet)
    kept, _ = keep_sound(tmp_path / "two.mkv", Fraction(0), tmp_path / "sound")
    assert kept is not None
    assert len(sound_packets(tmp_path / "sound")) == len(sound_packets(one))


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    assert keep_sound(write_video(tmp_path / "a.mp4", None), Fraction(0), tmp_path / "sound") == (None, ())
    assert not (tmp_path / "sound").exists()


def test_sound_that_is_noise_to_the_decoder_is_left_out(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", "aac")
    data = bytearray(source.read_bytes())
    for _, packet in sound_packets(source):
        at = data.find(packet)
        data[at : at + len(packet)] = b"\xff" * len(packet)
    (tmp_path / "b.mp4").write_bytes(data)
    kept, remarks = keep_sound(tmp_path / "b.mp4", Fraction(0), tmp_path / "sound")
    assert kept is None
    assert remarks[0].startswith("sound left out: ")
    assert not list(tmp_path.glob("*sound*"))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_gives_what_is_there(tmp_path: Path, part: float) -> None:
    source = write_video(tmp_path / "a.mkv", "aac")
    data = source.read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: int(len(data) * part)])
    kept, _ = keep_sound(tmp_path / "b.mkv", Fraction(0), tmp_path / "sound")
    assert kept is not None
    assert 0 < len(sound_packets(tmp_path / "sound")) < len(sound_packets(source))


def test_bytes_that_are_wrong_anywhere_never_stop_the_video(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", "libopus", num_frames=25)
    whole = source.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(25):
        data = bytearray(whole)
        for at in rng.integers(len(data) // 3, len(data), 40):
            data[at] = rng.integers(256)
        (tmp_path / "b.mkv").write_bytes(data)
        kept, remarks = keep_sound(tmp_path / "b.mkv", Fraction(0), tmp_path / "sound")
        assert kept or remarks


def test_work_that_is_ended_leaves_no_file(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    source = write_video(tmp_path / "a.mp4", "aac")
    with pytest.raises(KeyboardInterrupt):
        keep_sound(source, Fraction(0), tmp_path / "sound", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("milliseconds", ["2.5", "5", "10", "20", "40", "60"])
def test_opus_packets_tell_their_length(tmp_path: Path, milliseconds: str) -> None:
    source = write_video(tmp_path / "a.mkv", "libopus", options={"frame_duration": milliseconds})
    with av.open(str(source)) as container:
        sound = look_at(container, container.streams.audio[0])
    assert {opus_samples(data) for data in sound.head} == {int(float(milliseconds) * 48)}


@pytest.mark.parametrize(
    ("codec", "num_samples"), [("flac", 96000), ("alac", 96000), ("flac", 9216 + 100), ("flac", 4000), ("alac", 5000)]
)
def test_the_last_packet_may_be_shorter(tmp_path: Path, codec: str, num_samples: int) -> None:
    source = write_video(
        tmp_path / "a.mov" if codec == "alac" else tmp_path / "a.mp4", codec, tones(num_samples, 48000)
    )
    with av.open(str(source)) as container:
        sound = look_at(container, container.streams.audio[0])
    assert sum(sound.num_samples(data) for _, data in sound_packets(source)) == num_samples
