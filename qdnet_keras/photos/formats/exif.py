"""EXIF blocks, and the directories of tags of which they and TIFF files are made."""

import contextlib
import struct
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

Order = Literal["<", ">"]
BYTE_ORDERS: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 129: 1}  # directory, UTF-8
_SHORT = 3
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # type -> struct's letter
EXIF, GPS, _INTEROP = 34665, 34853, 40965  # tags
_NESTED = {0: {EXIF, GPS}, EXIF: {_INTEROP}}  # directory -> tags that point to directories
_WIDTHS, _HEIGHTS = (256, 40962), (257, 40963)
_ORIENTATION, _X_RESOLUTION, _COLOUR_SPACE, _INTEROP_INDEX = 274, 282, 40961, 1
_THUMBNAIL_START, _THUMBNAIL_SIZE = 513, 514
_DAMAGE = (KeyError, struct.error)


class Entry(NamedTuple):
    """An entry of a directory."""

    at: int  # of its value field
    kind: int
    number: int  # of values
    field: bytes  # the value, or where it is


def directory_entries(data: Any, order: str, at: int, big: bool = False) -> dict[int, Entry]:
    """Entries by tag of the directory at `at`, in a classic TIFF or a BigTIFF."""
    head, layout, value = ("Q", "HHQ8s", 12) if big else ("H", "HHI4s", 8)
    (count,) = struct.unpack_from(order + head, data, at)
    size = struct.calcsize(order + layout)
    found = {}
    start = at + struct.calcsize(order + head)
    for entry in range(start, start + size * min(count, 65536), size):
        tag, kind, number, field = struct.unpack_from(order + layout, data, entry)
        found[tag] = Entry(entry + value, kind, number, field)
    return found


def merge_directories(
    order: str,
    to: int,
    *parts: tuple[Any, int, Collection[int] | None],
    big: bool = False,
    parent: int = 0,
    without: Collection[int] = (),
) -> bytes:
    """Bytes, to be placed at offset `to` of a classic TIFF, of one directory made of several.

    Each part is (data, offset of the directory in it, tags to take or None for all); values and
    the directories that EXIF nests come along.

    Args:
        big: Whether the parts lie in a BigTIFF.
        parent: Tag that points to the directory; 0 for the first.
        without: Tags to leave out at any depth.
    """
    taken = {}
    nested = _NESTED.get(parent, ())
    for data, at, tags in parts:
        for tag, (_, kind, count, field) in directory_entries(data, order, at, big).items():
            is_wanted = (tags is None or tag in tags) and tag not in without
            if is_wanted and (kind in _TYPE_BYTES or tag in nested):
                taken[tag] = data, kind, count, field
    body_at = to + 2 + 12 * len(taken) + 4
    head, body = struct.pack(order + "H", len(taken)), b""
    for tag, (data, kind, count, field) in sorted(taken.items(), key=lambda item: item[0]):
        (start,) = struct.unpack(order + ("Q" if big else "I"), field)
        where = body_at + len(body)
        if tag in nested:
            kind, count, value = 4, 1, struct.pack(order + "I", where)
            part = (data, start, None)
            body += merge_directories(order, where, part, big=big, parent=tag, without=without)
        elif (size := count * _TYPE_BYTES[kind]) <= 4:
            value = field[:4]
        else:
            value = struct.pack(order + "I", where)
            in_field = size <= len(field)
            content = field[:size] if in_field else data[start : start + size]
            body += content + b"\0" * (size % 2)
        head += struct.pack(order + "HHI4s", tag, kind, count, value)
    return head + b"\0\0\0\0" + body


def orientation_of(exif: bytes) -> int:
    """Orientation 1..8 that an EXIF block asks for; 0 where it does not."""
    orientation = _integer(exif, _ORIENTATION) or 0
    return orientation if orientation in range(1, 9) else 0


def tells_resolution(exif: bytes) -> bool:
    """Whether the block has the picture's resolution among its own tags."""
    with contextlib.suppress(*_DAMAGE):
        return _X_RESOLUTION in _directory(exif)[1]
    return False


def says_adobe_rgb(exif: bytes) -> bool:
    """Whether the block says that the pixels are Adobe RGB, as cameras do without a profile."""
    colour_space = _integer(exif, _COLOUR_SPACE, EXIF)
    with contextlib.suppress(*_DAMAGE):
        _, entries = _directory(exif, EXIF, _INTEROP)
        index = entries[_INTEROP_INDEX].field[:3]
        return colour_space == 2 or (colour_space != 1 and index == b"R03")
    return colour_space == 2


def upright_exif(exif: bytes, width: int, height: int) -> bytes:
    """The block for upright pixels of this size: no other orientation, no old thumbnail."""
    changed = bytearray(exif)
    for order, entry in _entries(exif, (_ORIENTATION,)):  # some writers store it as a byte
        struct.pack_into(order + "HIH2x", changed, entry.at - 6, _SHORT, 1, 1)
    for tags, value in ((_WIDTHS, width), (_HEIGHTS, height)):
        for order, entry in _entries(exif, tags):
            with contextlib.suppress(*_DAMAGE):
                struct.pack_into(order + _INTEGERS[entry.kind], changed, entry.at, value)
    with contextlib.suppress(*_DAMAGE):
        _cut_thumbnail(changed)
    return bytes(changed)


def _entries(exif: bytes, tags: Collection[int]) -> Iterator[tuple[str, Entry]]:
    """Entries of the first and the EXIF directory."""
    for path in ((), (EXIF,)):
        with contextlib.suppress(*_DAMAGE):
            order, entries = _directory(exif, *path)
            yield from ((order, entries[tag]) for tag in tags if tag in entries)


def _integer(exif: bytes, tag: int, *path: int) -> int | None:
    with contextlib.suppress(*_DAMAGE):
        order, entries = _directory(exif, *path)
        entry = entries[tag]
        value: int = struct.unpack_from(order + _INTEGERS[entry.kind], entry.field)[0]
        return value
    return None


def _directory(exif: bytes, *path: int) -> tuple[str, dict[int, Entry]]:
    """Byte order and entries of the directory that is reached through the tags of `path`."""
    order = BYTE_ORDERS.get(exif[:2], "<")
    (at,) = struct.unpack_from(order + "I", exif, 4)
    entries = directory_entries(exif, order, at)
    for tag in path:
        (at,) = struct.unpack(order + "I", entries[tag].field)
        entries = directory_entries(exif, order, at)
    return order, entries


def _cut_thumbnail(exif: bytearray) -> None:
    """Unlinks the directory of the thumbnail and blanks its picture, cut off if it comes last."""
    order, first = _directory(bytes(exif))
    (at,) = struct.unpack_from(order + "I", exif, 4)
    link = at + 2 + 12 * len(first)
    (thumbnail_at,) = struct.unpack_from(order + "I", exif, link)
    if not thumbnail_at:
        return
    struct.pack_into(order + "I", exif, link, 0)
    entries = directory_entries(exif, order, thumbnail_at)
    start, size = (
        struct.unpack(order + "I", entries[tag].field)[0]
        for tag in (_THUMBNAIL_START, _THUMBNAIL_SIZE)
    )
    end = min(start + size, len(exif))
    if thumbnail_at < start < end:
        exif[start:end] = bytes(end - start)
        if end >= len(exif) - 1:
            del exif[start:]
