"""What makes a network that was taught fit for release: a scale, ranks, a bank, what is usual."""

import numpy as np

from qdnet_keras.model.qdnet import QDNet

AT_ONCE = 1000
USUAL = 6000  # pictures from which what is usual is measured


def locate(model: QDNet, statistics: list[np.ndarray]) -> np.ndarray:
    """Posterior means, float32 `[count, latent_dim]`."""
    parts = [
        model.posterior([stage[start : start + AT_ONCE] for stage in statistics])[0]
        for start in range(0, len(statistics[0]), AT_ONCE)
    ]
    return np.concatenate([np.asarray(part) for part in parts])


def calibrate(model: QDNet, renderings: np.ndarray, mos: np.ndarray, agreement: float) -> None:
    """Puts scores on the scale of published votes, and learns what they are compared with.

    No picture has both a published vote and a score here: what the scores of renderings have in
    common with votes is their mean, and their spread as far as the two agree. What votes vary
    besides is the width of the intervals. How far they agree is measured on other pictures.

    Args:
        renderings: Latents of renderings that are no deliberate faults, `[count, latent_dim]`.
        mos: Published votes of other such renderings, MOS units.
        agreement: Correlation of scores with votes of pictures that were held out, 0..1.
    """
    scale = model.calibration
    score = np.asarray(model.scorer(renderings))
    spread = agreement * float(mos.std())
    scale.mos_std.assign(spread / max(float(score.std()), 1e-6))
    scale.mos_mean.assign(float(mos.mean()) - float(scale.mos_std) * float(score.mean()))
    scale.residual_std.assign(float(mos.std()) * np.sqrt(1.0 - agreement**2))
    scale.compare_with(model.score_latent(renderings))


def remember(model: QDNet, latents: np.ndarray, usual: np.ndarray, seed: int) -> None:
    """Fills the bank, and learns what is usual among pictures.

    Args:
        latents: Of pictures to choose the bank from, `[count, latent_dim]`.
        usual: Statistics of pictures, `[count, channels]`, of the first stage that is seen.
        seed: Of the order in which latents and pictures are taken.
    """
    random = np.random.default_rng(seed)
    model.fill_bank(random.permutation(latents))
    model.novelty.adapt(random.permutation(usual)[:USUAL])
