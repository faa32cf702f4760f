"""Promise 1 for foreign footage: NAL units are moved, merged and put in band, and every frame stays as it was."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer, OutputContainer
from hypothesis import given
from hypothesis import strategies as st

from longtake.media.nal import (
    Clash,
    in_band,
    is_closed_entry,
    is_length_prefixed,
    merged_avcc,
    nal_length_size,
    parameter_set_ids,
    with_four_byte_lengths,
    with_parameter_sets,
)
from tests.footage import frame_hashes, moving, video_frames, write_foreign

RATE = Fraction(12)
DELAY = 4
"""Frames that a stream's decoding may run ahead of its showing: more than any clip here needs."""
QUIET = "log-level=none:pools=none:frame-threads=1"
X264 = {
    "high": ("yuv420p", "High", "sps-id=0:bframes=2:keyint=8:scenecut=0"),
    "main": ("yuv420p", "Main", "sps-id=5:bframes=2:keyint=8"),
    "baseline": ("yuv420p", "Baseline", "sps-id=31:keyint=6:scenecut=0"),
    "cavlc": ("yuv420p", "High", "sps-id=31:cabac=0:bframes=0:keyint=5:ref=1"),
    "intra": ("yuv420p", "High", "sps-id=3:keyint=1"),
    "high10": ("yuv420p10le", "High10", "sps-id=1:bframes=3"),
    "high10 too": ("yuv420p10le", "High10", "sps-id=30:bframes=0:cabac=0"),
    "high422": ("yuv422p", "High422", "sps-id=2"),
    "high444": ("yuv444p", "High444", "sps-id=4"),
    "recovery": ("yuv420p", "High", "sps-id=0:bframes=2:keyint=8:open-gop=1:scenecut=0"),
    "same id": ("yuv420p", "High", "sps-id=0:bframes=0:ref=1:cabac=0"),
}
X265 = {
    "hevc": f"{QUIET}:bframes=2:keyint=8:open-gop=0",
    "hevc flat": f"{QUIET}:bframes=0:keyint=5:no-sao=1:ctu=32:qp=30",
    "hevc open": f"{QUIET}:bframes=3:keyint=8:min-keyint=8:open-gop=1:no-scenecut=1",
}


@dataclass(frozen=True)
class Clip:
    """One encoder's MP4, as its packets and as the frames that it decodes to alone."""

    path: Path
    record: bytes
    packets: tuple[tuple[bytes, int, bool], ...]
    """`(data, frame number in showing order, key)`, in decoding order."""
    hashes: list[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clip]:
    folder, made = tmp_path_factory.mktemp("clips"), dict[str, Clip]()

    def get(name: str) -> Clip:
        if name not in made:
            made[name] = read(encoded(name, folder / f"{name}.mp4"))
        return made[name]

    return get


def encoded(name: str, path: Path) -> Path:
    frames = moving(18, seed=len(name))
    if name in X265:
        return write_foreign(path, video_frames(frames), codec="libx265", options={"x265-params": X265[name]})
    pixel_format, profile, parameters = X264[name]
    options = {"x264-params": parameters, "preset": "veryfast"}
    return write_foreign(path, video_frames(frames, pixel_format), options=options, profile=profile)


def read(path: Path) -> Clip:
    with av.open(str(path)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        packets = []
        for packet in container.demux(stream):
            if packet.pts is not None and stream.time_base is not None:
                packets.append((bytes(packet), int(packet.pts * stream.time_base * RATE), packet.is_keyframe))
        record = bytes(stream.codec_context.extradata or b"")
    return Clip(path, record, tuple(packets), frame_hashes(path)[0])


def joined(path: Path, clips: Sequence[Clip], extradata: bytes, *, sets_in_band: str = "") -> list[str]:
    """Every frame of one MP4 with all packets in turn."""
    with av.open(str(clips[0].path)) as template, av.open(str(path), "w") as container:
        assert isinstance(template, InputContainer)
        assert isinstance(container, OutputContainer)
        output = container.add_stream_from_template(template.streams.video[0])
        output.codec_context.extradata = extradata
        start = 0
        for clip in clips:
            for number, (data, shown, key) in enumerate(clip.packets):
                sets = in_band(clip.record, sets_in_band) if sets_in_band and key else b""
                packet: Any = av.Packet(with_parameter_sets(data, sets, sets_in_band) if sets else data)
                packet.stream, packet.time_base, packet.is_keyframe = output, 1 / RATE, key
                packet.pts, packet.dts, packet.duration = start + shown, start + number - DELAY, 1
                container.mux_one(packet)
            start += len(clip.packets)
    return frame_hashes(path)[0]


def numbered(record: bytes) -> tuple[set[int], set[int]]:
    sps, pps = parameter_set_ids(record)
    return set(sps), set(pps)


def listed(units: Iterable[bytes], length_size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)


def cut(data: bytes, length_size: int = 4) -> list[bytes]:
    """NAL units of a packet, by another way than the module's."""
    units = []
    while data:
        size = int.from_bytes(data[:length_size], "big")
        units.append(data[length_size : length_size + size])
        data = data[length_size + size :]
    return units


def avcc(sps: Sequence[bytes], pps: Sequence[bytes] = (), *, header: bytes = b"\x4d\x40\x1e") -> bytes:
    """A record with 4-byte lengths and without the extension of High profiles."""
    return bytes((1, *header, 0xFF, 0xE0 | len(sps))) + listed(sps, 2) + bytes((len(pps),)) + listed(pps, 2)


def ue(number: int) -> str:
    code = f"{number + 1:b}"
    return "0" * (len(code) - 1) + code


def unit(head: bytes, *numbers: int) -> bytes:
    bits = "".join(map(ue, numbers)) + "1"
    bits += "0" * (-len(bits) % 8)
    return head + int(bits, 2).to_bytes(len(bits) // 8, "big")


def sps(id: int, head: bytes = b"\x67\x4d\x40\x1e", *more: int) -> bytes:
    return unit(head, id, *more)


def pps(id: int, sps_id: int = 0) -> bytes:
    return unit(b"\x68", id, sps_id)


# Joins


@pytest.mark.parametrize(
    "names",
    [
        ("high", "cavlc"),
        ("cavlc", "high"),
        ("main", "cavlc"),
        ("baseline", "high"),
        ("high", "baseline", "main", "intra", "high"),
        ("high10", "high10 too"),
    ],
)
def test_streams_joined_under_one_record_decode_to_what_each_decodes_to_alone(
    clip: Callable[[str], Clip], tmp_path: Path, names: tuple[str, ...]
) -> None:
    clips = [clip(name) for name in names]
    merged = merged_avcc(part.record for part in clips)
    assert joined(tmp_path / "joined.mp4", clips, merged) == [hash for part in clips for hash in part.hashes]


@pytest.mark.parametrize("names", [("hevc", "hevc flat"), ("hevc flat", "hevc"), ("hevc", "hevc flat", "hevc")])
def test_hevc_with_its_parameter_sets_at_each_key_frame_decodes_to_what_each_decodes_to_alone(
    clip: Callable[[str], Clip], tmp_path: Path, names: tuple[str, ...]
) -> None:
    clips = [clip(name) for name in names]
    frames = joined(tmp_path / "joined.mp4", clips, clips[0].record, sets_in_band="hevc")
    assert frames == [hash for part in clips for hash in part.hashes]


def test_h264_streams_of_one_id_can_still_be_joined_in_band(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    clips = [clip("high"), clip("same id"), clip("high")]
    frames = joined(tmp_path / "joined.mp4", clips, clips[0].record, sets_in_band="h264")
    assert frames == [hash for part in clips for hash in part.hashes]


def test_two_streams_of_one_id_clash(clip: Callable[[str], Clip]) -> None:
    with pytest.raises(Clash, match="two different SPS have the id 0"):
        merged_avcc([clip("high").record, clip("same id").record])


def test_pictures_of_other_depth_or_chroma_are_not_put_under_one_record(clip: Callable[[str], Clip]) -> None:
    for other in ("high10", "high422", "high444"):
        with pytest.raises(ValueError, match="chroma format and bit depths"):
            merged_avcc([clip("high").record, clip(other).record])


# Records


@pytest.mark.parametrize("name", X264)
def test_a_record_merged_with_nothing_or_itself_is_what_ffmpeg_wrote(clip: Callable[[str], Clip], name: str) -> None:
    record = clip(name).record
    assert merged_avcc([record]) == record
    assert merged_avcc([record, record, merged_avcc([record])]) == record


@pytest.mark.parametrize("name", X264)
def test_the_ids_are_those_that_the_encoder_was_told(clip: Callable[[str], Clip], name: str) -> None:
    id = int(X264[name][2].split(":")[0].removeprefix("sps-id="))
    assert numbered(clip(name).record) == ({id}, {id})


def test_a_merged_record_has_the_ids_of_all_in_any_order(clip: Callable[[str], Clip]) -> None:
    records = [clip(name).record for name in ("high", "main", "baseline", "intra")]
    assert numbered(merged_avcc(records)) == numbered(merged_avcc(records[::-1])) == ({0, 3, 5, 31}, {0, 3, 5, 31})
    assert in_band(merged_avcc(records[:2]), "h264") == listed(
        [cut(in_band(record, "h264"))[kind] for kind in (0, 1) for record in records[:2]]
    )


@pytest.mark.parametrize("id", [0, 1, 2, 6, 7, 30, 31])
@pytest.mark.parametrize("pps_id", [0, 15, 127, 254, 255])
def test_ids_of_every_length_are_read(id: int, pps_id: int) -> None:
    assert numbered(avcc([sps(id)], [pps(pps_id, id)])) == ({id}, {pps_id})


def test_ids_behind_emulation_prevention_are_read() -> None:
    # 00 00 03 stands for 00 00: two zeros of the header, then 0000 0010 0000 1…: id 31
    behind_header = b"\x67\x42\x00\x00\x03\x04\x10"
    assert numbered(avcc([behind_header], [])) == ({31}, set())


@pytest.mark.parametrize(("kind", "highest"), [("SPS", 31), ("PPS", 255)])
def test_ids_past_the_highest_are_refused(kind: str, highest: int) -> None:
    record = avcc([sps(highest + 1)]) if kind == "SPS" else avcc([sps(0)], [pps(highest + 1)])
    with pytest.raises(ValueError, match=f"the id of a {kind} must be at most {highest}, got {highest + 1}"):
        parameter_set_ids(record)


def test_a_record_counts_31_sps_and_255_pps_and_no_more() -> None:
    records = [avcc([sps(id)], [pps(8 * id + k, id) for k in range(8)]) for id in range(32)]
    assert numbered(merged_avcc(records[:31])) == (set(range(31)), set(range(248)))
    with pytest.raises(ValueError, match="at most 31 SPS, got 32"):
        merged_avcc(records)
    with pytest.raises(ValueError, match="at most 255 PPS, got 256"):
        merged_avcc([avcc([sps(0)], [pps(id) for id in range(part, part + 128)]) for part in (0, 128)])


def test_parameter_sets_in_band_only_are_not_merged() -> None:
    with pytest.raises(ValueError, match="must have an SPS"):
        merged_avcc([avcc([sps(0)]), avcc([])])
    with pytest.raises(ValueError, match="there must be a record"):
        merged_avcc([])


def test_pps_of_one_id_clash_and_equal_ones_do_not() -> None:
    assert numbered(merged_avcc([avcc([sps(1)], [pps(2, 1)]), avcc([sps(1)], [pps(2, 1)])])) == ({1}, {2})
    with pytest.raises(Clash, match="two different PPS have the id 2"):
        merged_avcc([avcc([sps(1)], [pps(2, 1)]), avcc([sps(3)], [pps(2, 3)])])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["42c01e", "4d4028", "64001f"], "640028"),  # the greatest profile, what all comply with, the highest level
        (["42c01e", "4d401f"], "4d401f"),
        (["58a01e", "4d401e"], "58001e"),
        (["f4001e", "2c101e"], "f4001e"),
        (["64000a", "640009"], "640009"),  # level 1b, which High writes as 9, is above level 1
        (["64000b", "640009"], "64000b"),
        (["42d00b", "42c00b"], "42c00b"),  # and which Baseline writes as 1.1 with constraint_set3
        (["42d00b", "42d00b"], "42d00b"),
        (["42d00b", "6e100b"], "6e000b"),  # in a High profile that flag says that all is intra
    ],
)
def test_the_header_suits_all(headers: list[str], expected: str) -> None:
    heads = [bytes.fromhex(header) for header in headers]
    depth = [(1, 0, 0) if head[0] in (100, 110, 244, 44) else () for head in heads]
    records = [avcc([sps(id, b"\x67" + head, *depth[id])], [pps(id, id)], header=head) for id, head in enumerate(heads)]
    merged = merged_avcc(records)
    assert merged[1:4].hex() == expected
    assert (merged[-4:] == b"\xfd\xf8\xf8\x00") == (merged[1] not in (66, 77, 88))


def test_a_header_that_says_less_than_its_parameter_sets_is_corrected() -> None:
    assert merged_avcc([avcc([sps(0, b"\x67\x64\x00\x33", 1, 0, 0)], header=b"\x42\xc0\x1e")])[1:4] == b"\x64\x00\x33"


def test_extensions_of_sps_are_kept() -> None:
    header, extension = b"\x64\x00\x1e", unit(b"\x6d", 0, 0)
    record = avcc([sps(0, b"\x67" + header, 1, 0, 0)], [pps(0)], header=header) + b"\xfd\xf8\xf8\x01"
    record += listed([extension], 2)
    assert merged_avcc([record, record]) == record
    assert cut(in_band(record, "h264")) == [sps(0, b"\x67" + header, 1, 0, 0), extension, pps(0)]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_record_says_how_long_lengths_are(clip: Callable[[str], Clip], size: int) -> None:
    record, hevc = clip("high").record, clip("hevc").record
    assert nal_length_size(record[:4] + bytes((0xFC | size - 1,)) + record[5:]) == size
    assert nal_length_size(hevc[:21] + bytes((hevc[21] & 0xFC | size - 1,)) + hevc[22:]) == size
    assert nal_length_size(merged_avcc([record[:4] + bytes((0xFC | size - 1,)) + record[5:]])) == 4


def test_records_are_told_from_annex_b(clip: Callable[[str], Clip], tmp_path: Path) -> None:
    for name in ("high", "baseline", "high422", "hevc"):
        record = clip(name).record
        assert is_length_prefixed(record)
        codec = "hevc" if name == "hevc" else "h264"
        assert not is_length_prefixed(b"".join(b"\0\0\0\1" + each for each in cut(in_band(record, codec))))
        assert not is_length_prefixed(b"".join(b"\0\0\1" + each for each in cut(in_band(record, codec))))
    assert is_length_prefixed(b"\0" + clip("hevc").record[1:])  # written before the standard was final
    assert not is_length_prefixed(b"")
    with av.open(str(encoded("high", tmp_path / "stream.ts"))) as container:
        assert isinstance(container, InputContainer)
        assert not is_length_prefixed(bytes(container.streams.video[0].codec_context.extradata or b""))


def test_in_band_has_only_parameter_sets_and_in_their_order(clip: Callable[[str], Clip]) -> None:
    assert [each[0] & 31 for each in cut(in_band(clip("main").record, "h264"))] == [7, 8]
    record = clip("hevc").record
    assert [each[0] >> 1 for each in cut(in_band(record, "hevc"))] == [32, 33, 34]
    message = b"\x27" + struct.pack(">HH", 1, 4) + b"\x4e\x01\x89\x00"  # an array of one SEI, in front
    assert in_band(record[:22] + bytes((record[22] + 1,)) + message + record[23:], "hevc") == in_band(record, "hevc")
    assert in_band(record[:22] + b"\0", "hevc") == b""


# Packets


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@given(units=st.lists(st.binary(max_size=255)))
def test_lengths_are_rewritten_and_nal_units_are_not(size: int, units: list[bytes]) -> None:
    assert with_four_byte_lengths(listed(units, size), size) == listed(units)


def test_closed_entries_of_h264_are_idr_pictures(clip: Callable[[str], Clip]) -> None:
    for name in ("high", "intra", "baseline"):
        entries = [is_closed_entry(data, "h264") for data, _, _ in clip(name).packets]
        assert entries == [key for _, _, key in clip(name).packets]
        assert sum(entries) > 1
    recovery = clip("recovery").packets
    assert sum(key for _, _, key in recovery) > 1  # FFmpeg's encoder marks recovery points as key frames, too
    assert [number for number, (data, _, _) in enumerate(recovery) if is_closed_entry(data, "h264")] == [0]


def test_closed_entries_of_hevc_are_idr_pictures_and_not_cra(clip: Callable[[str], Clip]) -> None:
    closed = clip("hevc").packets
    assert [is_closed_entry(data, "hevc") for data, _, _ in closed] == [key for _, _, key in closed]
    cra = clip("hevc open").packets
    types = [{each[0] >> 1 for each in cut(data)} for data, _, _ in cra]
    assert sum(21 in kinds for kinds in types) > 1
    assert [is_closed_entry(data, "hevc") for data, _, _ in cra] == [bool(kinds & {19, 20}) for kinds in types]


@pytest.mark.parametrize("kind", range(64))
def test_the_first_slice_tells_whether_an_entry_is_closed(kind: int) -> None:
    before = [b"\x46\x01\x50", b"", b"\x4e\x01\x05\x00"]  # a delimiter, nothing, SEI
    assert is_closed_entry(listed([*before, bytes((kind << 1, 1, 0))]), "hevc") == (16 <= kind <= 20)
    assert not is_closed_entry(listed([*before, b"\x02\x01", bytes((kind << 1, 1))]), "hevc")
    if kind < 32:
        assert is_closed_entry(listed([b"\x09\x10", bytes((0x60 | kind, 0x88))]), "h264") == (kind == 5)


def test_parameter_sets_stand_in_front_but_behind_a_delimiter(clip: Callable[[str], Clip]) -> None:
    for codec, name, delimiter in (("h264", "high", b"\x09\x10"), ("hevc", "hevc", b"\x46\x01\x50")):
        sets, data = in_band(clip(name).record, codec), clip(name).packets[0][0]
        assert with_parameter_sets(data, sets, codec) == sets + data
        first = listed([delimiter])
        assert with_parameter_sets(first + data, sets, codec) == first + sets + data


# Bytes that are not what they should be


def outcomes(data: bytes) -> None:
    """Calls everything; anything but an answer or a ValueError with a sentence comes through."""
    calls: list[Callable[[], object]] = [
        lambda: is_length_prefixed(data),
        lambda: nal_length_size(data),
        lambda: parameter_set_ids(data),
        lambda: merged_avcc([data]),
        lambda: in_band(data, "h264"),
        lambda: in_band(data, "hevc"),
        lambda: is_closed_entry(data, "h264"),
        lambda: is_closed_entry(data, "hevc"),
        lambda: with_parameter_sets(data, b"", "h264"),
        *(lambda size=size: with_four_byte_lengths(data, size) for size in (1, 2, 3, 4)),
    ]
    assert not [text for text in map(refusal, calls) if re.search("substring|unpack|literal|iterable|range", text)]


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer_or_a_sentence(data: bytes) -> None:
    outcomes(data)


@given(data=st.data())
def test_damaged_records_and_packets_give_an_answer_or_a_sentence(
    clip: Callable[[str], Clip], data: st.DataObject
) -> None:
    source = clip(data.draw(st.sampled_from(["high", "baseline", "high10", "hevc"])))
    whole = bytearray(data.draw(st.sampled_from([source.record, source.packets[-1][0]])))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, min(len(whole), 64) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    outcomes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@pytest.mark.parametrize("name", ["high", "baseline", "high422"])
def test_a_truncated_record_is_refused(clip: Callable[[str], Clip], name: str) -> None:
    record = clip(name).record
    needed = len(record) - (4 if name != "baseline" else 0)  # the extension of High profiles may be left out
    for size in range(needed):
        with pytest.raises(ValueError, match="too early"):
            parameter_set_ids(record[:size])
    assert merged_avcc([record[:needed]]) == record


def test_what_is_wrong_is_said(clip: Callable[[str], Clip]) -> None:
    hevc = clip("hevc").record
    with pytest.raises(ValueError, match='codec must be "h264" or "hevc", got "vp9"'):
        in_band(hevc, "vp9")
    with pytest.raises(ValueError, match="must be of version 1, got 0"):
        in_band(b"\0\0\0\1\x67\x64\0\x1e", "h264")
    with pytest.raises(ValueError, match="ends 1 bytes too early"):
        in_band(hevc[:-1], "hevc")
    with pytest.raises(ValueError, match="lists as NAL units of type 7 what are none"):
        parameter_set_ids(avcc([pps(0)]))
    with pytest.raises(ValueError, match="a packet of 6 bytes has a NAL unit that ends at byte 7"):
        is_closed_entry(b"\0\0\0\3\x65\x88", "h264")
    with pytest.raises(ValueError, match="in the middle of a number"):
        parameter_set_ids(avcc([b"\x67\x4d\x40\x1e\x00"]))
    for numbers in ((4, 0, 0), (1, 7, 0), (1, 0, 2**40)):
        with pytest.raises(ValueError, match="does not know"):
            merged_avcc([avcc([sps(0, b"\x67\x64\0\x1e", *numbers)])])
    with pytest.raises(ValueError, match="1 to 4 bytes, got 5"):
        with_four_byte_lengths(b"", 5)
