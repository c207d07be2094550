"""Photographs on disk and in memory: reading, writing, finding, working copies."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np

from qdnet_keras.errors import ImageError, OutputError
from qdnet_keras.files import new_file, reason
from qdnet_keras.photos.formats.registry import (
    FORMAT_OF_SUFFIX,
    FORMATS,
    LOSSLESS,
    decode,
    encode,
    fitted,
)
from qdnet_keras.photos.photo import MAX_PIXELS, MIN_SIDE, Photo
from qdnet_keras.photos.pixels import from_float, to_float

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "Photo",
    "as_saved",
    "check_pixels",
    "find_photos",
    "format_for",
    "from_float",
    "photo_file",
    "read_photo",
    "read_photo_and_bytes",
    "to_float",
    "working_copy",
    "write_photo",
]

SUFFIXES = frozenset(FORMAT_OF_SUFFIX)


Source = str | Path | BinaryIO | bytes


def read_photo(source: Source, name: str | None = None, *, least_side: int | None = None) -> Photo:
    """Reads a photograph, its format told by its content, and turns it upright.

    CMYK becomes sRGB, through the file's profile where it has one; palettes and 1, 2 and 4 bit
    samples become 8 bit. `Photo.srgb` is what a model should see.

    Args:
        source: a path, an open binary file (read to its end), or the bytes of a file.
        name: what error messages call it; by default the path, or "the picture".
        least_side: where a smaller copy will do, such as for statistics: a JPEG may be read 2, 4
            or 8 times smaller, with at least twice so many pixels on its long side.

    Raises:
        ImageError: it is missing, unreadable, damaged or empty, not a still picture of the
            formats in `FORMATS` with 8 or 16 bits, has a side below `MIN_SIDE`, or exceeds
            `MAX_PIXELS`.
    """
    return read_photo_and_bytes(source, name, least_side=least_side)[0]


def read_photo_and_bytes(
    source: Source, name: str | None = None, *, least_side: int | None = None
) -> tuple[Photo, bytes]:
    """As `read_photo`, with the bytes of the file beside it."""
    is_path = isinstance(source, str | Path)
    name = name or (str(source) if is_path else "the picture")
    data = _load(source, name)
    try:
        return decode(data, least_side), data
    except ImageError as error:
        raise ImageError(f"{name} {error}.") from None
    except Exception as error:  # codecs fail on damaged files in many ways
        raise ImageError(
            f"{name} cannot be decoded ({reason(error)}); "
            "it is damaged, cut short or of an unusual kind."
        ) from error


def _load(source: Source, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        if not isinstance(source, str | Path):
            return source.read()
        if not stat.S_ISREG(os.stat(source).st_mode) and not os.path.isdir(source):
            raise ImageError(f"{name} is no ordinary file; pipe it in and read it as -.")
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist.") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not a picture.") from None
    except PermissionError:
        raise ImageError(f"{name} may not be read; check its permissions.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read ({reason(error)}).") from error


def write_photo(photo: Photo, path: str | Path, *, force: bool = False) -> tuple[str, ...]:
    """Writes `photo` in the format of the suffix of `path`, or in its own where there is none.

    Depth, alpha, profile and metadata are kept as far as the format holds them; a WebP is lossless
    where the photo came from a lossless WebP. The file appears under its name only when it is
    complete.

    Returns:
        Notes of what was not kept, from the file that was read to the one written.

    Raises:
        OutputError: `path` exists and `force` is not set, its suffix is of no known format, the
            folder cannot be written, or the format cannot hold the photo (JPEG: alpha).
    """
    path = Path(path)
    format = format_for(path, photo)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; give the name of a file.")
    if not force and os.path.lexists(path):
        raise OutputError(f"{path} exists already; choose another name or allow overwriting.")
    photo = fitted(photo, format)
    try:
        with new_file(path) as file:
            encode(photo, format, file)
    except (ValueError, RuntimeError) as error:
        raise OutputError(f"{path} cannot be written ({reason(error)}).") from error
    return photo.notes


def format_for(path: Path, photo: Photo) -> str:
    """Format that the suffix of a path tells, or that of the photo where there is none.

    Raises:
        OutputError: The suffix is of no known format, or of one that would lose the alpha channel.
    """
    format = FORMAT_OF_SUFFIX.get(path.suffix.lower()) if path.suffix else photo.format
    if format is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise OutputError(f"{path} has an unknown suffix; use one of {known}.")
    if photo.alpha is not None and "alpha" not in FORMATS[format].holds:
        raise OutputError(f"{path} would lose its alpha channel; write a PNG, TIFF or WebP.")
    return format


def photo_file(photo: Photo, format: str | None = None) -> tuple[bytes, tuple[str, ...]]:
    """A file of the photo, by default in its own format, and notes of what it does not hold."""
    format = format or photo.format
    photo = fitted(photo, format)
    with TemporaryDirectory() as folder:
        path = Path(folder, "photo")
        with path.open("x+b") as file:
            encode(photo, format, file)
        return path.read_bytes(), photo.notes


def as_saved(
    photo: Photo, srgb: np.ndarray, format: str, least_side: int | None = None
) -> np.ndarray:
    """What `Photo.with_rendered` looks like in a file: sRGB, of a JPEG maybe smaller.

    Args:
        photo, srgb: The photo and a rendering of it.
        format: Of the file; a lossless one is not written to see.
        least_side: See `read_photo`.
    """
    rendered = photo.with_rendered(srgb)
    if format in LOSSLESS or (format == photo.format and photo.compression == "lossless"):
        return fitted(rendered, format).srgb
    return decode(photo_file(rendered, format)[0], least_side).srgb


def check_pixels(pixels: np.ndarray) -> None:
    """Raises `ImageError` unless uint8 or uint16 `[H, W, 3]` with sides of at least `MIN_SIDE`."""
    fits = pixels.ndim == 3 and pixels.shape[2] == 3 and min(pixels.shape[:2]) >= MIN_SIDE
    if not fits or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"The array is {pixels.dtype} {list(pixels.shape)}; give uint8 or uint16 "
            f"[height, width, 3] with sides of at least {MIN_SIDE}."
        )


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
    """Area means of [H, ...] along its first axis: float32 [count, ...].

    Summed in float64 and rounded once, so that other code can compute the same.
    """
    total, *rest = values.shape
    step = total / count
    means = np.empty((count, *rest), np.float32)
    for index in range(count):
        start, stop = index * step, min((index + 1) * step, total)
        covered = np.arange(int(start), int(np.ceil(stop)))
        weights = (np.minimum(covered + 1, stop) - np.maximum(covered, start)) / step
        band = values[covered[0] : covered[-1] + 1].reshape(len(covered), -1)
        means[index] = (weights @ band.astype(np.float64)).reshape(rest)
    return means


def find_photos(
    paths: Iterable[str | Path], passed_over: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Files as given, and the photographs of folders, recursively and in order of name.

    In folders only `SUFFIXES` count, and hidden files and folders are passed over. "-", paths that
    do not exist and folders that cannot be listed are yielded as they are, so that reading them
    tells what is wrong.

    Args:
        passed_over: Called with what is named like a photograph in a folder but is no file: a
            pipe, a device, a link that leads to itself.
    """
    for path in map(Path, paths):
        if not os.path.isdir(path):
            yield path
            continue
        unreadable: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=unreadable.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                file = Path(folder, name)
                if name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                    continue
                if _may_be_read(file):
                    yield file
                elif passed_over:
                    passed_over(file)
        yield from (Path(error.filename) for error in unreadable)


def _may_be_read(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError as error:
        return error.errno != errno.ELOOP
