"""Keras' `fit`, on one device or on all of a `tf.distribute` strategy, in one process or several.

Keras 3 has none for several processes. The network that callbacks see is in this process alone; on
several devices its replicas train, and it is brought up to date at the end of each epoch. So what
callbacks do needs no other process to take part.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from qdnet_keras.errors import ConfigError
from qdnet_keras.model.qdnet import QDNet

Batches = Callable[[tf.distribute.InputContext], tf.data.Dataset]


def fit(
    model: QDNet,
    build: Callable[[], QDNet],
    batches: Batches,
    strategy: tf.distribute.Strategy,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    initial_epoch: int,
    epochs: int,
    steps: int,
) -> None:
    """Trains a compiled network whose optimiser is built.

    Args:
        build: Makes another such network, for replicas; its state does not matter.
        batches: The share of all batches that an input context asks for.
        callbacks: With those of other processes nothing is shared; they may differ.
        initial_epoch, epochs, steps: As for Keras' `fit`; steps of one epoch.

    Raises:
        ConfigError: If processes do not begin at the same epoch.
    """
    alone = strategy.num_replicas_in_sync == 1
    trained = model if alone else _replicate(model, build, strategy, initial_epoch)

    @tf.function
    def step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logs = strategy.run(trained.train_step, args=(batch,))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    watching = keras.callbacks.CallbackList(
        list(callbacks), add_progbar=True, model=model, epochs=epochs, steps=steps, verbose=1
    )
    watching.on_train_begin()
    pairs = iter(strategy.distribute_datasets_from_function(batches))
    for epoch in range(initial_epoch, epochs):
        watching.on_epoch_begin(epoch)
        trained.reset_metrics()
        for number in range(steps):
            watching.on_train_batch_begin(number)
            logs = {name: float(value) for name, value in step(next(pairs)).items()}
            watching.on_train_batch_end(number, logs)
        if not alone:
            _copy(_state(trained), _state(model))
        watching.on_epoch_end(epoch, logs)
    watching.on_train_end()


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when every process has come here: one that ends early takes the others with it."""
    _sum(strategy, [tf.zeros(())])


def _replicate(
    model: QDNet, build: Callable[[], QDNet], strategy: tf.distribute.Strategy, epoch: int
) -> QDNet:
    """The network of the first process on all devices, its normalisation over whole batches."""
    begun = float(_sum(strategy, [tf.constant(float(epoch))])[0])
    if begun != epoch * strategy.num_replicas_in_sync:
        raise ConfigError(
            "Not all workers see the same checkpoints; give them one folder as --out."
        )
    with strategy.scope():
        copy = build()
        for layer in copy.encoder.backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        _copy(_state(model), _state(copy))
        weights = [tf.convert_to_tensor(weight) for weight in model.weights]
        for weight, value in zip(copy.weights, _of_first(strategy, weights), strict=True):
            weight.assign(value)
    return copy


def _state(model: QDNet) -> list[keras.Variable]:
    """Everything that a step of training changes, but for metrics."""
    seeds = [variable for variable in model.variables if "seed_generator" in variable.path]
    return [*model.weights, *model.optimizer.variables, *seeds]


def _copy(source: list[keras.Variable], target: list[keras.Variable]) -> None:
    for one, other in zip(source, target, strict=True):
        other.assign(np.asarray(one))


def _of_first(strategy: tf.distribute.Strategy, values: list[tf.Tensor]) -> list[tf.Tensor]:
    """What the first replica of all processes has."""
    return _sum(strategy, values, only=0)


def _sum(
    strategy: tf.distribute.Strategy, values: list[tf.Tensor], only: int | None = None
) -> list[tf.Tensor]:
    """Sums over all replicas of float32 that each process gives, or what one replica has."""

    @tf.function
    def run() -> Any:
        def share() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group
            counts = tf.constant(1.0) if only is None else tf.cast(number == only, tf.float32)
            parts = [counts * value for value in values]
            return context.all_reduce(tf.distribute.ReduceOp.SUM, parts)

        return strategy.run(share)

    return [strategy.experimental_local_results(value)[0] for value in run()]
