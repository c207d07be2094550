"""TMQI: how well a tone-mapped picture keeps the structure of its HDR original, and looks natural.

Yeganeh and Wang, "Objective quality assessment of tone-mapped images", IEEE Transactions on Image
Processing 22(2), 2013. Constants are those of the paper.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import correlate1d
from scipy.special import ndtr
from scipy.stats import beta, norm

MIN_SIDE = 161  # the coarsest of the five scales still holds one window
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear RGB with BT.709 primaries

_FIDELITY_SHARE, _FIDELITY_POWER = 0.8012, 0.3046  # a and α of section II-C
_NATURALNESS_POWER = 0.7088  # its β
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest first
_FINEST_FREQUENCY = 16.0  # cycles per degree; halves from scale to scale
_C1, _C2 = 0.01, 10.0
_WINDOW, _WINDOW_SIGMA = 11, 1.5
_HDR_RANGE = 2.0**32 - 1
_BRIGHTNESS = norm(115.94, 27.99)  # mean levels of natural pictures
_CONTRAST = beta(4.4, 10.1)  # their local contrasts, in `_CONTRAST_UNIT`
_CONTRAST_UNIT = 64.29


class TMQI(NamedTuple):
    """Quality `q`, structural fidelity `s` and statistical naturalness `n`; 1 is best.

    All are in 0..1.
    """

    q: float
    s: float
    n: float


def tmqi(hdr: np.ndarray, ldr: np.ndarray) -> TMQI:
    """Tone-mapped image quality index of a rendering.

    Args:
        hdr: Linear radiance in any unit, `[H, W, 3]`, finite.
        ldr: Its tone-mapped rendering, uint8 `[H, W, 3]`.

    Raises:
        ValueError: If shapes differ, a side is below `MIN_SIDE`, the rendering is not uint8, or
            the radiance is not finite or is the same everywhere.
    """
    if hdr.shape != ldr.shape or hdr.ndim != 3 or hdr.shape[2] != 3:
        raise ValueError(f"HDR {hdr.shape} and rendering {ldr.shape} must be [H, W, 3] alike")
    if min(hdr.shape[:2]) < MIN_SIDE:
        raise ValueError(f"TMQI needs {MIN_SIDE} pixels a side, not {hdr.shape[1]}x{hdr.shape[0]}")
    if ldr.dtype != np.uint8:
        raise ValueError(f"the rendering must be uint8, not {ldr.dtype}")
    light = hdr.astype(np.float64) @ LUMINANCE
    span = float(np.ptp(light))
    if not np.isfinite(span) or span == 0:
        raise ValueError("the radiance must be finite and not the same everywhere")
    grey = ldr.astype(np.float64) @ LUMINANCE  # of encoded values, as in the paper
    s = structural_fidelity((light - light.min()) * (_HDR_RANGE / span), grey)
    n = statistical_naturalness(grey)
    fidelity = _FIDELITY_SHARE * s**_FIDELITY_POWER
    return TMQI(fidelity + (1 - _FIDELITY_SHARE) * n**_NATURALNESS_POWER, s, n)


def structural_fidelity(hdr: np.ndarray, ldr: np.ndarray) -> float:
    """Weighted product over five scales of the mean `local_fidelity`; section II-A.

    A negative average, that is a rendering that inverts the structure, counts as 0.

    Args:
        hdr: Luminance in 0..2³²−1, float64 `[H, W]`.
        ldr: Luminance in 0..255, float64 `[H, W]`.
    """
    fidelity = 1.0
    frequency = _FINEST_FREQUENCY
    for weight in _SCALE_WEIGHTS:
        fidelity *= max(local_fidelity(hdr, ldr, frequency).mean(), 0.0) ** weight
        hdr, ldr = _halve(hdr), _halve(ldr)
        frequency /= 2
    return float(fidelity)


def local_fidelity(hdr: np.ndarray, ldr: np.ndarray, frequency: float) -> np.ndarray:
    """Map of S_local, section II-A, without the border that the 11×11 Gaussian window cannot reach.

    Standard deviations pass through `visibility` before they are compared; the second factor is
    the correlation within the window.
    """
    mean_hdr, mean_ldr = _window_mean(hdr), _window_mean(ldr)
    std_hdr = np.sqrt(np.maximum(_window_mean(hdr**2) - mean_hdr**2, 0))
    std_ldr = np.sqrt(np.maximum(_window_mean(ldr**2) - mean_ldr**2, 0))
    covariance = _window_mean(hdr * ldr) - mean_hdr * mean_ldr
    seen_hdr, seen_ldr = visibility(std_hdr, frequency), visibility(std_ldr, frequency)
    contrast = (2 * seen_hdr * seen_ldr + _C1) / (seen_hdr**2 + seen_ldr**2 + _C1)
    return contrast * (covariance + _C2) / (std_hdr * std_ldr + _C2)


def visibility(std: np.ndarray, frequency: float) -> np.ndarray:
    """Chance, 0..1, that a signal of this standard deviation is seen; section II-A.

    A Gaussian psychometric function around the threshold that the contrast sensitivity of Mannos
    and Sakrison (1974) gives at `frequency`, cycles per degree, for a mean level of 128.
    """
    sensitivity = 2.6 * (0.0192 + 0.114 * frequency) * np.exp(-((0.114 * frequency) ** 1.1))
    threshold = 128 / (1.4 * 100 * sensitivity)
    return ndtr((std - threshold) / (threshold / 3))


def statistical_naturalness(ldr: np.ndarray) -> float:
    """Likelihood of level and local contrast among natural pictures, 0..1; section II-B.

    Contrast is the mean over pixels of the standard deviation of their 11×11 block. Blocks that
    reach beyond the right or the bottom are filled with zeros, as in the authors' release.

    Args:
        ldr: Luminance in 0..255, float64 `[H, W]`.
    """
    filled = np.pad(ldr, [(0, -side % _WINDOW) for side in ldr.shape])
    rows, columns = (side // _WINDOW for side in filled.shape)
    deviations = filled.reshape(rows, _WINDOW, columns, _WINDOW).std(axis=(1, 3), ddof=1)
    of_pixels = np.kron(deviations, np.ones((_WINDOW, _WINDOW)))
    contrast = of_pixels[: ldr.shape[0], : ldr.shape[1]].mean() / _CONTRAST_UNIT
    a, b = _CONTRAST.args
    peak = _CONTRAST.pdf((a - 1) / (a + b - 2))
    brightness = _BRIGHTNESS.pdf(ldr.mean()) / _BRIGHTNESS.pdf(_BRIGHTNESS.mean())
    return float(brightness * _CONTRAST.pdf(contrast) / peak)


def _window_mean(picture: np.ndarray) -> np.ndarray:
    radius = _WINDOW // 2
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _WINDOW_SIGMA) ** 2)
    window /= window.sum()
    mean = correlate1d(correlate1d(picture, window, axis=0), window, axis=1)
    return mean[radius:-radius, radius:-radius]


def _halve(picture: np.ndarray) -> np.ndarray:
    """Means of 2×2 pixels at every second pixel; an odd last row or column is repeated."""
    padded = np.pad(picture, [(0, side % 2) for side in picture.shape], "edge")
    height, width = padded.shape
    return padded.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
