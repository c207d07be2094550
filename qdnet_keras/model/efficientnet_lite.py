"""EfficientNet-Lite2, an encoder that runs fast on CPUs, for `Encoder`.

BatchNorm is folded into the convolutions, so the network is convolutions, ReLU6 and sums. It is
meant to be used with weights learnt on ImageNet, as they are.
"""

import keras
from keras import ops

from qdnet_keras.model.types import Tensor

# Repeats, kernel, stride of the first block, expansion and channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
STEM, HEAD = 32, 1280
MEAN, SCALE = 127.0 / 255.0, 255.0 / 128.0
TAPS = (*(f"stage{number}" for number in range(len(STAGES))), "head_features")
PYRAMID = (0, 1, 2, 3, 5, 7)  # the last stage of each size but the head, and the picture


def efficientnet_lite2(dtype: keras.DTypePolicy | str | None = None) -> keras.Model:
    """The functional network, with random weights.

    Its input is `(batch_size, height, width, 3)`, sRGB-encoded in 0..1. The outputs of its seven
    stages (linear) and of its head (ReLU6) are the layers named in `TAPS`.

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        ICML 2019; the Lite variants drop squeeze-and-excitation and swish.
    """

    def convolution(features: Tensor, channels: int, kernel: int, stride: int, name: str) -> Tensor:
        layer = keras.layers.Conv2D(channels, kernel, stride, "same", dtype=dtype, name=name)
        return layer(features)

    def block(
        features: Tensor, kernel: int, stride: int, expansion: int, channels: int, name: str
    ) -> Tensor:
        inside = features
        if expansion > 1:
            wide = features.shape[-1] * expansion
            inside = ops.relu6(convolution(features, wide, 1, 1, f"{name}_expand"))
        depthwise = keras.layers.DepthwiseConv2D(
            kernel, stride, "same", dtype=dtype, name=f"{name}_depthwise"
        )
        inside = ops.relu6(depthwise(inside))
        output = convolution(inside, channels, 1, 1, f"{name}_project")
        return output + features if stride == 1 and features.shape[-1] == channels else output

    image = keras.Input((None, None, 3))
    features = ops.relu6(convolution((image - MEAN) * SCALE, STEM, 3, 2, "stem"))
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        for number in range(repeats):
            step = stride if number == 0 else 1
            name = f"stage{stage}_block{number}"
            features = block(features, kernel, step, expansion, channels, name)
        features = keras.layers.Identity(name=f"stage{stage}")(features)
    head = ops.relu6(convolution(features, HEAD, 1, 1, "head"))
    head = keras.layers.Identity(name="head_features")(head)
    return keras.Model(image, head, name="efficientnet_lite2")
