"""Radiance pictures (`.hdr`, `.pic`) in all forms of their definition.

G. Ward, "Real pixels", Graphics Gems II, 1991; "Radiance file formats", 2003. Scan lines of the
usual order and coding are decoded by imagecodecs.
"""

import re
from dataclasses import dataclass

import numpy as np
from imagecodecs import rgbe_decode

from qdnet_keras.synthesis.light import Array
from qdnet_keras.synthesis.primaries import to_bt709, xyz_to_bt709

_RESOLUTION = re.compile(rb"([+-])([XY]) +(\d+) +([+-])([XY]) +(\d+) *\r?\n")
_FORMATS = {"": False, "32-bit_rle_rgbe": False, "32-bit_rle_xyze": True}


@dataclass(frozen=True)
class RadianceHeader:
    """What precedes the scan lines.

    Attributes:
        xyz: Whether the values are CIE XYZ.
        primaries: CIE x and y of red, green, blue, white, `[4, 2]`; None where not stated.
        correction: Factors that were put on red, green and blue, `[3]`.
        lines, length: Number of scan lines, pixels in each.
        columns: Whether a scan line is a column.
        flip_y, flip_x: Whether rows run upwards, columns to the left.
        start: Of the scan lines, bytes.
    """

    xyz: bool
    primaries: np.ndarray | None
    correction: np.ndarray
    lines: int
    length: int
    columns: bool
    flip_y: bool
    flip_x: bool
    start: int


def read_header(data: bytes) -> RadianceHeader:
    """Raises `ValueError` for what is no Radiance picture."""
    end = re.search(rb"\r?\n\r?\n", data)
    if not data.startswith(b"#?") or end is None:
        raise ValueError("it does not begin as a Radiance picture")
    found = _RESOLUTION.match(data, end.end())
    if found is None or found[2] == found[5]:
        raise ValueError("its resolution is not stated")
    fields = re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", data[: end.start()].decode("latin-1"), re.M)
    formats = [value for name, value in fields if name == "FORMAT"]
    if (coding := formats[-1] if formats else "") not in _FORMATS:
        raise ValueError(f"its format {coding} is unknown")
    primaries = [_numbers(value, 8) for name, value in fields if name == "PRIMARIES"]
    corrections = [_numbers(value, 3) for name, value in fields if name == "COLORCORR"]
    signs = {found[2]: found[1], found[5]: found[4]}
    return RadianceHeader(
        xyz=_FORMATS[coding],
        primaries=primaries[-1].reshape(4, 2) if primaries else None,
        correction=np.prod([np.ones(3), *corrections], axis=0),
        lines=int(found[3]),
        length=int(found[6]),
        columns=found[2] == b"X",
        flip_y=signs[b"Y"] == b"+",
        flip_x=signs[b"X"] == b"-",
        start=found.end(),
    )


def read_pixels(data: bytes, header: RadianceHeader) -> Array:
    """Linear BT.709, float32 `[H, W, 3]`, upright. Raises `ValueError` or what the codec does."""
    stored = data[header.start :]
    length = header.length
    if 8 <= length < 32768 and stored[:4] == bytes([2, 2, length >> 8, length & 255]):
        plain = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (header.lines, length)
        values = np.asarray(rgbe_decode(plain + stored), np.float32)
    else:
        values = _old_runs(stored, header.lines, length)
    values = values.swapaxes(0, 1) if header.columns else values
    values = values[:: -1 if header.flip_y else 1, :: -1 if header.flip_x else 1]
    if (header.correction != 1).any():
        values = np.divide(values, header.correction, dtype=np.float32)
    if header.xyz:
        return xyz_to_bt709(values)
    if header.primaries is not None:
        return to_bt709(np.ascontiguousarray(values), header.primaries)
    return np.ascontiguousarray(values)


def _old_runs(stored: bytes, lines: int, length: int) -> Array:
    """Pixels as four bytes; 1, 1, 1, n repeats the one before n times, the next n counts 256."""
    pixels = np.frombuffer(stored, np.uint8, len(stored) // 4 * 4).reshape(-1, 4)
    is_run = (pixels[:, :3] == 1).all(axis=1)
    if not len(pixels) or is_run[0]:
        raise ValueError("its scan lines are damaged")
    source = np.maximum.accumulate(np.where(is_run, 0, np.arange(len(pixels))))
    digit = np.arange(len(pixels)) - source - 1  # of a run's count, to the base 256
    count = np.where(is_run, pixels[:, 3].astype(np.int64) << np.clip(8 * digit, 0, 24), 1)
    if count.sum() < lines * length:
        raise ValueError("it lacks a part of its pixels")
    stop = int(np.searchsorted(np.cumsum(count), lines * length)) + 1
    whole = pixels[np.repeat(source[:stop], count[:stop])[: lines * length]]
    scale = np.ldexp(np.float32(1), whole[:, 3].astype(np.int32) - 136)
    scale[whole[:, 3] == 0] = 0
    return (whole[:, :3] * scale[:, None]).reshape(lines, length, 3).astype(np.float32)


def _numbers(text: str, count: int) -> np.ndarray:
    numbers = np.array(text.split(), np.float64)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"'{text}' in its header is not {count} numbers")
    return numbers
