"""What the network says of pictures, and how it is saved."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import percentileofscore
from small_network import (
    assert_equal,
    fit,
    new,
    pictures,
    renderings,
    weighted,
    weights_of,
)

from qdnet_keras import QDNet
from qdnet_keras.model.calibration import Calibration
from qdnet_keras.model.objective import Objective
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.outcomes import SCORES


@pytest.fixture(scope="module")
def model():
    """For all tests that leave it as it is."""
    return weighted()


# === Score ===


def test_scores_are_those_of_the_posterior_mean(model):
    image = pictures(3)
    output = model(image)
    encoding = model.encode(image)
    assert encoding.loc.shape == encoding.scale.shape == (3, 4)
    assert output.keys() == set(SCORES)
    assert {value.shape for value in output.values()} == {(3,)}
    assert {value.dtype for value in output.values()} == {tf.float32}
    mos = 45 + 11 * np.asarray(model.scorer(encoding.loc))
    np.testing.assert_allclose(output["mos"], mos, atol=1e-4)
    quantiles = np.asarray(model.calibration.quantiles)
    assert quantiles[0] < mos.min() and mos.max() < quantiles[-1]
    ranks = np.interp(mos, quantiles, np.arange(2, 99, 2))
    np.testing.assert_allclose(output["score"], ranks, atol=1e-3)
    np.testing.assert_allclose(model.rank_latent(encoding.loc), ranks, atol=1e-3)


def test_score_is_the_share_of_renderings_that_lie_below(model):
    """Of a thousand MOS, also far beyond them; it rises all the way."""
    calibration = Calibration()
    mos = np.random.default_rng(0).gamma(4.0, 9.0, 1000)
    calibration.compare_with(mos)
    asked = np.linspace(np.percentile(mos, 2.5), np.percentile(mos, 97.5), 50, dtype="float32")
    np.testing.assert_allclose(calibration.rank(asked), percentileofscore(mos, asked), atol=0.6)
    wide = np.asarray(calibration.rank(np.linspace(-20, 150, 400, dtype="float32")))
    assert (np.diff(wide) >= 0).all() and 0 <= wide[0] < 0.1 and 99.5 < wide[-1] <= 100
    assert (np.diff(wide)[20:-100] > 0).all()


def test_renderings_that_are_all_alike_still_give_a_rank(model):
    calibration = Calibration()
    calibration.compare_with(np.full(10, 40.0))
    low, high = np.asarray(calibration.rank(np.array([30, 50], "float32")))
    assert 0 <= low < 2 and 98 < high <= 100


def test_scores_stay_in_their_range(model):
    bias = model.scorer.output_layer.bias
    before = np.asarray(bias)
    try:
        for value, limit in ((1e3, 100.0), (-1e3, 0.0)):
            bias.assign([value])
            output = model(pictures(2))
            np.testing.assert_array_equal(output["mos"], [limit, limit])
            np.testing.assert_allclose(output["score"], [limit, limit], atol=1e-3)
    finally:
        bias.assign(before)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 35)])
def test_score_of_any_size(model, size):
    output = model(pictures(1, size=size))
    assert all(np.isfinite(value).all() for value in output.values())


def test_score_does_not_depend_on_the_batch(model):
    image = pictures(4)
    together = model(image)
    for index in range(4):
        alone = model(image[index : index + 1])
        for name in SCORES:
            np.testing.assert_allclose(alone[name][0], together[name][index], atol=1e-4)


def test_mos_std_is_the_spread_under_the_posterior(model):
    image = pictures(2)
    _, _, loc, scale, *_ = model.encode(image)
    first, second = model(image)["mos_std"], model(image)["mos_std"]
    np.testing.assert_array_equal(first, second)
    spread = model.posterior.spread(model.score_latent, loc, scale)
    np.testing.assert_allclose(first, spread, rtol=1e-4)

    slopes = np.random.default_rng(0).standard_normal((200, 4)).astype("float32")
    exact = np.linalg.norm(slopes[:, None] * np.asarray(scale), axis=-1)
    found = [model.posterior.spread(lambda z, s=s: z @ s[:, None], loc, scale) for s in slopes]
    ratio = np.asarray(found) / exact
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)  # as near as 16 pairs of draws come
    assert ratio.std() < 0.2

    none = model.posterior.spread(model.score_latent, loc, tf.zeros_like(scale))
    np.testing.assert_allclose(none, 0, atol=1e-4)


def test_calibration_reaches_a_score_that_was_traced_before(tiny_preset):
    model, picture = QDNet.from_preset(tiny_preset), (pictures(1)[0] * 255).astype("uint8")
    before = score_pixels(model, picture)
    model.calibration.mos_mean.assign_add(3.0)
    model.calibration.residual_std.assign(7.0)
    after = score_pixels(model, picture)
    assert after.mos == pytest.approx(before.mos + 3.0, abs=1e-4)
    assert after.mos_std == pytest.approx(np.hypot(before.mos_std, 7.0), abs=1e-4)
    assert after.score > before.score


def test_predict_is_the_call_on_each_batch(model):
    image = pictures(3)
    predicted, called = model.predict(image, batch_size=2, verbose=0), model(image)
    for name in SCORES:
        assert predicted[name].shape == (3,)
        np.testing.assert_allclose(predicted[name], called[name], atol=1e-3)


def test_call_in_a_graph_of_open_size(model):
    graph = tf.function(
        lambda image: model(image), input_signature=[tf.TensorSpec([None, None, None, 3])]
    )
    for size in ((40, 33), (64, 48)):
        image = pictures(2, size=size)
        for name, value in model(image).items():
            np.testing.assert_allclose(graph(image)[name], value, atol=1e-3)


# === Saving ===


def test_saved_model_is_bit_equal(tmp_path):
    model = new(bank_size=3, objective=Objective(alpha=2.0, kl_warmup=4))
    model.fill_bank(np.random.default_rng(0).standard_normal((3, 4)))
    fit(model, 1)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")

    image = pictures(2)
    assert json.dumps(restored.get_config()) == json.dumps(model.get_config())
    assert restored.objective.get_config() == model.objective.get_config()
    for name, value in model(image).items():
        np.testing.assert_array_equal(restored(image)[name], value)
    decoded = [renderings(m, image) for m in (model, restored)]
    np.testing.assert_array_equal(*decoded)
    assert_equal(weights_of(model), weights_of(restored))
    assert len(model.optimizer.variables) > 2 * len(model.trainable_variables)
    assert_equal(model.optimizer.variables, restored.optimizer.variables)


def test_config_round_trip(model):
    config = model.get_config()
    assert config["latent_dim"] == 4 and config["bank_size"] == 3
    assert not config.keys() & {"alpha", "kl_warmup", "mos_mean"}
    assert json.dumps(QDNet.from_config(config).get_config()) == json.dumps(config)


def test_preset_round_trip(model, tmp_path):
    model.save_to_preset(tmp_path)
    restored = QDNet.from_preset(tmp_path)
    for before, after in zip(weights_of(model), weights_of(restored), strict=True):
        np.testing.assert_allclose(after, before, rtol=2**-11, atol=2**-25)
    image = pictures(2)
    for name, value in model(image).items():
        np.testing.assert_allclose(restored(image)[name], value, atol=0.5)
    decoded = [renderings(m, image) for m in (model, restored)]
    np.testing.assert_allclose(decoded[0], decoded[1], atol=0.02)


def test_bank_is_spread_evenly_over_typical_latents(model):
    before = np.asarray(model.bank)
    latents = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
    latents[5] = 1e3
    typical = np.delete(latents, 5, axis=0)
    try:
        model.fill_bank(latents)
        np.testing.assert_array_equal(model.bank, typical[[0, 9, 18]])
        model.fill_bank(latents[:1])
        np.testing.assert_array_equal(model.bank, latents[[0, 0, 0]])
    finally:
        model.bank.assign(before)
