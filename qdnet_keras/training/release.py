"""What makes a trained network fit for release: averaged weights, fitting statistics, a scale."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from keras import ops

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.metrics import plcc, rmse, srocc
from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import posteriors, same_size_batches
from qdnet_keras.outcomes import Z_90
from qdnet_keras.training.scores import COVERAGE

CALIBRATION_PICTURES = 50
STATISTICS_PICTURES = 96


class Said(NamedTuple):
    """What a network says of pictures, MOS units, `[count]` each: as `Score`, not clipped."""

    mos: np.ndarray
    mos_std: np.ndarray


def release(model: QDNet, training: Manifest, validation: Manifest, calibrated: bool) -> Said:
    """Averages the weights, fills the bank and, unless it is so already, calibrates the scores.

    Returns:
        What the network then says of the validation pictures.
    """
    latents = use_averaged_weights(model, training, len(training))
    model.fill_bank(latents)
    loc, scale = posteriors(model, [rendering.file for rendering in validation.renderings])
    if not calibrated:
        calibrate(model, loc, scale, validation.mos)
    model.calibration.compare_with(model.score_latent(latents))
    spread = model.posterior.spread(model.score_latent, loc, scale)
    return Said(np.asarray(model.score_latent(loc)), np.asarray(model.calibration.spread(spread)))


def agreement(scores: np.ndarray, mos: np.ndarray) -> dict[str, float]:
    """`{"srocc", "plcc", "rmse"}` of scores with labels, MOS units, `[count]` each."""
    return {metric.__name__: float(metric(scores, mos)) for metric in (srocc, plcc, rmse)}


@contextmanager
def as_released(model: QDNet, training: Manifest) -> Iterator[None]:
    """Within it the network is as it would be released now (`use_averaged_weights`)."""
    current = model.get_weights()
    use_averaged_weights(model, training, min(len(training), STATISTICS_PICTURES))
    yield
    model.set_weights(current)


def use_averaged_weights(model: QDNet, training: Manifest, count: int) -> np.ndarray:
    """Gives the network the optimiser's averaged weights, if any, and fitting statistics.

    What is common among pictures, and the standardisation of a posterior that learns with the
    decoder, are measured on `count` whole pictures spread over `training`.

    Returns:
        Posterior means of these pictures, float32 `[count, latent_dim]`.
    """
    if model.optimizer.use_ema:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    spread = np.linspace(0, len(training) - 1, count).round().astype(int)
    files = [training.renderings[i].file for i in spread]

    measure = graphs.statistics(model)
    batches = [measure(batch) for batch in same_size_batches(files)]
    statistics = [ops.concatenate(stage) for stage in zip(*batches, strict=True)]
    if model.posterior.trainable:
        model.posterior.adapt(statistics)
    model.novelty.adapt(statistics[0])
    return np.asarray(model.posterior(statistics)[0])


def calibrate(model: QDNet, loc: np.ndarray, scale: np.ndarray, mos: np.ndarray) -> None:
    """Fits the scale and offset of the scores, and the width of their intervals, to pictures.

    Scores learnt under dropout and posterior noise are drawn towards the mean: the line is that of
    least squares. The spread is that of split conformal prediction: nine labels in ten lie within
    `Score.interval`. Nothing is changed where there are fewer than `CALIBRATION_PICTURES`, or
    scores that do not rise with the MOS.

    Args:
        loc, scale: Posteriors of validation pictures, `[count, latent_dim]`.
        mos: Their labels, MOS units, `[count]`.
    """
    predicted = np.asarray(model.score_latent(loc))
    count = len(mos)
    if count < CALIBRATION_PICTURES or not plcc(predicted, mos) > 0:
        return
    learnt = model.calibration
    slope, offset = np.polyfit(predicted, mos, 1)
    learnt.mos_mean.assign(slope * float(learnt.mos_mean) + offset)
    learnt.mos_std.assign(slope * float(learnt.mos_std))
    learnt.residual_std.assign(0.0)
    score = np.asarray(model.score_latent(loc))
    spread = np.asarray(model.posterior.spread(model.score_latent, loc, scale))
    missing = np.sort(np.square((score - mos) / Z_90) - np.square(spread))
    rank = min(math.ceil(COVERAGE * (count + 1)), count)
    learnt.residual_std.assign(np.sqrt(max(missing[rank - 1], 0.0)))
