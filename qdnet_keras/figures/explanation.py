"""An explanation as a figure: the picture with its regions, and what small edits would change."""

from typing import TYPE_CHECKING

import numpy as np

from qdnet_keras.outcomes import Effect, Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 10.0, 4.2  # inches
SHOWN = 10  # remedies
HELPS, HARMS, MORE = "#2a7f62", "#b5483a", "#a8d5c2"
LABELLED = 0.4  # of the longest bar: shorter ones have no room for the words of the best size
LEAST_SPAN = 5.0  # points of the score beside the mean that the colours reach to


def draw_explanation(explanation: Explanation) -> "Figure":
    """The picture, its regions in colour, and bars for the first `SHOWN` remedies.

    Red regions score below the picture as a whole, blue ones above. A dark bar is what the
    standard size of an edit changes, the pale one behind it what its best size does, said below.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    regions, bars = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_regions(figure, regions, explanation)
    _draw_bars(bars, explanation.effects[:SHOWN])
    return figure


def _draw_regions(figure: "Figure", axes: "Axes", explanation: Explanation) -> None:
    height, width = explanation.pixels.shape[:2]
    grey = explanation.pixels.mean(axis=-1)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    off = float(np.abs(explanation.regions - explanation.score).max())
    span = max(off, LEAST_SPAN)
    image = axes.imshow(
        explanation.regions,
        cmap="RdBu",
        vmin=explanation.score - span,
        vmax=explanation.score + span,
        alpha=0.5,
        interpolation="bicubic",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    axes.set(xticks=[], yticks=[], title=f"scores {explanation.score:.1f}")
    figure.colorbar(image, ax=axes, shrink=0.8, label="score of the region")


def _draw_bars(axes: "Axes", effects: tuple[Effect, ...]) -> None:
    places = np.arange(len(effects))
    best = [max(effect.best.gain, 0.0) for effect in effects]
    standard = [effect.standard.gain for effect in effects]
    axes.barh(places, best, height=0.6, color=MORE)
    axes.barh(places, standard, height=0.3, color=[HELPS if g > 0 else HARMS for g in standard])
    for place, effect in zip(places, effects, strict=True):
        if effect.best is not effect.standard and effect.best.gain > LABELLED * max(best):
            axes.annotate(
                effect.best.edit,
                (effect.best.gain, place + 0.29),
                ha="right",
                va="top",
                fontsize=8,
                color="#555555",
            )
    axes.set_yticks(places, [effect.standard.edit for effect in effects])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("points of the score; pale: the best size tried")
    axes.spines[["top", "right"]].set_visible(False)
