"""TIFF: decoded and encoded by tifffile; the directory with EXIF is added here."""

import contextlib
import io
import logging
import math
import mmap
import struct
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np
import tifffile

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.exif import BYTE_ORDERS, EXIF, GPS, merge_directories
from qdnet_keras.photos.formats.others import FLOATING_POINT
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import cmyk_to_srgb, divide_by_alpha, file_samples, lab_to_srgb

_TIFF_KEPT = {"none", "lzw", "adobe_deflate", "packbits", "zstd"}
_TIFF_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "SEPARATED": 4}
_TIFF_COLOURS |= {"CIELAB": 3}
_BECOME_SRGB = {"SEPARATED": "CMYK", "CIELAB": "Lab"}
_ASSOCIATED, _STRAIGHT = 1, 2  # kinds of extra samples that are alpha
_THUMBNAIL, _MASK = 1, 4  # bits of tag 254
_ICC, _XMP, _IPTC = 34675, 700, 33723
# Tags of a TIFF's first directory that describe the photo rather than how its pixels are stored.
_DESCRIPTIVE = frozenset(
    {269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 18246, 18249, 33432, EXIF, GPS}
    | set(range(40091, 40096))
)

# Photos with damaged metadata are read all the same: tifffile need not tell the user.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(data: bytes) -> Photo:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page: Any = tiff.pages.first
        _check_tiff(tiff, page)
        icc, xmp = (
            data[tag.valueoffset : tag.valueoffset + tag.valuebytecount] if tag else None
            for tag in map(page.tags.get, (_ICC, _XMP))
        )
        found = Decoded("TIFF", *_tiff_samples(page, icc))
        found.notes = _left_out(page, found.alpha is not None)
        found.exif, found.iptc = descriptive_exif(data, tiff), _tiff_iptc(data, page)
        found.xmp, found.dpi = xmp, _tiff_dpi(page)
        found.compression = page.compression.name.lower()
        found.icc = None if page.photometric.name in _BECOME_SRGB else icc
        return found.photo()


def _check_tiff(tiff: tifffile.TiffFile, page: Any) -> None:
    kind, bits = page.photometric.name, page.bitspersample
    if page.sampleformat == 3 or kind in ("LOGL", "LOGLUV"):
        raise ImageError(FLOATING_POINT)
    others: Any = tiff.pages[1:]
    if any(not other.subfiletype & (_THUMBNAIL | _MASK) for other in others):
        raise ImageError("holds several pages; save the one you mean as a file of its own")
    check_size(page.imagewidth, page.imagelength)
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:
        raise ImageError("lacks a part of its pixels; copy it again")
    jpeg = kind == "YCBCR" and "JPEG" in page.compression.name
    known = page.sampleformat in (1, 4) and bits in (1, 2, 4, 8, 16)
    channels = page.samplesperpixel - (3 if jpeg else _TIFF_COLOURS.get(kind, 0))
    if not (jpeg or kind in _TIFF_COLOURS) or not known or channels < 0:
        raise ImageError(
            f"is a TIFF of kind {kind}, {page.samplesperpixel} channels, {bits} bits; "
            "save it as grey or RGB of 8 or 16 bits"
        )


def _tiff_samples(page: Any, icc: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    kind, bits = page.photometric.name, page.bitspersample
    samples = page.asarray(buffersize=1 << 24)
    if page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    if bits < 8 and kind != "PALETTE":
        samples = samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    channels = _TIFF_COLOURS.get(kind, 3)  # tifffile turns YCbCr into RGB
    colour, alpha = samples, None
    if page.samplesperpixel > channels:
        alpha_at = _alpha_at(page, channels)
        alpha = None if alpha_at is None else samples[..., alpha_at]
        colour = samples[..., 0] if channels == 1 else samples[..., :channels]
    if kind == "PALETTE":
        colour = (page.colormap.T >> 8).astype(np.uint8)[colour.astype(np.uint16)]
    elif kind == "MINISWHITE":
        colour = ~colour
    elif kind == "SEPARATED":
        colour = cmyk_to_srgb(np.ascontiguousarray(colour), icc)
    elif kind == "CIELAB":
        colour = lab_to_srgb(colour)
    if alpha is not None and _ASSOCIATED in page.extrasamples:
        divide_by_alpha(colour, alpha)
    return colour, alpha


def _alpha_at(page: Any, channels: int) -> int | None:
    """Which sample is the alpha; others are selections that an editor keeps."""
    kinds = page.extrasamples or (_STRAIGHT,)
    extra = (at for at, kind in enumerate(kinds) if kind in (_ASSOCIATED, _STRAIGHT))
    return next((channels + at for at in extra), None)


def _left_out(page: Any, has_alpha: bool) -> list[str]:
    kind = page.photometric.name
    notes = [f"{_BECOME_SRGB[kind]} became sRGB"] if kind in _BECOME_SRGB else []
    extra = page.samplesperpixel - _TIFF_COLOURS.get(kind, 3)
    return [*notes, *["further channels were left out"] * (extra > has_alpha)]


def _tiff_dpi(page: Any) -> tuple[float, float] | None:
    per_inch: Any = {2: 1.0, 3: 2.54}.get(page.tags.valueof(296, default=2))
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        (x, per_x), (y, per_y) = (page.tags.valueof(tag) for tag in (282, 283))
        return x / per_x * per_inch, y / per_y * per_inch
    return None


def descriptive_exif(
    data: bytes, tiff: tifffile.TiffFile, without: Collection[int] = ()
) -> bytes | None:
    """The descriptive tags of the first directory as an EXIF block; damaged nested ones dropped.

    Args:
        data: What `tiff` reads.
        without: Tags to leave out.
    """
    page: Any = tiff.pages.first
    order, big = tiff.byteorder, tiff.is_bigtiff
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    for tags in (_DESCRIPTIVE, _DESCRIPTIVE - {EXIF, GPS}):
        if tags.isdisjoint(page.tags.keys()):
            break
        with contextlib.suppress(struct.error):
            parts = (data, page.offset, tags)
            return head + merge_directories(order, 8, parts, big=big, without=without)
    return None


def _tiff_iptc(data: bytes, page: Any) -> bytes | None:
    tag = page.tags.get(_IPTC)
    return data[tag.valueoffset : tag.valueoffset + tag.valuebytecount] if tag else None


def encode_tiff(photo: Photo, file: BinaryIO) -> None:
    compression = photo.compression if photo.compression in _TIFF_KEPT else "adobe_deflate"
    exif = photo.exif or b""
    order = BYTE_ORDERS.get(exif[:2], "<")
    with tifffile.TiffWriter(file, bigtiff=False, byteorder=order) as tiff:
        tiff.write(
            file_samples(photo),
            photometric="minisblack" if photo.grey else "rgb",
            planarconfig="contig",
            extrasamples=None if photo.alpha is None else ["unassalpha"],
            compression=compression,
            predictor=compression not in ("none", "packbits"),
            rowsperstrip=64,
            resolution=photo.dpi,
            resolutionunit=2 if photo.dpi else None,
            iccprofile=photo.icc,
            extratags=[
                (tag, kind, len(value), value, True)
                for tag, kind, value in ((_XMP, 1, photo.xmp), (_IPTC, 7, photo.iptc))
                if value
            ],
            metadata=None,
            software=False,
        )
    with contextlib.suppress(KeyError, struct.error):
        _add_exif(file, exif)


def _add_exif(file: BinaryIO, exif: bytes) -> None:
    """Appends to a TIFF a directory that is its own plus the descriptive tags of `exif`."""
    order = BYTE_ORDERS[exif[:2]]
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = len(data) + len(data) % 2
        own, others = (
            struct.unpack_from(order + "I", data, 4),
            struct.unpack_from(order + "I", exif, 4),
        )
        merged = merge_directories(order, end, (exif, *others, _DESCRIPTIVE), (data, *own, None))
    file.seek(end)
    file.write(merged)
    file.seek(4)
    file.write(struct.pack(order + "I", end))
