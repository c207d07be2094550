"""PNG: decoded and encoded by imagecodecs, its other chunks read and written here."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import imagecodecs

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.orientation import upright_photo
from qdnet_keras.photos.formats.photo import Photo, check_size
from qdnet_keras.photos.formats.pixels import file_samples, split_alpha

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DECODED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt"}
_PNG_XMP = b"XML:com.adobe.xmp\0"
_INCH = 0.0254


def decode_png(data: bytes) -> Photo:
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height)
    decoded: list[bytes | memoryview] = [_PNG_SIGNATURE]
    kept: dict[str, Any] = {"extra": b""}
    for kind, chunk in _png_chunks(data):
        body = chunk[8:-4]
        if kind == b"acTL":
            raise ImageError("is an animated PNG; only still pictures are supported")
        if kind in _PNG_DECODED:
            decoded.append(chunk)
        elif kind == b"iCCP":
            kept["icc"] = _inflate(bytes(body).partition(b"\0")[2][1:])
        elif kind == b"eXIf":
            kept["exif"] = bytes(body)
        elif kind == b"pHYs" and len(body) == 9 and body[8] == 1:
            x, y = struct.unpack_from(">II", body)
            kept["dpi"] = (x * _INCH, y * _INCH)
        elif kind == b"iTXt" and bytes(body).startswith(_PNG_XMP):
            packed, text = body[len(_PNG_XMP)], bytes(body[len(_PNG_XMP) + 2 :]).split(b"\0", 2)[2]
            kept["xmp"] = _inflate(text) if packed else text
        elif kind in _PNG_KEPT:
            kept["extra"] += bytes(chunk)
    # Only what pixels need is decoded: libpng prints warnings about profiles it dislikes.
    colour, alpha = split_alpha(imagecodecs.png_decode(b"".join(decoded)))
    return upright_photo("PNG", colour, alpha, **kept)


def encode_png(photo: Photo, file: BinaryIO) -> None:
    encoded = memoryview(imagecodecs.png_encode(file_samples(photo), level=3))
    after_header = len(_PNG_SIGNATURE) + 25
    file.write(encoded[:after_header])
    if photo.icc:
        file.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    if photo.dpi:
        x, y = (round(dots / _INCH) for dots in photo.dpi)
        file.write(_png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if photo.exif:
        file.write(_png_chunk(b"eXIf", photo.exif))
    if photo.xmp:
        file.write(_png_chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0" + photo.xmp))
    file.write(photo.extra)
    file.write(encoded[after_header:])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + size]
        at += 12 + size


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _inflate(packed: bytes) -> bytes | None:
    """At most 64 MB of zlib data; None where they are damaged."""
    try:
        return zlib.decompressobj().decompress(packed, 1 << 26)
    except zlib.error:
        return None
