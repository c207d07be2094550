"""Every format: how it is told, read and written, and what it can hold."""

import dataclasses
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.colour import channels_of, to_srgb
from qdnet_keras.photos.formats.avif import decode_avif, encode_avif
from qdnet_keras.photos.formats.exif import tells_resolution
from qdnet_keras.photos.formats.heif import decode_heif, encode_heif
from qdnet_keras.photos.formats.jpeg import decode_jpeg, encode_jpeg, within_segments
from qdnet_keras.photos.formats.jpeg2000 import decode_jpeg2000, encode_jpeg2000
from qdnet_keras.photos.formats.jpegxl import decode_jpegxl, encode_jpegxl
from qdnet_keras.photos.formats.others import refusal
from qdnet_keras.photos.formats.png import decode_png, encode_png
from qdnet_keras.photos.formats.raw import camera_of, decode_raw
from qdnet_keras.photos.formats.tiff import decode_tiff, encode_tiff
from qdnet_keras.photos.formats.webp import decode_webp, encode_webp
from qdnet_keras.photos.formats.xmp import without_extension
from qdnet_keras.photos.photo import Photo
from qdnet_keras.photos.pixels import as_depth, to_8_bit


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        suffixes: Of file names, the usual one first.
        signature: Regular expression that the content begins with.
        holds: Names of those fields of `Photo` that a file can have, and "depth" for 16 bits.
    """

    suffixes: tuple[str, ...]
    signature: bytes
    decode: Callable[[bytes], Photo]
    encode: Callable[[Photo, BinaryIO], None]
    holds: frozenset[str]


_ALL = frozenset({"depth", "grey", "alpha", "icc", "exif", "xmp", "iptc", "dpi"})
FORMATS: dict[str, Format] = {
    "PNG": Format((".png",), rb"\x89PNG\r\n\x1a\n", decode_png, encode_png, _ALL),
    "JPEG": Format(
        (".jpg", ".jpeg", ".jfif"),
        rb"\xff\xd8\xff",
        decode_jpeg,
        encode_jpeg,
        _ALL - {"depth", "alpha"},
    ),
    "TIFF": Format((".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]", decode_tiff, encode_tiff, _ALL),
    "WEBP": Format(
        (".webp",),
        rb"RIFF....WEBP",
        decode_webp,
        encode_webp,
        _ALL - {"depth", "grey", "iptc", "dpi"},
    ),
    "HEIF": Format(
        (".heic", ".heif", ".hif"),
        rb"....ftyp(heic|heix|heim|heis|mif1(?!....avif|....miafavif))",
        decode_heif,
        encode_heif,
        _ALL - {"iptc", "dpi"},
    ),
    "AVIF": Format(
        (".avif",),
        rb"....ftyp(avif|avis|mif1)",
        decode_avif,
        encode_avif,
        _ALL - {"depth", "grey", "iptc", "dpi"},
    ),
    "JPEG XL": Format(
        (".jxl",),
        rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        decode_jpegxl,
        encode_jpegxl,
        _ALL - {"depth", "icc", "iptc", "dpi"},
    ),
    "JPEG 2000": Format(
        (".jp2", ".j2k", ".jpx"),
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        decode_jpeg2000,
        encode_jpeg2000,
        _ALL - {"iptc", "dpi"},
    ),
}
FORMAT_OF_SUFFIX = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}
LOSSLESS = frozenset({"PNG", "TIFF", "JPEG 2000"})  # as they are written here
_LEFT_OUT = {  # what is said of a file that has one of these marks
    "its content credentials were left out: they vouch for the old pixels": (b"jumdc2pa",),
    "the video of its motion photo was left out": (
        b'Camera:MotionPhoto="1"',
        b'Camera:MicroVideo="1"',
        b"MotionPhoto_Data",
    ),
}
_WORDS = {
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC",
    "dpi": "the resolution",
}


def decode(data: bytes, least_side: int | None = None) -> Photo:
    """The photograph in `data`, its kind told by content; JPEG as `decode_jpeg` with `least_side`.

    Raises ImageError for another kind or a forbidden size; damaged data raise what the codec does.
    """
    if not data:
        raise ImageError("is empty")
    if reason := refusal(data):
        raise ImageError(reason)
    if camera := camera_of(data):
        return decode_raw(data, camera)
    for name, format in FORMATS.items():
        if re.match(format.signature, data, re.DOTALL):
            photo = decode_jpeg(data, least_side) if name == "JPEG" else format.decode(data)
            notes = [note for note, marks in _LEFT_OUT.items() if any(m in data for m in marks)]
            return dataclasses.replace(photo, notes=(*photo.notes, *notes))
    raise ImageError(f"is not a {', '.join(FORMATS)} picture")


def fitted(photo: Photo, name: str) -> Photo:
    """The photo as far as a format holds it, with notes of what it does not hold."""
    holds = FORMATS[name].holds
    changes: dict = {}
    notes = list(photo.notes)
    if name != photo.format:
        if photo.extra:
            notes.append(f"texts that only a {photo.format} holds were left out")
        changes = {"extra": b"", "compression": None}
        changes["xmp"] = without_extension(photo.xmp) if photo.xmp else None
    lacks_grey = photo.grey and "grey" not in holds
    if lacks_grey:
        changes["grey"] = False
    if photo.icc and ("icc" not in holds or (lacks_grey and channels_of(photo.icc) == 1)):
        changes["icc"] = None
        if not photo.is_srgb:
            srgb = to_srgb(photo.pixels, photo.icc, np.uint16)
            changes["pixels"] = as_depth(srgb, photo.pixels.dtype)
            notes.append(f"converted to sRGB: {name} is written without its profile")
    photo = dataclasses.replace(photo, **changes)
    if photo.depth == 16 and "depth" not in holds:
        alpha = None if photo.alpha is None else to_8_bit(photo.alpha)
        photo = dataclasses.replace(photo, pixels=to_8_bit(photo.pixels), alpha=alpha)
        notes.append("16 bits were rounded to 8")
    lost = {field: None for field in _WORDS if field not in holds and getattr(photo, field)}
    told = ["dpi"] if photo.exif and tells_resolution(photo.exif) else []
    notes += [
        f"{_WORDS[field]} was left out: {name} holds none" for field in lost if field not in told
    ]
    photo = dataclasses.replace(photo, notes=tuple(notes), **lost)  # type: ignore[arg-type]
    return within_segments(photo) if name == "JPEG" else photo


def encode(photo: Photo, name: str, file: BinaryIO) -> None:
    """Writes a photo that is `fitted` to the format to an empty file opened for update."""
    FORMATS[name].encode(photo, file)
