"""BIBQA: Yue, Hou, Gu, Mao, Zhang, "Biologically Inspired Blind Quality Assessment of Tone-Mapped
Images", IEEE Transactions on Industrial Electronics 65(3), 2018.

**A reconstruction of the idea, unverified.** There is no public release and the published text was
not at hand, so neither its list of features nor their number is claimed here: the method reads
colour, contrast and structure as early vision does, each taken from a published model of it.

60 features, 30 at each of two scales:

* colour (14): for the opponent channels red-green and yellow-blue, mean, deviation, skewness and
  kurtosis of the single-opponent response, and the generalised Gaussian (deviation, shape) and the
  entropy of the double-opponent one (centre minus surround: Gaussians of sigma 1 and 3);
* contrast (6): mean and deviation of contrast energy in luma, yellow-blue and red-green;
* structure (10): histogram of local patterns (radius 1) of the MSCN coefficients.
"""

import cv2
import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.colour import opponents
from qdnet_keras.evaluation.methods.contrast import NOISE, contrast_energy, pattern_histogram
from qdnet_keras.evaluation.methods.nss import (
    eight_bits,
    fit_ggd,
    four_moments,
    half,
    normalised,
)

DIMENSION = 60
_CENTRE, _SURROUND = 1.0, 3.0
_ENTROPY_BINS = 64


def features(pixels: np.ndarray) -> np.ndarray:
    """The 60 features of a picture, float32."""
    rgb = eight_bits(pixels).astype(np.float64)
    smaller = np.stack([half(channel) for channel in cv2.split(rgb)], axis=-1)
    return np.array([*_one_scale(rgb), *_one_scale(smaller)], np.float32)


def _one_scale(rgb: np.ndarray) -> list[float]:
    channels = opponents(rgb)
    values: list[float] = []
    for name in ("red_green", "yellow_blue"):
        values += _colour(channels[name])
    for name, noise in NOISE.items():
        energy = contrast_energy(channels[name], noise)
        values += [float(energy.mean()), float(energy.std())]
    return [*values, *pattern_histogram(normalised(channels["luma"]), radius=1)]


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


class Bibqa(Baseline):
    """The reconstruction of BIBQA with a support vector regressor."""

    name = "bibqa"
    dimension = DIMENSION
    describe = staticmethod(features)
