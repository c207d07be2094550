"""Photographic tone reproduction: Reinhard, Stark, Shirley, Ferwerda, SIGGRAPH 2002."""

import numpy as np
from scipy.ndimage import gaussian_filter

from qdnet_keras.synthesis.light import MIDDLE_GREY, Array, key, luminance, recolour

_SCALES = 8
_RATIO = 1.6  # from one scale to the next
_FIRST = 1 / (2 * np.sqrt(2))  # standard deviation of the first centre, pixels
_SHARPNESS, _THRESHOLD = 8.0, 0.05  # φ and ε of section 3.2


def photographic(rgb: Array, key_value: float = 0.3, saturation: float = 0.9) -> Array:
    """The global operator, eq. (4); the brightest 1 % becomes white."""
    scaled = luminance(rgb) * (key_value / key(rgb))
    white = np.percentile(scaled, 99)
    return recolour(rgb, scaled * (1 + scaled / white**2) / (1 + scaled), saturation)


def dodge_and_burn(rgb: Array, key_value: float = MIDDLE_GREY, saturation: float = 0.9) -> Array:
    """The local operator, eq. (5)-(9): each pixel adapts to the largest even surround around it."""
    scaled = luminance(rgb) * (key_value / key(rgb))
    sizes = _RATIO ** np.arange(_SCALES)
    blurred = [gaussian_filter(scaled, _FIRST * size, mode="nearest") for size in sizes]
    surround = blurred[0].copy()
    even = np.ones(scaled.shape, bool)
    for size, centre, around in zip(sizes[:-1], blurred[:-1], blurred[1:], strict=True):
        activity = (centre - around) / (2**_SHARPNESS * key_value / size**2 + centre)
        even &= np.abs(activity) < _THRESHOLD
        surround[even] = around[even]
    mapped = scaled / (1 + surround)
    return recolour(rgb, mapped / np.percentile(mapped, 99.5), saturation)
