"""Photographs on disk and in memory: reading, writing, conversion to floats, working copies."""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.photos.formats import MAX_PIXELS, MIN_SIDE, Photo, decode, encode

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "Photo",
    "check_pixels",
    "find_photos",
    "from_float",
    "read_photo",
    "read_photo_and_bytes",
    "to_float",
    "working_copy",
    "write_photo",
]

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
SUFFIXES = frozenset(_FORMATS)


Source = str | Path | BinaryIO | bytes


def read_photo(source: Source, name: str | None = None) -> Photo:
    """Reads a PNG, JPEG, TIFF or WebP photograph, told by its content, and turns it upright.

    CMYK becomes sRGB, through the file's profile where it has one; palettes and 1, 2 and 4 bit
    samples become 8 bit.

    Args:
        source: a path, an open binary file (read to its end), or the bytes of a file.
        name: what error messages call it; by default the path, or "the picture".

    Raises:
        ImageError: it is missing, unreadable, damaged or empty, not a still picture of the four
            formats with 8 or 16 bits, has a side below `MIN_SIDE`, or exceeds `MAX_PIXELS`.
    """
    return read_photo_and_bytes(source, name)[0]


def read_photo_and_bytes(source: Source, name: str | None = None) -> tuple[Photo, bytes]:
    """As `read_photo`, with the bytes of the file beside it."""
    is_path = isinstance(source, str | Path)
    name = name or (str(source) if is_path else "the picture")
    try:
        data = _load(source)
        return decode(data), data
    except ImageError as error:
        raise ImageError(f"{name} {error}.") from None
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist.") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not a picture.") from None
    except PermissionError:
        raise ImageError(f"{name} may not be read; check its permissions.") from None
    except Exception as error:  # codecs fail on damaged files in many ways
        reason = " ".join(str(error).split()).rstrip(".")
        raise ImageError(
            f"{name} cannot be decoded ({reason}); it is damaged, cut short or of an unusual kind."
        ) from error


def _load(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    return Path(source).read_bytes() if isinstance(source, str | Path) else source.read()


def write_photo(photo: Photo, path: str | Path, *, force: bool = False) -> None:
    """Writes `photo` in the format of the suffix of `path`, or in its own where there is none.

    Depth, alpha, profile and metadata are kept as far as the format holds them: JPEG and WebP
    round to 8 bits; a WebP is lossless where the photo came from a lossless WebP. The file appears
    under its name only when it is complete.

    Raises:
        OutputError: `path` exists and `force` is not set, its suffix is of no known format, the
            folder cannot be written, or the format cannot hold the photo (JPEG: alpha).
    """
    path = Path(path)
    format = _FORMATS.get(path.suffix.lower()) if path.suffix else photo.format
    if format is None:
        raise OutputError(f"{path} has an unknown suffix; use one of {', '.join(_FORMATS)}.")
    if format == "JPEG" and photo.alpha is not None:
        raise OutputError(f"{path} would lose its alpha channel; write a PNG, TIFF or WebP.")
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; give the name of a file.")
    if not force and os.path.lexists(path):
        raise OutputError(f"{path} exists already; choose another name or allow overwriting.")
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "x+b") as file:
            encode(photo, format, file)
        os.replace(part, path)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written ({reason}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def check_pixels(pixels: np.ndarray) -> None:
    """Raises `ImageError` unless uint8 or uint16 `[H, W, 3]` with sides of at least `MIN_SIDE`."""
    fits = pixels.ndim == 3 and pixels.shape[2] == 3 and min(pixels.shape[:2]) >= MIN_SIDE
    if not fits or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"The array is {pixels.dtype} {list(pixels.shape)}; give uint8 or uint16 "
            f"[height, width, 3] with sides of at least {MIN_SIDE}."
        )


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 to float32 in 0..1, same shape."""
    return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)


def from_float(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats in 0..1 to `dtype` (uint8 or uint16), rounded to nearest.

    Values outside 0..1 are clipped; NaN becomes 0.
    """
    scaled = np.fmin(np.fmax(values, 0), 1) * np.float32(np.iinfo(dtype).max)
    return np.rint(scaled, out=scaled).astype(dtype)


def working_copy(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """A copy of the whole picture, small enough for statistics: float32 [h, w, C] in 0..1.

    Every value is the mean of the area of the original that it covers, so means are preserved. The
    long side becomes `long_side`, or more where the short side would fall below `MIN_SIDE`.
    Pictures are never enlarged: a small one is returned as `to_float(pixels)`.

    Args:
        pixels: uint8 or uint16, [H, W, C].
        long_side: in pixels.
    """
    height, width = pixels.shape[:2]
    scale = max(long_side / max(height, width), MIN_SIDE / min(height, width))
    if scale >= 1:
        return to_float(pixels)
    rows = _average_rows(pixels, round(height * scale))
    columns = _average_rows(rows.swapaxes(0, 1), round(width * scale))
    small = np.ascontiguousarray(columns.swapaxes(0, 1))
    return small / np.float32(np.iinfo(pixels.dtype).max)


def _average_rows(values: np.ndarray, count: int) -> np.ndarray:
    """Area means of [H, ...] along its first axis: float32 [count, ...]."""
    total, *rest = values.shape
    step = total / count
    means = np.empty((count, *rest), np.float32)
    for index in range(count):
        start, stop = index * step, min((index + 1) * step, total)
        covered = np.arange(int(start), int(np.ceil(stop)))
        weights = (np.minimum(covered + 1, stop) - np.maximum(covered, start)) / step
        band = values[covered[0] : covered[-1] + 1].reshape(len(covered), -1)
        means[index] = (weights.astype(np.float32) @ band.astype(np.float32)).reshape(rest)
    return means


def find_photos(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Files as given, and the photographs of folders, recursively and in order of name.

    In folders only `SUFFIXES` count, and hidden files and folders are passed over. "-", paths that
    do not exist and folders that cannot be listed are yielded as they are, so that reading them
    tells what is wrong.
    """
    for path in map(Path, paths):
        if not os.path.isdir(path):
            yield path
            continue
        unreadable: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=unreadable.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                    yield Path(folder, name)
        yield from (Path(error.filename) for error in unreadable)
