"""Statistics of a picture's light against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer

from qdnet_keras.model.layers import TonalStatistics

LUMINANCE = np.array([0.299, 0.587, 0.114])


def noise(*shape):
    return np.random.default_rng(0).random(shape, "float32")


def test_contract(tmp_path):
    def make(dtype):
        return TonalStatistics(dtype="float32")

    check_layer(make, [noise(2, 36, 41, 3)], tmp_path, half_dtypes=["float32"])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (120, 41)])
def test_equals_numpy_in_double_precision(size):
    pictures = noise(2, *size, 3) ** np.array([1.0, 3.0], "float32")[:, None, None, None]
    graph = tf.function(
        TonalStatistics(), input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False
    )
    for found, picture in zip(graph(pictures), pictures.astype("float64"), strict=True):
        light = picture[::2, ::2] @ LUMINANCE
        np.testing.assert_allclose(found[:3], picture.mean((0, 1)), atol=1e-6)
        np.testing.assert_allclose(found[3:6], np.sqrt(picture.var((0, 1)) + 1e-5), atol=1e-5)
        np.testing.assert_allclose(found[6:], np.quantile(light, np.arange(1, 16) / 16), atol=1e-5)


def test_gradients_reach_the_picture():
    picture = tf.constant(noise(1, 32, 33, 3))
    with tf.GradientTape() as tape:
        tape.watch(picture)
        statistics = TonalStatistics()(picture)
    gradient = np.asarray(tape.gradient(statistics, picture))
    assert np.isfinite(gradient).all()
    assert gradient.sum() > 0
