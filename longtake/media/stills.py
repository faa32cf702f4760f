"""Images given by users: read safely, kept upright as sRGB without metadata, fitted to a video's format.

JPEG, PNG, WebP, AVIF, HEIC and the first frame of GIF. Size is judged by the header, before a pixel is decoded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from longtake.errors import MediaError
from longtake.frames import Frames
from longtake.media import colour
from longtake.video import VideoFormat

Source = Path | bytes | BinaryIO

ALLOWED = "JPEG, PNG, WebP, AVIF, HEIC, GIF"
MAX_PIXELS = 64_000_000
MAX_JPEG_SCANS = 100
"""Each scan of a progressive JPEG passes over all pixels; a few bytes a scan make minutes of work."""
NOTICEABLE = 0.02
"""The part of an image's width or height that may be cropped without a remark, and likewise enlarged."""
COMMON_ASPECTS = ((16, 9), (9, 16), (4, 3), (3, 4), (1, 1), (21, 9), (9, 21), (3, 2), (2, 3), (5, 4), (4, 5))

pillow_heif.register_heif_opener(thumbnails=False)
# Pillow's own limit only warns between one and two times its value; `_open` refuses by ours, as an error.
Image.MAX_IMAGE_PIXELS = None

NAMES = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "AVIF": "AVIF", "HEIF": "HEIC", "GIF": "GIF"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}
PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
SRGB = ImageCms.createProfile("sRGB")

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, 4.6.4 A, Orientation → what turns the image upright."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"%!PS", "PostScript"),
)


def read_still(source: Source, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The image as RGB: upright, sRGB, without metadata; what is transparent becomes black, as empty video is.

    With `at_least` (width, height) a JPEG may be decoded at a half, a quarter or an eighth of its size, no smaller.
    Raises MediaError: not one of the formats, broken, cut off, or of more than `max_pixels`.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _read(file, max_pixels, at_least)
    return _read(io.BytesIO(source) if isinstance(source, bytes) else source, max_pixels, at_least)


def normalise(source: Path, target: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Writes what the store keeps of an image: a PNG, upright, sRGB, without metadata. Returns (width, height).

    Raises MediaError as `read_still` does; nothing is left at `target` then.
    """
    image = read_still(source, max_pixels=max_pixels)
    try:
        # for 12 megapixels 0.8 s and 10 MB, against 1.8 s and 6 MB of the fastest lossless WebP
        image.save(target, "PNG", compress_level=1)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return image.size


def fit(source: Path | BinaryIO, format: VideoFormat, *, max_pixels: int = MAX_PIXELS) -> Frames:
    """One planar 4:2:0 frame of the format's size and colour: the image's centre, cropped to its aspect, resized.

    Raises MediaError as `read_still` does.
    """
    width, height = format.width, format.height
    image = read_still(source, max_pixels=max_pixels, at_least=(width, height))
    shown_width = width * float(format.pixel_aspect)
    scale = max(shown_width / image.width, height / image.height)
    left = (image.width - shown_width / scale) / 2
    top = (image.height - height / scale) / 2
    box = (max(0.0, left), max(0.0, top), min(image.width, image.width - left), min(image.height, image.height - top))
    fitted = image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    return colour.to_yuv(Frames((np.asarray(fitted)[np.newaxis],)), format.coding.colour)


def fit_remark(still_width: int, still_height: int, format: VideoFormat) -> str | None:
    """The sentence for the answer where `fit` crops or enlarges noticeably: by more than 2 %."""
    width, height = round(format.width * format.pixel_aspect), format.height
    scale = max(width / still_width, height / still_height)
    kept = min(width / (still_width * scale), height / (still_height * scale))
    done = []
    if 1 - kept > NOTICEABLE:
        done.append(f"cropped to {_aspect(width, height)}")
    if scale - 1 > NOTICEABLE:
        done.append(f"enlarged {scale:.1f} times" if scale >= 1.05 else f"enlarged {scale:.2f} times")
    return f"The image ({still_width}x{still_height}) was {' and '.join(done)}." if done else None


def _read(file: BinaryIO, max_pixels: int, at_least: tuple[int, int] | None) -> Image.Image:
    num_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise MediaError("the image is empty: 0 bytes")
    name = image_format(head)
    if name is None:
        raise MediaError(f"got {_what_it_seems(head)}, not an image that can be read; allowed: {ALLOWED}")
    try:
        return _decode(file, name, max_pixels, at_least)
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # the decoders raise whatever they met, down to struct.error and KeyError
        called = NAMES[name]
        if _is_cut_off(file, name, num_bytes, str(error)):
            raise MediaError(f"the {called} image is truncated: it ends after {num_bytes} bytes") from error
        raise MediaError(f"the {called} image is broken and can't be decoded") from error


def _decode(file: BinaryIO, name: str, max_pixels: int, at_least: tuple[int, int] | None) -> Image.Image:
    """1 judge by the header, 2 decode, 3 turn upright, 4 flatten, 5 to sRGB."""
    with Image.open(file, formats=[name]) as opened:
        width, height = opened.size
        if width * height > max_pixels:
            raise MediaError(
                f"an image may have at most {max_pixels / 1e6:g} megapixels, "
                f"got {width}x{height}: {width * height / 1e6:.1f}"
            )
        if name == "JPEG":
            _require_few_scans(file, opened)
            if at_least:
                opened.draft(opened.mode, at_least if _orientation(opened) < 5 else at_least[::-1])
        opened.load()
        profile = opened.info.get("icc_profile")
        image = _to_srgb(_flatten(opened), profile)
        turn = UPRIGHT.get(_orientation(opened))
    if turn is not None:
        image = image.transpose(turn)
    image.info = {}
    return image


def _require_few_scans(file: BinaryIO, image: Image.Image) -> None:
    if "progressive" not in image.info:
        return
    place = file.tell()
    file.seek(0)
    # inside the coded data FF is always followed by 00 or a restart marker, so FFDA is a scan's start
    num_scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if num_scans > MAX_JPEG_SCANS:
        raise MediaError(f"a progressive JPEG may have at most {MAX_JPEG_SCANS} scans, got {num_scans}")


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the metadata is broken: that is no reason to refuse the picture."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _flatten(image: Image.Image) -> Image.Image:
    """→ RGB, L or CMYK, 8 bits, without alpha; what is transparent over black."""
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        ground = Image.new("RGB", image.size)
        ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return ground
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in PROFILE_SPACES else image.convert("RGB")


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """→ a new RGB image. A profile that is broken or of another kind of colour counts as none, and none as sRGB."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            space = profile.profile.xcolor_space.strip()
            if space == "RGB" and image.mode == "L":
                image = image.convert("RGB")
            is_srgb = ImageCms.getProfileDescription(profile).startswith("sRGB")
            if space == PROFILE_SPACES[image.mode] and not is_srgb:
                converted = ImageCms.profileToProfile(
                    image,
                    profile,
                    SRGB,
                    renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                    outputMode="RGB",
                    flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )
                assert converted is not None
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")


def image_format(head: bytes) -> str | None:
    """Pillow's name of the format that the first bytes announce, if it is one of those allowed."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    brands = _brands(head)
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & HEIF_BRANDS else None


def _brands(head: bytes) -> set[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, 4.3): HEIC, AVIF, MP4 and QuickTime are such."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _what_it_seems(head: bytes) -> str:
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp":
        return "an MP4 or QuickTime video"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith(b"<"):
        return "an SVG drawing" if b"<svg" in text else "an HTML page" if b"<html" in text else "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON"
    is_text = not any(byte < 32 and byte not in b"\t\r\n\f" for byte in head)
    return "text" if is_text else "a file of an unknown kind"


def _is_cut_off(file: BinaryIO, name: str, num_bytes: int, error: str) -> bool:
    """Whether a file that could not be decoded ends too early; only the wording of the error depends on it."""
    if "truncated" in error.lower():
        return True
    if name in ENDINGS:
        file.seek(max(0, num_bytes - 64))
        return ENDINGS[name] not in file.read()
    file.seek(0)
    if name == "WEBP":
        return int.from_bytes(file.read(8)[4:], "little") + 8 > num_bytes
    at = 0
    while at + 8 <= num_bytes:
        file.seek(at)
        length = int.from_bytes(file.read(4), "big")
        if length < 8:  # 0: up to the end of the file; 1: a 64-bit length, which no still of ours has
            return False
        at += length
    return at != num_bytes


def _aspect(width: int, height: int) -> str:
    """16:9 where it is within 1 % of a common one; else 2.39:1."""
    for wide, high in COMMON_ASPECTS:
        if abs(width * high / (height * wide) - 1) < 0.01:
            return f"{wide}:{high}"
    return f"{width / height:.2f}:1"
