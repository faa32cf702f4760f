"""Images given by users: every format, both ways up, and everything that must be refused."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from longtake.errors import MediaError
from longtake.media import colour
from longtake.media.stills import UPRIGHT, fit, fit_remark, normalise, read_still
from longtake.video import VideoFormat
from tests.timing import quickest, seconds_of

HD = VideoFormat(1280, 720, Fraction(24))
SMALL = VideoFormat(64, 36, Fraction(24))
KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 444},
    "GIF": {},
}
ORIENTED = ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"]
QUADRANTS = [(220, 30, 30), (30, 200, 40), (40, 60, 220), (230, 220, 60)]
"""Top left, top right, bottom left, bottom right."""


def picture(width: int = 96, height: int = 64) -> Image.Image:
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for index, fill in enumerate(QUADRANTS):
        x, y = (index % 2) * width // 2, (index // 2) * height // 2
        draw.rectangle((x, y, x + width // 2, y + height // 2), fill=fill)
    return image


def noise(width: int = 160, height: int = 120) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **KINDS[kind] | options)
    return file.getvalue()


def quadrants(image: Image.Image) -> list[tuple[int, ...]]:
    pixels = np.asarray(image).astype(int)
    height, width = pixels.shape[:2]
    return [tuple(pixels[y * height // 4, x * width // 4]) for y in (1, 3) for x in (1, 3)]


def assert_upright(image: Image.Image, tolerance: int = 12) -> None:
    assert np.abs(np.array(quadrants(image)) - np.array(QUADRANTS)).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_read_from_bytes_and_from_a_path(kind: str, tmp_path: Path) -> None:
    data = encoded(picture(), kind)
    path = tmp_path / "still.of-no-suffix"
    path.write_bytes(data)
    for source in (data, path):
        image = read_still(source)
        assert image.mode == "RGB"
        assert image.size == (96, 64)
        assert_upright(image)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pixel_is_an_image(kind: str) -> None:
    assert read_still(encoded(Image.new("RGB", (1, 1), (200, 10, 10)), kind)).size == (1, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ORIENTED)
def test_an_image_is_turned_upright(kind: str, orientation: int) -> None:
    turn = UPRIGHT.get(orientation)
    # the inverse of each of the eight is itself, but for the two quarter turns
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, turn)
    lying = picture() if back is None else picture().transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_still(encoded(lying, kind, exif=exif.tobytes()))
    assert image.size == (96, 64)
    assert_upright(image)


def test_a_broken_exif_block_does_not_refuse_the_picture() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_upright(read_still(encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_header_that_claims_400_megapixels_is_refused_at_once() -> None:
    bomb = png(20000, 20000, 8, 2, bytes(1000))

    def refuse() -> None:
        with pytest.raises(MediaError, match=r"at most 64 megapixels, got 20000x20000: 400\.0"):
            read_still(bomb)

    assert quickest(seconds_of(refuse), below=0.5) < 0.5


def claiming_more(kind: str) -> bytes:
    """A small image whose header is changed to claim hundreds of megapixels."""
    data = bytearray(encoded(picture(), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 65000, 65000)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 65535, 65535)
    elif kind == "WEBP":
        data[21:25] = struct.pack("<I", int.from_bytes(data[21:25], "little") | 0x0FFF_FFFF)
    else:
        at = -1
        while (at := data.find(b"ispe", at + 1)) >= 0:
            data[at + 8 : at + 16] = struct.pack(">II", 16000, 16000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "AVIF", "HEIF"])
def test_each_formats_header_is_judged_before_anything_is_decoded(kind: str) -> None:
    bomb = claiming_more(kind)

    def refuse() -> None:
        with pytest.raises(MediaError, match="at most 64 megapixels"):
            read_still(bomb)

    assert quickest(seconds_of(refuse), below=0.5) < 0.5


def test_a_phones_jpeg_with_further_pictures_inside_gives_the_first() -> None:
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[noise(96, 64)], quality=95)
    assert_upright(read_still(file.getvalue()), tolerance=16)


@pytest.mark.parametrize("size", [(8001, 8000), (10000, 10000)])
def test_over_the_limit_is_an_error_and_never_a_warning(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="megapixels"):
        read_still(png(*size, 8, 2, bytes(1000)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_of_pixels_is_an_argument(kind: str) -> None:
    data = encoded(picture(), kind)
    assert read_still(data, max_pixels=96 * 64).size == (96, 64)
    with pytest.raises(MediaError, match="got 96x64"):
        read_still(data, max_pixels=96 * 64 - 1)


def test_a_progressive_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = encoded(noise(), "JPEG", progressive=True)
    assert read_still(data).size == (160, 120)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(MediaError, match="at most 100 scans, got 10"):
        read_still(data[:-2] + scan * 1000 + data[-2:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_image_is_refused_with_its_name(kind: str, part: float) -> None:
    data = encoded(noise(), kind)
    cut = data[: int(len(data) * part)]
    name = {"HEIF": "HEIC", "WEBP": "WebP"}.get(kind, kind)
    with pytest.raises(MediaError, match=f"the {name} image is truncated: it ends after {len(cut)} bytes"):
        read_still(cut)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_first_bytes_alone_are_refused(kind: str) -> None:
    data = encoded(noise(), kind)
    for num_bytes in (1, 4, 12, 16, 40):
        with pytest.raises(MediaError):
            read_still(data[:num_bytes])


@pytest.mark.parametrize(
    ("data", "seems"),
    [
        (b"\n<!DOCTYPE html><html><body>404", "an HTML page"),
        (b"\xef\xbb\xbf<HTML><p>", "an HTML page"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html>', "an HTML page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg viewBox='0 0 1 1'/>", "an SVG drawing"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b'{"error": "gone"}', "JSON"),
        (b"Not found\n", "text"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"BM\x36\x00\x00\x00", "a BMP image"),
        (b"II*\x00\x08\x00\x00\x00", "a TIFF image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "an MP4 or QuickTime video"),
        (b"\x00\x01\x02\x03", "a file of an unknown kind"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, seems: str) -> None:
    with pytest.raises(MediaError) as caught:
        read_still(data)
    assert caught.value.message.startswith(f"got {seems}, not an image")
    assert caught.value.message.endswith("allowed: JPEG, PNG, WebP, AVIF, HEIC, GIF")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(MediaError, match="empty: 0 bytes"):
        read_still(path)


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8L", b"\0\0\0\x18ftypheic"]


@given(st.sampled_from(HEADS), st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_nothing_but_media_errors(head: bytes, tail: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(MediaError):
            read_still(head + tail)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images_are_read_or_refused_but_never_crash(kind: str) -> None:
    whole = encoded(noise(32, 24), kind)

    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=6))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def damage(changes: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for at, value in changes:
            data[at] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(MediaError):
                assert read_still(bytes(data), max_pixels=1_000_000).mode == "RGB"

    damage()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    later = [Image.new("RGB", (96, 64), (index * 20, 0, 0)) for index in range(1, 4)]
    data = encoded(picture(), kind, save_all=True, append_images=later, duration=40)
    assert_upright(read_still(data))


def test_a_16_bit_grey_image_keeps_its_levels() -> None:
    levels = np.linspace(0, 65535, 256).round().astype(">u2")
    image = read_still(png(256, 1, 16, 0, b"\0" + levels.tobytes()))
    assert [red for red, _, _ in np.asarray(image)[0].tolist()] == list(range(256))


def test_a_16_bit_colour_image_is_read() -> None:
    pixel = struct.pack(">HHH", 65535, 32896, 257)
    assert read_still(png(1, 1, 16, 2, b"\0" + pixel)).getpixel((0, 0)) == (255, 128, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_each_mode_of_png_becomes_rgb(mode: str) -> None:
    data = encoded(Image.new("RGB", (8, 8), "white").convert(mode), "PNG")
    assert read_still(data).getpixel((3, 3)) == (255, 255, 255)


def test_a_cmyk_jpeg_is_read_the_right_way_round() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    red, green, blue = np.asarray(read_still(data))[8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "HEIF"])
def test_what_is_transparent_becomes_black(kind: str) -> None:
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 16, 32))
    image.paste((255, 255, 255, 128), (0, 0, 16, 16))
    pixels = np.asarray(read_still(encoded(image, kind))).astype(int)
    assert pixels[24, 4].min() > 250
    assert np.abs(pixels[4, 4] - 128).max() < 6
    assert pixels[8, 28].max() < 6


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_palette_with_a_transparent_colour_becomes_black_there(kind: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([250, 0, 0, 0, 250, 0])
    image.putpixel((2, 2), 0)
    read = read_still(encoded(image, kind, transparency=0))
    assert read.getpixel((2, 2)) == (0, 0, 0)
    assert read.getpixel((5, 5)) == (0, 250, 0)


def swapped_profile() -> bytes:
    """A matrix profile whose red and green primaries have changed places."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(int.from_bytes(icc[128:132], "big")):
        at = 132 + 12 * index
        name = bytes(icc[at : at + 4])
        if name in (b"rXYZ", b"gXYZ"):
            icc[at : at + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}[name]
        if name == b"desc":
            start = int.from_bytes(icc[at + 4 : at + 8], "big")
            size = int.from_bytes(icc[at + 8 : at + 12], "big")
            icc[start : start + size] = bytes(icc[start : start + size]).replace(b"\0R\0G\0B", b"\0W\0i\0d")
    return bytes(icc)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_a_colour_profile_is_converted_to_srgb(kind: str) -> None:
    data = encoded(Image.new("RGB", (32, 32), (255, 0, 0)), kind, icc_profile=swapped_profile())
    red, green, blue = np.asarray(read_still(data))[16, 16].tolist()
    assert green > 245
    assert max(red, blue) < 12


@pytest.mark.parametrize("icc", [b"no profile at all", swapped_profile()[:200]])
def test_a_broken_profile_counts_as_srgb(icc: bytes) -> None:
    assert_upright(read_still(encoded(picture(), "PNG", icc_profile=icc)))


def test_a_grey_image_with_a_colour_profile_takes_its_curve_and_stays_grey() -> None:
    icc = bytearray(swapped_profile())
    at = icc.index(b"para") + 12
    icc[at : at + 4] = struct.pack(">I", 1 << 16)  # a gamma of 1 in place of 2.4: nearly linear light
    data = encoded(Image.new("L", (8, 8), 100), "PNG", icc_profile=bytes(icc))
    levels = np.asarray(read_still(data))[4, 4].tolist()
    assert min(levels) > 140
    assert max(levels) - min(levels) <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_what_is_kept_holds_no_metadata(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretCameraMaker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0), 3: "E", 4: (11.0, 34.0, 31.0)})
    source, target = tmp_path / "source", tmp_path / "kept"
    lying = picture().transpose(Image.Transpose.ROTATE_90)
    source.write_bytes(encoded(lying, kind, exif=exif.tobytes(), icc_profile=swapped_profile()))
    assert b"SecretCameraMaker" in source.read_bytes()
    assert normalise(source, target) == (96, 64)
    kept = target.read_bytes()
    names, at = set(), 8
    while at < len(kept):
        names.add(kept[at + 4 : at + 8])
        at += 12 + int.from_bytes(kept[at : at + 4], "big")
    assert names == {b"IHDR", b"IDAT", b"IEND"}


def test_what_is_kept_is_lossless_and_read_back_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "kept"
    source.write_bytes(encoded(noise(), "PNG"))
    normalise(source, target)
    assert np.array_equal(np.asarray(read_still(target)), np.asarray(noise()))


def test_nothing_is_kept_of_a_broken_image(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "kept"
    source.write_bytes(encoded(noise(), "PNG")[:-200])
    with pytest.raises(MediaError):
        normalise(source, target)
    assert not target.exists()


def test_normalise_takes_a_limit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(encoded(picture(), "PNG"))
    with pytest.raises(MediaError, match=r"at most 0\.001 megapixels"):
        normalise(source, tmp_path / "kept", max_pixels=1000)


def test_fit_gives_one_planar_frame_of_the_formats_size(tmp_path: Path) -> None:
    path = tmp_path / "still"
    path.write_bytes(encoded(picture(640, 360), "PNG"))
    with path.open("rb") as file:
        for frames in (fit(path, SMALL), fit(file, SMALL)):
            assert (frames.num_frames, frames.width, frames.height, frames.is_rgb) == (1, 64, 36, False)
            assert_upright(Image.fromarray(colour.to_rgb(frames).planes[0][0]), tolerance=6)


@pytest.mark.parametrize(
    ("size", "format"),
    [((300, 100), SMALL), ((100, 300), SMALL), ((1, 1), SMALL), ((17, 2000), VideoFormat(2, 2, Fraction(1)))],
)
def test_fit_covers_any_format_from_any_size(size: tuple[int, int], format: VideoFormat, tmp_path: Path) -> None:
    path = tmp_path / "still"
    path.write_bytes(encoded(Image.new("RGB", size, (255, 255, 255)), "PNG"))
    (luma, *_) = fit(path, format).planes
    assert luma.shape == (1, format.height, format.width)
    assert luma.min() >= 234


@pytest.mark.parametrize(
    ("size", "centre"),
    [((400, 100), (111, 0, 289, 100)), ((160, 400), (0, 155, 160, 245))],  # 16:9 of 100 rows, of 160 columns
)
def test_fit_keeps_the_centre(size: tuple[int, int], centre: tuple[int, int, int, int], tmp_path: Path) -> None:
    image = Image.new("RGB", size, "white")
    image.paste("black", centre)
    path = tmp_path / "still"
    path.write_bytes(encoded(image, "PNG"))
    luma = fit(path, SMALL).planes[0][0]
    assert luma[2:-2, 2:-2].max() <= 24


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_no_larger_than_it_has_to_be(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture(800, 100)
    lying = image.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else image
    data = encoded(lying, "JPEG", exif=exif.tobytes())
    assert read_still(data, at_least=(400, 50)).size == (400, 50)
    assert read_still(data, at_least=(401, 50)).size == (800, 100)
    assert read_still(data, at_least=(400, 51)).size == (800, 100)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_reads_every_format(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture(1920, 1080).transpose(Image.Transpose.ROTATE_90)
    options = {"exif": exif.tobytes()} if kind != "GIF" else {}
    path = tmp_path / "still"
    path.write_bytes(encoded(lying if options else picture(1920, 1080), kind, **options))
    frames = fit(path, SMALL)
    assert_upright(Image.fromarray(colour.to_rgb(frames).planes[0][0]), tolerance=12)


@pytest.mark.parametrize(
    ("size", "remark"),
    [
        ((1280, 720), None),
        ((2560, 1440), None),
        ((1920, 1088), None),
        ((1270, 714), None),
        ((800, 600), "The image (800x600) was cropped to 16:9 and enlarged 1.6 times."),
        ((4000, 3000), "The image (4000x3000) was cropped to 16:9."),
        ((640, 360), "The image (640x360) was enlarged 2.0 times."),
        ((1240, 698), "The image (1240x698) was enlarged 1.03 times."),
    ],
)
def test_the_remark_says_what_was_done_noticeably(size: tuple[int, int], remark: str | None) -> None:
    assert fit_remark(*size, HD) == remark


def test_the_remark_names_an_uncommon_aspect_by_its_ratio() -> None:
    assert fit_remark(4000, 3000, VideoFormat(1434, 600, Fraction(24))) == (
        "The image (4000x3000) was cropped to 2.39:1."
    )
