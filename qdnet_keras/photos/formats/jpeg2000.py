"""JPEG 2000: pixels by imagecodecs, profile and metadata in boxes read and written here."""

import struct
from typing import BinaryIO

import imagecodecs
import numpy as np

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.boxes import box, boxes
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import divide_by_alpha, file_samples, from_float, split_alpha

_SIZE = b"\xff\x4f\xff\x51"  # start of the codestream and its first segment
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF = b"JpgTiffExif->JP2"
_LISTED, _ICC = 1, 2  # methods of describing colours
_SRGB, _GREY = 16, 17
_COLOUR, _OPACITY, _PREMULTIPLIED = 0, 1, 2  # kinds of channels
_WHOLE = 0  # what alpha belongs to; colours are numbered from 1


def decode_jpeg2000(data: bytes) -> Photo:
    at = data.index(_SIZE)
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    check_size(right - left, bottom - top)
    bits = (data[at + 42] & 0x7F) + 1
    samples = imagecodecs.jpeg2k_decode(data[at:])  # bare, or it would apply the profile
    if bits > 16 or samples.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"has {bits} bits a channel; save it with 8 or 16")
    if bits not in (8, 16):
        samples = from_float(samples / np.float32(2**bits - 1), samples.dtype)
    found = Decoded("JPEG 2000", *split_alpha(samples))
    for kind, content in boxes(data):
        if kind == b"jp2h":
            found.icc = _profile(content)
            if found.alpha is not None and _PREMULTIPLIED in _kinds_of_channels(content):
                divide_by_alpha(found.colour, found.alpha)
        elif kind == b"uuid" and content.startswith(_XMP):
            found.xmp = content[len(_XMP) :]
        elif kind == b"uuid" and content.startswith(_EXIF):
            found.exif = content[len(_EXIF) :]
    return found.photo()


def _profile(header: bytes) -> bytes | None:
    if b"pclr" in dict(boxes(header)):
        raise ImageError("is a JPEG 2000 with a palette; save it as grey or RGB")
    for kind, content in boxes(header):
        if kind == b"colr" and content[0] == _ICC:
            return content[3:]
        if kind == b"colr" and struct.unpack_from(">I", content, 3)[0] not in (_SRGB, _GREY):
            raise ImageError("is a JPEG 2000 in a colour space other than sRGB and grey")
    return None


def _kinds_of_channels(header: bytes) -> set[int]:
    definitions = dict(boxes(header)).get(b"cdef", b"\0\0")[2:]
    return {kind for _, kind, _ in struct.iter_unpack(">3H", definitions)}


def _channels(photo: Photo) -> bytes:
    """The box that says which of the photo's channels is alpha."""
    colours = 1 if photo.grey else 3
    channels = [(at, _COLOUR, at + 1) for at in range(colours)] + [(colours, _OPACITY, _WHOLE)]
    fields = [struct.pack(">3H", *channel) for channel in channels]
    return box(b"cdef", struct.pack(">H", len(fields)) + b"".join(fields))


def encode_jpeg2000(photo: Photo, file: BinaryIO) -> None:
    """Lossless."""
    encoded = imagecodecs.jpeg2k_encode(file_samples(photo), codecformat="jp2", reversible=True)
    for kind, content in boxes(bytes(encoded)):
        if kind == b"jp2h" and photo.icc:
            parts = dict(boxes(content)) | {b"colr": bytes([_ICC, 0, 0]) + photo.icc}
            content = b"".join(box(name, part) for name, part in parts.items())
        if kind == b"jp2h" and photo.alpha is not None:
            content += _channels(photo)
        file.write(box(kind, content))
    if photo.xmp:
        file.write(box(b"uuid", _XMP + photo.xmp))
    if photo.exif:
        file.write(box(b"uuid", _EXIF + photo.exif))
