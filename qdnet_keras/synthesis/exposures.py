"""Exposure stacks: photographs of one scene with several exposures, merged into HDR."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image
from PIL.ExifTags import IFD, Base

from qdnet_keras.errors import ImageError
from qdnet_keras.photos.files import read_photo
from qdnet_keras.photos.pixels import to_8_bit
from qdnet_keras.synthesis.light import Array

EXPOSURES = "exposures.txt"
_SAMPLES, _SMOOTHNESS = 300, 100.0  # of the response curve, nearest to the truth on sRGB bracketing
_EXPOSURE_TAGS = (  # and the power with which light grows with them
    ("exposure time", Base.ExposureTime, 1),
    ("ISO", Base.ISOSpeedRatings, 1),
    ("aperture", Base.FNumber, -2),
)
_EXPOSED = 5, 250  # levels that tell something
_LEAST_RESPONSE = 0.1  # of the correlation; strangers reach 0.08, photographs of a scene 0.2
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


def merge_exposures(folder: Path) -> Array:
    """Merges the photographs of a folder, aligned, as Debevec and Malik 1997 do, in 8 bits.

    They are those that `exposures.txt` lists, lines of `name seconds`, or else all JPEG, PNG, TIFF
    and WebP files, with the exposure of their EXIF: time × ISO / aperture², where ISO or aperture
    counts once one of them has it.

    Returns:
        Linear RGB, float32 `[H, W, 3]`; without the borders that not all photographs show.

    Raises:
        ImageError: If there are fewer than two, a time, or an ISO or aperture that others have, is
            missing, all exposures are the same, sizes differ, or a photograph cannot be read.
    """
    listed = folder / EXPOSURES
    times = _listed_times(listed) if listed.exists() else _exif_exposures(photographs(folder))
    if len(set(times.values())) < 2:
        raise ImageError(
            f"{folder} needs two photographs or more of different exposures, such as "
            f"{', '.join(SUFFIXES)}."
        )
    files = sorted(times, key=lambda file: (times[file], file))
    stack = [_read_8_bit(file) for file in files]
    if len({pixels.shape for pixels in stack}) > 1:
        raise ImageError(f"{folder} has photographs of different sizes; crop them alike.")
    seconds = np.array([times[file] for file in files], np.float32)
    aligned = align(stack)
    response = cv2.createCalibrateDebevec(_SAMPLES, _SMOOTHNESS).process(aligned, seconds)
    merged = cv2.createMergeDebevec().process(aligned, seconds, response)
    return np.asarray(merged, np.float32)


def align(stack: list[np.ndarray]) -> list[np.ndarray]:
    """Shifts photographs, uint8 `[H, W, 3]`, by whole pixels and crops them to what all show.

    Neighbours in exposure are compared by phase correlation of their log edges, which exposure
    does not change; a pair that has nothing in common stays as it is.
    """
    edges = [_log_edges(pixels) for pixels in stack]
    window = cv2.createHanningWindow(edges[0].shape[::-1], cv2.CV_32F)
    places = [np.zeros(2, int)]
    for first, second in pairwise(edges):
        (x, y), response = cv2.phaseCorrelate(first, second, window)
        shift = [-round(y), -round(x)] if response > _LEAST_RESPONSE else [0, 0]
        places.append(places[-1] + shift)
    starts = np.max(places, axis=0) - places
    height, width = np.subtract(stack[0].shape[:2], np.ptp(places, axis=0))
    return [
        np.ascontiguousarray(pixels[top : top + height, left : left + width])
        for pixels, (top, left) in zip(stack, starts, strict=True)
    ]


def _log_edges(pixels: np.ndarray) -> np.ndarray:
    grey = np.clip(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), *_EXPOSED)
    return cv2.Laplacian(np.log(grey.astype(np.float32)), cv2.CV_32F)


def photographs(folder: Path) -> list[Path]:
    """JPEG, PNG, TIFF and WebP files directly in a folder, in order of name; no HDR TIFF."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not is_hdr_tiff(path)
    )


def is_hdr_tiff(path: Path) -> bool:
    """Whether a file is called TIFF and does not hold the integers of a photograph."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            dtype = file.pages.first.dtype
        return dtype is None or dtype.kind not in "u"
    except Exception:  # tifffile fails on damaged files in many ways; reading tells what is wrong
        return True


def _read_8_bit(file: Path) -> np.ndarray:
    pixels = read_photo(file).srgb
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else to_8_bit(pixels))


def _listed_times(listed: Path) -> dict[Path, float]:
    times = {}
    for row, line in enumerate(listed.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().rpartition(" ")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not name or not 0 < seconds < np.inf:
            raise ImageError(f"{listed}, row {row}: '{line.strip()}' is not 'name seconds'.")
        times[listed.parent / name.strip()] = seconds
    return times


def _exif_exposures(files: list[Path]) -> dict[Path, float]:
    settings = {file: _exif_settings(file) for file in files}
    exposures = dict.fromkeys(files, 1.0)
    for name, tag, power in _EXPOSURE_TAGS:
        values = {file: settings[file].get(tag, 0.0) for file in files}
        if not any(values.values()) and name != "exposure time":
            continue  # the same for all, or never told
        for file, value in values.items():
            if not value:
                raise ImageError(
                    f"{file} has no {name} in its EXIF; list 'name seconds' of each photograph in "
                    f"{EXPOSURES} beside it."
                )
            exposures[file] *= value**power
    return exposures


def _exif_settings(file: Path) -> dict[int, float]:
    """Those of `_EXPOSURE_TAGS` that a file has, positive and finite."""
    settings: dict[int, float] = {}
    try:
        with Image.open(file) as picture:
            first = picture.getexif()
            exif = {**first, **first.get_ifd(IFD.Exif)}  # TIFF may have them among its own tags
        for _, tag, _ in _EXPOSURE_TAGS:
            value = exif.get(tag, 0.0)
            number = float(value[0] if isinstance(value, tuple) else value)
            if 0 < number < np.inf:
                settings[tag] = number
    except Exception as error:  # Pillow fails on damaged files in many ways
        raise ImageError(f"{file} cannot be decoded ({error}).") from error
    return settings
