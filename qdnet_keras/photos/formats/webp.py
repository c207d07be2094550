"""WebP: decoded by imagecodecs, encoded by Pillow, which writes the metadata too."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs
from PIL import Image

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import file_samples, split_alpha


def decode_webp(data: bytes) -> Photo:
    chunks = dict(_webp_chunks(data))
    if b"ANIM" in chunks:
        raise ImageError("is an animated WebP; only still pictures are supported")
    samples = imagecodecs.webp_decode(data)
    check_size(samples.shape[1], samples.shape[0])
    colour, alpha = split_alpha(samples)
    found = Decoded("WEBP", colour, alpha)
    found.icc, found.exif, found.xmp = (chunks.get(kind) for kind in (b"ICCP", b"EXIF", b"XMP "))
    found.compression = "lossless" if b"VP8L" in chunks else None
    return found.photo()


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def encode_webp(photo: Photo, file: BinaryIO) -> None:
    kept = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    kept = {name: value for name, value in kept.items() if value}
    lossless = photo.compression == "lossless"
    image = Image.fromarray(file_samples(photo))
    image.save(file, "WEBP", quality=95, lossless=lossless, exact=lossless, **kept)
