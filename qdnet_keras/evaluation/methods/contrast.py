"""Contrast energy, and the histogram of local patterns in it."""

from functools import cache

import cv2
import numpy as np

NOISE = {"luma": 0.23525, "yellow_blue": 0.228716, "red_green": 0.0527667}  # of opponent channels
_SIGMA = 3.25
_GAIN = 0.1
_FRAME = 10  # pixels of the border that are repeated around it, as they are
_NEIGHBOURS = 8
_NEGLIGIBLE = 1e-7


def contrast_energy(channel: np.ndarray, noise: float) -> np.ndarray:
    """Contrast energy of float64 `[H, W]` on the 0..255 scale: gain control, noise threshold, ≥ 0.

    The energy of second derivatives of a Gaussian along rows and along columns. Choi, You, Bovik,
    IEEE Transactions on Image Processing 24(11), 2015, after Groen et al. 2013.
    """
    for axis in (0, 1):
        first, last = np.split(channel, [_FRAME, -_FRAME], axis)[::2]
        channel = np.concatenate([first, channel, last], axis)
    taps = _second_derivative()
    across = cv2.filter2D(channel, cv2.CV_64F, taps[None], anchor=(_FRAME - 1, 0))
    down = cv2.filter2D(channel, cv2.CV_64F, taps[:, None], anchor=(0, _FRAME - 1))
    energy = np.hypot(across, down)[_FRAME:-_FRAME, _FRAME:-_FRAME]
    strongest = energy.max()
    if not strongest:
        return np.zeros_like(energy)
    controlled = strongest * energy / (energy + strongest * _GAIN) - noise
    return np.where(controlled > _NEGLIGIBLE, controlled, 0.0)


def pattern_histogram(values: np.ndarray, radius: int) -> np.ndarray:
    """Shares of the 10 rotation-invariant uniform patterns of `[H, W]`, sum 1.

    Eight neighbours on a circle, bilinear between pixels; the border of `radius` pixels only has
    neighbours. Ojala, Pietikäinen, Mäenpää, IEEE TPAMI 24(7), 2002.
    """
    bits = _circle(values, radius) >= values[radius:-radius, radius:-radius]
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    patterns = np.where(changes <= 2, bits.sum(axis=0), _NEIGHBOURS + 1)
    return np.bincount(patterns.ravel(), minlength=_NEIGHBOURS + 2) / patterns.size


def _circle(values: np.ndarray, radius: int) -> np.ndarray:
    """The neighbours in order of their angle, `[8, H - 2 radius, W - 2 radius]`."""
    height, width = (side - 2 * radius for side in values.shape)

    def moved(down: int, right: int) -> np.ndarray:
        top, left = radius + down, radius + right
        return values[top : top + height, left : left + width]

    near = int(radius * np.sqrt(0.5))
    part = radius * np.sqrt(0.5) - near

    def corner(down: int, right: int) -> np.ndarray:
        far_down, far_right = down * (near + 1), right * (near + 1)
        return (
            (1 - part) ** 2 * moved(down * near, right * near)
            + part * (1 - part) * moved(down * near, far_right)
            + part * (1 - part) * moved(far_down, right * near)
            + part**2 * moved(far_down, far_right)
        )

    return np.stack(
        [
            moved(0, radius),
            corner(1, 1),
            moved(radius, 0),
            corner(1, -1),
            moved(0, -radius),
            corner(-1, -1),
            moved(-radius, 0),
            corner(-1, 1),
        ]
    )


@cache
def _second_derivative() -> np.ndarray:
    """20 taps, half a pixel off the centre, sum 0, that map x² / 2 to 1; flipped to correlate."""
    x = np.arange(2 * _FRAME) - 3 * _SIGMA
    taps = (x**2 / _SIGMA**2 - 1) * np.exp(-(x**2) / (2 * _SIGMA**2))
    taps -= taps.mean()
    return (taps / (taps * x**2 / 2).sum())[::-1].copy()
