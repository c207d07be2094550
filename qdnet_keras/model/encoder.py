"""E: the network that turns a picture into a pyramid of features."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import keras
from keras import ops

from qdnet_keras.errors import PresetError
from qdnet_keras.model.efficientnet_lite import efficientnet_lite2
from qdnet_keras.model.types import Shape, Tensor

RESNET50_TAPS = (
    "conv1_relu",
    "conv2_block3_out",
    "conv3_block4_out",
    "conv4_block6_out",
    "conv5_block3_out",
)
LITE2 = "EfficientNetLite2"


@keras.saving.register_keras_serializable("qdnet_keras")
class Encoder(keras.layers.Layer):
    """Features t of a picture: the picture itself, and taps of a network.

    The picture is stage 0, the taps are the stages after it, from fine to coarse. The network's
    preprocessing is part of the graph. Nothing is padded to a multiple, because that would shift
    the statistics.

    Args:
        network: Name of a network of `keras.applications`, `"EfficientNetLite2"`, or a functional
            `keras.Model` that takes pictures in 0..1 of any size.
        taps: Names of its layers whose outputs are the stages 1, 2 ..
        pyramid: The six stages whose contents the decoder sees, each half the size of the one
            before; the statistics of all stages are there for the posterior.
        weights: `None` (random), `"imagenet"` (downloads) or the path of a weights file for the
            named network without its top. Not part of the config: a saved model brings its own.

    Call arguments:
        image: Tensor of shape `(batch_size, height, width, 3)`, sRGB-encoded, values in 0..1.

    Returns:
        A list of tensors `(batch_size, height_i, width_i, channels_i)`, one a stage; the numbers
        of channels are `channels`.

    Raises:
        PresetError: If `weights` cannot be found, downloaded or loaded.

    Example:

        Encoder()  # ResNet50
        Encoder("EfficientNetV2B0", ("stem_activation", ..., "top_activation"))
    """

    def __init__(
        self,
        network: str | keras.Model = "ResNet50",
        taps: Sequence[str] = RESNET50_TAPS,
        pyramid: Sequence[int] = (0, 1, 2, 3, 4, 5),
        weights: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.taps = tuple(taps)
        self.pyramid = tuple(pyramid)
        self.application = network if isinstance(network, str) else None
        if isinstance(network, str):
            network = _application(network, weights, self.dtype_policy)
        outputs = [network.get_layer(name).output for name in self.taps]
        self.backbone = keras.Model(network.input, outputs, name=network.name)
        self.channels = (3, *(output.shape[-1] for output in outputs))

    def build(self, image_shape: Shape) -> None:
        pass

    def call(self, image: Tensor, training: bool = False) -> list[Tensor]:
        image = ops.cast(image, "float32")
        return [image, *self.backbone(self.preprocess(image), training=training)]

    def preprocess(self, image: Tensor) -> Tensor:
        """Pictures in 0..1 as the network expects them."""
        if self.application in (None, LITE2):
            return image
        module = sys.modules[getattr(keras.applications, self.application).__module__]
        return module.preprocess_input(image * 255.0, data_format="channels_last")

    def freeze(self, part: str | None) -> None:
        """Keeps weights as they are in training: `"encoder"` all, `"norm"` those of BatchNorm.

        A frozen BatchNorm also normalises as in inference. `None` frees everything.
        """
        for layer in self.backbone.layers:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = part is None or (part == "norm" and not norm)

    def get_config(self) -> dict[str, Any]:
        network = self.application or keras.saving.serialize_keras_object(self.backbone)
        return {
            **super().get_config(),
            "network": network,
            "taps": list(self.taps),
            "pyramid": list(self.pyramid),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        network = config["network"]
        if isinstance(network, dict):
            network = keras.saving.deserialize_keras_object(deepcopy(network))
        return cls(**{**config, "network": network})


def _application(name: str, weights: str | None, policy: keras.DTypePolicy) -> keras.Model:
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise PresetError(
            f"The encoder weights {weights!r} are not a file; give None, 'imagenet' or the path "
            f"of a {name} .weights.h5 file."
        )
    try:
        if name == LITE2:
            network = efficientnet_lite2(policy)
            if weights is not None:
                network.load_weights(weights)
            return network
        with _global_dtype_policy(policy):
            make = getattr(keras.applications, name)
            return make(include_top=False, weights=weights, input_shape=(None, None, 3))
    except Exception as error:
        if weights is None:
            raise
        raise PresetError(
            f"The encoder weights {weights!r} could not be loaded ({error}); give the path of "
            f"a {name} .weights.h5 file without top, or None to start from random weights."
        ) from error


@contextmanager
def _global_dtype_policy(policy: keras.DTypePolicy) -> Iterator[None]:
    """`keras.applications` builds its layers under the global policy only."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
