"""Remedies: small edits that a photographer would try, each at a standard size and larger ones.

Each is a pure function of pixels and a size. Pixels are sRGB-encoded, float32 `[H, W, 3]` in 0..1,
and so is what is returned. At size 0 nothing changes.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from qdnet_keras.synthesis.edits import rims, spread
from qdnet_keras.synthesis.light import BT709, Array, decode, encode, luminance

_DETAIL = 0.012  # of the long side: width of the blur that local contrast is seen against
_NEIGHBOURHOOD = 0.04  # of the long side: where haze is as thick
_SHADES = 6  # Minkowski norm of shades of grey, Finlayson and Trezzi 2004
_LEAST_LUMA = 1e-3
_GRAIN = 2.0  # pixels


class Remedy(NamedTuple):
    """`say` names the edit at a size in words; `sizes` ascend, the first is the standard one."""

    sizes: tuple[float, ...]
    say: Callable[[float], str]
    apply: Callable[[Array, float], Array]


def expose(pixels: Array, stops: float) -> Array:
    """Light multiplied by a power of two; what becomes too bright clips."""
    return encode(decode(pixels) * np.float32(2**stops))


def middle_tones(pixels: Array, share: float) -> Array:
    """A power of the values that moves one half by `share`; black and white stay."""
    return pixels ** np.float32(np.log(0.5 + share) / np.log(0.5))


def contrast(pixels: Array, share: float) -> Array:
    """Differences from the mean level multiplied by 1 + `share`, clipped to 0..1."""
    return spread(pixels, float(luminance(pixels).mean()), 1 + share)


def highlights(pixels: Array, share: float) -> Array:
    """Lights moved by up to `share`, white most; middle tones and shadows hardly."""
    luma = luminance(pixels)
    return _to_luma(pixels, luma, luma + share * luma**3)


def shadows(pixels: Array, share: float) -> Array:
    """Dark tones moved by up to `share`; lights hardly. Black stays black when they rise."""
    luma = luminance(pixels)
    weight = (1 - luma) ** 3 if share < 0 else 9.5 * luma * (1 - luma) ** 3  # both 1 at the most
    return _to_luma(pixels, luma, luma + share * weight)


def saturation(pixels: Array, share: float) -> Array:
    """Colour multiplied by 1 + `share`, luma kept, clipped to 0..1."""
    luma = luminance(pixels)[..., None]
    return np.clip(luma + (1 + share) * (pixels - luma), 0, 1)


def warmth(pixels: Array, size: float) -> Array:
    """Red times e^`size`, blue divided by it, in linear light; white keeps its luminance."""
    return _balance(pixels, np.array([size, 0.0, -size]))


def neutral(pixels: Array, share: float) -> Array:
    """A share of the way to the balance whose bright colours are grey on the whole."""
    light = decode(pixels)
    norms = np.mean(light.reshape(-1, 3) ** _SHADES, axis=0, dtype=np.float64) ** (1 / _SHADES)
    return _balance(pixels, -share * np.log(np.maximum(norms, 1e-6)))


def local_contrast(pixels: Array, share: float) -> Array:
    """Luma's difference from what is around it multiplied by 1 + `share`, clipped to 0..1."""
    return rims(pixels, _DETAIL, share)


def denoise(pixels: Array, size: float) -> Array:
    """Bilateral filter: differences of up to about `size` within some pixels are averaged."""
    return np.clip(cv2.bilateralFilter(pixels, -1, size, _GRAIN), 0, 1) if size else pixels


def dehaze(pixels: Array, share: float) -> Array:
    """A share of the veil taken away that the dark channel tells, He, Sun and Tang 2009.

    Its light is the colour of the thickest haze; the veil's thickness is smooth.
    """
    width = max(3, round(_NEIGHBOURHOOD * max(pixels.shape)) | 1)
    dark = cv2.erode(pixels.min(axis=-1), np.ones((width, width), np.uint8))
    dark = cv2.GaussianBlur(dark, (0, 0), width)
    thickest = dark >= np.percentile(dark, 95)
    light = np.maximum(np.percentile(pixels[thickest], 90, axis=0), 0.5).astype(np.float32)
    kept = 1 - share * np.minimum(dark / light.max(), 0.95)[..., None]
    return np.clip((pixels - light) / kept + light, 0, 1)


def _to_luma(pixels: Array, luma: Array, new: Array) -> Array:
    """Colours carried along, so that they are neither paler nor stronger."""
    ratio = np.maximum(new, 0) / np.maximum(luma, _LEAST_LUMA)
    return np.clip(pixels * ratio[..., None], 0, 1)


def _balance(pixels: Array, logs: np.ndarray) -> Array:
    gains = np.exp(logs)
    return encode(decode(pixels) * (gains / (gains @ BT709)).astype(np.float32))


def _opposites(function: Callable[[Array, float], Array]) -> Callable[[Array, float], Array]:
    return lambda pixels, size: function(pixels, -size)


def _stops(size: float) -> str:
    whole = {1 / 3: "a third of a stop", 2 / 3: "two thirds of a stop"}
    return whole.get(size, f"{size:.2g} stops")


def _percent(text: str) -> Callable[[float], str]:
    return lambda size: f"{100 * size:.0f} % {text}"


_STOPS = (1 / 3, 2 / 3, 4 / 3, 8 / 3)
_LEVELS = (0.05, 0.1, 0.2)
_SHARES = (0.15, 0.3, 0.6)
_WARMTHS = (0.06, 0.12, 0.24)

REMEDIES = {
    "brighter": Remedy(_STOPS, lambda size: f"brighter by {_stops(size)}", expose),
    "darker": Remedy(_STOPS, lambda size: f"darker by {_stops(size)}", _opposites(expose)),
    "lighter middle tones": Remedy(_LEVELS, _percent("lighter middle tones"), middle_tones),
    "darker middle tones": Remedy(
        _LEVELS, _percent("darker middle tones"), _opposites(middle_tones)
    ),
    "more contrast": Remedy((*_SHARES, 1.2), _percent("more contrast"), contrast),
    "less contrast": Remedy(_SHARES, _percent("less contrast"), _opposites(contrast)),
    "brighter highlights": Remedy((0.1, 0.2, 0.4), _percent("brighter highlights"), highlights),
    "darker highlights": Remedy(
        (0.1, 0.2, 0.4), _percent("darker highlights"), _opposites(highlights)
    ),
    "lighter shadows": Remedy(_LEVELS, _percent("lighter shadows"), shadows),
    "deeper shadows": Remedy(_LEVELS, _percent("deeper shadows"), _opposites(shadows)),
    "more colour": Remedy((0.2, 0.4, 0.8, 1.6), _percent("more colour"), saturation),
    "less colour": Remedy((0.15, 0.3, 0.6), _percent("less colour"), _opposites(saturation)),
    "warmer": Remedy(_WARMTHS, _percent("warmer"), warmth),
    "cooler": Remedy(_WARMTHS, _percent("cooler"), _opposites(warmth)),
    "neutral": Remedy((0.33, 0.67, 1.0), _percent("of the colour cast removed"), neutral),
    "more local contrast": Remedy(_SHARES, _percent("more local contrast"), local_contrast),
    "less local contrast": Remedy(
        _SHARES, _percent("less local contrast"), _opposites(local_contrast)
    ),
    "less noise": Remedy(
        (0.02, 0.04), lambda size: f"noise of {100 * size:.0f} % smoothed", denoise
    ),
    "less haze": Remedy((0.25, 0.5, 1.0), _percent("of the haze removed"), dehaze),
}
