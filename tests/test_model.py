import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import percentileofscore
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.model.calibration import Calibration
from qdnet_keras.model.cycle import cycle_term
from qdnet_keras.model.objective import TERMS, Objective
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.outcomes import SCORES

SIZE = (48, 40)


def new(seed=0, objective=None, **options):
    """A small network, seeded; steps are run one operation at a time, which starts faster."""
    keras.utils.set_random_seed(seed)
    model = QDNet(
        toy_encoder(),
        **{
            "latent_dim": 4,
            "posterior_units": 8,
            "scorer_units": (16, 16, 8),
            "decoder_width": 16,
            **options,
        },
    )
    model.build()
    model.compile(keras.optimizers.Adam(1e-3), objective, run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def model():
    """One for all tests that leave it as it is; its decoder shows z, unlike a new one."""
    objective = Objective(
        score_sigma=0.5, alpha=2.0, beta=0.5, gamma=3.0, cycle=4.0, kl_warmup=4, cycle_start=3
    )
    model = new(objective=objective, bank_size=3)
    model.calibration.mos_mean.assign(45.0)
    model.calibration.mos_std.assign(11.0)
    for weight in model.decoder.trainable_variables:
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.03))
    return model


def pictures(count, seed=0, size=SIZE):
    """Smooth colourful pictures."""
    coarse = np.random.default_rng(seed).random((count, 6, 5, 3), "float32")
    return np.clip(tf.image.resize(coarse, size, method="bicubic"), 0, 1)


def pair_batch(count=2):
    image = pictures(count)
    mos = np.linspace(20, 70, count, dtype="float32")
    return {"image": image, "mos": mos, "pair": image**2, "pair_mos": mos[::-1].copy()}


def repeated(batch):
    return tf.data.Dataset.from_tensors(batch).repeat()


def fit(model, steps, epochs=1):
    return model.fit(
        repeated(pair_batch()), steps_per_epoch=steps, epochs=epochs, verbose=0
    ).history


def renderings(model, image):
    encoding = model.encode(image)
    return model.decoder(encoding.contents, encoding.loc)


def weights_of(model):
    return [np.asarray(weight) for weight in model.weights]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


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


# === Objective ===


def test_total_loss_by_hand(model):
    terms = dict(zip(TERMS, (1.0, 10.0, 100.0, 1000.0, 10000.0), strict=True))
    fixed = 1.0 + 2 * 100 + 3 * 1000 + 4 * 10000
    for step, warmup in ((0, 0.25), (1, 0.5), (3, 1.0), (1000, 1.0)):
        np.testing.assert_allclose(model.objective.total(terms, step), fixed + 0.5 * warmup * 10)


def test_terms_are_those_of_the_paper(model):
    """Eq. (4), each picture encoded on its own and either picture of a pair taken as x."""
    batch = pair_batch()
    tensors = {name: tf.constant(values) for name, values in batch.items()}
    terms = model.objective.terms(model, tensors, training=False)

    expected: dict[str, list] = {name: [] for name in ("score", "kl", "reconstruction", "swap")}
    for i in range(2):
        one, other = ({"x": batch[k][i : i + 1]} for k in ("image", "pair"))
        for side, mos in ((one, batch["mos"][i]), (other, batch["pair_mos"][i])):
            side["n"], _, side["z"], side["sigma"], *_ = model.encode(side["x"])
            y, q = (mos - 45) / 11, model.scorer(side["z"])[0]
            z, sigma = (np.asarray(side[key], "float64") for key in ("z", "sigma"))
            expected["score"].append((y - q) ** 2 / (2 * 0.5**2))
            expected["kl"].append(0.5 * np.sum(z**2 + sigma**2 - 1 - 2 * np.log(sigma)))
        for x, twin in ((one, other), (other, one)):
            itself = abs(x["x"] - model.decoder(x["n"], x["z"]))
            swapped = abs(twin["x"] - model.decoder(x["n"], twin["z"]))
            expected["reconstruction"].append(np.mean(itself))
            expected["swap"].append(np.mean(swapped))
    assert expected["swap"] != expected["reconstruction"]
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name], np.mean(values), rtol=1e-3, err_msg=name)
    assert terms["cycle"] == 0.0


def test_evaluate_is_the_weighted_sum_of_the_terms(model):
    values = model.evaluate(repeated(pair_batch()), steps=2, verbose=0, return_dict=True)
    assert values.keys() == {"loss", *TERMS}
    expected = values["score"] + 0.5 * values["kl"]
    expected += 2 * values["reconstruction"] + 3 * values["swap"]
    assert values["cycle"] == 0
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)


def test_loss_pixels_are_every_second_in_training_and_all_in_tests(model):
    image = np.zeros((1, *SIZE, 3), "float32")
    rows, columns = model.objective.pixels(model, image, training=False)
    np.testing.assert_array_equal(rows, np.arange(48))
    np.testing.assert_array_equal(columns, np.arange(40))
    starts = set()
    for _ in range(40):
        rows, columns = (
            np.asarray(line) for line in model.objective.pixels(model, image, training=True)
        )
        assert (len(rows), len(columns)) == (24, 20)
        assert set(np.diff(rows)) == set(np.diff(columns)) == {2}
        starts.add((rows[0], columns[0]))
    assert starts == {(0, 0), (0, 1), (1, 0), (1, 1)}


# === Latent cycle ===


def cycle_value(model):
    """The term of pictures, and what it is made of: each call draws the same mixtures."""
    image = pictures(4)
    split = model.split(image)
    z = model.posterior(split.statistics)[0]
    model.seed_generator.state.assign([1, 2])
    started = model.optimizer.iterations >= model.objective.cycle_start
    return image, split, z, cycle_term(model, image, split, z, started)


def test_cycle_is_off_before_its_start():
    model = new(objective=Objective(cycle=1.0, cycle_start=3))
    for step, on in ((0, False), (2, False), (3, True)):
        model.optimizer.iterations.assign(step)
        assert (float(cycle_value(model)[-1]) > 0) is on


def test_cycle_trains_the_decoder_alone_with_the_direct_gradient(model):
    try:
        model.optimizer.iterations.assign(3)
        with tf.GradientTape() as tape:
            image, split, z, value = cycle_value(model)
        gradients = tape.gradient(value, model.trainable_variables)
    finally:
        model.optimizer.iterations.assign(0)

    model.seed_generator.state.assign([1, 2])
    epsilon = keras.random.uniform((4, 1), seed=model.seed_generator)
    new_z = (z + epsilon * (tf.roll(z, 1, axis=0) - z))[:2]
    contents = [content[:2] for content in split.contents]
    with tf.GradientTape() as tape:
        change = model.decoder.change(contents, z[:2], new_z)
        changed = model.rerender(image[:2], change, split.moments[:2])
        again = model.encode(tf.clip_by_value(changed, 0, 1)).loc
        latents = tf.reduce_mean((new_z - again) ** 2, axis=1)
        direct = tf.reduce_mean(latents + (model.scorer(new_z) - model.scorer(again)) ** 2)
    own = {id(variable) for variable in model.decoder.trainable_variables}
    exact_gradients = tape.gradient(direct, model.decoder.trainable_variables)
    largest = max(float(abs(np.asarray(exact)).max()) for exact in exact_gradients)
    expected = iter(exact_gradients)

    np.testing.assert_allclose(value, direct, rtol=1e-5)
    compared = []
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if id(variable) not in own:
            assert gradient is None or not np.any(gradient)
            continue
        exact = np.asarray(next(expected))
        tolerance = 1e-3 * abs(exact).max() + 1e-5 * largest  # of sums that cancel
        np.testing.assert_allclose(gradient, exact, atol=tolerance, err_msg=variable.path)
        compared.append(np.any(exact))
    assert sum(compared) > 10


# === Training ===


def test_seeded_training_repeats_exactly():
    first, second = new(seed=5), new(seed=5)
    fit(first, 2)
    fit(second, 2)
    assert_equal(weights_of(first), weights_of(second))


def test_training_lowers_the_loss():
    model = new(dropout=0.0)
    model.optimizer.learning_rate = 5e-3
    batch = pair_batch()
    seen = np.concatenate([batch["image"], batch["pair"]])

    def losses_at_the_posterior_mean():
        model.posterior.adapt(model.split(seen).statistics)
        return model.evaluate(repeated(batch), steps=1, verbose=0, return_dict=True)

    before = losses_at_the_posterior_mean()
    assert fit(model, 10).keys() == before.keys() == {"loss", *TERMS}
    after = losses_at_the_posterior_mean()
    for name in ("loss", "score", "reconstruction", "swap"):
        assert after[name] < before[name]


@pytest.mark.parametrize(
    "options", [{"head": "rgb", "z_stages": (5,)}, {"objective": Objective(cycle=1.0)}]
)
def test_other_networks_train(options):
    model = new(**options)
    before = weights_of(model)
    history = fit(model, 1)
    assert all(np.isfinite(values).all() for values in history.values())
    assert (history["cycle"][0] > 0) is ("objective" in options)
    changed = [(a != b).any() for a, b in zip(before, weights_of(model), strict=True)]
    assert np.mean(changed) > 0.5


def test_half_precision_trains_with_loss_scaling():
    model = new(dtype="mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    contents, _, loc, scale, *_ = model.encode(pictures(2), training=True)
    assert contents[0].dtype == tf.float16
    assert loc.dtype == scale.dtype == model.decoder(contents, loc).dtype == tf.float32

    adam = keras.optimizers.Adam(1e-3)  # a scale low enough that no step has to be skipped
    model.compile(keras.optimizers.LossScaleOptimizer(adam, 32.0), run_eagerly=True)
    before = weights_of(model)
    history = fit(model, 1)
    assert all(np.isfinite(values).all() for values in history.values())
    assert adam.iterations == 1
    changed = [(a != b).any() for a, b in zip(before, weights_of(model), strict=True)]
    assert np.mean(changed) > 0.5
    assert all(np.isfinite(weight).all() for weight in weights_of(model))


def test_two_replicas_train_alike():
    script = """
        import numpy as np, tensorflow as tf
        devices = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(devices[0], two)
        import keras
        from qdnet_keras import QDNet
        from toy_encoder import toy_encoder

        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            model = QDNet(toy_encoder(), latent_dim=4, posterior_units=8, decoder_width=16)
            model.build()
            model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
        before = [np.asarray(variable) for variable in model.trainable_variables]
        picture = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
        mos = np.array([20, 40, 60, 80], np.float32)
        batch = {"image": picture, "pair": picture**2, "mos": mos, "pair_mos": mos[::-1]}
        pairs = tf.data.Dataset.from_tensor_slices(batch).batch(4)
        history = model.fit(pairs, verbose=0).history
        assert all(np.isfinite(values).all() for values in history.values()), history
        changed = 0
        for variable, start in zip(model.trainable_variables, before, strict=True):
            first, second = strategy.experimental_local_results(variable.value)
            np.testing.assert_array_equal(first, second)
            changed += np.any(first != start)
        assert changed > 30, changed
        print("alike", strategy.num_replicas_in_sync)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-2:] == ["alike", "2"]


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
