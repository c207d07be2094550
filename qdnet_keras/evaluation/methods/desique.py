"""DESIQUE: Zhang and Chandler, "No-reference image quality assessment based on log-derivative
statistics of natural scenes", Journal of Electronic Imaging 22(4), 2013.

60 features, 30 at each of two scales, all of them (standard deviation, shape) of generalised
Gaussians: MSCN coefficients (2), their seven log-derivatives (14), and the seven log-derivatives of
the finest log-Gabor band (14).

The spatial half agrees with the release of HIGRADE, which holds the same log-derivatives. The
log-Gabor half is unverified: no release was found. Chosen there: the band is isotropic and real,
centred at a wavelength of 3 pixels with a ratio of 0.65 (about 1.5 octaves). The two-stage
framework that names a distortion first is left out, as data sets of tone-mapped pictures have no
distortion labels, and one regressor takes its place.
"""

from functools import lru_cache

import numpy as np
from scipy import fft

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.nss import (
    grey,
    half,
    log_derivatives,
    normalised,
    spread_and_shape,
)

DIMENSION = 60
_WAVELENGTH = 3.0
_BANDWIDTH_RATIO = 0.65


def features(pixels: np.ndarray) -> np.ndarray:
    """The 60 features of a picture, float32."""
    luma = grey(pixels)
    return np.array([*_one_scale(luma), *_one_scale(half(luma))], np.float32)


def log_gabor(luma: np.ndarray) -> np.ndarray:
    """The finest band of `[H, W]`, of the same size. Field 1987: no response to a mean."""
    spectrum = fft.rfft2(luma)
    return fft.irfft2(spectrum * _transfer(*luma.shape), s=luma.shape)


def _one_scale(luma: np.ndarray) -> list[float]:
    coefficients = normalised(luma)
    fitted = [coefficients, *log_derivatives(coefficients), *log_derivatives(log_gabor(luma))]
    return [value for sample in fitted for value in spread_and_shape(sample)]


@lru_cache(maxsize=16)
def _transfer(height: int, width: int) -> np.ndarray:
    vertical, horizontal = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :]
    frequency = np.hypot(vertical, horizontal)
    frequency[0, 0] = 1.0
    response = np.exp(-((np.log(frequency * _WAVELENGTH) / np.log(_BANDWIDTH_RATIO)) ** 2) / 2)
    response[0, 0] = 0.0
    return response


class Desique(Baseline):
    """DESIQUE with a support vector regressor."""

    name = "desique"
    dimension = DIMENSION
    describe = staticmethod(features)
