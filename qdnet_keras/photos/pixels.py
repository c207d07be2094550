"""Samples of pictures: depth, floats, alpha, inks, and bands of rows."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
from numpy.typing import DTypeLike

from qdnet_keras.photos import colour

if TYPE_CHECKING:
    from qdnet_keras.photos.photo import Photo


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 to float32 in 0..1, same shape."""
    return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)


def from_float(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats in 0..1 to `dtype` (uint8 or uint16), rounded to nearest.

    Values outside 0..1 are clipped; NaN becomes 0.
    """
    scaled = np.fmin(np.fmax(values, 0), 1) * np.float32(np.iinfo(dtype).max)
    return np.rint(scaled, out=scaled).astype(dtype)


def as_depth(samples: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """uint8 or uint16 samples as the other; 16 bits are rounded to nearest."""
    if samples.dtype == dtype:
        return samples
    return samples.astype(np.uint16) * np.uint16(257) if dtype == np.uint16 else to_8_bit(samples)


def to_8_bit(samples: np.ndarray) -> np.ndarray:
    """uint16 / 257 rounded to nearest."""
    scaled = samples >> 1  # (x - (x + 128) / 256 + 128) / 256 in 16 bits, exact for all x
    scaled += 64
    scaled >>= 7
    np.subtract(samples, scaled, out=scaled)
    scaled += 128
    scaled >>= 8
    return scaled.astype(np.uint8)


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows, about a megapixel each, that cover a picture of this shape."""
    rows = max(1, 1_000_000 // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def file_samples(photo: "Photo") -> np.ndarray:
    """What a file holds: [H, W] for grey, else [H, W, C] with the alpha channel last."""
    samples = luma(photo.pixels) if photo.grey else photo.pixels
    if photo.alpha is not None:
        samples = np.dstack([samples, photo.alpha])
    return np.ascontiguousarray(samples)


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of [H, W] or [H, W, 1 | 2 | 3 | 4] samples."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, None
    if samples.shape[2] == 1:
        return samples[..., 0], None
    colour = samples[..., 0] if samples.shape[2] == 2 else samples[..., :3]
    return colour, samples[..., -1]


def luma(pixels: np.ndarray) -> np.ndarray:
    """Rec. 601 luma [H, W] of RGB, of the same dtype."""
    total = np.full(pixels.shape[:2], 32768, np.uint32)
    for channel, weight in enumerate((19595, 38470, 7471)):
        total += np.multiply(pixels[..., channel], weight, dtype=np.uint32)
    return (total >> 16).astype(pixels.dtype)


def cmyk_to_srgb(cmyk: np.ndarray, icc: bytes | None) -> np.ndarray:
    """[H, W, 4] inks to RGB: perceptual intent of the profile, or (1 - ink)(1 - black) without."""
    if icc and colour.channels_of(icc) == 4:
        with contextlib.suppress(imagecodecs.CmsError):
            return colour.cmyk_to_srgb(cmyk, icc)
    top = np.uint32(np.iinfo(cmyk.dtype).max)
    rgb = np.empty((*cmyk.shape[:2], 3), cmyk.dtype)
    for rows in row_bands(cmyk.shape):
        bare = top - cmyk[rows].astype(np.uint32)
        rgb[rows] = (bare[..., :3] * bare[..., 3:] + top // 2) // top
    return rgb


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Samples of CIE L*a*b* as TIFF has them, `[H, W, 3]`, a* and b* signed, to RGB."""
    signed, steps = (np.int8, 1) if lab.dtype == np.uint8 else (np.int16, 256)
    rgb = np.empty(lab.shape, lab.dtype)
    for rows in row_bands(lab.shape):
        lightness = 100 * to_float(lab[rows][..., :1])
        chroma = np.ascontiguousarray(lab[rows][..., 1:]).view(signed).astype(np.float32)
        rgb[rows] = as_depth(colour.lab_to_srgb(np.dstack([lightness, chroma / steps])), lab.dtype)
    return rgb


def divide_by_alpha(colour: np.ndarray, alpha: np.ndarray) -> None:
    """Undoes, in place, the multiplication of TIFF's associated alpha."""
    top = np.uint32(np.iinfo(colour.dtype).max)
    for rows in row_bands(colour.shape):
        opacity = np.maximum(alpha[rows], 1).astype(np.uint32)
        opacity = opacity.reshape(opacity.shape + (1,) * (colour.ndim - 2))
        scaled = np.multiply(colour[rows], top, dtype=np.uint32) + opacity // 2
        colour[rows] = np.minimum(scaled // opacity, top)
