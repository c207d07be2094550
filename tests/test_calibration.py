"""What training measures at its end: averaged weights, statistics, the scale of scores."""

import keras
import numpy as np
import pytest
from PIL import Image
from small_data import write_data
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.data.reading import read_manifest
from qdnet_keras.outcomes import Score
from qdnet_keras.training.release import calibrate, use_averaged_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_released_weights_are_the_average(tiny_preset, data):
    model = QDNet.from_preset(tiny_preset)
    model.compile(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75))
    model.optimizer.build(model.trainable_variables)
    kernel = model.scorer.hidden[0].kernel
    start = np.asarray(kernel)
    push = [np.full(v.shape, -0.5 if v is kernel else 0.0) for v in model.trainable_variables]
    for _ in range(3):
        model.optimizer.apply(push, model.trainable_variables)
    average = start + 0.75 * (0.75 * 0.5 + 0.25 * 1.0) + 0.25 * 1.5
    use_averaged_weights(model, read_manifest(data), count=2)
    np.testing.assert_allclose(kernel, average, rtol=1e-6)


@pytest.mark.parametrize("sizes", [[(64, 64)], [(64, 64), (48, 64), (64, 40)]])
def test_released_statistics_are_those_of_whole_training_pictures(tiny_preset, tmp_path, sizes):
    """Means and variances over the pictures, whatever their sizes."""
    rng = np.random.default_rng(0)
    pictures, rows = [], ["file,mos"]
    for number in range(6):
        height, width = sizes[number % len(sizes)]
        pictures.append(rng.integers(0, 40 * (number + 1), (height, width, 3), np.uint8))
        Image.fromarray(pictures[-1]).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,50")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    model = QDNet.from_preset(tiny_preset)
    model.compile(keras.optimizers.SGD())
    loc = use_averaged_weights(model, read_manifest(tmp_path), count=6)

    floats = [(picture / 255).astype("float32") for picture in pictures]
    statistics = np.stack([[*p.mean(axis=(0, 1)), *p.std(axis=(0, 1))] for p in floats])
    norm = model.posterior.standardise[model.z_stages.index(0)]
    np.testing.assert_allclose(norm.moving_mean, statistics.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, statistics.var(axis=0), rtol=0.02)
    alone = np.concatenate([model.encode(picture[None]).loc for picture in floats])
    np.testing.assert_allclose(loc, alone, atol=1e-3)


# === Calibration ===


@pytest.fixture
def model():
    model = QDNet(toy_encoder(), scorer_units=(4, 4, 4), decoder_width=16)
    model.build()
    return model


def test_calibrated_scores_are_the_line_through_the_validation_pictures(model):
    z = keras.random.normal((80, 16), seed=1)
    before = np.asarray(model.score_latent(z))
    mos = 1.4 * before - 12.0 + np.random.default_rng(0).normal(0, 1e-3, 80)
    calibrate(model, z, keras.ops.full_like(z, 1e-3), mos)
    np.testing.assert_allclose(model.score_latent(z), mos, atol=0.02)


def test_nine_labels_in_ten_lie_in_the_interval(model):
    """On new pictures as on those that the width was measured on."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 16)).astype("float32")
    scale = np.full_like(z, 0.3)
    mos = np.asarray(model.score_latent(z)) + rng.standard_t(4, 4000) * 3
    calibrate(model, z[:1000], scale[:1000], mos[:1000])
    score = np.asarray(model.score_latent(z[1000:]))
    spread = model.posterior.spread(model.score_latent, z[1000:], scale[1000:])
    mos_std = np.asarray(model.calibration.spread(spread))
    intervals = [Score(0.0, *pair, 0.0).interval for pair in zip(score, mos_std, strict=True)]
    inside = [low <= y <= high for (low, high), y in zip(intervals, mos[1000:], strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("case", ["few", "falling", "constant"])
def test_scores_are_not_calibrated_on_what_tells_nothing(model, case):
    z = keras.random.normal((20 if case == "few" else 80, 16), seed=1)
    predicted = np.asarray(model.score_latent(z))
    mos = {"few": predicted * 2, "falling": 90 - predicted, "constant": predicted * 0 + 50}[case]
    calibrate(model, z, keras.ops.ones_like(z), mos)
    learnt = model.calibration
    assert [float(v) for v in (learnt.mos_mean, learnt.mos_std, learnt.residual_std)] == [50, 12, 0]
