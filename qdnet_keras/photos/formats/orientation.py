"""Turns photographs upright, and resets the orientation in their metadata."""

import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from qdnet_keras.photos.formats.exif import BYTE_ORDERS, directory_entries
from qdnet_keras.photos.formats.photo import Photo

# Orientation (EXIF tag 274) -> view that shows the picture upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def upright_photo(
    format: str,
    colour: np.ndarray,
    alpha: np.ndarray | None,
    *,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    **kept: Any,
) -> Photo:
    """Turns decoded samples (`colour` [H, W] or [H, W, 3]) upright and resets the orientation."""
    orientation, exif = _reset_orientation((exif or b"").removeprefix(b"Exif\0\0"))
    xmp_orientation = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")
    if xmp and (found := xmp_orientation.search(xmp)):
        orientation = orientation or int(found[2])
        xmp = xmp_orientation.sub(rb"\g<1>1", xmp)
    turn = _UPRIGHT[orientation or 1]
    if dpi and not all(1 <= dots < 65536 for dots in dpi):
        dpi = None
    if dpi and orientation > 4:
        dpi = dpi[1], dpi[0]
    grey = colour.ndim == 2
    pixels = np.repeat(turn(colour)[..., None], 3, axis=2) if grey else turn(colour)
    if alpha is not None:
        alpha = np.ascontiguousarray(turn(alpha))
    return Photo(
        np.ascontiguousarray(pixels),
        alpha,
        grey,
        format,
        exif=exif or None,
        xmp=xmp,
        dpi=dpi,
        turned=(orientation or 1) != 1,
        **kept,
    )


def _reset_orientation(exif: bytes) -> tuple[int, bytes]:
    """Orientation that an EXIF block asks for (0: none), and the block with it set to 1."""
    try:
        order = BYTE_ORDERS[exif[:2]]
        entries = directory_entries(exif, order, *struct.unpack_from(order + "I", exif, 4))
        entry, kind, _, _ = entries[274]
        layout = order + {3: "H", 4: "I"}[kind]
        (orientation,) = struct.unpack_from(layout, exif, entry + 8)
        changed = bytearray(exif)
        struct.pack_into(layout, changed, entry + 8, 1)
    except (KeyError, struct.error):
        return 0, exif
    return orientation if orientation in _UPRIGHT else 0, bytes(changed)
