"""JPEG XL: pixels by imagecodecs, profile and metadata by pillow-jxl-plugin."""

import contextlib
import re
from collections.abc import Iterator
from typing import BinaryIO

import imagecodecs
import numpy as np
import pillow_jxl

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.formats.boxes import box, boxes
from qdnet_keras.photos.formats.others import FLOATING_POINT
from qdnet_keras.photos.formats.upright import Decoded
from qdnet_keras.photos.photo import Photo, check_size
from qdnet_keras.photos.pixels import file_samples, split_alpha

_CODESTREAM = b"\xff\x0a"
_COMPRESSED = b"brob"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_DISTANCE = 0.5  # of a lossy picture to the original; 1 cannot be seen


def decode_jpegxl(data: bytes) -> Photo:
    stream = _codestream(data)
    check_size(*_size(stream))
    samples = imagecodecs.jpegxl_decode(data)
    if samples.dtype not in (np.uint8, np.uint16):
        raise ImageError(FLOATING_POINT)
    if samples.ndim > 3:
        raise ImageError("is an animated JPEG XL; only still pictures are supported")
    found = Decoded("JPEG XL", *split_alpha(samples), is_turned=True)
    _, _, _, icc, _ = pillow_jxl.Decoder(num_threads=1)(stream)  # prints of damaged boxes
    metadata = dict(_metadata(data))
    found.icc, found.xmp = icc or None, metadata.get(b"xml ")
    exif = metadata.get(b"Exif", b"")
    if start := re.search(rb"II\*\0|MM\0\*", exif[:64]):
        found.exif = exif[start.start() :]
    return found.photo()


def _codestream(data: bytes) -> bytes:
    """The file without its boxes."""
    if data.startswith(_CODESTREAM):
        return data
    starts = {b"jxlc": 0, b"jxlp": 4}  # parts begin with their number
    return b"".join(content[starts[kind] :] for kind, content in boxes(data) if kind in starts)


def _metadata(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box, decompressed; damaged ones are left out."""
    for kind, content in boxes(data):
        if kind != _COMPRESSED:
            yield kind, content
            continue
        with contextlib.suppress(imagecodecs.BrotliError):
            yield content[:4], bytes(imagecodecs.brotli_decode(content[4:]))


def _size(stream: bytes) -> tuple[int, int]:
    """Width and height in the header (ISO/IEC 18181-1, SizeHeader)."""
    bits = int.from_bytes(stream[2:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    if ratio := take(3):
        times, over = _RATIOS[ratio]
        return height * times // over, height
    return side(small), height


def encode_jpegxl(photo: Photo, file: BinaryIO) -> None:
    file.write(
        imagecodecs.jpegxl_encode(file_samples(photo), distance=_DISTANCE, usecontainer=True)
    )
    if photo.exif:
        file.write(box(b"Exif", bytes(4) + photo.exif))
    if photo.xmp:
        file.write(box(b"xml ", photo.xmp))
