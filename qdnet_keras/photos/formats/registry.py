"""Chooses the code that reads a file, by its content, and that writes a format."""

import dataclasses
import re
from collections.abc import Callable
from typing import BinaryIO

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.jpeg import decode_jpeg, encode_jpeg
from qdnet_keras.photos.formats.photo import Photo
from qdnet_keras.photos.formats.pixels import to_8_bit
from qdnet_keras.photos.formats.png import decode_png, encode_png
from qdnet_keras.photos.formats.tiff import decode_tiff, encode_tiff
from qdnet_keras.photos.formats.webp import decode_webp, encode_webp

_DECODERS: list[tuple[bytes, Callable[[bytes], Photo]]] = [
    (rb"\x89PNG\r\n\x1a\n", decode_png),
    (rb"\xff\xd8\xff", decode_jpeg),
    (rb"II[*+]\0|MM\0[*+]", decode_tiff),
    (rb"RIFF....WEBP", decode_webp),
]
_ENCODERS: dict[str, Callable[[Photo, BinaryIO], None]] = {
    "PNG": encode_png,
    "JPEG": encode_jpeg,
    "TIFF": encode_tiff,
    "WEBP": encode_webp,
}


def decode(data: bytes) -> Photo:
    """The photograph in `data`, its kind told by content.

    Raises ImageError for another kind or a forbidden size; damaged data raise what the codec does.
    """
    if not data:
        raise ImageError("is empty")
    if data.startswith((b"v/1\x01", b"#?RADIANCE", b"#?RGBE", b"PF\n", b"Pf\n")):
        raise ImageError("is a floating point image; tone-map it first")
    for signature, decoder in _DECODERS:
        if re.match(signature, data, re.DOTALL):
            return decoder(data)
    raise ImageError("is not a PNG, JPEG, TIFF or WebP picture")


def encode(photo: Photo, format: str, file: BinaryIO) -> None:
    """Writes `photo` to an empty file opened for update; JPEG and WebP round to 8 bits."""
    if format != photo.format:
        photo = dataclasses.replace(photo, compression=None, extra=b"")
    if format in ("JPEG", "WEBP") and photo.depth == 16:
        alpha = None if photo.alpha is None else to_8_bit(photo.alpha)
        photo = dataclasses.replace(photo, pixels=to_8_bit(photo.pixels), alpha=alpha)
    _ENCODERS[format](photo, file)
