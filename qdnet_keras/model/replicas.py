"""What a training on several devices needs to learn what it would learn on one.

A replica is the network on one device, with its share of each batch. Batches hold pairs: first all
pictures, then their partners; a replica's are the same share of both halves.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from qdnet_keras.model.types import Tensor


def draw(sample: Callable[[Any], Any], shape: Any) -> Any:
    """Random numbers for the rows of this replica: its share of those of the whole batch.

    Args:
        sample: Gives random numbers of a shape, the same in all replicas.
        shape: `(batch_size, ...)` in this replica.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return sample(shape)
    count = shape[0] // 2
    first = tf.distribute.get_replica_context().replica_id_in_sync_group * count
    whole = sample((2, replicas * count, *shape[1:]))
    return ops.reshape(whole[:, first : first + count], shape)


def apply_gradients(optimizer: keras.optimizers.Optimizer, gradients: Any, variables: Any) -> None:
    """One update by the sum of all replicas' gradients, clipped as a whole.

    `optimizer.apply` alone would clip the share of each replica, and then sum them.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas > 1:
        learnt = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        gradients, variables = zip(*learnt, strict=True)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        limit = getattr(optimizer, "inner_optimizer", optimizer).global_clipnorm
        if limit is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, optimizer.scale_loss(limit))
        gradients = [gradient / replicas for gradient in gradients]
    optimizer.apply(gradients, variables)


class Dropout(keras.layers.Dropout):
    """Keras' own, whose masks on several devices are those of the whole batch on one."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not self.rate:
            return inputs
        chance = draw(
            lambda shape: keras.random.uniform(shape, dtype="float32", seed=self.seed_generator),
            ops.shape(inputs),
        )
        kept = ops.cast(chance >= self.rate, inputs.dtype)
        return inputs * kept / (1.0 - self.rate)
