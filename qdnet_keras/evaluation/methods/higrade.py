"""HIGRADE: Kundu, Ghadiyaram, Bovik, Evans, "No-Reference Quality Assessment of Tone-Mapped HDR
Pictures", IEEE Transactions on Image Processing 26(6), 2017.

For L*, a* and b* (L* on 0..255, a* and b* shifted by 128), at two scales, 18 statistics: mean and
squared ratio of mean to deviation of the local standard deviation; the generalised Gaussian of the
MSCN coefficients; those of their seven log-derivatives.

HIGRADE-1, 216 features: these 36 of every channel, and 36 of its Sobel gradient magnitude.
HIGRADE-2, 120 features: these 36 of every channel, and mean, standard deviation, skewness and
kurtosis of the coherence of its structure tensor in blocks of 9×9. These are the dimensions of the
authors' release.

They are those of the release but for the coherence. There each block is taken out of the picture
before its gradients are computed, so that its borders count as edges; here gradients are those of
the whole picture.
"""

import cv2
import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.colour import D50, cielab
from qdnet_keras.evaluation.methods.nss import (
    four_moments,
    half,
    local_moments,
    log_derivatives,
    spread_and_shape,
)

DIMENSION_1 = 216
DIMENSION_2 = 120
_BLOCK = 9
_TENSOR_SIGMA = 0.5
_TINY = 1e-6  # against a division by 0


def features_1(pixels: np.ndarray) -> np.ndarray:
    """The 216 features of HIGRADE-1 of a picture, float32."""
    values = []
    for channel in channels(pixels):
        values += [*spatial(channel), *spatial(gradient_magnitude(channel))]
    return np.array(values, np.float32)


def features_2(pixels: np.ndarray) -> np.ndarray:
    """The 120 features of HIGRADE-2 of a picture, float32."""
    values = []
    for channel in channels(pixels):
        values += [*spatial(channel), *four_moments(coherence(channel))]
    return np.array(values, np.float32)


def channels(pixels: np.ndarray) -> list[np.ndarray]:
    """8-bit CIELAB of D50: 2.55 L*, a* + 128 and b* + 128, rounded, three float64 `[H, W]`."""
    lightness, red_green, yellow_blue = cielab(pixels, D50)
    scaled = (2.55 * lightness, red_green + 128, yellow_blue + 128)
    return [np.clip(np.rint(channel), 0, 255) for channel in scaled]


def gradient_magnitude(channel: np.ndarray) -> np.ndarray:
    """Sobel gradient magnitude of `[H, W]`, borders replicated."""
    border = cv2.BORDER_REPLICATE
    horizontal = cv2.Sobel(channel, cv2.CV_64F, 1, 0, borderType=border)
    vertical = cv2.Sobel(channel, cv2.CV_64F, 0, 1, borderType=border)
    return np.hypot(horizontal, vertical)


def spatial(channel: np.ndarray) -> list[float]:
    """The 18 statistics of `[H, W]` at full and at half size."""
    return [*_one_scale(channel), *_one_scale(half(channel))]


def coherence(channel: np.ndarray) -> np.ndarray:
    """((λ₁ − λ₂) / (λ₁ + λ₂))² of the structure tensor of each 9×9 block of `[H, W]`.

    1 where the block has one orientation, 0 where it has none or is flat.
    """
    smooth = cv2.GaussianBlur(channel, (3, 3), _TENSOR_SIGMA, borderType=cv2.BORDER_REPLICATE)
    padded = np.pad(smooth, 1, mode="edge")
    horizontal = padded[1:-1, 2:] - padded[1:-1, :-2]
    vertical = padded[2:, 1:-1] - padded[:-2, 1:-1]
    xx, yy = _block_sums(horizontal**2), _block_sums(vertical**2)
    xy = _block_sums(horizontal * vertical)
    trace = xx + yy
    difference = (xx - yy) ** 2 + 4 * xy**2
    return np.divide(difference, trace**2, out=np.zeros_like(trace), where=trace > 1e-9).ravel()


def _one_scale(channel: np.ndarray) -> list[float]:
    mean, spread = local_moments(channel)
    values = [float(spread.mean()), float(spread.mean() ** 2 / (spread.var(ddof=1) + _TINY))]
    coefficients = (channel - mean) / (spread + 1.0)
    for sample in (coefficients, *log_derivatives(coefficients)):
        values += spread_and_shape(sample)
    return values


def _block_sums(values: np.ndarray) -> np.ndarray:
    rows, columns = values.shape[0] // _BLOCK, values.shape[1] // _BLOCK
    blocks = values[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    return blocks.sum(axis=(1, 3))


class Higrade1(Baseline):
    """HIGRADE-1 with a support vector regressor."""

    name = "higrade-1"
    dimension = DIMENSION_1
    describe = staticmethod(features_1)


class Higrade2(Baseline):
    """HIGRADE-2 with a support vector regressor."""

    name = "higrade-2"
    dimension = DIMENSION_2
    describe = staticmethod(features_2)
