"""What scoring and enhancement return, from a model in this process or from a server."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """Opinion score of a picture, MOS units 0..100, and its spread under the posterior."""

    score: float
    score_std: float


@dataclass(frozen=True)
class Enhanced:
    """A picture rendered at another quality.

    Attributes:
        pixels: `[height, width, 3]`, size and dtype of the input.
        target: Score asked for, MOS units 0..100.
        score_before, score_after: Scores of the input and of `pixels`, each as `score_pixels`
            gives it.
        epsilon: Share of z̄ in the latent, 0..1; 0 leaves the picture as it is.
        reached: Whether |score_after − target| is within the tolerance.
    """

    pixels: np.ndarray
    target: float
    score_before: float
    score_after: float
    epsilon: float
    reached: bool
