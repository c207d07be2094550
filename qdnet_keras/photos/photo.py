"""A photograph with its metadata, what it looks like in sRGB, and the sizes that are supported."""

import dataclasses

import numpy as np

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.colour import from_srgb, looks_like_srgb, to_srgb
from qdnet_keras.photos.pixels import as_depth, from_float, row_bands, to_float
from qdnet_keras.photos.sizes import MAX_PIXELS, MIN_SIDE

_MID_GREY = 0.5  # what transparent pixels lie on, sRGB


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """A photograph with the metadata of its file.

    `pixels` are upright RGB in the encoding of `icc`; a photo from a grey file has three equal
    channels and is written with one (luma, Rec. 601).
    """

    pixels: np.ndarray  # uint8 or uint16, [H, W, 3]
    alpha: np.ndarray | None  # [H, W], same dtype, not multiplied into the pixels
    grey: bool
    format: str  # a name in `formats.FORMATS`
    icc: bytes | None = None  # None: sRGB
    exif: bytes | None = None  # TIFF-structured, without the "Exif" prefix; orientation is 1
    xmp: bytes | None = None
    iptc: bytes | None = None  # IPTC-IIM records
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    compression: str | None = None  # TIFF: tifffile's name; others: "lossless" or None
    extra: bytes = b""  # PNG chunks or JPEG segments kept as they are
    turned: bool = False  # the file holds the pixels in another orientation
    notes: tuple[str, ...] = ()  # what of the file is not here

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.itemsize

    @property
    def is_srgb(self) -> bool:
        """Whether the pixels are sRGB-encoded, as far as 8 bits can tell."""
        return looks_like_srgb(self.icc)

    @property
    def srgb(self) -> np.ndarray:
        """What the eye sees: sRGB `[H, W, 3]`, transparent parts over mid grey.

        Of the dtype of `pixels`; computed with 16 bits or more, and at every use.
        """
        if self.is_srgb and self.alpha is None:
            return self.pixels
        seen = np.empty_like(self.pixels)
        for rows in row_bands(seen.shape):
            seen[rows] = self._seen(rows)
        return seen

    def with_rendered(self, srgb: np.ndarray) -> "Photo":
        """The photo that looks like a rendering of its `srgb`, in its own profile and depth.

        What differs between the two is added in sRGB, beyond the gamut of sRGB where a pixel lies
        there. Pixels that do not differ, and transparent ones, stay as they are to the last bit.

        Args:
            srgb: uint8 or uint16 of the photo's shape; compared with `srgb` in that depth.
        """
        if srgb.shape != self.pixels.shape:
            raise ValueError(f"The photo is {self.pixels.shape}. Received: {srgb.shape}")
        if self.is_srgb and self.alpha is None and srgb.dtype == self.pixels.dtype:
            return dataclasses.replace(self, pixels=srgb)
        pixels = self.pixels.copy()
        for rows in row_bands(pixels.shape):
            seen = as_depth(self._seen(rows), srgb.dtype)
            if np.array_equal(seen, srgb[rows]):
                continue
            change = to_float(srgb[rows]) - to_float(seen)
            if self.alpha is not None:
                change *= (self.alpha[rows] > 0)[..., None]
            pixels[rows] = self._changed(rows, change)
        return dataclasses.replace(self, pixels=pixels)

    def _seen(self, rows: slice) -> np.ndarray:
        band = self.pixels[rows]
        if not self.is_srgb:
            assert self.icc is not None
            band = to_srgb(band, self.icc, np.uint16)
        if self.alpha is not None:
            opacity = to_float(self.alpha[rows])[..., None]
            over_grey = to_float(band) * opacity + _MID_GREY * (1 - opacity)
            return from_float(over_grey, self.pixels.dtype)
        return as_depth(band, self.pixels.dtype)

    def _changed(self, rows: slice, change: np.ndarray) -> np.ndarray:
        band = to_float(self.pixels[rows])
        if self.is_srgb:
            return from_float(band + change, self.pixels.dtype)
        assert self.icc is not None
        unbounded = to_srgb(band, self.icc, np.float32)
        back = from_srgb(unbounded + change, self.icc)
        back -= from_srgb(unbounded, self.icc)
        return from_float(band + back, self.pixels.dtype)


def check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"is {width} x {height} pixels; both sides must be at least {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"is {width} x {height} pixels; at most {limit} megapixels are supported")
