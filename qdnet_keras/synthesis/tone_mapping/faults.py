"""Deliberate faults: a sound rendering made worse by a strength of 0 (not at all) to 1."""

from functools import partial

import numpy as np

from qdnet_keras.synthesis.edits import rims, spread
from qdnet_keras.synthesis.light import Array, expose, key, luminance, recolour
from qdnet_keras.synthesis.tone_mapping.photographic import photographic

MAX_STOPS = 4.0  # off the middle exposure at full strength


def underexposed(rgb: Array, strength: float) -> Array:
    """One exposure, too short."""
    return expose(rgb, -MAX_STOPS * strength)


def overexposed(rgb: Array, strength: float) -> Array:
    """One exposure, too long."""
    return expose(rgb, MAX_STOPS * strength)


def oversaturated(rgb: Array, strength: float) -> Array:
    """Colour ratios raised to up to three times their power."""
    return photographic(rgb, saturation=0.9 + 2 * strength)


def desaturated(rgb: Array, strength: float) -> Array:
    """Colour taken away, all of it at full strength."""
    return photographic(rgb, saturation=0.9 * (1 - strength))


def low_contrast(rgb: Array, strength: float) -> Array:
    """All values drawn towards grey, with a veil: a tenth of the contrast is left at most."""
    return spread(photographic(rgb), 0.55, 1 - 0.9 * strength)


def harsh_contrast(rgb: Array, strength: float) -> Array:
    """Values pushed away from the middle until shadows and lights clip."""
    return spread(photographic(rgb), 0.5, 1 + 3 * strength)


def cast(rgb: Array, strength: float, tint: tuple[float, float, float]) -> Array:
    """Light of another colour: channels multiplied by up to `tint`, luminance kept."""
    gains = np.asarray(tint, np.float32) ** strength
    tinted = rgb * gains
    tinted *= (luminance(rgb) / luminance(tinted))[..., None]
    return photographic(tinted)


warm_cast = partial(cast, tint=(2.2, 1.0, 0.3))
green_cast = partial(cast, tint=(0.8, 1.4, 0.6))
blue_cast = partial(cast, tint=(0.5, 1.0, 2.6))


def halo(rgb: Array, strength: float) -> Array:
    """Bright and dark rims along strong edges, from a wide unsharp mask of the rendering."""
    return rims(photographic(rgb), 0.025, 2.5 * strength)


def washed_out(rgb: Array, strength: float) -> Array:
    """Grey veil: strong compression, raised black and little colour."""
    scaled = luminance(rgb) / key(rgb)
    veil = 0.36 + 0.5 * recolour(rgb, 0.22 * scaled**0.5, 0.5)
    return (photographic(rgb) * (1 - strength) + veil * strength).astype(np.float32)
