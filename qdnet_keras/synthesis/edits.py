"""Deliberate edits: tone and colour changes that spoil a well-liked photograph.

Each is a pure function of pixels, a strength and a generator. Pixels are sRGB-encoded, float32
`[H, W, 3]` in 0..1, and so is what is returned. At strength 0 nothing changes; with the generator
in the same state a larger strength, up to 1, changes more. What the generator draws is the look of
an edit (such as the colour of a cast), never its size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from qdnet_keras.synthesis.light import BT709, Array, decode, encode, luminance

MIN_STRENGTH = 0.25  # of an edit that is drawn; weaker ones are hardly seen

Random = np.random.Generator


class Edit(NamedTuple):
    """`aspect` is what it changes: "light", "contrast", "colour", "balance" or "detail".

    Two edits of one aspect may undo each other.
    """

    aspect: str
    apply: Callable[[Array, float, Random], Array]


class Drawn(NamedTuple):
    """Name of an edit in `EDITS`, and its strength, 0..1."""

    name: str
    strength: float


def draw_edits(random: Random, names: Sequence[str] | None = None, most: int = 2) -> list[Drawn]:
    """One to `most` edits of different aspects, each number as likely, strengths uniform.

    `names` are those to draw from, without it all of `EDITS`; fewer than asked for are drawn where
    they have too few aspects.
    """
    left = list(EDITS if names is None else names)
    drawn: list[Drawn] = []
    count = random.integers(1, most, endpoint=True)
    while left and len(drawn) < count:
        name = left[random.integers(len(left))]
        drawn.append(Drawn(name, random.uniform(MIN_STRENGTH, 1)))
        left = [other for other in left if EDITS[other].aspect != EDITS[name].aspect]
    return drawn


def apply_edits(pixels: Array, edits: Sequence[Drawn], random: Random) -> Array:
    """The edits one after the other."""
    for name, strength in edits:
        pixels = EDITS[name].apply(pixels, strength, random)
    return pixels


def under(pixels: Array, strength: float, random: Random) -> Array:
    """Exposed too short, by up to three stops."""
    return encode(decode(pixels) * 2 ** (-3 * strength))


def over(pixels: Array, strength: float, random: Random) -> Array:
    """Exposed too long, by up to two stops: lights burn out."""
    return encode(decode(pixels) * 2 ** (2 * strength))


def dark(pixels: Array, strength: float, random: Random) -> Array:
    """Middle tones pulled down by a power of up to 2.5."""
    return pixels ** (1 + 1.5 * strength)


def pale(pixels: Array, strength: float, random: Random) -> Array:
    """Middle tones pushed up by a root of up to 2.5."""
    return pixels ** (1 / (1 + 1.5 * strength))


def harsh(pixels: Array, strength: float, random: Random) -> Array:
    """Contrast of up to 2.5 times about a middle tone: shadows and lights clip."""
    return spread(pixels, random.uniform(0.4, 0.6), 1 + 1.5 * strength)


def flat(pixels: Array, strength: float, random: Random) -> Array:
    """All values drawn towards a middle grey; a quarter of the contrast is left at least."""
    return spread(pixels, random.uniform(0.35, 0.65), 1 - 0.75 * strength)


def haze(pixels: Array, strength: float, random: Random) -> Array:
    """A veil of pale light, thicker towards one side, of up to three quarters."""
    light = random.uniform(0.7, 0.95) + random.uniform(-0.05, 0.05, 3)
    thick, thin = 0.75 * strength, 0.75 * strength * random.uniform(0.4, 1)
    height, width = pixels.shape[:2]
    if random.random() < 0.7:  # far things are mostly high up
        veil = np.linspace(thick, thin, height, dtype=np.float32)[:, None, None]
    else:
        veil = np.linspace(thick, thin, width, dtype=np.float32)[None, :, None]
    return pixels + veil * (light.astype(np.float32) - pixels)


def crushed(pixels: Array, strength: float, random: Random) -> Array:
    """Shadows run into black: up to 0.35 becomes 0."""
    black = 0.35 * strength
    return np.clip((pixels - black) / (1 - black), 0, 1)


def lifted(pixels: Array, strength: float, random: Random) -> Array:
    """Shadows raised, black to up to 0.4; lights stay."""
    rest = 1 - pixels
    return pixels + 0.4 * strength * rest * rest


def clipped(pixels: Array, strength: float, random: Random) -> Array:
    """Lights above a level made up to five times steeper, till they burn out."""
    return _bend_lights(pixels, random.uniform(0.4, 0.6), 1 + 4 * strength)


def dull(pixels: Array, strength: float, random: Random) -> Array:
    """Lights above a level compressed to grey, up to seven times."""
    return _bend_lights(pixels, random.uniform(0.3, 0.5), 1 - 0.85 * strength)


def grey(pixels: Array, strength: float, random: Random) -> Array:
    """Colour taken away, nearly all of it."""
    return _saturate(pixels, 1 - 0.95 * strength)


def garish(pixels: Array, strength: float, random: Random) -> Array:
    """Colour of up to three times the strength."""
    return _saturate(pixels, 1 + 2 * strength)


def cast(pixels: Array, strength: float, random: Random) -> Array:
    """Light of another colour, of any hue, white keeping its luminance.

    Channels of linear light are multiplied by up to about two and a half.
    """
    angle = random.uniform(0, 2 * np.pi)
    warmth, green = np.cos(angle), 0.5 * np.sin(angle)  # daylight and lamps differ in warmth most
    tint = np.exp(0.8 * strength * np.array([warmth - green / 2, green, -warmth - green / 2]))
    return encode(decode(pixels) * (tint / (tint @ BT709)).astype(np.float32))


def halo(pixels: Array, strength: float, random: Random) -> Array:
    """Local over-contrast: rims along edges, of any width from texture to halos."""
    return rims(pixels, np.exp(random.uniform(np.log(0.004), np.log(0.03))), 2.5 * strength)


def spread(pixels: Array, middle: float, factor: float) -> Array:
    """Differences from `middle` multiplied by `factor`, clipped to 0..1."""
    return np.clip(middle + factor * (pixels - middle), 0, 1)


def rims(pixels: Array, width: float, gain: float) -> Array:
    """Luminance's difference from its blur added `gain` times, clipped to 0..1.

    `width` is the blur's standard deviation as a share of the long side.
    """
    luma = luminance(pixels)
    rim = luma - cv2.GaussianBlur(luma, (0, 0), width * max(luma.shape))
    return np.clip(pixels + gain * rim[..., None], 0, 1)


def _bend_lights(pixels: Array, level: float, slope: float) -> Array:
    above = np.maximum(pixels - level, 0)
    return np.minimum(pixels + (slope - 1) * above, 1)


def _saturate(pixels: Array, factor: float) -> Array:
    luma = luminance(pixels)[..., None]
    return np.clip(luma + factor * (pixels - luma), 0, 1)


EDITS = {
    "under": Edit("light", under),
    "over": Edit("light", over),
    "dark": Edit("light", dark),
    "pale": Edit("light", pale),
    "harsh": Edit("contrast", harsh),
    "flat": Edit("contrast", flat),
    "haze": Edit("contrast", haze),
    "crushed": Edit("contrast", crushed),
    "lifted": Edit("contrast", lifted),
    "clipped": Edit("contrast", clipped),
    "dull": Edit("contrast", dull),
    "grey": Edit("colour", grey),
    "garish": Edit("colour", garish),
    "cast": Edit("balance", cast),
    "halo": Edit("detail", halo),
}
