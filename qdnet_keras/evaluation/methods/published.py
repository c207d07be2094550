"""The statistics that a published study of tone-mapped pictures offers, with its votes, for reuse.

73 numbers of a picture as the public MATLAB release RETI computes them (Yang Shen,
github.com/niannianyouyu/RETI, `feature_extraction.m`), in its order:

* 0..19 natural scene statistics of the green plane at two scales: the generalised Gaussian of the
  MSCN coefficients, the asymmetric ones of their products with two neighbours;
* 20 TMQI's naturalness;
* 21..50 local patterns in the contrast energy of luma, yellow-blue and red-green;
* 51 entropy; 52..57 levels that 99 % and 1 % of each plane's pixels lie below;
* 58..61 mean and deviation of hue and of saturation; 62..64 colourfulness;
* 65..72 highlights of the plane with most pixels at 255.

`qdnet_keras.model.layers.PublishedStatistics` has those that a resize hardly changes in a graph,
and says more of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qdnet_keras.evaluation.methods.base import Baseline
from qdnet_keras.evaluation.methods.colour import cielab, opponents
from qdnet_keras.evaluation.methods.contrast import NOISE, contrast_energy, pattern_histogram
from qdnet_keras.evaluation.methods.nss import (
    eight_bits,
    fit_aggd,
    fit_ggd,
    half,
    neighbour_products,
    normalised,
)
from qdnet_keras.synthesis.tmqi import LUMINANCE, statistical_naturalness

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

DIMENSION = 73
_PATTERN_RADIUS = 2
_TOP_LEVELS = (1, 25, 50, 75, 100, 125)


def features(pixels: np.ndarray) -> np.ndarray:
    """The 73 statistics of a picture, float32."""
    pixels = eight_bits(pixels)
    counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in cv2.split(pixels)])
    green = pixels[..., 1].astype(np.float64)
    values = [
        *_natural_scene(green),
        *_natural_scene(half(green)),
        statistical_naturalness(pixels @ LUMINANCE),
        *_patterns(pixels),
        _entropy(counts.sum(axis=0)),
        *_percentiles(counts),
        *_hue_and_saturation(pixels),
        *_colourfulness(pixels),
        *_highlights(counts),
    ]
    return np.array(values, np.float32)


def regressor() -> "Pipeline":
    """Support vectors for these statistics and MOS in 0..100, not fitted.

    Statistics are standardised and clipped to the range that was learnt from.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVR

    machine = SVR(C=30, gamma=1 / (1.5 * DIMENSION), epsilon=2)
    return make_pipeline(MinMaxScaler(clip=True), StandardScaler(), machine)


def _natural_scene(channel: np.ndarray) -> list[float]:
    coefficients = normalised(channel)
    shape, spread = fit_ggd(coefficients)
    values = [shape, spread**2]
    for product in neighbour_products(coefficients)[:2]:
        values += fit_aggd(product)
    return values


def _patterns(pixels: np.ndarray) -> np.ndarray:
    channels = opponents(pixels)
    energies = [contrast_energy(channels[name], noise) for name, noise in NOISE.items()]
    return np.concatenate([pattern_histogram(energy, _PATTERN_RADIUS) for energy in energies])


def _entropy(counts: np.ndarray) -> float:
    """In bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _percentiles(counts: np.ndarray) -> list[float]:
    """For each plane of `[3, 256]` the upper and the lower level in 0..1; 1 and 0 if the same."""
    values: list[float] = []
    for below in np.cumsum(counts, axis=1):
        total = int(below[-1])
        high, low = (100 * below >= 99 * total).argmax(), (100 * below > total).argmax()
        values += [1.0, 0.0] if high == low else [high / 255, low / 255]
    return values


def _hue_and_saturation(pixels: np.ndarray) -> list[float]:
    hsv = cv2.cvtColor(pixels / np.float32(255), cv2.COLOR_RGB2HSV)
    hue, saturation = hsv[..., 0] / 360.0, hsv[..., 1]
    return [
        moment
        for plane in (hue, saturation)
        for moment in (plane.mean(dtype=np.float64), plane.std(ddof=1, dtype=np.float64))
    ]


def _colourfulness(pixels: np.ndarray) -> list[float]:
    """Hasler and Süsstrunk, "Measuring Colourfulness in Natural Images", SPIE 5007, 2003."""
    _, a, b = cielab(pixels)
    channels = opponents(pixels)
    spread, offset = _spread_and_offset(a, b)
    spread_rgb, offset_rgb = _spread_and_offset(channels["red_green"], channels["yellow_blue"])
    chroma = np.hypot(a, b).mean()
    values = (spread + 0.37 * offset, spread + 0.94 * chroma, spread_rgb + 0.3 * offset_rgb)
    return [value / 100 for value in values]


def _spread_and_offset(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    spread = np.hypot(first.std(), second.std())
    return float(spread), float(np.hypot(first.mean(), second.mean()))


def _highlights(counts: np.ndarray) -> list[float]:
    """Shares in the highest parts of its range of the plane of `[3, 256]` burnt most; its peak."""
    plane = counts[counts[:, -1].argmax()]
    levels, pixels = np.flatnonzero(plane), plane.sum()
    lowest, span = levels[0], max(levels[-1] - levels[0], 1)
    height = 256 * (np.arange(256) - lowest)
    shares = [plane[height >= (256 - top) * span].sum() / pixels for top in _TOP_LEVELS]
    return [*shares, plane[-1] / counts.max(), plane[-1] / pixels]


class Published(Baseline):
    """The published statistics with support vectors of fixed width."""

    name = "published-statistics"
    dimension = DIMENSION
    describe = staticmethod(features)
    note = (
        "published-statistics is a re-implementation of the 73 statistics of the public release "
        "RETI (Yang Shen, github.com/niannianyouyu/RETI)."
    )

    def regress(self, features: np.ndarray, mos: np.ndarray, groups: Sequence[str]) -> "Pipeline":
        """`regressor`, fitted."""
        return regressor().fit(features.astype(np.float64), mos)
