"""A rendering of a small scene carried over to the scene in full size.

Near each pixel of the small pair, a channel of the rendering is a straight line in the logarithm of
the scene's, as in the guided filter (He, Sun and Tang 2010) and bilateral guided upsampling (Chen
et al. 2016). Lines change slowly from place to place, so that they can be enlarged, and fine detail
comes from the scene itself.
"""

import cv2
import numpy as np

from qdnet_keras.photos.pixels import row_bands
from qdnet_keras.synthesis.light import Array

_NEAR, _WIDE = 3, 31  # pixels: sides of the windows that lines are fitted in
_EVEN = 1e-4  # variance of log radiance below which a window tells no slope; the wide one does


def carry(scene: Array, small: Array, rendering: Array) -> np.ndarray:
    """Renders a scene as a small copy of it was rendered.

    Args:
        scene: Linear RGB, positive, `[H, W, 3]`.
        small: Its area means, `[h, w, 3]`.
        rendering: Of `small`, sRGB-encoded, `[h, w, 3]` in 0..1.

    Returns:
        uint8 `[H, W, 3]`.
    """
    slope, offset = fit_lines(np.log(small), rendering)
    height, width = scene.shape[:2]
    rows, columns = small.shape[:2]
    x = (np.arange(width, dtype=np.float32) + 0.5) * (columns / width) - 0.5
    y = (np.arange(height, dtype=np.float32) + 0.5) * (rows / height) - 0.5
    output = np.empty(scene.shape, np.uint8)
    for band in row_bands(scene.shape):
        at_x, at_y = np.meshgrid(x, y[band])
        local_slope, local_offset = (
            cv2.remap(lines, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for lines in (slope, offset)
        )
        value = local_slope * np.log(scene[band]) + local_offset
        output[band] = np.rint(255 * np.clip(value, 0, 1)).astype(np.uint8)
    return output


def fit_lines(log: Array, rendering: Array) -> tuple[Array, Array]:
    """Slope and offset, float32 `[h, w, 3]` each, with slope · log + offset near the rendering."""
    slope = np.zeros_like(log)
    for side in (_WIDE, _NEAR):
        mean_log, mean = _mean(log, side), _mean(rendering, side)
        covariance = _mean(log * rendering, side) - mean_log * mean
        variance = np.maximum(_mean(log * log, side) - mean_log**2, 0)
        slope = (covariance + _EVEN * slope) / (variance + _EVEN)
    slope, offset = _mean(slope, _NEAR), _mean(mean - slope * mean_log, _NEAR)
    return slope, offset


def _mean(values: Array, side: int) -> Array:
    mean = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(mean, np.float32)
