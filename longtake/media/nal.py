"""NAL units as bytes: what must be known of H.264 and HEVC packets to join them without decoding one.

Sources: the decoder configuration records avcC (5.3.3.1) and hvcC (8.3.3.1) of ISO/IEC 14496-15; the syntax of NAL
units and parameter sets, 7.3.1 and 7.3.2 of ITU-T H.264 and of ITU-T H.265; Exp-Golomb codes, H.264 9.1. A NAL unit is
given without start code or length. `codec` is FFmpeg's name, "h264" or "hevc". Bytes that are not what they should be
raise ValueError, which says what is wrong, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Final, NamedTuple

_SPS, _PPS, _SPS_EXTENSION = 7, 8, 13
_MOST: Final = {_SPS: 31, _SPS_EXTENSION: 255, _PPS: 255}
"""How many NAL units of a type an avcC record can count."""
_NAMES: Final = {_SPS: "SPS", _SPS_EXTENSION: "SPS extension", _PPS: "PPS"}
_HIGHEST_ID: Final = {_SPS: 31, _SPS_EXTENSION: 31, _PPS: 255}
_HEVC_PARAMETER_SETS: Final = (32, 33, 34)  # VPS, SPS, PPS: in the order in which they need each other
_DELIMITER: Final = {"h264": 9, "hevc": 35}
_SEQUENCE_SET: Final = {"h264": 7, "hevc": 33}
_LOW_PROFILES: Final = (66, 77, 88)  # Baseline, Main, Extended: 4:2:0 of 8 bits, and avcC does not say so
_PROFILES: Final = (*_LOW_PROFILES, 100, 110, 122, 44, 244)  # each High one decodes those in front of it
_CHROMA_PROFILES: Final = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_CONSTRAINT_SET3: Final = 0x10


class Clash(ValueError):
    """Two parameter sets have one id but other content: one record can't hold both."""


class _Avcc(NamedTuple):
    profile: int
    compatibility: int
    level: int
    length_size: int
    units: dict[int, list[bytes]]
    """By NAL unit type."""


class _Bits:
    """Reads a parameter set's syntax elements, from a byte offset on, without the emulation prevention bytes."""

    def __init__(self, unit: bytes, start_byte: int) -> None:
        payload = unit[:64].replace(b"\0\0\3", b"\0\0")[start_byte:]  # all that is read here lies in the first bytes
        self._rest = "".join(f"{byte:08b}" for byte in payload)

    def unsigned(self) -> int:
        """ue(v): as many zeros as bits follow the first 1."""
        zeros = self._rest.find("1")
        code, self._rest = self._rest[zeros : 2 * zeros + 1], self._rest[2 * zeros + 1 :]
        if zeros < 0 or len(code) != zeros + 1:
            raise ValueError("a parameter set ends in the middle of a number")
        return int(code, 2) - 1

    def skip_flag(self) -> None:
        self._rest = self._rest[1:]


def is_length_prefixed(record: bytes) -> bool:
    """Whether a stream's extradata is an avcC or hvcC record, so that lengths stand before its packets' NAL units,
    rather than Annex B start codes, or nothing. Version 0 was written to hvcC before the standard was final."""
    return len(record) >= 7 and record[0] <= 1 and (record[0] == 1 or record[1] > 0 or record[2] > 1)


def nal_length_size(extradata: bytes) -> int:
    """The bytes (1 to 4) of the length before each NAL unit of a packet, from the stream's avcC or hvcC record.

    The two are told apart by bits that are 1 in avcC and that no profile of HEVC sets (compatibility flags 16 to 31).
    """
    is_avcc = len(extradata) >= 7 and extradata[4] >= 0xFC and extradata[5] >= 0xE0
    return _avcc(extradata).length_size if is_avcc else _hvcc(extradata)[0]


def parameter_set_ids(record: bytes) -> tuple[frozenset[int], frozenset[int]]:
    """The ids (0 to 31) of the SPS and those (0 to 255) of the PPS in an avcC record."""
    units = _avcc(record).units
    return frozenset(map(_id, units[_SPS])), frozenset(map(_id, units[_PPS]))


def merged_avcc(records: Iterable[bytes]) -> bytes:
    """One avcC record with the parameter sets of all, each content once, in their order; 4-byte lengths.

    Its profile is the greatest, its level the highest, and a compatibility flag is set where all set it, as ISO/IEC
    14496-15 wants it. Raises Clash where ids clash; ValueError where a record has no SPS (its parameter sets are in
    band), where chroma format or bit depth are not the same in all, or where there are more than a record can count.
    """
    parsed = [_avcc(record) for record in records]
    if not parsed or not all(record.units[_SPS] for record in parsed):
        raise ValueError("an avcC record to be merged must have an SPS, and there must be a record")
    units = {kind: _each_once(unit for record in parsed for unit in record.units[kind]) for kind in _MOST}
    pictures = {_picture_format(unit) for unit in units[_SPS]}
    if len(pictures) > 1:
        said = " and ".join(str(picture) for picture in sorted(pictures))
        raise ValueError(f"chroma format and bit depths (luma, chroma) must be the same in one avcC record, got {said}")
    headers = [(record.profile, record.compatibility, record.level) for record in parsed]
    headers += [(unit[1], unit[2], unit[3]) for unit in units[_SPS]]
    header = _header_for_all(headers)
    sps, pps, extensions = (_counted(kind, units[kind]) for kind in (_SPS, _PPS, _SPS_EXTENSION))
    merged = bytes((1, *header, 0xFF, 0xE0 | sps[0])) + sps[1:] + pps
    if header[0] in _LOW_PROFILES:
        return merged
    chroma_format, luma_bits, chroma_bits = pictures.pop()
    return merged + bytes((0xFC | chroma_format, 0xF8 | luma_bits - 8, 0xF8 | chroma_bits - 8)) + extensions


def in_band(record: bytes, codec: str) -> bytes:
    """The parameter sets of an avcC or hvcC record as NAL units with 4-byte lengths; nothing where it has none."""
    _check_codec(codec)
    if codec == "h264":
        by_type = _avcc(record).units
        units = by_type[_SPS] + by_type[_SPS_EXTENSION] + by_type[_PPS]
    else:
        units = [unit for kind in _HEVC_PARAMETER_SETS for unit in _hvcc(record)[1] if _type(unit, codec) == kind]
    return b"".join(_with_length(unit, 4) for unit in units)


def with_parameter_sets(data: bytes, parameter_sets: bytes, codec: str) -> bytes:
    """A packet with what `in_band` gives in front; an access unit delimiter stays first, where it must be. Both have
    4-byte lengths."""
    _check_codec(codec)
    first = next(_units(data, 4), b"")
    at = 4 + len(first) if first and _type(first, codec) == _DELIMITER[codec] else 0
    return data[:at] + parameter_sets + data[at:]


def with_four_byte_lengths(data: bytes, length_size: int) -> bytes:
    """A packet whose NAL units have lengths of `length_size` bytes (1 to 4), with lengths of 4."""
    units = list(_units(data, length_size))
    return data if length_size == 4 else b"".join(_with_length(unit, 4) for unit in units)


def is_closed_entry(data: bytes, codec: str) -> bool:
    """Whether decoding can start at this packet (4-byte lengths) when another stream's pictures went before.

    H.264: an IDR picture; a recovery point is none. HEVC: IDR or BLA; CRA is none, as pictures after it may refer to
    those before, which are left out after a BLA. The first slice tells.
    """
    _check_codec(codec)
    slices, entries = (range(1, 6), range(5, 6)) if codec == "h264" else (range(32), range(16, 21))
    types = [_type(unit, codec) for unit in _units(data, 4) if unit]
    return next((kind in entries for kind in types if kind in slices), False)


def sequence_sets(data: bytes, codec: str) -> tuple[bytes, ...]:
    """The SPS in a packet (4-byte lengths), which say the picture's size."""
    _check_codec(codec)
    return tuple(unit for unit in _units(data, 4) if unit and _type(unit, codec) == _SEQUENCE_SET[codec])


def parameter_sets_in(data: bytes, codec: str) -> frozenset[bytes]:
    """All parameter sets in a packet (4-byte lengths)."""
    _check_codec(codec)
    kinds = (_SPS, _PPS) if codec == "h264" else _HEVC_PARAMETER_SETS
    return frozenset(unit for unit in _units(data, 4) if unit and _type(unit, codec) in kinds)


def _check_codec(codec: str) -> None:
    if codec not in _DELIMITER:
        raise ValueError(f'codec must be "h264" or "hevc", got "{codec}"')


def _avcc(record: bytes) -> _Avcc:
    source = BytesIO(record)
    version, profile, compatibility, level, length_size, num_sps = _take(source, 6)
    if version != 1:
        raise ValueError(f"an avcC record must be of version 1, got {version}")
    units: dict[int, list[bytes]] = {_SPS_EXTENSION: []}
    units[_SPS] = _listed(source, num_sps & 31, _SPS, "h264")
    units[_PPS] = _listed(source, _take(source, 1)[0], _PPS, "h264")
    if any(len(unit) < 4 for unit in units[_SPS]):
        raise ValueError("an SPS of an avcC record ends before its level")
    if profile not in _LOW_PROFILES and len(extension := source.read(4)) == 4:  # old writers left it out
        units[_SPS_EXTENSION] = _listed(source, extension[3], _SPS_EXTENSION, "h264")
    return _Avcc(profile, compatibility, level, (length_size & 3) + 1, units)


def _hvcc(record: bytes) -> tuple[int, list[bytes]]:
    """The bytes of a length, and the NAL units."""
    source = BytesIO(record)
    header = _take(source, 23)
    if header[0] > 1:
        raise ValueError(f"an hvcC record must be of version 1 (or 0, from before it), got {header[0]}")
    units: list[bytes] = []
    for _ in range(header[22]):
        kind, high, low = _take(source, 3)
        units += _listed(source, high << 8 | low, kind & 63, "hevc")
    return (header[21] & 3) + 1, units


def _take(source: BytesIO, num_bytes: int) -> bytes:
    taken = source.read(num_bytes)
    if len(taken) < num_bytes:
        raise ValueError(f"an avcC or hvcC record ends {num_bytes - len(taken)} bytes too early")
    return taken


def _listed(source: BytesIO, num_units: int, kind: int, codec: str) -> list[bytes]:
    units = [_take(source, int.from_bytes(_take(source, 2), "big")) for _ in range(num_units)]
    if any(not unit or _type(unit, codec) != kind for unit in units):
        raise ValueError(f"a record of {codec} lists as NAL units of type {kind} what are none")
    return units


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    if length_size not in (1, 2, 3, 4):
        raise ValueError(f"the lengths of NAL units must have 1 to 4 bytes, got {length_size}")
    at = 0
    while at < len(data):
        start = at + length_size
        at = start + int.from_bytes(data[at:start], "big")
        if max(start, at) > len(data):
            raise ValueError(f"a packet of {len(data)} bytes has a NAL unit that ends at byte {max(start, at)}")
        yield data[start:at]


def _type(unit: bytes, codec: str) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _with_length(unit: bytes, num_bytes: int) -> bytes:
    return len(unit).to_bytes(num_bytes, "big") + unit


def _id(unit: bytes) -> int:
    """The id of an SPS, of the SPS that an extension is of, or of a PPS."""
    kind = _type(unit, "h264")
    found = _Bits(unit, 4 if kind == _SPS else 1).unsigned()
    if found > _HIGHEST_ID[kind]:
        raise ValueError(f"the id of a {_NAMES[kind]} must be at most {_HIGHEST_ID[kind]}, got {found}")
    return found


def _each_once(units: Iterable[bytes]) -> list[bytes]:
    by_id: dict[int, bytes] = {}
    for unit in units:
        if by_id.setdefault(_id(unit), unit) != unit:
            raise Clash(f"two different {_NAMES[_type(unit, 'h264')]} have the id {_id(unit)}")
    return list(by_id.values())


def _picture_format(sps: bytes) -> tuple[int, int, int]:
    """chroma_format_idc (0: grey, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4) and the bits of a luma and of a chroma sample."""
    if sps[1] not in _CHROMA_PROFILES:
        return 1, 8, 8
    bits = _Bits(sps, 4)
    bits.unsigned()
    chroma_format = bits.unsigned()
    if chroma_format == 3:
        bits.skip_flag()  # separate_colour_plane_flag
    found = chroma_format, bits.unsigned() + 8, bits.unsigned() + 8
    if chroma_format > 3 or max(found) > 14:
        raise ValueError(f"an SPS has a chroma format or bit depths that H.264 does not know: {found}")
    return found


def _header_for_all(headers: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Profile, compatibility flags and level that suit all of these (the bytes after the version in avcC)."""
    profiles = {profile for profile, _, _ in headers}
    greatest = max(profiles, key=lambda profile: (_PROFILES.index(profile) if profile in _PROFILES else 99, profile))
    compatibility = 0xFF
    for _, flags, _ in headers:
        compatibility &= flags
    if len({profile in _LOW_PROFILES for profile in profiles}) > 1:
        compatibility &= ~_CONSTRAINT_SET3  # level 1b in the low ones, "only intra" in the high ones
    level = max((level for _, _, level in headers), key=lambda level: 10.5 if level == 9 else level)  # 9 is level 1b
    return greatest, compatibility, level


def _counted(kind: int, units: Sequence[bytes]) -> bytes:
    if len(units) > _MOST[kind]:
        raise ValueError(f"an avcC record holds at most {_MOST[kind]} {_NAMES[kind]}, got {len(units)}")
    return bytes((len(units),)) + b"".join(_with_length(unit, 2) for unit in units)


def annex_b_to_lengths(data: bytes) -> bytes:
    """A packet whose NAL units have start codes in front (Annex B), with lengths of four bytes instead."""
    units = (unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:])  # no unit ends in a zero byte
    return b"".join(_with_length(unit, 4) for unit in units if unit)
