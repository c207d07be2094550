"""JPEG: decoded by simplejpeg, which tells when pixels are missing, and encoded by Pillow."""

import dataclasses
import io
import struct
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats import photoshop, xmp
from qdnet_keras.photos.formats.exif import tells_resolution
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import cmyk_to_srgb, file_samples, row_bands
from qdnet_keras.photos.sizes import jpeg_reduction

_EXIF = b"Exif\0\0"
_MARKERS = {"APP1": b"\xff\xe1", "APP13": b"\xff\xed", "COM": b"\xff\xfe"}
MOST_BYTES = 65533  # of the content of a segment
_MOST_XMP = MOST_BYTES - len(xmp.JPEG_SEGMENT) - 2
_TOO_LONG = "{} was left out: it is longer than a JPEG can hold"
_END = b"\xff\xd9"
_COLOURS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # Pillow's name -> simplejpeg's
_GAIN_MAPS = (b"hdrgm:", b"HDRGainMap", b"urn:iso:std:iso:ts:21496")

# Photos with damaged metadata are read all the same: Pillow need not tell the user.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def decode_jpeg(data: bytes, least_side: int | None = None) -> Photo:
    """The photograph in a JPEG.

    Args:
        least_side: Where it is given, the photo may be smaller, see `jpeg_reduction`.
    """
    image = JpegImageFile(io.BytesIO(data))
    check_size(*image.size)
    reduction = jpeg_reduction(image.size, least_side) if least_side else 1
    found = Decoded("JPEG", _pixels(image, data, reduction))
    info = image.info
    found.icc, found.exif, found.xmp = (info.get(key) for key in ("icc_profile", "exif", "xmp"))
    has_resolution = tells_resolution((found.exif or b"").removeprefix(_EXIF))
    if has_resolution or info.get("jfif_unit"):  # Pillow makes one up for other files with EXIF
        found.dpi = info.get("dpi")
    if image.mode == "CMYK":
        found.colour, found.icc = cmyk_to_srgb(found.colour, found.icc), None
        found.notes = ("CMYK became sRGB",)
    _read_segments(image.applist, found)
    if any(mark in data for mark in _GAIN_MAPS):
        found.notes = (*found.notes, "the gain map of its HDR rendering was left out")
    elif "mp" in info:
        found.notes = (*found.notes, "further pictures in the file were left out")
    return found.photo()


def _pixels(image: JpegImageFile, data: bytes, reduction: int) -> np.ndarray:
    try:
        simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:  # lossless and other kinds
        return _pillow_pixels(image)
    width, height = (-(-side // reduction) for side in image.size)
    options = {"colorspace": _COLOURS[image.mode], "min_height": height, "min_width": width}
    try:
        samples = simplejpeg.decode_jpeg(data, **options)
    except ValueError as error:
        samples = _damaged_pixels(data, str(error), options)
    if image.mode == "CMYK":  # inks are stored inverted, as Adobe does
        np.subtract(255, samples, out=samples)
    return samples[..., 0] if image.mode == "L" else samples


def _damaged_pixels(data: bytes, reason: str, options: dict) -> np.ndarray:
    """Pixels in spite of a warning of libjpeg, unless it says that some are missing."""
    if reason.startswith("Premature end"):
        data += _END  # all that is missing may be the end mark
        try:
            return simplejpeg.decode_jpeg(data, **options)
        except ValueError as error:
            reason = str(error)
    if "remature end" in reason:
        raise ImageError("is cut short or damaged: a part of its pixels is missing; copy it again")
    return simplejpeg.decode_jpeg(data, strict=False, **options)


def _pillow_pixels(image: JpegImageFile) -> np.ndarray:
    """Samples of a picture that is not decoded yet, copied band by band to save memory."""
    bands = len(image.getbands())
    samples = np.empty(image.size[::-1] + ((bands,) if bands > 1 else ()), np.uint8)
    for rows in row_bands(samples.shape):
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return samples


def _read_segments(segments: list[tuple[str, bytes]], found: Decoded) -> None:
    resources = b""
    for name, body in segments:
        if name == "APP13" and body.startswith(photoshop.JPEG_SEGMENT):
            resources += body.removeprefix(photoshop.JPEG_SEGMENT)
        elif name == "COM" or (name == "APP1" and body.startswith(xmp.JPEG_EXTENSION)):
            found.extra += _segment(name, body)
    found.iptc = photoshop.iptc_of(resources)
    others = photoshop.without_iptc_and_thumbnails(resources)
    found.extra += b"".join(_resource_segments(others))


def _resource_segments(resources: bytes) -> Iterator[bytes]:
    """APP13 segments; what is longer than one goes on in the next."""
    step = MOST_BYTES - len(photoshop.JPEG_SEGMENT)
    for at in range(0, len(resources), step):
        yield _segment("APP13", photoshop.JPEG_SEGMENT + resources[at : at + step])


def _segment(name: str, body: bytes) -> bytes:
    return _MARKERS[name] + struct.pack(">H", len(body) + 2) + body


def within_segments(photo: Photo) -> Photo:
    """The photo without what is too long for the segments of a JPEG, noted."""
    packet = photo.xmp or b""
    if len(packet) > _MOST_XMP:
        packet = xmp.without_padding(packet)
    photo = dataclasses.replace(photo, xmp=packet or None)
    if len(packet) > _MOST_XMP:
        photo = dataclasses.replace(photo, xmp=None, notes=(*photo.notes, _TOO_LONG.format("XMP")))
    if len(photo.exif or b"") > MOST_BYTES - len(_EXIF):
        photo = dataclasses.replace(
            photo, exif=None, notes=(*photo.notes, _TOO_LONG.format("EXIF"))
        )
    return photo


def encode_jpeg(photo: Photo, file: BinaryIO) -> None:
    extra = photo.extra
    if photo.iptc:
        extra += b"".join(_resource_segments(photoshop.iptc_resource(photo.iptc)))
    kept = {"icc_profile": photo.icc, "xmp": photo.xmp, "dpi": photo.dpi, "extra": extra}
    if photo.exif:
        kept["exif"] = _EXIF + photo.exif
    kept = {name: value for name, value in kept.items() if value}
    buffer = io.BytesIO()  # given a real file, Pillow takes no notice of a full disk
    Image.fromarray(file_samples(photo)).save(buffer, "JPEG", quality=95, subsampling=0, **kept)
    file.write(buffer.getbuffer())
