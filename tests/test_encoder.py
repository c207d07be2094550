import keras
import numpy as np
import pytest
import tensorflow as tf

from qdnet_keras.errors import PresetError
from qdnet_keras.model.encoder import STAGE_CHANNELS, TAPS, Encoder

SIZES = pytest.mark.parametrize("size", [(32, 32), (33, 47), (203, 317)])


@pytest.fixture(scope="module")
def resnet():
    """The reference: the ResNet50 of Keras, with statistics of BatchNormalization that matter."""
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for weight in model.non_trainable_variables:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def encoder(resnet, tmp_path_factory):
    """An encoder with the reference's weights, read from its weights file."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    resnet.save_weights(path)
    return Encoder(weights=str(path))


def picture(height, width, batch=1):
    return np.random.default_rng(1).random((batch, height, width, 3), "float32")


@SIZES
def test_features_are_those_of_keras_applications(encoder, resnet, size):
    image = picture(*size)
    contents, statistics = encoder(image)

    taps = keras.Model(resnet.input, [resnet.get_layer(name).output for name in TAPS])
    caffe = keras.applications.resnet50.preprocess_input(image * 255.0)
    reference = [image, *(np.asarray(tap) for tap in taps(caffe))]
    assert len(contents) == len(statistics) == len(reference) == 6
    for content, statistic, features in zip(contents, statistics, reference, strict=True):
        assert content.shape == features.shape
        mean, std = np.split(np.asarray(statistic)[0], 2)
        tolerance = 1e-4 * abs(features).max()
        np.testing.assert_allclose(mean, features[0].mean(axis=(0, 1)), atol=tolerance)
        np.testing.assert_allclose(content[0] * std + mean, features[0], atol=tolerance)


@SIZES
def test_each_stage_halves_the_size_rounding_up(encoder, size):
    contents, statistics = encoder(picture(size[0], size[1], 2))
    for stage, channels in enumerate(STAGE_CHANNELS):
        height, width = (-(-side // 2**stage) for side in size)
        assert contents[stage].shape == (2, height, width, channels)
        assert statistics[stage].shape == (2, 2 * channels)


def test_sizes_unknown_to_the_graph(encoder):
    graph = tf.function(
        lambda image: encoder(image), input_signature=[tf.TensorSpec([None, None, None, 3])]
    )
    for size in ((32, 40), (45, 33)):
        eager, traced = (keras.tree.flatten(call(picture(*size))) for call in (encoder, graph))
        for expected, value in zip(eager, traced, strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-3 * np.max(abs(expected)))


def test_half_precision_keeps_statistics_in_single_precision(encoder):
    policy = keras.config.dtype_policy()
    half = Encoder(dtype="mixed_float16")
    assert keras.config.dtype_policy() == policy
    contents, statistics = half(picture(33, 47), training=True)
    assert {content.dtype for content in contents} == {tf.float16}
    assert {statistic.dtype for statistic in statistics} == {tf.float32}
    assert all(np.isfinite(values).all() for values in (*contents, *statistics))


def test_config_does_not_hold_the_weights(encoder, tmp_path):
    assert "weights" not in encoder.get_config()
    image = keras.Input((None, None, 3))
    contents, statistics = encoder(image)
    model = keras.Model(image, [contents[5], statistics[5]])
    model.save(tmp_path / "encoder.keras")
    restored = keras.saving.load_model(tmp_path / "encoder.keras")
    for before, after in zip(model(picture(40, 33)), restored(picture(40, 33)), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("part", ["norm", "encoder"])
def test_frozen_parts_stay_as_they_are_and_work_as_in_inference(part):
    encoder = Encoder()
    image = picture(40, 40)
    encoder(image)
    encoder.freeze(part)
    before = encoder.get_weights()
    inference = keras.tree.flatten(encoder(image))
    training = keras.tree.flatten(encoder(image, training=True))
    for value, expected in zip(training, inference, strict=True):
        np.testing.assert_array_equal(value, expected)
    free = {variable.path.split("/")[-2] for variable in encoder.trainable_variables}
    assert bool(free) == (part == "norm") and not any(name.endswith("bn") for name in free)
    for value, expected in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)

    encoder.freeze(None)
    encoder(image, training=True)
    moved = [np.any(a != b) for a, b in zip(encoder.get_weights(), before, strict=True)]
    assert sum(moved) == 2 * 53  # mean and variance of each BatchNorm
    assert len(encoder.trainable_variables) == 2 * 53 + 2 * 53


def refused(weights):
    with pytest.raises(PresetError) as caught:
        Encoder(weights=weights)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_missing_weights(tmp_path):
    path = str(tmp_path / "absent.weights.h5")
    assert path in refused(path)


def test_weights_of_another_kind(tmp_path):
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(b"not weights")
    assert str(path) in refused(str(path))


def test_imagenet_without_a_network(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("URL fetch failure: Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    policy = keras.config.dtype_policy()
    assert "None to start from random weights" in refused("imagenet")
    assert keras.config.dtype_policy() == policy
