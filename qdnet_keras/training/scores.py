"""Posterior and scorer taught on statistics of whole pictures, with the encoder as it is.

Where the encoder does not learn, the statistics of a picture are constants: thousands of steps on
them take a minute. But labelled pictures are few, and a network remembers them. A kernel ridge
regression on the same statistics knows scenes that it has not seen better, and teaches the network
between the pictures: on mixtures of their statistics, whose label is what the regression says.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GroupKFold, cross_val_predict

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.errors import DataError
from qdnet_keras.metrics import plcc, rmse, srocc
from qdnet_keras.model.layers import GaussianPosterior
from qdnet_keras.model.layers.gaussian_posterior import LIMIT
from qdnet_keras.model.objective import score_likelihood
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.restorer import Restorer
from qdnet_keras.model.scoring import same_size_batches
from qdnet_keras.outcomes import Z_90

WIDTH, RIDGE, FOLDS = 0.4, 0.15, 7  # chosen by cross-validation over training groups of open-tm
BATCH, RATE, AVERAGE = 64, 1e-3, 0.98
ANCHOR = 1e-3
COVERAGE = 0.9


class Fit(NamedTuple):
    """What the regression reaches on groups that it has not seen, by cross-validation.

    `residual_std` is the standard deviation, MOS units, of a Gaussian whose 90 % interval holds the
    labels of an unseen group in nine cases of ten.
    """

    srocc: float
    plcc: float
    rmse: float
    residual_std: float


class KernelTeacher:
    """Kernel ridge regression of the MOS on the statistics that the posterior sees.

    Statistics are standardised and softly limited; each kind of picture statistics weighs as much
    as all of the encoder's together. The kernel is Gaussian.

    Args:
        statistics: As `QDNet.split` gives them, of whole pictures, `[count, channels]` a stage.
        mos: Labels, `[count]`.
        pictures: How many of the stages, the last ones, are picture statistics.
    """

    def __init__(self, statistics: list[np.ndarray], mos: np.ndarray, pictures: int):
        encoder_stages = len(statistics) - pictures
        self.means = [stage.mean(0) for stage in statistics]
        shares = [1.0 / max(encoder_stages, 1)] * encoder_stages + [1.0] * pictures
        self.factors = [1.0 / (stage.std(0) + 1e-3) for stage in statistics]
        self.weights = [
            math.sqrt(share / stage.shape[1])
            for share, stage in zip(shares, statistics, strict=True)
        ]
        known = self._features([tf.constant(stage) for stage in statistics])
        norm = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(known), axis=-1)))
        self.weights = [weight / float(norm) for weight in self.weights]
        self.known = known / norm
        self.mos, self.mean = mos, float(mos.mean())
        self.regression = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=WIDTH)
        self.regression.fit(self.known.numpy(), mos - self.mean)
        self.coefficients = tf.constant(self.regression.dual_coef_, tf.float32)

    def __call__(self, statistics: list[tf.Tensor]) -> tf.Tensor:
        """MOS `[B]` of statistics `[B, channels]` a stage; a graph."""
        features = self._features(statistics)
        squares = tf.reduce_sum(tf.square(features), axis=-1)[:, None] + tf.reduce_sum(
            tf.square(self.known), axis=-1
        )
        distances = squares - 2.0 * tf.matmul(features, self.known, transpose_b=True)
        return self.mean + tf.linalg.matvec(tf.exp(-WIDTH * distances), self.coefficients)

    def unseen(self, groups: list[str]) -> np.ndarray:
        """MOS of each known picture by regressions that know no picture of its group, `[count]`."""
        folds = GroupKFold(min(FOLDS, len(set(groups))))
        target = self.mos - self.mean
        return self.mean + cross_val_predict(
            self.regression, self.known.numpy(), target, groups=groups, cv=folds
        )

    def _features(self, statistics: list[tf.Tensor]) -> tf.Tensor:
        stages = [
            weight * LIMIT * tf.tanh((stage - mean) * factor / LIMIT)
            for stage, mean, factor, weight in zip(
                statistics, self.means, self.factors, self.weights, strict=True
            )
        ]
        return tf.concat(stages, axis=-1)


def fit_scores(model: QDNet, training: Manifest, steps: int, seed: int) -> Fit:
    """Teaches posterior and scorer, measures the spread of the labels, and freezes both.

    The loss is the score's, and `ANCHOR` times the divergence of the posterior from what it was
    before, in the place of that from the prior: z must not forget what only the decoder needs. The
    restorer learns to say of the posterior's new description what it said of the old one.

    Args:
        training: Labelled pictures of two groups or more.
        steps: Of the optimiser, each with `BATCH` pictures and as many mixtures.
        seed: Of batches and mixtures.

    Raises:
        DataError: If the pictures are of one group.
    """
    groups = [rendering.group for rendering in training.renderings]
    if len(set(groups)) < 2:
        raise DataError(f"{training.source} has one training group; train.score_steps needs two.")
    statistics = whole_picture_statistics(model, training)
    teacher = KernelTeacher(statistics, training.mos, len(model.picture_statistics))
    model.posterior.adapt(statistics)
    _teach(model, teacher, statistics, steps, seed)

    unseen = teacher.unseen(groups)
    level = min(COVERAGE * (1.0 + 1.0 / len(set(groups))), 1.0)
    total = float(np.quantile(np.abs(unseen - training.mos), level)) / Z_90
    loc, scale = model.posterior(statistics)
    spread = np.asarray(model.posterior.spread(model.score_latent, loc, scale))
    residual_std = math.sqrt(max(total**2 - float(np.square(spread).mean()), 0.0))
    model.calibration.residual_std.assign(residual_std)
    mos = training.mos
    return Fit(srocc(unseen, mos), plcc(unseen, mos), rmse(unseen, mos), residual_std)


def whole_picture_statistics(model: QDNet, manifest: Manifest) -> list[np.ndarray]:
    """What the posterior sees of pictures, float32 `[count, channels]` a stage."""
    split = tf.function(
        lambda image: model.split(image).statistics,
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)],
    )
    progress = keras.utils.Progbar(len(manifest), unit_name="picture")
    batches = []
    for batch in same_size_batches(rendering.file for rendering in manifest.renderings):
        batches.append([np.asarray(stage, "float32") for stage in split(batch)])
        progress.add(len(batch))
    return [np.concatenate(stage) for stage in zip(*batches, strict=True)]


class _Before:
    """Posterior and restorer as they are now, to compare with later.

    Called with statistics it returns p(z|x), and by how much the restorer moves its mean.
    """

    def __init__(self, model: QDNet, statistics: list[np.ndarray]):
        self.posterior = GaussianPosterior.from_config(model.posterior.get_config())
        self.restorer = Restorer.from_config(model.restorer.get_config())
        loc, _ = self.posterior(statistics)
        self.restorer(self.posterior.describe(statistics), loc)
        self.posterior.set_weights(model.posterior.get_weights())
        self.restorer.set_weights(model.restorer.get_weights())

    def __call__(self, statistics: list[Any]) -> tuple[Any, tf.Tensor]:
        description = self.posterior.describe(statistics)
        loc, scale = self.posterior.locate(description)
        return self.posterior.distribution(loc, scale), self.restorer(description, loc) - loc


def _teach(
    model: QDNet, teacher: KernelTeacher, statistics: list[np.ndarray], steps: int, seed: int
) -> None:
    taught = (model.posterior, model.scorer, model.restorer)
    for part in taught:
        part.trainable = True
    variables = [variable for part in taught for variable in part.trainable_variables]
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(RATE, steps),
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=AVERAGE,
    )
    optimizer.build(variables)
    before = _Before(model, statistics)
    pictures = [tf.constant(stage) for stage in statistics]
    mos = tf.constant(teacher.mos, tf.float32)

    @tf.function
    def step(number: tf.Tensor) -> tf.Tensor:
        seeds = tf.random.split(tf.stack([seed, number]), 4)
        first, mixtures = _mixtures(pictures, seeds)
        seen = [
            tf.concat([tf.gather(stage, first), mixture], axis=0)
            for stage, mixture in zip(pictures, mixtures, strict=True)
        ]
        label = tf.concat([tf.gather(mos, first), teacher(mixtures)], axis=0)
        old, old_restoration = before(seen)
        with tf.GradientTape() as tape:
            description = model.posterior.describe(seen)
            loc, scale = model.posterior.locate(description)
            new = model.posterior.distribution(loc, scale)
            score = model.scorer(new.sample(seed=seeds[2]), training=True)
            fixed = tf.stop_gradient(loc)
            restoration = model.restorer(tf.stop_gradient(description), fixed) - fixed
            loss = tf.reduce_mean(
                score_likelihood(
                    model.calibration.standardise(label), score, model.objective.score_sigma
                )
                + ANCHOR * new.kl_divergence(old)
                + tf.reduce_mean(tf.square(restoration - old_restoration), axis=-1)
            )
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    progress = keras.utils.Progbar(steps, stateful_metrics=["loss"])
    for number in range(steps):
        progress.update(number + 1, [("loss", float(step(tf.constant(number))))])
    optimizer.finalize_variable_values(variables)
    for part in taught:
        part.trainable = False


def _mixtures(pictures: list[tf.Tensor], seeds: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Indices of `BATCH` pictures, and statistics of each mixed with those of another."""
    first, second = tf.unstack(
        tf.random.stateless_uniform([2, BATCH], seeds[0], 0, len(pictures[0]), tf.int32)
    )
    share = tf.random.stateless_uniform([BATCH, 1], seeds[1])
    mixtures = []
    for stage in pictures:
        one, other = tf.gather(stage, first), tf.gather(stage, second)
        mixtures.append(one + share * (other - one))
    return first, mixtures
