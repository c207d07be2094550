"""Folding BatchNorm into convolutions, against the layers themselves."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "convert_encoder.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_encoder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("depthwise", [False, True])
def test_folded_convolution_does_what_both_layers_did(script, depthwise):
    rng = np.random.default_rng(0)
    kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    arguments = (3,) if depthwise else (6, 3)
    plain, folded = kind(*arguments, use_bias=False), kind(*arguments)
    norm = keras.layers.BatchNormalization(epsilon=script.EPSILON)
    picture = rng.normal(0, 1, (1, 9, 9, 4)).astype("float32")
    channels = 4 if depthwise else 6
    norm(plain(picture)), folded(picture)
    norm.set_weights([rng.uniform(0.2, 2, channels) for _ in range(4)])

    kernel = plain.get_weights()[0]
    theirs = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
    names = ("weight", "bias", "running_mean", "running_var")
    stored = {"c.weight": theirs}
    stored |= {f"n.{name}": value for name, value in zip(names, norm.get_weights(), strict=True)}
    folded.set_weights(script.folded(stored, "c", "n", depthwise))
    np.testing.assert_allclose(folded(picture), norm(plain(picture)), atol=1e-5)


def test_every_layer_is_filled_once(script):
    """Of a network in the published form no array is left over, and no layer at its start."""
    network = script.efficientnet_lite2()

    class Stored(dict):
        def __getitem__(self, name):
            used.add(name)
            return super().__getitem__(name)

    used, stored = set(), Stored()
    rng = np.random.default_rng(0)

    def store(convolution, norm, kernel):
        depthwise = kernel.shape[-1] == 1 and kernel.shape[2] > 1
        axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        count = kernel.shape[2] if depthwise else kernel.shape[3]
        stored[f"{convolution}.weight"] = rng.normal(0, 1, kernel.transpose(axes).shape)
        for name in ("weight", "bias", "running_mean", "running_var"):
            stored[f"{norm}.{name}"] = rng.uniform(0.5, 1.5, count)

    layers = [layer for layer in network.layers if layer.weights]
    block = -1
    for layer in layers:
        if layer.name in ("stem", "head"):
            names = (f"_conv_{layer.name}", "_bn0" if layer.name == "stem" else "_bn1")
        else:
            part = layer.name.rsplit("_", 1)[1]
            block += part == "expand" or layer.name == "stage0_block0_depthwise"
            number = {"expand": 0, "depthwise": 1, "project": 2}[part]
            kind = "_depthwise_conv" if part == "depthwise" else f"_{part}_conv"
            names = (f"_blocks.{block}.{kind}", f"_blocks.{block}._bn{number}")
        store(*names, layer.get_weights()[0])
    script.fill(network, stored)
    assert used == set(stored)
    assert all((layer.get_weights()[1] != 0).all() for layer in layers)
