"""The directories of tags of which EXIF blocks and TIFF files are made."""

import struct
from collections.abc import Collection
from typing import Any, Literal

BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 129: 1}  # directory, UTF-8
EXIF, GPS, _INTEROP = 34665, 34853, 40965  # tags
_NESTED = {0: {EXIF, GPS}, EXIF: {_INTEROP}}  # directory -> tags that point to directories


def directory_entries(data: Any, order: str, at: int) -> dict[int, tuple[int, int, int, bytes]]:
    """Entries of the directory at `at`: tag -> (offset of the entry, type, count, value field)."""
    (count,) = struct.unpack_from(order + "H", data, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number, field = struct.unpack_from(order + "HHI4s", data, entry)
        found[tag] = entry, kind, number, field
    return found


def merge_directories(
    order: str, to: int, *parts: tuple[Any, int, Collection[int] | None], parent: int = 0
) -> bytes:
    """Bytes, to be placed at offset `to`, of one directory made of several.

    Each part is (data, offset of the directory in it, tags to take or None for all); values and
    the directories that EXIF nests come along.
    """
    taken = {}
    for data, at, tags in parts:
        for tag, (_, kind, count, field) in directory_entries(data, order, at).items():
            if (tags is None or tag in tags) and kind in _TYPE_BYTES:
                taken[tag] = data, kind, count, field
    body_at = to + 2 + 12 * len(taken) + 4
    head, body = struct.pack(order + "H", len(taken)), b""
    for tag, (data, kind, count, field) in sorted(taken.items(), key=lambda item: item[0]):
        size = count * _TYPE_BYTES[kind]
        (start,) = struct.unpack(order + "I", field)
        nested = tag in _NESTED.get(parent, ())
        if nested or size > 4:
            field = struct.pack(order + "I", body_at + len(body))
        head += struct.pack(order + "HHI4s", tag, kind, count, field)
        if nested:
            where = body_at + len(body)
            body += merge_directories(order, where, (data, start, None), parent=tag)
        elif size > 4:
            body += data[start : start + size] + b"\0" * (size % 2)
    return head + b"\0\0\0\0" + body
