"""The operators that OpenCV has; run them inside `reproducible`."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from qdnet_keras.synthesis.light import Array, encode, expose, key


def drago(rgb: Array, bias: float = 0.85) -> Array:
    """Adaptive logarithmic mapping of Drago et al. 2003; white at the top 1 %."""
    mapped = np.asarray(cv2.createTonemapDrago(1.0, 1.0, bias).process(rgb), np.float32)
    return encode(mapped / np.percentile(mapped, 99))


def reinhard_devlin(rgb: Array, intensity: float = 0.0, adaptation: float = 0.8) -> Array:
    """Photoreceptor model of Reinhard and Devlin 2005 (`cv2.TonemapReinhard`).

    `intensity` brightens; `adaptation` is each pixel's share in what it is adapted to.
    """
    scaled = np.ascontiguousarray(rgb / key(rgb), np.float32)
    mapped = cv2.createTonemapReinhard(1.0, intensity, adaptation, 0.1).process(scaled)
    return encode(mapped / np.percentile(mapped, 99.5))


def mantiuk(rgb: Array, contrast: float = 0.8, saturation: float = 0.9) -> Array:
    """Contrast compression of Mantiuk et al. 2006; `contrast` is the factor of its response."""
    mapped = cv2.createTonemapMantiuk(1.0, contrast, saturation).process(np.ascontiguousarray(rgb))
    mapped = np.nan_to_num(mapped, nan=0.0)  # OpenCV takes powers of the darkest values less itself
    return encode(mapped / np.percentile(mapped, 99.5))


def mertens(rgb: Array, longest: float = 3.0) -> Array:
    """Exposure fusion of Mertens et al. 2007 over nine exposures, a stop apart.

    `longest` is the last one's, stops above that which makes the log-average middle grey.
    """
    exposures = np.arange(longest - 8, longest + 1)
    stack = [np.round(255 * expose(rgb, stops)).astype(np.uint8) for stops in exposures]
    return np.clip(cv2.createMergeMertens().process(stack), 0, 1)


@contextmanager
def reproducible() -> Iterator[None]:
    """OpenCV in one thread, and without its warnings, while the context lasts.

    `cv2.MergeMertens` sums its exposures in the order in which its threads finish.
    """
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.utils.logging.setLogLevel(level)
