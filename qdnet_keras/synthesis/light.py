"""What all operators share: luminance, exposure, colour and the sRGB encoding.

Scenes are linear RGB, float32 `[H, W, 3]`, BT.709 primaries, positive, of any log-average.
Renderings are sRGB-encoded, float32 `[H, W, 3]` in 0..1.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BT709 = np.array([0.2126, 0.7152, 0.0722], np.float32)
MIDDLE_GREY = 0.18


def luminance(rgb: Array) -> Array:
    """BT.709 luminance `[H, W]` of linear RGB."""
    return rgb @ BT709


def key(rgb: Array) -> float:
    """Log-average luminance of what is not black."""
    light = luminance(rgb)
    return float(np.exp(np.log(light[light > 0]).mean()))


def encode(linear: Array) -> Array:
    """Linear RGB, clipped to 0..1, in sRGB encoding."""
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


def decode(pixels: Array) -> Array:
    """Linear RGB of sRGB-encoded values in 0..1."""
    curve = ((pixels + 0.055) / 1.055) ** 2.4
    return np.where(pixels <= 0.04045, pixels / 12.92, curve).astype(np.float32)


def recolour(rgb: Array, mapped: Array, saturation: float) -> Array:
    """Gives `rgb` the luminance `mapped` `[H, W]`; colour ratios are raised to `saturation`."""
    ratio = rgb / luminance(rgb)[..., None]
    return encode(mapped[..., None] * ratio**saturation)


def expose(rgb: Array, stops: float = 0.0) -> Array:
    """A single clipped exposure; at 0 stops the log-average becomes middle grey."""
    return encode(rgb * (MIDDLE_GREY * 2**stops / key(rgb)))


def stretch(mapped: Array, low: float = 0.5, high: float = 99.5) -> Array:
    """Maps the percentiles `low` and `high` of a luminance to 0 and 1, linearly."""
    black, white = np.percentile(mapped, [low, high])
    return ((mapped - black) / max(white - black, 1e-6)).astype(np.float32)
