"""E: the ResNet50 encoder that turns a picture into a pyramid of features."""

from contextlib import contextmanager
from pathlib import Path

import keras
from keras import ops

from qdnet_keras.errors import PresetError
from qdnet_keras.model.layers import InstanceSplit

TAPS = (
    "conv1_relu",
    "conv2_block3_out",
    "conv3_block4_out",
    "conv4_block6_out",
    "conv5_block3_out",
)
TAP_CHANNELS = (64, 256, 512, 1024, 2048)
STAGE_CHANNELS = (3, *TAP_CHANNELS)
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


@contextmanager
def _global_dtype_policy(policy):
    """`keras.applications` builds its layers under the global policy only."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def preprocess(image):
    """Pictures in 0..1 as ResNet50 expects them: BGR in 0..255, ImageNet's mean subtracted."""
    return ops.flip(image, axis=-1) * 255.0 - ops.array(IMAGENET_MEAN_BGR)


def _resnet50(weights: str | None, policy: keras.DTypePolicy) -> keras.Model:
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise PresetError(
            f"The encoder weights {weights!r} are not a file; give None, 'imagenet' or the path "
            "of a ResNet50 .weights.h5 file."
        )
    with _global_dtype_policy(policy):
        try:
            backbone = keras.applications.ResNet50(
                include_top=False, weights=weights, input_shape=(None, None, 3)
            )
        except Exception as error:
            if weights is None:
                raise
            raise PresetError(
                f"The encoder weights {weights!r} could not be loaded ({error}); give the path of "
                "a ResNet50 .weights.h5 file without top, or None to start from random weights."
            ) from error
        taps = [backbone.get_layer(name).output for name in TAPS]
        return keras.Model(backbone.input, taps, name="resnet50")


@keras.saving.register_keras_serializable("qdnet_keras")
class Encoder(keras.layers.Layer):
    """ResNet50 features of a picture, split into content and quality statistics.

    The picture itself is stage 0 and the five taps of ResNet50 (conv1 .. conv5) are stages 1..5,
    each half the size of the one before. ImageNet preprocessing is part of the graph. Any size
    from 32×32 works; nothing is padded to a multiple, because that would shift the statistics.

    Args:
        weights: `None` (random), `"imagenet"` (downloads) or the path of a weights file for
            `keras.applications.ResNet50(include_top=False)`. Not part of the config: a saved
            model brings its own weights.

    Call arguments:
        image: Tensor of shape `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        A tuple `(contents, statistics)` of two lists with one entry for each of the 6 stages:
        content `(batch_size, height_i, width_i, channels_i)` in the compute dtype, and μ ⊕ σ
        `(batch_size, 2 * channels_i)` in float32.

    Raises:
        PresetError: If `weights` cannot be found, downloaded or loaded.
    """

    def __init__(self, weights=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.backbone = _resnet50(weights, self.dtype_policy)
        self.split = InstanceSplit(dtype=self.dtype_policy)

    def build(self, image_shape):
        pass

    def call(self, image, training=False):
        image = ops.cast(image, "float32")
        contents, statistics = [], []
        for features in [image, *self.backbone(preprocess(image), training=training)]:
            content, mean, std = self.split(features)
            contents.append(content)
            statistics.append(ops.concatenate([mean, std], axis=-1))
        return contents, statistics

    def freeze(self, part):
        """Keeps weights as they are in training: `"encoder"` all, `"norm"` those of BatchNorm.

        A frozen BatchNorm also normalises as in inference. `None` frees everything.
        """
        for layer in self.backbone.layers:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = part is None or (part == "norm" and not norm)

    def get_config(self):
        config = super().get_config()
        config.pop("weights", None)
        return config
