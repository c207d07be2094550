"""Bilateral filtering into base and detail: Durand and Dorsey, SIGGRAPH 2002."""

import cv2
import numpy as np

from qdnet_keras.synthesis.light import Array, luminance, recolour

_RANGE_SIGMA = 0.4  # log10 units
_SPACE_SHARE = 0.02  # of the long side


def base_and_detail(
    rgb: Array,
    contrast: float = 12.0,
    brightness: float = 0.8,
    saturation: float = 0.8,
    space_sigma: float | None = None,
) -> Array:
    """Squeezes the base to `contrast`:1 and keeps the detail.

    Args:
        rgb: Scene, see `light`.
        contrast: Of the base between its 1st and 99th percentile.
        brightness: Linear luminance of the base's 99th percentile.
        saturation: Exponent of the colour ratios.
        space_sigma: Of the bilateral filter, pixels; 2 % of the long side without it.
    """
    log = np.log10(luminance(rgb))
    sigma = _SPACE_SHARE * max(log.shape) if space_sigma is None else space_sigma
    base = cv2.bilateralFilter(log, -1, _RANGE_SIGMA, sigma)
    low, high = np.percentile(base, [1, 99])
    factor = np.log10(contrast) / max(high - low, np.log10(contrast))  # never more contrast
    flat = (base - high) * factor
    return recolour(rgb, brightness * 10 ** (flat + log - base), saturation)
