"""Gradient-domain compression: Fattal, Lischinski, Werman, SIGGRAPH 2002."""

import cv2
import numpy as np
from scipy.fft import dctn, idctn

from qdnet_keras.synthesis.light import Array, luminance, recolour, stretch

_COARSEST = 32  # the pyramid stops before a side falls below this, pixels


def gradient_domain(
    rgb: Array, alpha: float = 0.1, beta: float = 0.9, saturation: float = 0.6
) -> Array:
    """Attenuates large gradients of log luminance at all scales and integrates the rest.

    Args:
        rgb: Scene, see `light`.
        alpha: Gradients of this share of the mean gradient are left as they are.
        beta: Larger ones are raised to this power, < 1.
        saturation: Exponent of the colour ratios.
    """
    log = np.log(luminance(rgb)).astype(np.float64)
    attenuation = attenuate(log, alpha, beta)
    right = np.diff(log, axis=1, append=log[:, -1:])
    down = np.diff(log, axis=0, append=log[-1:])
    integrated = solve_poisson(right * attenuation, down * attenuation)
    return recolour(rgb, stretch(np.exp(integrated), 0.01, 99.5), saturation)


def attenuate(log: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Φ of section 4: products over a Gaussian pyramid of (|∇| / α mean |∇|)^(β − 1), `[H, W]`."""
    levels = [log]
    while min(levels[-1].shape) >= 2 * _COARSEST:
        levels.append(cv2.pyrDown(levels[-1]))
    product = np.ones_like(levels[-1])
    for depth in range(len(levels) - 1, -1, -1):
        level = levels[depth]
        size = np.hypot(*(slope / 2**depth for slope in np.gradient(level)))
        share = alpha * size.mean() + 1e-12
        product = cv2.resize(product, level.shape[::-1], interpolation=cv2.INTER_LINEAR)
        product *= (np.maximum(size, 1e-2 * share) / share) ** (beta - 1)
    return product


def solve_poisson(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The picture, mean 0, whose forward differences are nearest to `right` and `down`.

    Neumann borders; exact, by the cosine transform. Arrays are float64 `[H, W]`; the last column
    of `right` and the last row of `down` do not count.
    """
    right, down = right.copy(), down.copy()
    right[:, -1] = 0
    down[-1] = 0
    divergence = np.diff(right, axis=1, prepend=0) + np.diff(down, axis=0, prepend=0)
    rows, columns = (2 * np.cos(np.pi * np.arange(n) / n) - 2 for n in divergence.shape)
    eigenvalues = rows[:, None] + columns
    eigenvalues[0, 0] = 1
    spectrum = dctn(divergence, norm="ortho") / eigenvalues
    spectrum[0, 0] = 0
    return idctn(spectrum, norm="ortho")
