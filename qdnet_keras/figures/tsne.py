"""t-SNE of the latent quality z, coloured by score (Figure 5 of the paper).

Van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.2, 3.6  # inches: a figure over two columns of print


def place_latents(z: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Places of latents in the plane, float32 `[count, 2]`, near where latents are near.

    Args:
        z: Means of p(z|x), `[count, latent_dim]`, three or more.
        perplexity: About how many neighbours count; at most a third of the others is used.
        seed: The same seed gives the same places on one machine.
    """
    from sklearn.manifold import TSNE

    perplexity = min(perplexity, max(1.0, (len(z) - 1) / 3))
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return tsne.fit_transform(np.asarray(z, np.float32))


def draw_latents(places: np.ndarray, mos: np.ndarray, scores: np.ndarray) -> "Figure":
    """The places twice, coloured by the MOS of the data set and by the score predicted.

    Each has a scale of its own, since the two may be of different origin.

    Args:
        places: `[count, 2]`, see `place_latents`.
        mos: `[count]`.
        scores: `[count]`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    half = 0.53 * np.ptp(places, axis=0).max()
    size = float(np.clip(4000 / len(places), 3, 30))
    for panel, values, title in zip(
        figure.subplots(1, 2),
        (mos, scores),
        ("MOS in the data set", "score predicted"),
        strict=True,
    ):
        low, high = np.percentile(values, [1, 99])
        points = panel.scatter(
            *places.T, c=values, s=size, cmap="viridis", vmin=low, vmax=high, linewidths=0
        )
        panel.set_title(title, fontsize=10)
        panel.set(xticks=[], yticks=[], aspect="equal")
        panel.set(xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half])
        bar = figure.colorbar(points, ax=panel, shrink=0.85, extend="both", pad=0.02)
        bar.ax.tick_params(labelsize=8)
    return figure
