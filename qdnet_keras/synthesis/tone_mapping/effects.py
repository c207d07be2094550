"""Looks that photographers put on tone-mapped pictures, after ESPL-LIVE HDR's two effects."""

import cv2
import numpy as np

from qdnet_keras.synthesis.light import MIDDLE_GREY, Array, luminance, recolour


def grunge(rgb: Array, detail: float = 1.7, radius: float | None = None) -> Array:
    """Local contrast pushed against a wide blur: halos, heavy texture, loud colour.

    `detail` multiplies local contrast; `radius` is the blur's standard deviation, pixels; 3 % of
    the long side without it.
    """
    log = np.log10(luminance(rgb))
    sigma = 0.03 * max(log.shape) if radius is None else radius
    base = cv2.GaussianBlur(log, (0, 0), sigma)
    mapped = MIDDLE_GREY * 10 ** (0.1 * (base - base.mean()) + detail * (log - base))
    return recolour(rgb, mapped, 1.3)


def surreal(rgb: Array, detail: float = 0.28, saturation: float = 1.25) -> Array:
    """Log luminance normalised by its local mean and spread, times `detail`, in strong colour."""
    log = np.log10(luminance(rgb))
    sigma = 0.06 * max(log.shape)
    mean = cv2.GaussianBlur(log, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur((log - mean) ** 2, (0, 0), sigma))
    even = (log - mean) / (spread + 0.1)
    mapped = MIDDLE_GREY * 10 ** (0.25 * (mean - mean.mean()) + detail * even)
    return recolour(rgb, mapped, saturation)
