"""What every Keras layer of the package must do, checked in one place."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def check_layer(
    make: Callable[..., keras.layers.Layer],
    arguments: Sequence[Any],
    folder: Path,
    *,
    half_dtypes: Sequence[str],
    **options: Any,
) -> None:
    """Checks config, symbolic call, gradient step, half precision, saving and loading.

    Args:
        make: Builds the layer; takes `dtype`.
        arguments: Float32 arrays or lists of arrays, the layer's call arguments.
        folder: Where a model may be saved.
        half_dtypes: Dtypes of the layer's outputs under `mixed_float16`.
        **options: Plain values that are passed to every call.
    """
    layer = make(dtype="float32")
    outputs = keras.tree.flatten(layer(*arguments, **options))
    assert {output.dtype.name for output in outputs} == {"float32"}

    _check_config(layer)
    _check_symbolic_call_and_saving(layer, arguments, outputs, folder / "layer.keras", options)
    _check_gradient_step(layer, arguments, options)
    halves = keras.tree.flatten(make(dtype="mixed_float16")(*arguments, **options))
    assert [half.dtype.name for half in halves] == list(half_dtypes)
    assert all(np.isfinite(half).all() for half in halves)


def _check_config(layer: keras.layers.Layer) -> None:
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def _check_symbolic_call_and_saving(
    layer: keras.layers.Layer,
    arguments: Sequence[Any],
    outputs: Sequence[tf.Tensor],
    path: Path,
    options: dict[str, Any],
) -> None:
    """A functional model with open sizes has the right shapes, before and after a save."""

    def open_input(array: np.ndarray) -> keras.KerasTensor:
        return keras.Input((*[None] * (array.ndim - 2), array.shape[-1]))

    symbolic = keras.tree.map_structure(open_input, list(arguments))
    model = keras.Model(symbolic, layer(*symbolic, **options))
    flat = [model.output] if len(outputs) == 1 else keras.tree.flatten(model.output)
    for symbol, output in zip(flat, outputs, strict=True):
        assert len(symbol.shape) == len(output.shape)
        assert all(s in (None, n) for s, n in zip(symbol.shape, output.shape, strict=True))
        assert len(output.shape) == 1 or symbol.shape[-1] == output.shape[-1]

    model.save(path)
    restored = keras.saving.load_model(path)
    again = keras.tree.flatten(restored(list(arguments)))
    for before, after in zip(outputs, again, strict=True):
        np.testing.assert_array_equal(before, after)


def _check_gradient_step(
    layer: keras.layers.Layer, arguments: Sequence[Any], options: dict[str, Any]
) -> None:
    variables = layer.trainable_variables
    if not variables:
        return

    def loss() -> tf.Tensor:
        flat = keras.tree.flatten(layer(*arguments, **options))
        return tf.add_n([tf.reduce_mean(tf.square(output)) for output in flat])

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    keras.optimizers.SGD(1e-2).apply(gradients, variables)
    assert loss() < before
