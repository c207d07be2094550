"""What travels instead of a photograph: a file that the server's graph decodes to the same pixels.

The graph reads PNG and JPEG as 8-bit RGB, knows no orientation and no profile, and ignores alpha.
Pillow prepares plain files of these kinds; the others are read by `qdnet_keras.photos`, which needs
packages that the client itself does without.
"""

import io
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.errors import ImageError, MissingPackageError
from qdnet_keras.photos.sizes import MIN_SIDE, jpeg_reduction

if TYPE_CHECKING:
    from qdnet_keras.photos.files import Photo

Picture = str | os.PathLike[str] | bytes | np.ndarray

MAX_PIXELS = 32_000_000  # of one picture; the exported graph refuses more
_BIT_DEPTH, _COLOUR_TYPE = 24, 25  # offsets in a PNG
_GREY, _RGB = 0, 2
_ORIENTATION, _EXIF_IFD, _COLOUR_SPACE, _SRGB = 274, 0x8769, 40961, 1  # of EXIF
_CHUNKS_BEFORE_PIXELS = 4096  # bytes of a PNG in which its colour space is told
_NOT_PLAIN = {"transparency", "gamma", "chromaticity"}
_PNG, _END_OF_PNG = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_SCAN, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # marks of JPEG's kinds of coding
_DECODED = (0xC0, 0xC1, 0xC2)  # those that TensorFlow knows


def to_score(picture: Picture) -> bytes:
    """The file to send of a picture to be scored.

    Raises:
        ImageError: It cannot be read.
        MissingPackageError: It is no plain PNG or JPEG, and a package that reads it is missing.
    """
    return _prepare(picture, renderable=False)


def to_render(picture: Picture) -> bytes:
    """As `to_score`, for a picture to be rendered, whose size and depth must stay.

    Raises `ImageError` also where the server cannot do that.
    """
    return _prepare(picture, renderable=True)


def to_copy(picture: Picture, long_side: int) -> np.ndarray:
    """The picture's working copy, float32 `[h, w, 3]` in 0..1, exactly as the package makes it.

    Raises:
        ImageError, MissingPackageError: As `to_score`.
    """
    if isinstance(picture, np.ndarray):
        _check_pixels(picture)
        pixels = picture
    elif isinstance(picture, bytes):
        pixels = _read(picture, "the picture", long_side).srgb
    else:
        pixels = _read(_load(Path(picture)), str(picture), long_side).srgb
    return _photo_files("The working copy").working_copy(pixels, long_side)


def _prepare(picture: Picture, renderable: bool) -> bytes:
    if isinstance(picture, np.ndarray):
        _check_pixels(picture)
        if renderable:
            check_renderable(picture, "The picture")
        return _encode(picture)
    if isinstance(picture, bytes):
        data, name = picture, "the picture"
    else:
        data, name = _load(Path(picture)), str(picture)
    least_side = None if renderable else WORKING_SIDE
    if (plain := _plain_file(data, least_side)) is not None:
        return plain
    photo = _read(data, name, least_side)
    if renderable:
        check_renderable(photo.pixels, "The picture")
    return to_file(photo, data)


def to_file(photo: "Photo", data: bytes) -> bytes:
    """A file of the photo: `data` where the server decodes them alike, else a new PNG.

    A new PNG is sRGB of 8 bits; a photo of more than `MAX_PIXELS` is averaged down to half of
    that, far above the working copy that is scored. A photo to be scored may be one that was read
    smaller, with `least_side=WORKING_SIDE`, as the server reads a JPEG.

    Args:
        photo: What `data` decode to.
        data: The photograph's own file.
    """
    return data if _decodes_alike(photo, data) else _encode(photo.srgb)


def check_renderable(pixels: np.ndarray, name: str) -> None:
    """Raises `ImageError` for pixels that a server cannot render at their size and depth."""
    if pixels.dtype == np.uint16:
        raise ImageError(
            f"{name} has 16 bits a channel and a server renders 8; "
            "enhance it without a server, or save it with 8 bits first."
        )
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name} has {height * width / 1e6:.1f} megapixels and a server renders at most "
            f"{MAX_PIXELS / 1e6:g}; enhance it without a server."
        )


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}).") from None


def _plain_file(data: bytes, least_side: int | None) -> bytes | None:
    """The file to send of an 8-bit sRGB PNG or JPEG; None for other or damaged ones."""
    if not _is_ordinary(data):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS or not _is_plain(image, data):
                return None
            if least_side and image.format == "JPEG":
                reduction = jpeg_reduction(image.size, least_side)
                image.draft(None, (image.width // reduction, image.height // reduction))
            image.load()
            turn = image.getexif().get(_ORIENTATION, 1)
            if turn == 1:
                return data
            return _encode(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _is_ordinary(data: bytes) -> bool:
    """Whether a PNG or JPEG is one that TensorFlow decodes: it asks for the end mark, too."""
    if data.startswith(_PNG):
        return _END_OF_PNG in data
    return _coding(data) in _DECODED and data.rfind(_SCAN) < data.rfind(_END_OF_JPEG)


def _coding(jpeg: bytes) -> int | None:
    """Which of `_FRAMES` a JPEG has."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        mark = jpeg[at + 1]
        if mark in _FRAMES:
            return mark
        at += 1 if mark == 0xFF else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return None


def _is_plain(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("L", "RGB") or _NOT_PLAIN & image.info.keys():
        return False
    if image.format == "PNG" and (data[_BIT_DEPTH] != 8 or data[_COLOUR_TYPE] not in (_GREY, _RGB)):
        return False
    if image.format == "PNG" and getattr(image, "is_animated", False):
        return False
    if image.format == "PNG" and b"cICP" in data[:_CHUNKS_BEFORE_PIXELS]:
        return False
    if image.getexif().get_ifd(_EXIF_IFD).get(_COLOUR_SPACE, _SRGB) != _SRGB:
        return False
    icc = image.info.get("icc_profile")
    return not icc or _is_srgb(icc)


def _is_srgb(icc: bytes) -> bool:
    try:
        return ImageCms.getProfileDescription(io.BytesIO(icc)).startswith("sRGB")
    except ImageCms.PyCMSError:
        return False


def _read(data: bytes, name: str, least_side: int | None) -> "Photo":
    return _photo_files(name).read_photo(data, name, least_side=least_side)


def _photo_files(name: str) -> ModuleType:
    """What reads all kinds of files and averages pictures; it needs more packages."""
    try:
        from qdnet_keras.photos import files
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{name} needs {error.name}, which is not installed; install it, or give a plain 8-bit "
            "sRGB PNG or JPEG."
        ) from None
    return files


def _decodes_alike(photo: "Photo", data: bytes) -> bool:
    as_seen = photo.is_srgb and photo.alpha is None and not photo.turned
    if not as_seen or photo.format not in ("PNG", "JPEG") or not _is_ordinary(data):
        return False
    if photo.format == "PNG":
        height, width = photo.pixels.shape[:2]
        plain = data[_BIT_DEPTH] == 8 and data[_COLOUR_TYPE] in (_GREY, _RGB)
    else:
        image = JpegImageFile(io.BytesIO(data))
        (width, height), plain = image.size, image.mode in ("L", "RGB")
    return plain and height * width <= MAX_PIXELS


def _check_pixels(pixels: np.ndarray) -> None:
    fits = pixels.ndim == 3 and pixels.shape[2] == 3 and min(pixels.shape[:2]) >= MIN_SIDE
    if not fits or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"The array is {pixels.dtype} {list(pixels.shape)}; give uint8 or uint16 "
            f"[height, width, 3] with sides of at least {MIN_SIDE}."
        )


def _encode(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 `[height, width, 3]`, see `to_file`."""
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        files, shrink = _photo_files("The picture"), (MAX_PIXELS / 2 / (height * width)) ** 0.5
        small = files.working_copy(pixels, round(shrink * max(height, width)))
        pixels = files.from_float(small, np.uint8)
    elif pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
