"""HDR pictures: reading, checking, mending, scaling, writing.

A scene is linear RGB, float32 `[H, W, 3]`, taken to have BT.709 primaries, in any unit.
"""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import tifffile
from imagecodecs import rgbe_decode

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.photo import MAX_PIXELS
from qdnet_keras.synthesis.exposures import merge_exposures
from qdnet_keras.synthesis.light import Array, key, luminance

EXR, RADIANCE, TIFF = (".exr",), (".hdr", ".pic"), (".tif", ".tiff")
SUFFIXES = frozenset(EXR + RADIANCE + TIFF)
FLOOR, CEILING = 1e-3, 1e3  # radiance limits, in units of the scene's log-average
MAX_NEGATIVE = 0.02  # share of pixels that may be negative: rings of resampling, odd gamuts


def read_scene(path: str | Path) -> Array:
    """Reads an OpenEXR, Radiance or floating-point TIFF file, or a folder with an exposure stack.

    Raises:
        ImageError: If it cannot be read, is not HDR, or its radiance is NaN, infinite, negative
            (in more than `MAX_NEGATIVE` of the pixels, or by more than the log-average), black, or
            the same everywhere.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path} does not exist.")
    try:
        rgb = _read(path)
    except ImageError:
        raise
    except Exception as error:  # codecs fail on damaged files in many ways
        reason = " ".join(str(error).split()).rstrip(".")
        raise ImageError(f"{path} cannot be read as an HDR picture ({reason}).") from error
    return _checked(rgb, path)


def mend(rgb: Array) -> Array:
    """Takes away the rings that an earlier resampling left beside lamps and hard edges.

    Only pictures with negative values have them. Pixels that are not positive, or much darker
    than all around them, take the mean log radiance of the sound pixels near them.
    """
    if rgb.min() >= 0:
        return rgb
    light = luminance(rgb)
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    sound = ((rgb.min(axis=-1) > 0) & (light > 0.2 * closed))[..., None].astype(np.float32)
    log = np.log(np.maximum(rgb, 1e-6))
    weight = cv2.GaussianBlur(sound, (0, 0), 1)[..., None]
    filled = np.exp(cv2.GaussianBlur(log * sound, (0, 0), 1) / np.maximum(weight, 1e-6))
    return np.where(sound > 0, rgb, np.where(weight > 1e-4, filled, 0))


def normalise(rgb: Array) -> Array:
    """Scales the log-average luminance to 1 and limits radiance to `FLOOR`..`CEILING`."""
    return np.clip(rgb / key(rgb), FLOOR, CEILING)


def shrink(rgb: Array, width: int) -> Array:
    """Area means, so that the picture is at most `width` wide; a smaller one is returned as is."""
    if rgb.shape[1] <= width:
        return rgb
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def write_exr(rgb: Array, path: Path) -> None:
    """Writes linear RGB as half-float OpenEXR, lossless otherwise."""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    limit = np.finfo(np.float16).max
    pixels = np.minimum(rgb, limit).astype(np.float16)
    with OpenEXR.File(header, {"RGB": pixels}) as file:
        file.write(str(path))


def _read(path: Path) -> Array:
    suffix = path.suffix.lower()
    if path.is_dir():
        return merge_exposures(path)
    if suffix in EXR:
        return _read_exr(path)
    if suffix in RADIANCE:
        return np.asarray(rgbe_decode(path.read_bytes()), np.float32)
    if suffix in TIFF:
        return _read_tiff(path)
    known = ", ".join((*EXR, *RADIANCE, *TIFF))
    raise ImageError(f"{path} is no HDR picture by its suffix; use one of {known}.")


def _read_exr(path: Path) -> Array:
    with OpenEXR.File(str(path)) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    for name in ("RGB", "RGBA"):
        if name in channels:
            return np.asarray(channels[name][..., :3], np.float32)
    if set("RGB") <= channels.keys():
        return np.stack([channels[name] for name in "RGB"], axis=-1).astype(np.float32)
    if channels.keys() in ({"Y"}, {"Y", "A"}):
        return np.repeat(np.asarray(channels["Y"], np.float32)[..., None], 3, axis=-1)
    raise ImageError(f"{path} has channels {', '.join(sorted(channels))} where R, G, B are needed.")


def _read_tiff(path: Path) -> Array:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        pixels, axes = page.asarray(), page.axes
    if pixels.dtype.kind != "f":
        raise ImageError(
            f"{path} holds {pixels.dtype} values; an HDR TIFF has floating-point ones. Put "
            "exposures of one scene into a folder of their own instead."
        )
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ImageError(f"{path} has the shape {pixels.shape}; RGB or grey is needed.")
    return pixels[..., :3].astype(np.float32)


def _checked(rgb: Array, path: Path) -> Array:
    if rgb.shape[0] * rgb.shape[1] > MAX_PIXELS:
        raise ImageError(
            f"{path} has {rgb.shape[1]}x{rgb.shape[0]} pixels, more than {MAX_PIXELS}."
        )
    if np.isnan(rgb).any():
        raise ImageError(f"{path} has NaN radiance in {_share(np.isnan(rgb))} of its pixels.")
    if np.isinf(rgb).any():
        raise ImageError(f"{path} has infinite radiance in {_share(np.isinf(rgb))} of its pixels.")
    if luminance(rgb).max() <= 0:
        raise ImageError(f"{path} is black: no pixel has positive radiance.")
    negative = rgb < 0
    if negative.any(axis=-1).mean() > MAX_NEGATIVE or rgb.min() < -key(rgb):
        raise ImageError(
            f"{path} has negative radiance in {_share(negative)} of its pixels, down to "
            f"{rgb.min():.3g}; export it without."
        )
    if np.ptp(luminance(rgb)) == 0:
        raise ImageError(f"{path} has the same radiance everywhere.")
    return rgb


def _share(bad: np.ndarray) -> str:
    return f"{100 * bad.any(axis=-1).mean():.2g} %"
