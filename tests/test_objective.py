"""The terms of eq. (4) and the latent cycle, against the same by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_network import SIZE, new, pair_batch, pictures, repeated, weighted

from qdnet_keras.model.cycle import cycle_term
from qdnet_keras.model.objective import TERMS, Objective


@pytest.fixture(scope="module")
def model():
    """For all tests that leave it as it is."""
    return weighted()


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
