"""BRISQUE: Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain",
IEEE Transactions on Image Processing 21(12), 2012.

36 features: at two scales, the generalised Gaussian of the MSCN coefficients (shape, variance) and
the asymmetric one of their products with four neighbours (shape, mean, left and right variance).
They are those of the authors' release; where a picture is exactly flat, the latter are rounding
noise in both.
"""

import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.nss import (
    fit_aggd,
    fit_ggd,
    grey,
    half,
    neighbour_products,
    normalised,
)

DIMENSION = 36


def features(pixels: np.ndarray) -> np.ndarray:
    """The 36 features of a picture, float32."""
    luma = grey(pixels)
    return np.array([*_one_scale(luma), *_one_scale(half(luma))], np.float32)


def _one_scale(luma: np.ndarray) -> list[float]:
    coefficients = normalised(luma)
    shape, spread = fit_ggd(coefficients)
    values = [shape, spread**2]
    for product in neighbour_products(coefficients):
        values += fit_aggd(product)
    return values


class Brisque(Baseline):
    """BRISQUE with a support vector regressor."""

    name = "brisque"
    dimension = DIMENSION
    describe = staticmethod(features)
