"""Scores beside labels: the scatter of both, and how often intervals hold."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.2, 3.6  # inches: a figure over two columns of print
LEVELS = np.arange(0.05, 1.0, 0.05)


def coverage(labels: np.ndarray, mos: np.ndarray, mos_std: np.ndarray) -> np.ndarray:
    """Share of the labels within the central interval of each of `LEVELS`, `[levels]`.

    Args:
        labels: MOS of the data set, `[count]`.
        mos, mos_std: What a network says of the same pictures, and how sure it is, `[count]` each.
    """
    distance = np.abs(labels - mos) / mos_std
    return (distance[None] <= norm.ppf(0.5 + LEVELS / 2.0)[:, None]).mean(axis=1)


def draw_validation(labels: np.ndarray, mos: np.ndarray, mos_std: np.ndarray) -> "Figure":
    """Labels over what the network says, and the coverage of its intervals over their level.

    Args:
        labels, mos, mos_std: As for `coverage`, MOS units.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    scatter, calibration = figure.subplots(1, 2)
    low = min(labels.min(), mos.min()) - 2.0
    high = max(labels.max(), mos.max()) + 2.0
    size = float(np.clip(4000 / len(labels), 3, 30))
    scatter.plot([low, high], [low, high], color="0.7", linewidth=1)
    scatter.scatter(mos, labels, s=size, alpha=0.6, linewidths=0)
    scatter.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    scatter.set(xlabel="MOS predicted", ylabel="MOS in the data set")
    calibration.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    calibration.plot(
        100.0 * LEVELS, 100.0 * coverage(labels, mos, mos_std), marker="o", markersize=3
    )
    calibration.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    calibration.set(xlabel="level of the interval, %", ylabel="labels that it holds, %")
    return figure
