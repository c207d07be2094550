"""Histogram adjustment: Ward Larson, Rushmeier, Piatko, IEEE TVCG 3(4), 1997."""

import numpy as np

from qdnet_keras.synthesis.light import Array, luminance, recolour

_BINS = 100
_DISPLAY_RANGE = np.log(100.0)  # of luminance
_TOLERANCE = 0.025  # share of samples


def histogram_adjustment(rgb: Array, saturation: float = 0.9) -> Array:
    """Equalises log luminance, nowhere with more contrast than the scene has (section 4.2)."""
    light = luminance(rgb)
    log = np.log(light)
    counts, edges = np.histogram(log, _BINS)
    counts = limit_slope(counts.astype(float), edges[1] - edges[0])
    if counts.sum() == 0:  # the scene fits the display: no adjustment is needed
        return recolour(rgb, light / light.max(), saturation)
    cumulative = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    level = np.interp(log, edges, cumulative)
    dark, bright = np.exp(-_DISPLAY_RANGE), 1.0
    mapped = (np.exp(_DISPLAY_RANGE * (level - 1)) - dark) / (bright - dark)
    return recolour(rgb, mapped.astype(np.float32), saturation)


def limit_slope(counts: np.ndarray, width: float) -> np.ndarray:
    """Trims a histogram of log luminance so that no bin gains contrast, the linear ceiling.

    Args:
        counts: Samples in each bin, float `[bins]`.
        width: Of a bin, in natural log units.

    Returns:
        The trimmed counts, all 0 where the scene's range is within the display's.
    """
    least = _TOLERANCE * counts.sum()
    while (total := counts.sum()) > least:
        limited = np.minimum(counts, total * width / _DISPLAY_RANGE)
        if limited.sum() >= (1 - _TOLERANCE) * total:
            return limited
        counts = limited
    return np.zeros_like(counts)
