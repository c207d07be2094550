"""Photoshop's image resources, the wrapping of IPTC in JPEG files."""

import struct
from collections.abc import Iterator

JPEG_SEGMENT = b"Photoshop 3.0\0"
_SIGNATURE = b"8BIM"
_IPTC, _THUMBNAILS = 1028, (1033, 1036)


def iptc_of(resources: bytes) -> bytes | None:
    """IPTC records among image resources."""
    found = [body for number, _, body in _resources(resources) if number == _IPTC]
    return found[0] if found else None


def without_iptc_and_thumbnails(resources: bytes) -> bytes:
    """The other image resources, but for thumbnails, which show the old pixels."""
    return b"".join(
        whole
        for number, whole, _ in _resources(resources)
        if number != _IPTC and number not in _THUMBNAILS
    )


def iptc_resource(iptc: bytes) -> bytes:
    """IPTC records as an image resource."""
    return _SIGNATURE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _resources(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole and body of each resource, up to the first damage."""
    at = 0
    while data[at : at + 4] == _SIGNATURE and at + 12 <= len(data):
        (number, name_size) = struct.unpack_from(">HB", data, at + 4)
        head = at + 6 + (name_size + 2) // 2 * 2
        if head + 4 > len(data):
            return
        (size,) = struct.unpack_from(">I", data, head)
        end = head + 4 + size
        if end > len(data):
            return
        yield number, data[at : end + size % 2], data[head + 4 : end]
        at = end + size % 2
