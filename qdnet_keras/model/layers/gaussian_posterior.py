from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from qdnet_keras.model.replicas import Dropout
from qdnet_keras.model.types import Shape, Tensor

LIMIT = 4.0  # standard deviations
EPSILON = 1e-6
NOISE_PAIRS = 16


@cache
def _tfd() -> Any:
    """TFP's distributions, which training needs and scoring does not: the import takes seconds."""
    import tensorflow_probability as tfp

    return tfp.distributions


@keras.saving.register_keras_serializable("qdnet_keras")
class GaussianPosterior(keras.layers.Layer):
    """Diagonal Gaussian p(z|x) whose location and scale come from the quality statistics.

    The statistics of each stage are standardised and compressed on their own, so that a stage of
    2048 channels does not drown the six numbers of the picture itself, and then joined.
    Standardised statistics are softly limited to ±4, so that a rare quality stays within what the
    layers after it have learnt. Everything is float32.

    Args:
        latent_dim: Number of dimensions of z.
        units: Width of the per-stage compression.
        dropout: Rate of standardised statistics left out when the call asks for it.
        undropped: How many of the last stages are never left out: those whose few numbers say how
            light and colour are spread, each of which a change of tones needs.
        min_scale: Lower bound of the posterior's standard deviation.

    Call arguments:
        statistics: List of tensors `(batch_size, 2 * channels_i)`, μ ⊕ σ of each stage.
        training: Whether to standardise by the batch.
        dropped: Whether to leave out a random share `dropout` of the statistics.

    Returns:
        A tuple `(loc, scale)` of tensors of shape `(batch_size, latent_dim)`. Use
        `GaussianPosterior.distribution(loc, scale)` for the TFP distribution: event shape
        `[latent_dim]`, batch shape `[batch_size]`. (A Keras layer cannot return one.)
    """

    def __init__(
        self,
        latent_dim: int = 16,
        units: int = 64,
        dropout: float = 0.0,
        undropped: int = 0,
        min_scale: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.units = units
        self.dropout_rate = dropout
        self.undropped = undropped
        self.min_scale = min_scale
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.loc = keras.layers.Dense(latent_dim, dtype=self.dtype_policy, name="loc")
        self.raw_scale = keras.layers.Dense(
            latent_dim, bias_initializer="zeros", dtype=self.dtype_policy, name="raw_scale"
        )

    def build(self, statistics_shape: list[Shape]) -> None:
        policy = self.dtype_policy
        self.standardise = [
            keras.layers.BatchNormalization(
                center=False,
                scale=False,
                epsilon=EPSILON,
                synchronized=True,
                dtype=policy,
                name=f"standardise_{i}",
            )
            for i in range(len(statistics_shape))
        ]
        self.compress = [
            keras.layers.Dense(self.units, "gelu", dtype=policy, name=f"compress_{i}")
            for i in range(len(statistics_shape))
        ]
        for standardise, compress, shape in zip(
            self.standardise, self.compress, statistics_shape, strict=True
        ):
            standardise.build(shape)
            compress.build(shape)
        joined = (None, self.units * len(statistics_shape))
        self.loc.build(joined)
        self.raw_scale.build(joined)

    def call(
        self, statistics: list[Tensor], training: bool = False, dropped: bool = False
    ) -> tuple[Tensor, Tensor]:
        return self.locate(self.describe(statistics, training=training, dropped=dropped))

    def describe(
        self, statistics: list[Tensor], training: bool = False, dropped: bool = False
    ) -> Tensor:
        """The compressed statistics of all stages, `(batch_size, units * stages)`."""
        last = len(statistics) - self.undropped
        return ops.concatenate(
            [
                compress(self._limit(standardise(stage, training=training), dropped and i < last))
                for i, (standardise, compress, stage) in enumerate(
                    zip(self.standardise, self.compress, statistics, strict=True)
                )
            ],
            axis=-1,
        )

    def locate(self, description: Tensor) -> tuple[Tensor, Tensor]:
        """`(loc, scale)` of what `describe` gave."""
        return self.loc(description), ops.softplus(self.raw_scale(description)) + self.min_scale

    def _limit(self, standardised: Tensor, dropped: bool) -> Tensor:
        return self.dropout(LIMIT * ops.tanh(standardised / LIMIT), training=dropped)

    def adapt(self, statistics: list[Tensor]) -> None:
        """Sets the standardisation to the mean and variance of given statistics.

        What batches of crops leave behind in training fits neither averaged weights nor whole
        pictures: rare qualities then land far outside the prior.

        Args:
            statistics: As in the call, arrays `(count, 2 * channels_i)` of many pictures.
        """
        for standardise, stage in zip(self.standardise, statistics, strict=True):
            standardise.moving_mean.assign(ops.mean(stage, axis=0))
            standardise.moving_variance.assign(ops.var(stage, axis=0))

    @staticmethod
    def spread(function: Callable[[Tensor], Tensor], loc: Tensor, scale: Tensor) -> Tensor:
        """Standard deviation of a function of z under p(z|x), shape `(batch_size,)`.

        One fixed block of antithetic noise serves every picture, so that the result depends neither
        on the batch it came in nor on the calls before it.

        Args:
            function: From `(count, latent_dim)` to `(count,)`.
        """
        half = np.random.default_rng(0).standard_normal((NOISE_PAIRS, 1, loc.shape[-1]))
        noise = ops.array(np.concatenate([half, -half]), "float32")
        samples = ops.reshape(loc + scale * noise, (-1, loc.shape[-1]))
        return ops.std(ops.reshape(function(samples), (2 * NOISE_PAIRS, -1)), axis=0)

    @staticmethod
    def distribution(loc: Tensor, scale: Tensor) -> Any:
        """p(z|x) as a TFP distribution."""
        return _tfd().MultivariateNormalDiag(loc, scale)

    @staticmethod
    def prior(latent_dim: int) -> Any:
        """m(z) = N(0, I)."""
        return _tfd().MultivariateNormalDiag(ops.zeros(latent_dim), ops.ones(latent_dim))

    @classmethod
    def kl_to_prior(cls, loc: Tensor, scale: Tensor) -> Tensor:
        """KL(p(z|x) ‖ N(0, I)) in nats, shape `(batch_size,)`."""
        return _tfd().kl_divergence(cls.distribution(loc, scale), cls.prior(loc.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "units": self.units,
            "dropout": self.dropout_rate,
            "undropped": self.undropped,
            "min_scale": self.min_scale,
        }
