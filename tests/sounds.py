"""Sound for tests: files with moving pictures and sound of every kind, and what a plain decoder hears of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from longtake.media.sound import SoundTrack

Samples = np.ndarray[Any, np.dtype[np.float32]]
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
FRAME_RATE = Fraction(25)
DEFAULT_OPTIONS = {"aac": {"aac_coder": "fast", "aac_pns": "0"}}
"""Without noise substitution: where it is used, nothing decodes twice to the same samples."""


def tones(num_samples: int, rate: int, channels: int = 2, *, seed: int = 0) -> Samples:
    """Rising tones with some noise, another in each channel: float32 (channels, num_samples)."""
    seconds = np.arange(num_samples) / rate
    noise = np.random.default_rng(seed).standard_normal((channels, num_samples))
    pitch = (220 + 40 * seed) * (1 + np.arange(channels))[:, None]
    tone = np.sin(2 * np.pi * (pitch * seconds + 60 * seconds**2))
    return np.asarray(0.3 * tone + 0.02 * noise, np.float32)


def ambience(num_samples: int, rate: int, channels: int = 2, *, seed: int = 0) -> Samples:
    """Coloured noise over a soft hum, as of a room: float32 (channels, num_samples)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((channels, num_samples)))
    frequencies = np.fft.rfftfreq(num_samples, 1 / rate)
    shape = 1 / (1 + frequencies / 300) + 0.5 * np.exp(-(((frequencies - 1500) / 300) ** 2))
    noise = np.fft.irfft(spectrum * shape, num_samples)
    hum = np.sin(2 * np.pi * 100 * np.arange(num_samples) / rate)
    return np.asarray(0.1 * noise / noise.std() + 0.03 * hum, np.float32)


def write_video(
    path: Path,
    codec: str | None,
    samples: Samples | None = None,
    *,
    rate: int = 48000,
    sample_format: str | None = None,
    num_frames: int = 50,
    delay: Fraction = Fraction(0),
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """A small H.264 video with B-frames, and sound that begins `delay` seconds after its first frame."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        assert isinstance(container, OutputContainer)
        packets = _video(container, num_frames)
        if codec:
            samples = tones(num_frames * rate // 25, rate) if samples is None else samples
            packets += _audio(
                container, codec, samples, rate, sample_format, delay, options or DEFAULT_OPTIONS.get(codec, {})
            )
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            container.mux(packet)
    return path


def _video(container: OutputContainer, num_frames: int) -> list[Packet[Any]]:
    stream = container.add_stream("libx264", rate=FRAME_RATE, options={"preset": "ultrafast", "bf": "2", "g": "12"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    packets: list[Packet[Any]] = []
    for k in range(num_frames):
        frame = VideoFrame.from_ndarray(np.full((72, 64), 40 + 3 * k % 150, np.uint8), "yuv420p")
        frame.pts, frame.time_base = k, 1 / FRAME_RATE
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio(
    container: OutputContainer,
    codec: str,
    samples: Samples,
    rate: int,
    sample_format: str | None,
    delay: Fraction,
    options: dict[str, str],
) -> list[Packet[Any]]:
    stream = container.add_stream(codec, rate=rate, options=options)
    assert isinstance(stream, AudioStream)
    layout = LAYOUTS[len(samples)]
    stream.layout, stream.bit_rate = layout, 96_000 * len(samples)
    if sample_format:
        stream.format = sample_format
    stream.codec_context.open()
    resampler = AudioResampler(stream.format, layout, rate)
    step = stream.codec_context.frame_size or 1024
    packets: list[Packet[Any]] = []
    for at in range(0, samples.shape[1], step):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + step]), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, at + round(delay * rate), Fraction(1, rate)
        for converted in resampler.resample(frame):
            packets += stream.encode(converted)
    return packets + stream.encode(None)


def first_frame_time(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return min(p.pts * p.time_base for p in container.demux(video=0) if p.size and p.pts is not None)


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """`(seconds, bytes)` of each, as FFmpeg's demuxer gives them."""
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.size and p.pts is not None]


def heard(path: Path) -> tuple[Samples, int]:
    """What a plain decoder plays, laid out by its time stamps from 0 on: float32 (channels, num_samples), and where
    the first sample lies. Later frames lie over earlier ones."""
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        frames = list(container.decode(container.streams.audio[0]))
    rate = frames[0].sample_rate
    placed = [(round(f.pts * f.time_base * rate), as_floats(f)) for f in frames if f.pts is not None and f.time_base]
    samples = np.zeros((frames[0].layout.nb_channels, max(at + s.shape[1] for at, s in placed)), np.float32)
    for at, frame in placed:
        assert at >= 0
        samples[:, at : at + frame.shape[1]] = frame
    return samples, placed[0][0]


def as_floats(frame: AudioFrame) -> Samples:
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    scale = 1.0 if values.dtype.kind == "f" else 2.0 ** (8 * values.itemsize - 1)
    return np.asarray(values / scale, np.float32)


def mux_sound(track: SoundTrack, path: Path) -> list[Packet[Any]]:
    """Writes the track to an MP4 of its own; returns copies of its packets, whose data stay readable."""
    options = {"use_editlist": "1", "movie_timescale": str(track.sound.rate)}
    packets: list[Packet[Any]] = []
    with av.open(str(path), "w", format="mp4", options=options) as container:
        assert isinstance(container, OutputContainer)
        stream = track.add_to(container)
        for packet in track.packets():
            copy = Packet(bytes(packet))
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base = packet.time_base
            packets.append(copy)
            packet.stream = stream
            container.mux_one(packet)
    return packets
