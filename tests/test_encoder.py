import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_encoder import CHANNELS, TAPS, toy_encoder, toy_network

from qdnet_keras import QDNet
from qdnet_keras.errors import PresetError
from qdnet_keras.model.efficientnet_lite import PYRAMID
from qdnet_keras.model.efficientnet_lite import TAPS as TAPS_LITE
from qdnet_keras.model.encoder import RESNET50_TAPS, Encoder

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
    taps = keras.Model(resnet.input, [resnet.get_layer(name).output for name in RESNET50_TAPS])
    caffe = keras.applications.resnet50.preprocess_input(image * 255.0)
    reference = [image, *(np.asarray(tap) for tap in taps(caffe))]
    features = encoder(image)
    assert len(features) == len(reference) == 6
    for found, expected in zip(features, reference, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


def test_another_network_of_keras_applications():
    """Inputs in -1..1, other taps; its channels are those that the rest of the network expects."""
    taps = ("Conv1_relu", "block_2_expand_relu", "block_4_expand_relu", "block_8_expand_relu")
    encoder = Encoder("MobileNetV2", (*taps, "out_relu"))
    image = picture(64, 96)
    features = encoder(image)
    assert tuple(t.shape[-1] for t in features) == encoder.channels
    again = encoder.backbone(image * 2.0 - 1.0)
    for found, expected in zip(features[1:], again, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.max(abs(expected)))
    assert encoder.get_config()["network"] == "MobileNetV2"


@SIZES
def test_each_stage_halves_the_size_rounding_up(size):
    for encoder in (toy_encoder(), Encoder()):
        features = encoder(picture(size[0], size[1], 2))
        for stage, channels in enumerate(encoder.channels):
            height, width = (-(-side // 2**stage) for side in size)
            assert features[stage].shape == (2, height, width, channels)


def test_efficientnet_lite2_by_the_operations_of_its_paper():
    """Its stem and first two stages redone with tf.nn on its own kernels; sizes of all stages."""
    keras.utils.set_random_seed(0)
    encoder, image = Encoder("EfficientNetLite2", TAPS_LITE, PYRAMID), picture(45, 64)

    def kernel(name):
        (weight,) = (w for w in encoder.weights if w.path.endswith(f"{name}/kernel"))
        return weight

    def convolution(values, name, stride=1):
        return tf.nn.conv2d(values, kernel(name), stride, "SAME")

    def depthwise(values, name, stride=1):
        strides = [1, stride, stride, 1]
        return tf.nn.depthwise_conv2d(values, kernel(name), strides, "SAME")

    features = encoder(image)
    values = tf.nn.relu6(convolution((image * 255 - 127) / 128, "stem", 2))
    values = tf.nn.relu6(depthwise(values, "stage0_block0_depthwise"))
    values = convolution(values, "stage0_block0_project")
    np.testing.assert_allclose(features[1], values, atol=1e-5 * np.max(abs(values)))
    for block in range(3):
        name = f"stage1_block{block}"
        inside = tf.nn.relu6(convolution(values, f"{name}_expand"))
        inside = tf.nn.relu6(depthwise(inside, f"{name}_depthwise", 2 if block == 0 else 1))
        inside = convolution(inside, f"{name}_project")
        values = inside if block == 0 else inside + values
    np.testing.assert_allclose(features[2], values, atol=1e-5 * np.max(abs(values)))

    halvings = (0, 1, 2, 3, 4, 4, 5, 5, 5)
    for channels, halved, values in zip(encoder.channels, halvings, features, strict=True):
        assert values.shape == (1, -(-45 // 2**halved), 64 // 2**halved, channels)
    assert [halvings[stage] for stage in encoder.pyramid] == [0, 1, 2, 3, 4, 5]
    assert encoder.channels == (3, 16, 24, 48, 88, 120, 208, 352, 1280)
    kernels = sum(int(np.prod(w.shape)) for w in encoder.weights if w.path.endswith("kernel"))
    assert 4.5e6 < kernels < 5e6  # 6.1 million in all in the paper's, 1.3 of them in its classifier


def test_a_network_of_ones_own_sees_the_picture_as_it_is():
    network, image = toy_network(), picture(40, 33)
    encoder = Encoder(network, TAPS)
    assert encoder.channels == CHANNELS
    np.testing.assert_array_equal(encoder(image)[5], network(image))


@pytest.mark.parametrize("name", ["ResNet50", "EfficientNetLite2"])
def test_sizes_unknown_to_the_graph(encoder, name):
    if name == "EfficientNetLite2":
        encoder = Encoder(name, TAPS_LITE, PYRAMID)
    graph = tf.function(
        lambda image: encoder(image), input_signature=[tf.TensorSpec([None, None, None, 3])]
    )
    for size in ((32, 40), (45, 33)):
        for expected, value in zip(encoder(picture(*size)), graph(picture(*size)), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-3 * np.max(abs(expected)))


def test_half_precision_leaves_the_policy_and_the_picture_alone():
    policy = keras.config.dtype_policy()
    half = Encoder(dtype="mixed_float16")
    assert keras.config.dtype_policy() == policy
    image, *taps = half(picture(33, 47), training=True)
    assert image.dtype == tf.float32
    assert {tap.dtype for tap in taps} == {tf.float16}
    assert all(np.isfinite(tap).all() for tap in taps)


def test_half_precision_keeps_statistics_in_single_precision():
    model = QDNet(decoder_width=16, dtype="mixed_float16")
    split = model.split(picture(33, 47), training=True)
    assert {content.dtype for content in split.contents} == {tf.float16}
    assert {values.dtype for values in (split.moments, *split.statistics)} == {tf.float32}
    assert all(np.isfinite(values).all() for values in (*split.contents, *split.statistics))


@pytest.mark.parametrize(
    "make", [Encoder, toy_encoder, lambda: Encoder("EfficientNetLite2", TAPS_LITE, PYRAMID)]
)
def test_config_does_not_hold_the_weights(make, tmp_path):
    encoder = make()
    assert "weights" not in encoder.get_config()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, encoder(image)[1:])
    model.save(tmp_path / "encoder.keras")
    restored = keras.saving.load_model(tmp_path / "encoder.keras")
    for before, after in zip(model(picture(40, 33)), restored(picture(40, 33)), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("part", ["norm", "encoder"])
def test_frozen_parts_stay_as_they_are_and_work_as_in_inference(part):
    encoder, image = toy_encoder(), picture(40, 40)
    encoder.freeze(part)
    before = encoder.get_weights()
    for value, expected in zip(encoder(image, training=True), encoder(image), strict=True):
        np.testing.assert_array_equal(value, expected)
    free = {variable.path.split("/")[-2] for variable in encoder.trainable_variables}
    assert bool(free) == (part == "norm") and not any(name.endswith("bn") for name in free)
    for value, expected in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)

    encoder.freeze(None)
    encoder(image, training=True)
    moved = [np.any(a != b) for a, b in zip(encoder.get_weights(), before, strict=True)]
    assert sum(moved) == 2 * 5  # mean and variance of each BatchNorm
    assert len(encoder.trainable_variables) == 4 * 5


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
