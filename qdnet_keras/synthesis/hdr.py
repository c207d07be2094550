"""HDR pictures: reading, checking, mending, scaling, writing.

A scene is linear RGB of BT.709 primaries, float32 `[H, W, 3]`, upright, in any unit. Primaries and
encodings that a file states are converted; where it states none, they are taken to be these.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import tifffile
from imagecodecs import CmsError, cms_transform

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.colour import primaries_profile
from qdnet_keras.photos.photo import MAX_PIXELS
from qdnet_keras.synthesis import radiance
from qdnet_keras.synthesis.exposures import merge_exposures
from qdnet_keras.synthesis.light import Array, key, luminance
from qdnet_keras.synthesis.primaries import BT709_CHROMATICITIES, in_gamut, to_bt709

EXR, RADIANCE, TIFF = (".exr",), (".hdr", ".pic"), (".tif", ".tiff")
SUFFIXES = frozenset(EXR + RADIANCE + TIFF)
FLOOR, CEILING = 1e-3, 1e3  # radiance limits, in units of the scene's log-average
_WHOLE = ("Combined", "combined", "rgba", "RGBA", "beauty", "Beauty")  # layers of renderers
_ORIENTATION, _ICC = 274, 34675  # TIFF tags
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
    check_radiance(rgb, str(path))
    return rgb


def check_radiance(rgb: Array, name: str) -> None:
    """Raises `ImageError`, see `read_scene`, for linear RGB that no scene has; `name` is its."""
    if np.isnan(rgb).any():
        raise ImageError(f"{name} has NaN radiance in {_share(np.isnan(rgb))} of its pixels.")
    if np.isinf(rgb).any():
        raise ImageError(f"{name} has infinite radiance in {_share(np.isinf(rgb))} of its pixels.")
    if luminance(rgb).max() <= 0:
        raise ImageError(f"{name} is black: no pixel has positive radiance.")
    negative = rgb < 0
    if negative.any(axis=-1).mean() > MAX_NEGATIVE or rgb.min() < -key(rgb):
        raise ImageError(
            f"{name} has negative radiance in {_share(negative)} of its pixels, down to "
            f"{rgb.min():.3g}; export it without."
        )
    if np.ptp(luminance(rgb)) == 0:
        raise ImageError(f"{name} has the same radiance everywhere.")


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
        return _read_radiance(path)
    if suffix in TIFF:
        return _read_tiff(path)
    known = ", ".join((*EXR, *RADIANCE, *TIFF))
    raise ImageError(f"{path} is no HDR picture by its suffix; use one of {known}.")


def _read_radiance(path: Path) -> Array:
    data = path.read_bytes()
    header = radiance.read_header(data)
    _check_size(header.length, header.lines, path)
    return radiance.read_pixels(data, header)


def _read_exr(path: Path) -> Array:
    with OpenEXR.File(str(path), separate_channels=True, header_only=True) as file:
        for part in file.parts:
            (left, top), (right, bottom) = part.header["dataWindow"]
            _check_size(int(right) - int(left) + 1, int(bottom) - int(top) + 1, path)
    with OpenEXR.File(str(path), separate_channels=True) as file:
        part, names = _rgb_layer(file.parts, path)
        planes = [np.asarray(part.channels[name].pixels, np.float32) for name in names]
        header = dict(part.header)
    if any(plane.shape != planes[0].shape for plane in planes):
        raise ImageError(f"{path} has channels of different sizes; save it with equal ones.")
    rgb = _shown(np.stack(planes, axis=-1), header, path)
    stated = header.get("chromaticities")
    return rgb if stated is None else to_bt709(rgb, np.array(stated, np.float64))


def _rgb_layer(parts: list[Any], path: Path) -> tuple[Any, list[str]]:
    """The part and the names of its three channels that hold the picture.

    That is R, G, B of no layer in the first part that has them, or of the only layer, or of the
    one that renderers call the whole picture; or else the only luminance.
    """
    layers: dict[str, tuple[Any, list[str]]] = {}
    for part in parts:
        for name in part.channels:
            layer, _, last = name.rpartition("R")
            names = [f"{layer}{letter}" for letter in "RGB"]
            if not last and layer[-1:] in ("", ".") and set(names) <= part.channels.keys():
                layers.setdefault(layer.rstrip("."), (part, names))
    for whole in ("", *(layer for layer in layers if layer.rpartition(".")[2] in _WHOLE)):
        if whole in layers:
            return layers[whole]
    if len(layers) == 1:
        return layers.popitem()[1]
    if layers:
        raise ImageError(
            f"{path} has the layers {', '.join(layers)}; save the one you mean as a file of "
            "its own."
        )
    for part in parts:
        if part.channels.keys() in ({"Y"}, {"Y", "A"}):
            return part, ["Y"] * 3
    found = sorted({name for part in parts for name in part.channels})
    raise ImageError(f"{path} has channels {', '.join(found)} where R, G, B are needed.")


def _shown(rgb: Array, header: dict[str, Any], path: Path) -> Array:
    """What of the stored pixels lies in the window to be displayed."""
    (left, top), _ = header["dataWindow"]
    (x0, y0), (x1, y1) = header["displayWindow"]
    shown = rgb[max(y0 - top, 0) : max(y1 - top + 1, 0), max(x0 - left, 0) : max(x1 - left + 1, 0)]
    if 0 in shown.shape:
        raise ImageError(f"{path} has no pixels in its display window.")
    return shown


def _read_tiff(path: Path) -> Array:
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        _check_size(page.imagewidth, page.imagelength, path)
        if page.dtype.kind != "f":
            raise ImageError(
                f"{path} holds {page.dtype} values; an HDR TIFF has floating-point ones. Put "
                "exposures of one scene into a folder of their own instead."
            )
        pixels, axes = page.asarray(), page.axes
        icc, orientation = page.tags.valueof(_ICC), page.tags.valueof(_ORIENTATION, default=1)
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ImageError(f"{path} has the shape {pixels.shape}; RGB or grey is needed.")
    rgb = np.ascontiguousarray(_upright(pixels[..., :3], orientation), np.float32)
    return _linear(rgb, icc, path) if icc else rgb


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned and mirrored as TIFF's tag of 1..8 says."""
    turned = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def _linear(rgb: Array, icc: bytes, path: Path) -> Array:
    """Values in the encoding of a profile as linear BT.709, relative colorimetric, not clipped."""
    grey = icc[16:20] == b"GRAY"
    values = np.ascontiguousarray(rgb[..., 0]) if grey else rgb
    linear = primaries_profile(tuple(np.ravel(BT709_CHROMATICITIES).tolist()), 1.0)
    kind = "gray" if grey else "rgb"
    try:
        result = cms_transform(values, icc, linear, colorspace=kind, outcolorspace="rgb", intent=1)
    except CmsError as error:
        raise ImageError(
            f"{path} has a colour profile that cannot be used ({error}); save it as linear sRGB."
        ) from error
    return in_gamut(np.asarray(result, np.float32), rgb)


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path} has {width}x{height} pixels, more than {MAX_PIXELS}.")


def _share(bad: np.ndarray) -> str:
    return f"{100 * bad.any(axis=-1).mean():.2g} %"
