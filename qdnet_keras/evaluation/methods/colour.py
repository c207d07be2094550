"""Colour of 8-bit sRGB pictures as the methods see it: CIELAB and opponent channels."""

import numpy as np

from qdnet_keras.evaluation.methods.nss import eight_bits

_EDGE = 6 / 29
# From linear sRGB to X, Y and Z over those of white.
_XYZ_OF_D65 = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
D65 = _XYZ_OF_D65 / _XYZ_OF_D65.sum(axis=1, keepdims=True)
_XYZ_OF_D50 = np.array(  # with the digits of sRGB's colour profile
    [
        [0.43607, 0.38515, 0.14307],
        [0.22249, 0.71687, 0.06061],
        [0.01392, 0.09708, 0.71410],
    ]
)
D50 = _XYZ_OF_D50 / np.array([[0.9642], [1.0], [0.8249]])


def cielab(pixels: np.ndarray, primaries: np.ndarray = D65) -> tuple[np.ndarray, ...]:
    """L* in 0..100, a* and b* of a uint8 or uint16 picture, three float64 `[H, W]`.

    Args:
        pixels: sRGB, `[H, W, 3]`; rounded to 8 bits.
        primaries: `D65` or `D50`.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    relative = linear[eight_bits(pixels)] @ primaries.T
    dark = relative / (3 * _EDGE**2) + 4 / 29
    x, y, z = np.moveaxis(np.where(relative > _EDGE**3, np.cbrt(relative), dark), -1, 0)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def opponents(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Luma, yellow-blue and red-green of `[H, W, 3]`, each float64 `[H, W]` on the same scale."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    return {
        "luma": 0.299 * red + 0.587 * green + 0.114 * blue,
        "yellow_blue": 0.5 * (red + green) - blue,
        "red_green": red - green,
    }
