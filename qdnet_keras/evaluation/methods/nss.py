"""Natural scene statistics that several methods share: normalised luminance and moment fits.

They follow the authors' releases: channels are float64 on the 0..255 scale of 8-bit pictures,
luminance is rounded, windows see zeros beyond the border, and neighbours wrap around it.
"""

from functools import cache

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from qdnet_keras.photos.files import from_float, to_float

_SHAPES = np.arange(0.2, 10.001, 0.001)
_LOG_OFFSET = 0.1
_LUMA = np.array([0.298936, 0.587043, 0.114021])  # BT.601, with the digits of MATLAB
_HALF = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256  # cubic, twice as wide


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint8 of a uint8 or uint16 picture, same shape."""
    return pixels if pixels.dtype == np.uint8 else from_float(to_float(pixels), np.uint8)


def grey(pixels: np.ndarray) -> np.ndarray:
    """BT.601 luma of a uint8 or uint16 picture, rounded to 8 bits: float64 `[H, W]` in 0..255."""
    return np.rint(eight_bits(pixels) @ _LUMA)


def half(channel: np.ndarray) -> np.ndarray:
    """`[H, W]` at half size (rounded up): antialiased bicubic, borders mirrored."""
    smooth = cv2.sepFilter2D(
        channel, cv2.CV_64F, _HALF, _HALF, anchor=(3, 3), borderType=cv2.BORDER_REFLECT
    )
    return np.ascontiguousarray(smooth[::2, ::2])


def local_moments(channel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a 7×7 Gaussian window of sigma 7/6, `[H, W]`."""
    mean = _window_mean(channel)
    return mean, np.sqrt(np.abs(_window_mean(channel * channel) - mean * mean))


def normalised(channel: np.ndarray) -> np.ndarray:
    """MSCN coefficients (x − μ) / (σ + 1) of `[H, W]`. Mittal et al. 2012, eq. (1)."""
    mean, spread = local_moments(channel)
    return (channel - mean) / (spread + 1.0)


def log_derivatives(values: np.ndarray) -> list[np.ndarray]:
    """The seven log-derivatives of `[H, W]` coefficients. Zhang and Chandler 2013, section 3.

    With J = log(|x| + 0.1): horizontal, vertical, main and second diagonal differences, then the
    three that combine four pixels: a 2×2 square, a cross and the corners of a 3×3 square. The last
    two see zeros beyond the border.
    """
    j = np.log(np.abs(values) + _LOG_OFFSET)
    left, above, diagonal, second = _neighbours(j)
    framed = np.pad(j, 1)
    return [
        j - left,
        j - above,
        j - diagonal,
        j - second,
        j + diagonal - left - above,
        framed[:-2, 1:-1] + framed[2:, 1:-1] - framed[1:-1, :-2] - framed[1:-1, 2:],
        framed[:-2, :-2] + framed[2:, 2:] - framed[:-2, 2:] - framed[2:, :-2],
    ]


def neighbour_products(values: np.ndarray) -> list[np.ndarray]:
    """Products of `[H, W]` coefficients with horizontal, vertical and both diagonal neighbours."""
    return [values * neighbour for neighbour in _neighbours(values)]


def fit_ggd(values: np.ndarray) -> tuple[float, float]:
    """Shape (0.2..10) and standard deviation of a zero-mean generalised Gaussian.

    Moment matching: E[|x|]² / E[x²] is a rising function of the shape. Sharifi and Leon-Garcia,
    IEEE TCSVT 5(1), 1995. Values that are all zero have shape 10.
    """
    mean_square = float(np.mean(values * values))
    ratio = float(np.mean(np.abs(values))) ** 2 / mean_square if mean_square else 1.0
    return _shape(ratio), float(np.sqrt(mean_square))


def spread_and_shape(values: np.ndarray) -> list[float]:
    """Standard deviation and shape of a generalised Gaussian around the mean of the values."""
    shape, spread = fit_ggd(values - values.mean())
    return [spread, shape]


def fit_aggd(values: np.ndarray) -> tuple[float, float, float, float]:
    """Shape (0.2..10), mean and left and right variance of an asymmetric generalised Gaussian.

    Lasmar, Stitou, Berthoumieu, ICIP 2009, as used by Mittal et al. 2012, eq. (10) to (15). An
    empty side has variance 0.
    """
    left, right = _one_sided_variance(-values), _one_sided_variance(values)
    mean_square = float(np.mean(values * values))
    if not mean_square:
        return float(_SHAPES[-1]), 0.0, 0.0, 0.0
    skew = np.sqrt(left / right) if right else np.inf
    balance = _balance(skew if skew <= 1.0 else 1.0 / skew)
    shape = _shape(float(np.mean(np.abs(values))) ** 2 / mean_square * balance)
    scale = gamma(2 / shape) / np.sqrt(gamma(1 / shape) * gamma(3 / shape))
    return shape, float((np.sqrt(right) - np.sqrt(left)) * scale), left, right


def four_moments(values: np.ndarray) -> list[float]:
    """Mean, standard deviation, skewness and kurtosis; the last two are 0 for equal values."""
    values = values.astype(np.float64)
    mean, deviation = float(values.mean()), float(values.std())
    if deviation < 1e-6:
        return [mean, deviation, 0.0, 0.0]
    standard = (values - mean) / deviation
    return [mean, deviation, float((standard**3).mean()), float((standard**4).mean())]


def _neighbours(values: np.ndarray) -> list[np.ndarray]:
    """At each pixel the value to its left, above it, above and left, and below and left of it."""
    shifts = ((0, 1), (1, 0), (1, 1), (-1, 1))
    return [np.roll(values, shift, axis=(0, 1)) for shift in shifts]


def _balance(skew: float) -> float:
    """(γ³ + 1)(γ + 1) / (γ² + 1)², the same for γ and 1/γ."""
    return (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2


def _one_sided_variance(values: np.ndarray) -> float:
    """Mean square of the positive values."""
    positive = values[values > 0]
    return float(np.mean(positive * positive)) if positive.size else 0.0


def _shape(ratio: float) -> float:
    """The shape whose E[|x|]² / E[x²] is nearest to `ratio`."""
    return float(_SHAPES[np.argmin(np.abs(_ratios() - ratio))])


@cache
def _ratios() -> np.ndarray:
    return gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


def _window_mean(channel: np.ndarray) -> np.ndarray:
    return gaussian_filter(channel, 7 / 6, radius=3, mode="constant")
