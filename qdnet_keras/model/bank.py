"""The qualities of training pictures that enhancement chooses from."""

import numpy as np

TYPICAL = 0.95  # share of pictures


def choose_typical(latents: np.ndarray, count: int) -> np.ndarray:
    """`count` latents `[count, latent_dim]`, evenly spread over those given.

    The twentieth that lies farthest from the mean, in standard deviations, is left out: such
    qualities are shared with no other picture.
    """
    latents = np.asarray(latents, "float32")
    distance = np.square((latents - latents.mean(0)) / (latents.std(0) + 1e-6)).sum(-1)
    typical = latents[distance <= np.quantile(distance, TYPICAL)]
    return typical[np.linspace(0, len(typical) - 1, count).round().astype(int)]
