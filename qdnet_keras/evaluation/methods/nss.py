"""Natural scene statistics that several methods share: normalised luminance and moment fits.

Channels are float32 on the 0..255 scale, because the constants of the published methods are.
Borders are replicated; differences are taken where both pixels exist.
"""

from functools import cache

import cv2
import numpy as np
from PIL import Image
from scipy.special import gamma

from qdnet_keras.photos.files import to_float

_SHAPES = np.arange(0.2, 10.001, 0.001)
_LOG_OFFSET = 0.1


def on_255(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 to float32 in 0..255; floats are taken to be on that scale."""
    if pixels.dtype.kind == "u":
        return to_float(pixels) * np.float32(255)
    return pixels.astype(np.float32, copy=False)


def grey(pixels: np.ndarray) -> np.ndarray:
    """BT.601 luma of `[H, W, 3]` pixels, float32 `[H, W]` in 0..255."""
    return cv2.cvtColor(on_255(pixels), cv2.COLOR_RGB2GRAY)


def half(channel: np.ndarray) -> np.ndarray:
    """`[H, W]` at half size (rounded up), antialiased bicubic."""
    height, width = channel.shape
    size = ((width + 1) // 2, (height + 1) // 2)
    picture = Image.fromarray(np.ascontiguousarray(channel, np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def local_moments(channel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a 7×7 Gaussian window of sigma 7/6, float32 `[H, W]`."""
    exact = channel.astype(np.float64)  # float32 loses the variance of flat areas
    mean = _window_mean(exact)
    variance = _window_mean(exact * exact) - mean * mean
    spread = np.sqrt(np.maximum(variance, 0.0))
    return mean.astype(np.float32), spread.astype(np.float32)


def normalised(channel: np.ndarray) -> np.ndarray:
    """MSCN coefficients (x − μ) / (σ + 1) of `[H, W]`. Mittal et al. 2012, eq. (1)."""
    mean, spread = local_moments(channel)
    return (channel - mean) / (spread + 1.0)


def log_derivatives(values: np.ndarray) -> list[np.ndarray]:
    """The seven log-derivatives of `[H, W]` coefficients. Zhang and Chandler 2013, section 3.

    With J = log(|x| + 0.1): horizontal, vertical, main and second diagonal differences, then the
    three that combine four pixels: a 2×2 square, a cross and the corners of a 3×3 square.
    """
    j = np.log(np.abs(values) + np.float32(_LOG_OFFSET))
    return [
        j[:, 1:] - j[:, :-1],
        j[1:] - j[:-1],
        j[1:, 1:] - j[:-1, :-1],
        j[1:, :-1] - j[:-1, 1:],
        j[:-1, :-1] + j[1:, 1:] - j[:-1, 1:] - j[1:, :-1],
        j[:-2, 1:-1] + j[2:, 1:-1] - j[1:-1, :-2] - j[1:-1, 2:],
        j[:-2, :-2] + j[2:, 2:] - j[:-2, 2:] - j[2:, :-2],
    ]


def neighbour_products(values: np.ndarray) -> list[np.ndarray]:
    """Products of `[H, W]` coefficients with their right, lower and two diagonal neighbours."""
    return [
        values[:, 1:] * values[:, :-1],
        values[1:] * values[:-1],
        values[1:, 1:] * values[:-1, :-1],
        values[1:, :-1] * values[:-1, 1:],
    ]


def fit_ggd(values: np.ndarray) -> tuple[float, float]:
    """Shape (0.2..10) and standard deviation of a zero-mean generalised Gaussian.

    Moment matching: E[|x|]² / E[x²] is a rising function of the shape. Sharifi and Leon-Garcia,
    IEEE TCSVT 5(1), 1995. Values that are all zero have shape 10.
    """
    values = np.ascontiguousarray(values, np.float32)
    mean_abs = cv2.norm(values, cv2.NORM_L1) / values.size
    mean_square = cv2.norm(values, cv2.NORM_L2) ** 2 / values.size
    ratio = mean_abs**2 / mean_square if mean_square else 1.0
    return _shape(ratio), float(np.sqrt(mean_square))


def fit_aggd(values: np.ndarray) -> tuple[float, float, float, float]:
    """Shape (0.2..10), mean and left and right variance of an asymmetric generalised Gaussian.

    Lasmar, Stitou, Berthoumieu, ICIP 2009, as used by Mittal et al. 2012, eq. (10) to (15). An
    empty side has variance 0.
    """
    values = np.ascontiguousarray(values, np.float32)
    left, right = _one_sided_variance(-values), _one_sided_variance(values)
    mean_abs = cv2.norm(values, cv2.NORM_L1) / values.size
    mean_square = cv2.norm(values, cv2.NORM_L2) ** 2 / values.size
    if not mean_square:
        return float(_SHAPES[-1]), 0.0, 0.0, 0.0
    skew = np.sqrt(left / right) if right else np.inf
    balance = _balance(skew if skew <= 1.0 else 1.0 / skew)
    shape = _shape(mean_abs**2 / mean_square * balance)
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


def _balance(skew: float) -> float:
    """(γ³ + 1)(γ + 1) / (γ² + 1)², the same for γ and 1/γ."""
    return (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2


def _one_sided_variance(values: np.ndarray) -> float:
    """Mean square of the positive values."""
    count = int(np.count_nonzero(values > 0))
    return cv2.norm(np.maximum(values, 0), cv2.NORM_L2) ** 2 / count if count else 0.0


def _shape(ratio: float) -> float:
    """The shape whose E[|x|]² / E[x²] is `ratio`, by interpolation in a table."""
    return float(np.interp(ratio, _ratios(), _SHAPES))


@cache
def _ratios() -> np.ndarray:
    return gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


def _window_mean(channel: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(channel, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
