"""A photograph with its metadata, and the sizes that are supported."""

import dataclasses

import numpy as np

from qdnet_keras.errors import ImageError

MIN_SIDE = 32
MAX_PIXELS = 400_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photograph with the metadata of its file.

    `pixels` are RGB in the encoding of `icc`, or sRGB where it is None; a photo from a grey file
    has three equal channels and is written with one (luma, Rec. 601).
    """

    pixels: np.ndarray  # uint8 or uint16, [H, W, 3], upright
    alpha: np.ndarray | None  # [H, W], same dtype, not multiplied into the pixels
    grey: bool
    format: str  # "PNG" | "JPEG" | "TIFF" | "WEBP"
    icc: bytes | None = None
    exif: bytes | None = None  # TIFF-structured, without the "Exif" prefix; orientation is 1
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    compression: str | None = None  # TIFF: tifffile's name; WebP: "lossless" or None
    extra: bytes = b""  # PNG chunks or JPEG segments kept as they are (text, IPTC, comments)
    turned: bool = False  # the file holds the pixels in another orientation

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.itemsize


def check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"is {width} x {height} pixels; both sides must be at least {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"is {width} x {height} pixels; at most {limit} megapixels are supported")
