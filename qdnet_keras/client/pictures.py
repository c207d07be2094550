"""What travels instead of a photograph: a file that the server's graph decodes to the same pixels.

The graph reads PNG and JPEG as 8-bit RGB, knows no orientation, and ignores alpha.
"""

import io

import imagecodecs
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.files import Photo, from_float, to_float, working_copy

MAX_PIXELS = 32_000_000  # of one picture; the exported graph refuses more
_BIT_DEPTH, _COLOUR_TYPE = 24, 25  # offsets in a PNG
_GREY, _RGB = 0, 2


def to_file(photo: Photo, data: bytes | None = None) -> bytes:
    """A file of the photo: `data` where the server decodes them alike, else a new PNG.

    16 bits are rounded to 8, and a photo of more than `MAX_PIXELS` is averaged down to half of
    that, far above the working copy that is scored.

    Args:
        photo: What `data` decode to.
        data: The photograph's own file.
    """
    if data is not None and _decodes_alike(photo, data):
        return data
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        shrink = (MAX_PIXELS / 2 / (height * width)) ** 0.5
        pixels = from_float(working_copy(pixels, round(shrink * max(height, width))), np.uint8)
    elif photo.depth == 16:
        pixels = from_float(to_float(pixels), np.uint8)
    return bytes(imagecodecs.png_encode(pixels, level=1))


def check_renderable(photo: Photo, name: str) -> None:
    """Raises `ImageError` for a photo that a server cannot render at its size and depth."""
    if photo.depth == 16:
        raise ImageError(
            f"{name} has 16 bits a channel and a server renders 8; "
            "enhance it without a server, or save it with 8 bits first."
        )
    height, width = photo.pixels.shape[:2]
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name} has {height * width / 1e6:.1f} megapixels and a server renders at most "
            f"{MAX_PIXELS / 1e6:g}; enhance it without a server."
        )


def _decodes_alike(photo: Photo, data: bytes) -> bool:
    height, width = photo.pixels.shape[:2]
    if photo.turned or photo.alpha is not None or height * width > MAX_PIXELS:
        return False
    if photo.format == "PNG":
        return data[_BIT_DEPTH] == 8 and data[_COLOUR_TYPE] in (_GREY, _RGB)
    return photo.format == "JPEG" and JpegImageFile(io.BytesIO(data)).mode in ("L", "RGB")
