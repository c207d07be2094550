"""Between samples as files hold them and those of a `Photo`: grey, alpha, depth, CMYK."""

import contextlib
from collections.abc import Iterator

import imagecodecs
import numpy as np

from qdnet_keras.photos.formats.photo import Photo


def file_samples(photo: Photo) -> np.ndarray:
    """What a file holds: [H, W] for grey, else [H, W, C] with the alpha channel last."""
    colour = photo.pixels
    if photo.grey:
        luma = np.full(colour.shape[:2], 32768, np.uint32)
        for channel, weight in enumerate((19595, 38470, 7471)):
            luma += np.multiply(colour[..., channel], weight, dtype=np.uint32)
        colour = (luma >> 16).astype(colour.dtype)
    if photo.alpha is not None:
        colour = np.dstack([colour, photo.alpha])
    return np.ascontiguousarray(colour)


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of [H, W] or [H, W, 2 | 3 | 4] samples."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, None
    colour = samples[..., 0] if samples.shape[2] == 2 else samples[..., :3]
    return colour, samples[..., -1]


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows, about a megapixel each, that cover a picture of this shape."""
    rows = max(1, 1_000_000 // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def to_8_bit(samples: np.ndarray) -> np.ndarray:
    """uint16 / 257 rounded to nearest."""
    scaled = samples >> 1  # (x - (x + 128) / 256 + 128) / 256 in 16 bits, exact for all x
    scaled += 64
    scaled >>= 7
    np.subtract(samples, scaled, out=scaled)
    scaled += 128
    scaled >>= 8
    return scaled.astype(np.uint8)


def cmyk_to_srgb(cmyk: np.ndarray, icc: bytes | None) -> np.ndarray:
    """[H, W, 4] inks to RGB: perceptual intent of the profile, or (1 - ink)(1 - black) without."""
    if icc:
        with contextlib.suppress(imagecodecs.CmsError):
            srgb = imagecodecs.cms_profile("srgb")
            return imagecodecs.cms_transform(
                cmyk, icc, srgb, colorspace="cmyk", outcolorspace="rgb", intent=0
            )
    top = np.uint32(np.iinfo(cmyk.dtype).max)
    rgb = np.empty((*cmyk.shape[:2], 3), cmyk.dtype)
    for rows in row_bands(cmyk.shape):
        bare = top - cmyk[rows].astype(np.uint32)
        rgb[rows] = (bare[..., :3] * bare[..., 3:] + top // 2) // top
    return rgb


def divide_by_alpha(colour: np.ndarray, alpha: np.ndarray) -> None:
    """Undoes, in place, the multiplication of TIFF's associated alpha."""
    top = np.uint32(np.iinfo(colour.dtype).max)
    for rows in row_bands(colour.shape):
        opacity = np.maximum(alpha[rows], 1).astype(np.uint32)
        opacity = opacity.reshape(opacity.shape + (1,) * (colour.ndim - 2))
        scaled = np.multiply(colour[rows], top, dtype=np.uint32) + opacity // 2
        colour[rows] = np.minimum(scaled // opacity, top)
