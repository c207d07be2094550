"""GM-LOG: Xue, Mou, Zhang, Bovik, Feng, "Blind Image Quality Assessment Using Joint Statistics of
Gradient Magnitude and Laplacian Features", IEEE Transactions on Image Processing 23(11), 2014.

40 features, the paper's model M3: marginal probabilities of the jointly normalised gradient
magnitude and Laplacian of Gaussian in 10 levels each, and their independency distributions.

As in the release: levels have a width of 0.2 and hold their upper bound, the last is open; kernels
have weights whose absolute values sum to 1, then the gradient is divided by 2.5, the mean ratio of
the two on natural pictures; its kernel is a Gaussian minus the same one pixel further.
"""

from functools import cache

import cv2
import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.nss import grey

DIMENSION = 40
_SIGMA = 0.5
_LEVELS = 10
_LEVEL_WIDTH = 0.2
_EPSILON = 0.2
_GRADIENT_RATIO = 2.5
_BORDER = 2  # pixels, where windows see zeros
_RARE = 1e-4  # added to the probability of a condition


def features(pixels: np.ndarray) -> np.ndarray:
    """The 40 features of a picture, float32."""
    gradient, laplacian = normalised_maps(grey(pixels))
    joint = joint_probability(gradient, laplacian)
    of_gradient, of_laplacian = joint.sum(axis=1), joint.sum(axis=0)
    return np.concatenate(
        [of_gradient, of_laplacian, independency(joint), independency(joint.T)]
    ).astype(np.float32)


def normalised_maps(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient magnitude and absolute LOG of `[H, W]` over their joint local energy, no border."""
    horizontal, vertical, log = _kernels()
    gradient = np.hypot(_filtered(luma, horizontal), _filtered(luma, vertical)) / _GRADIENT_RATIO
    laplacian = np.abs(_filtered(luma, log))
    size = 2 * _radius(2 * _SIGMA) + 1
    energy = (gradient**2 + laplacian**2) / 2
    energy = cv2.GaussianBlur(energy, (size, size), 2 * _SIGMA, borderType=cv2.BORDER_CONSTANT)
    scale = np.sqrt(energy) + _EPSILON
    inner = (slice(_BORDER, -_BORDER),) * 2
    return (gradient / scale)[inner], (laplacian / scale)[inner]


def joint_probability(gradient: np.ndarray, laplacian: np.ndarray) -> np.ndarray:
    """P(G in level m, L in level n) as `[10, 10]`, sum 1."""
    rows, columns = (
        np.clip(np.ceil(values / _LEVEL_WIDTH) - 1, 0, _LEVELS - 1).astype(np.int64).ravel()
        for values in (gradient, laplacian)
    )
    counts = np.bincount(rows * _LEVELS + columns, minlength=_LEVELS**2)
    return counts.reshape(_LEVELS, _LEVELS) / rows.size


def independency(joint: np.ndarray) -> np.ndarray:
    """Sum over the columns of P(row | column), eq. (11), normalised to sum 1.

    It is nearly the marginal of the rows where the two are independent.
    """
    conditional = (joint / (joint.sum(axis=0) + _RARE)).sum(axis=1)
    return conditional / conditional.sum()


def _filtered(luma: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(luma, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)


def _radius(sigma: float) -> int:
    return int(np.ceil(3 * sigma))


@cache
def _kernels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Horizontal and vertical difference of Gaussians, and the Laplacian, sum of weights 0."""
    radius = _radius(_SIGMA)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 2]
    bell = np.exp(-(x**2 + y**2) / (2 * _SIGMA**2))
    difference = bell[:, :-1] - bell[:, 1:]
    laplacian = ((x**2 + y**2 - 2 * _SIGMA**2) * bell)[:, :-1]
    laplacian -= laplacian.mean()
    kernels = difference, difference.T, laplacian
    first, second, third = (kernel / np.abs(kernel).sum() for kernel in kernels)
    return first, second, third


class GmLog(Baseline):
    """GM-LOG with a support vector regressor."""

    name = "gm-log"
    dimension = DIMENSION
    describe = staticmethod(features)
