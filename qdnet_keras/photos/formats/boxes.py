"""Boxes, of which JPEG 2000, JPEG XL, HEIF and AVIF files are made (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box, up to the first damage."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            return
        yield kind, data[at + head : at + size]
        at += size


def box(kind: bytes, content: bytes) -> bytes:
    """A box. Its content must be shorter than 4 GB."""
    return struct.pack(">I4s", 8 + len(content), kind) + content
