"""Steps of training: repeated, other networks, half precision, two replicas."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_network import (
    assert_equal,
    fit,
    new,
    pair_batch,
    pictures,
    repeated,
    weights_of,
)

from qdnet_keras.model.objective import TERMS, Objective


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
