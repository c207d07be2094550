"""What training minimises: eq. (4) of the paper, and a latent cycle.

    −E[log q(y|z)] + β KL(p(z|x) ‖ N(0, I)) + α ‖x − G(n, z)‖₁ + γ ‖x̃ − G(n, z̃)‖₁

x̃ is another rendering of the scene of x, and z̃ its quality. A batch holds pairs; either picture of
a pair is x once.
"""

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from qdnet_keras.model.cycle import cycle_term
from qdnet_keras.model.decoder import take_pixels
from qdnet_keras.model.layers import GaussianPosterior
from qdnet_keras.model.types import Tensor

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

TERMS = ("score", "kl", "reconstruction", "swap", "cycle")
STRIDE = 2


@keras.saving.register_keras_serializable("qdnet_keras")
class Objective:
    """The terms and their weights.

    Args:
        score_sigma: Standard deviation of q(y|z), in standardised MOS.
        alpha: Weight of the self-reconstruction.
        beta: Weight of the divergence from the prior, reached linearly over `kl_warmup` steps.
        gamma: Weight of the swapped pair.
        cycle: Weight of the latent cycle (0: off), active after `cycle_start` steps.
        kl_warmup, cycle_start: Numbers of optimiser steps.
    """

    def __init__(
        self,
        score_sigma: float = 1.0,
        alpha: float = 10.0,
        beta: float = 1e-2,
        gamma: float = 10.0,
        cycle: float = 0.0,
        kl_warmup: int = 0,
        cycle_start: int = 0,
    ) -> None:
        self.score_sigma = score_sigma
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.cycle = cycle
        self.kl_warmup = kl_warmup
        self.cycle_start = cycle_start

    def terms(self, model: "QDNet", batch: dict[str, Any], training: bool) -> dict[str, Any]:
        """The terms, averaged over a batch of `{"image", "pair", "mos", "pair_mos"}`."""
        x = ops.concatenate([batch["image"], batch["pair"]], axis=0)
        mos = ops.concatenate([batch["mos"], batch["pair_mos"]], axis=0)

        split = model.split(x, training=training)
        loc, scale = model.posterior(split.statistics, training=training)
        z = model.sample(loc, scale) if training else loc
        score = model.scorer(self.scored_z(model, split, z, training), training=training)

        pixels = self.pixels(model, x, training)
        target = take_pixels(x, pixels)
        rendered = model.decoder(split.contents, z, pixels=pixels)
        swapped = model.decoder(split.contents, swap_halves(z), pixels=pixels)
        terms = {
            "score": score_likelihood(model.calibration.standardise(mos), score, self.score_sigma),
            "kl": kl_divergence(loc, scale),
            "reconstruction": reconstruction(target, rendered),
            "swap": reconstruction(swap_halves(target), swapped),
        }
        terms = {name: ops.mean(values) for name, values in terms.items()}
        terms["cycle"] = 0.0
        if training and self.cycle:
            started = model.optimizer.iterations >= self.cycle_start
            terms["cycle"] = cycle_term(model, x, split, z, started)
        return terms

    def total(self, terms: dict[str, Any], step: Any) -> Any:
        """Weighted sum of the terms at an optimiser step."""
        warmup = ops.minimum(1.0, (ops.cast(step, "float32") + 1.0) / max(self.kl_warmup, 1))
        return (
            terms["score"]
            + self.beta * warmup * terms["kl"]
            + self.alpha * terms["reconstruction"]
            + self.gamma * terms["swap"]
            + self.cycle * terms["cycle"]
        )

    # === Tricks ===

    def scored_z(self, model: "QDNet", split: Any, z: Any, training: bool) -> Any:
        """The z that the score is learnt from: of fewer statistics where some are dropped.

        Statistics are many and pictures few: without it, the posterior remembers pictures. The
        decoder always sees the z of all statistics.
        """
        if not (training and model.statistics_dropout):
            return z
        return model.sample(*model.posterior(split.statistics, training=True, dropped=True))

    def pixels(self, model: "QDNet", image: Any, training: bool) -> tuple[Any, Any]:
        """Rows and columns on which pictures are compared: one in `STRIDE`, all in tests.

        A random quarter of the pixels gives an unbiased gradient at a quarter of the cost.
        """
        height, width = ops.shape(image)[1:3]
        if not training:
            return ops.arange(height), ops.arange(width)
        first = keras.random.randint((2,), 0, STRIDE, seed=model.seed_generator)
        rows = ops.arange(0, height - STRIDE + 1, STRIDE) + first[0]
        columns = ops.arange(0, width - STRIDE + 1, STRIDE) + first[1]
        return rows, columns

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        return cls(**config)


# === Terms, one value a picture ===


def score_likelihood(mos: Tensor, score: Tensor, sigma: float) -> Tensor:
    """−log q(y|z) of a Gaussian with constant variance, without its constant.

    Args:
        mos, score: Standardised opinion scores, shape `(batch_size,)`.
        sigma: Standard deviation of q, in standardised units.
    """
    return ops.square(mos - score) / (2.0 * sigma**2)


def kl_divergence(loc: Tensor, scale: Tensor) -> Tensor:
    """KL(p(z|x) ‖ N(0, I)) in nats, shape `(batch_size,)`."""
    return GaussianPosterior.kl_to_prior(loc, scale)


def reconstruction(picture: Tensor, rendered: Tensor) -> Tensor:
    """Mean absolute difference of `(batch_size, height, width, 3)` pictures, `(batch_size,)`."""
    return ops.mean(ops.abs(picture - rendered), axis=(1, 2, 3))


def swap_halves(batch: Tensor) -> Tensor:
    """What belongs to x̃, of a batch whose second half holds the partners of its first."""
    first, second = ops.split(batch, 2, axis=0)
    return ops.concatenate([second, first], axis=0)
