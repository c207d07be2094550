"""A network of the toy encoder, pictures, and batches of pairs, for tests of the model."""

import keras
import numpy as np
import tensorflow as tf
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.model.objective import Objective

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


def weighted():
    """One with weights of all terms; its decoder shows z, unlike a new one."""
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
