"""The regression that teaches, against scikit-learn and closed forms, and what it teaches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.stats import spearmanr
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import DataError
from qdnet_keras.model.scoring import posteriors
from qdnet_keras.outcomes import Z_90
from qdnet_keras.training.scores import (
    RIDGE,
    WIDTH,
    KernelTeacher,
    fit_scores,
    whole_picture_statistics,
)


@pytest.fixture
def statistics():
    """Of 60 pictures: two stages of an encoder, their own in another unit; and their MOS."""
    rng = np.random.default_rng(0)
    stages = [
        rng.normal(3, 2, (60, 5)),
        rng.normal(0, 0.1, (60, 40)),
        rng.normal(-50, 20, (60, 7)),
    ]
    mos = 45 + 10 * np.tanh(stages[0][:, 0] - 3) + (stages[2][:, 0] + 50) / 5
    return [stage.astype("float32") for stage in stages], mos


def test_teacher_is_a_kernel_ridge_regression_on_balanced_statistics(statistics):
    stages, mos = statistics
    limited = []
    for stage, share in zip(stages, (0.5, 0.5, 1.0), strict=True):
        standardised = (stage - stage.mean(0)) / (stage.std(0) + 1e-3)
        limited.append(4 * np.tanh(standardised / 4) * np.sqrt(share / stage.shape[1]))
    features = np.concatenate(limited, axis=1)
    features /= np.sqrt(np.square(features).sum(1).mean())
    target = mos - mos.mean()
    slow = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=WIDTH)

    teacher = KernelTeacher(stages, mos, pictures=1)
    expected = mos.mean() + slow.fit(features, target).predict(features)
    np.testing.assert_allclose(teacher([tf.constant(s) for s in stages]), expected, atol=0.01)
    half = [tf.constant(stage[:30] + stage[30:]) / 2 for stage in stages]
    assert np.ptp(teacher(half)) > 1

    groups = [str(number % 6) for number in range(60)]
    unseen = cross_val_predict(slow, features, target, groups=groups, cv=LeaveOneGroupOut())
    np.testing.assert_allclose(teacher.unseen(groups), mos.mean() + unseen, atol=0.01)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """64 noise pictures of 8 groups whose MOS falls with their contrast, plus a little chance."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = ["file,mos,scene,group"]
    for number in range(64):
        contrast = rng.uniform(5, 90)
        pixels = np.clip(rng.normal(128, contrast, (48, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        mos = 70 - 0.5 * contrast + rng.normal(0, 2)
        rows.append(f"{number}.png,{mos:.3f},s{number},g{number % 8}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return read_manifest(folder)


@pytest.fixture(scope="module")
def taught(manifest):
    keras.utils.set_random_seed(0)
    options = {"scorer_units": (16, 16, 16), "decoder_width": 16, "dropout": 0.0}
    model = QDNet(toy_encoder(), latent_dim=4, posterior_units=16, **options)
    model.build()
    model.compile()
    model.calibration.mos_mean.assign(48.0)
    model.posterior.trainable = model.scorer.trainable = False
    before = {v.path: np.asarray(v) for v in (*model.encoder.variables, *model.decoder.variables)}
    return model, before, fit_scores(model, manifest, steps=300, seed=0)


def test_posterior_and_scorer_learn_and_nothing_else_does(taught, manifest):
    model, before, fit = taught
    loc, _ = posteriors(model, [rendering.file for rendering in manifest.renderings])
    assert spearmanr(model.score_latent(loc), manifest.mos)[0] > 0.9
    assert fit.srocc > 0.9 and fit.plcc > 0.9 and fit.rmse < 6
    for variable in (*model.encoder.variables, *model.decoder.variables):
        np.testing.assert_array_equal(variable, before[variable.path])
    assert not model.posterior.trainable_variables and not model.scorer.trainable_variables


def test_restorer_goes_with_the_posterior_that_it_reads(manifest):
    """What a picture's restored quality lies beside its own stays, though the posterior changes."""
    keras.utils.set_random_seed(0)
    options = {"scorer_units": (8, 8, 8), "decoder_width": 16, "dropout": 0.0}
    model = QDNet(toy_encoder(), latent_dim=4, posterior_units=8, **options)
    model.build()
    model.compile()
    statistics = whole_picture_statistics(model, manifest)
    model.posterior.adapt(statistics)
    step = model.restorer.step
    step.kernel.assign(np.random.default_rng(1).normal(0, 0.3, step.kernel.shape))

    def moves():
        description = model.posterior.describe(statistics)
        loc, _ = model.posterior.locate(description)
        return np.asarray(description), np.asarray(model.restorer(description, loc) - loc)

    before, wanted = moves()
    stale = model.restorer.get_weights()
    fit_scores(model, manifest, steps=400, seed=0)
    after, found = moves()
    assert not np.allclose(before, after, atol=0.1)
    model.restorer.set_weights(stale)
    _, unlearnt = moves()

    def error(moved):
        return np.sqrt(np.square(moved - wanted).mean())

    assert error(found) < 0.3 * min(error(unlearnt), wanted.std())
    assert not model.restorer.trainable_variables


def test_a_restorer_that_was_never_taught_stays_silent(taught):
    model, _, _ = taught
    assert not np.asarray(model.restorer.step.kernel).any()


def test_interval_is_as_wide_as_labels_of_unseen_groups_need(taught, manifest):
    model, _, fit = taught
    loc, scale = posteriors(model, [rendering.file for rendering in manifest.renderings])
    spread = model.posterior.spread(model.score_latent, loc, scale)
    mos_std = np.asarray(model.calibration.spread(spread))
    assert fit.residual_std > 0
    assert float(model.calibration.residual_std) == pytest.approx(fit.residual_std)
    groups = [rendering.group for rendering in manifest.renderings]
    statistics = whole_picture_statistics(model, manifest)
    unseen = KernelTeacher(statistics, manifest.mos, pictures=1).unseen(groups)
    half = Z_90 * np.sqrt(np.square(mos_std).mean())
    farthest = np.abs(unseen - manifest.mos).max()  # nine groups in ten, of eight, are all
    assert half == pytest.approx(farthest, rel=1e-3)


def test_equal_seeds_teach_alike(manifest):
    def scores():
        keras.utils.set_random_seed(0)
        options = {"scorer_units": (8, 8, 8), "decoder_width": 16}
        model = QDNet(toy_encoder(), latent_dim=4, posterior_units=8, **options)
        model.build()
        model.compile()
        fit_scores(model, manifest, steps=5, seed=3)
        return np.asarray(model.score_latent(np.eye(4, dtype="float32")))

    np.testing.assert_allclose(scores(), scores(), atol=1e-3)


def test_one_group_cannot_be_cross_validated(manifest):
    alone = manifest.subset(i for i, r in enumerate(manifest.renderings) if r.group == "g0")
    with pytest.raises(DataError, match="one training group"):
        fit_scores(QDNet(toy_encoder(), decoder_width=16), alone, steps=1, seed=0)
