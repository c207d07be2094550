"""BIBQA: Yue, Hou, Gu, Mao, Zhai, "Biologically Inspired Blind Quality Assessment of Tone-Mapped
Images", IEEE Transactions on Industrial Electronics 65(3), 2018.

**A reconstruction of the idea.** The published text was not at hand, so neither its list of
features nor their number is claimed here: the method reads colour, contrast and structure as early
vision does, and each is taken from a published model of early vision.

60 features, 30 at each of two scales:

* colour (14): for the opponent channels red-green and yellow-blue, mean, deviation, skewness and
  kurtosis of the single-opponent response, and the generalised Gaussian (deviation, shape) and the
  entropy of the double-opponent one (centre minus surround: Gaussians of sigma 1 and 3);
* contrast (6): mean and deviation of contrast energy in luma, red-green and yellow-blue, with the
  gain and the noise thresholds of Choi, You, Bovik, IEEE TIP 24(11), 2015 (after Groen et al.
  2013);
* structure (10): histogram of rotation-invariant uniform local binary patterns (8 neighbours) of
  the MSCN coefficients. Ojala, Pietikäinen, Mäenpää, IEEE TPAMI 24(7), 2002.
"""

from functools import cache

import cv2
import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.nss import fit_ggd, four_moments, grey, half, normalised, on_255

DIMENSION = 60
_CENTRE, _SURROUND = 1.0, 3.0
_ENTROPY_BINS = 64
_CONTRAST_SIGMA = 3.25
_CONTRAST_GAIN = 0.1
_NOISE = {"luma": 0.2353, "yellow_blue": 0.2287, "red_green": 0.0528}
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def features(pixels: np.ndarray) -> np.ndarray:
    """The 60 features of a picture, float32."""
    rgb = on_255(pixels)
    smaller = np.stack([half(channel) for channel in cv2.split(rgb)], axis=-1)
    return np.array([*_one_scale(rgb), *_one_scale(smaller)], np.float32)


def opponents(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Luma, red-green and yellow-blue of `[H, W, 3]`, each float32 `[H, W]`."""
    red, green, blue = cv2.split(rgb)
    return {
        "luma": grey(rgb),
        "yellow_blue": (red + green) / 2 - blue,
        "red_green": red - green,
    }


def contrast_energy(channel: np.ndarray, noise: float) -> np.ndarray:
    """Contrast energy of `[H, W]` on the 0..255 scale: gain control, noise threshold, ≥ 0.

    The energy of the horizontal and vertical second derivatives of a Gaussian.
    """
    bell, curve = _contrast_kernels()
    border = cv2.BORDER_REPLICATE
    horizontal = cv2.sepFilter2D(channel, cv2.CV_32F, curve, bell, borderType=border)
    vertical = cv2.sepFilter2D(channel, cv2.CV_32F, bell, curve, borderType=border)
    energy = cv2.magnitude(horizontal, vertical)
    strongest = np.float32(energy.max())
    if strongest < 1e-6:
        return np.zeros_like(energy)
    controlled = strongest * energy / (energy + strongest * np.float32(_CONTRAST_GAIN))
    return np.maximum(controlled - np.float32(noise), 0)


def pattern_histogram(values: np.ndarray) -> np.ndarray:
    """Shares of the 10 rotation-invariant uniform patterns of `[H, W]`, sum 1."""
    inner = values[1:-1, 1:-1]
    height, width = inner.shape
    bits = np.stack(
        [
            values[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] >= inner
            for dy, dx in _NEIGHBOURS
        ]
    )
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    patterns = np.where(changes <= 2, bits.sum(axis=0), len(_NEIGHBOURS) + 1)
    return np.bincount(patterns.ravel(), minlength=len(_NEIGHBOURS) + 2) / patterns.size


def _one_scale(rgb: np.ndarray) -> list[float]:
    channels = opponents(rgb)
    values: list[float] = []
    for name in ("red_green", "yellow_blue"):
        values += _colour(channels[name])
    for name, channel in channels.items():
        energy = contrast_energy(channel, _NOISE[name])
        values += [float(energy.mean()), float(energy.std())]
    return [*values, *pattern_histogram(normalised(channels["luma"]))]


def _colour(channel: np.ndarray) -> list[float]:
    double = _blurred(channel, _CENTRE) - _blurred(channel, _SURROUND)
    shape, spread = fit_ggd(double)
    return [*four_moments(channel), spread, shape, _entropy(double)]


def _entropy(values: np.ndarray) -> float:
    """Entropy in bits of the histogram of values over -128..128."""
    counts, _ = np.histogram(values, _ENTROPY_BINS, (-128, 128))
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())


def _blurred(channel: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(channel, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


@cache
def _contrast_kernels() -> tuple[np.ndarray, np.ndarray]:
    """1-D: a Gaussian of sum 1, and its second derivative, which maps x² / 2 to 1."""
    radius = int(np.ceil(3 * _CONTRAST_SIGMA))
    x = np.arange(-radius, radius + 1)
    bell = np.exp(-(x**2) / (2 * _CONTRAST_SIGMA**2))
    curve = (x**2 - _CONTRAST_SIGMA**2) * bell
    curve -= curve.mean()
    return bell / bell.sum(), curve / (curve * x**2 / 2).sum()


class Bibqa(Baseline):
    """The reconstruction of BIBQA with a support vector regressor."""

    name = "bibqa"
    dimension = DIMENSION
    describe = staticmethod(features)
