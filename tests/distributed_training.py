"""Trains a small network and prints its losses as JSON: alone, on two devices, or as one of two.

    python distributed_training.py one|mirrored|workers

`workers` is one of the processes that TF_CONFIG lists. What is random in a replica (the posterior's
noise, dropout, the choice of pixels) is left out, so that the ways to train can be compared.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from toy_encoder import toy_encoder

from qdnet_keras import QDNet
from qdnet_keras.model.objective import Objective

STEPS, BATCH = 5, 8


class NoiselessQDNet(QDNet):
    def sample(self, loc, scale):
        return loc


class AllPixels(Objective):
    def pixels(self, model, image, training):
        return super().pixels(model, image, training=False)


def strategy_of(kind):
    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tf.distribute.get_strategy()


def batches(context):
    """The share of each batch that one input pipeline feeds."""
    random = np.random.default_rng(0)
    image = random.random((2 * BATCH, 32, 32, 3), "float32")
    mos = random.uniform(20, 80, 2 * BATCH).astype("float32")
    batch = {"image": image, "pair": image**2, "mos": mos, "pair_mos": mos[::-1].copy()}
    pairs = tf.data.Dataset.from_tensor_slices(batch)
    pairs = pairs.batch(BATCH // context.num_replicas_in_sync)
    return pairs.shard(context.num_input_pipelines, context.input_pipeline_id).repeat()


strategy = strategy_of(sys.argv[1])
keras.utils.set_random_seed(0)
with strategy.scope():
    model = NoiselessQDNet(
        toy_encoder(), latent_dim=4, posterior_units=8, decoder_width=16, dropout=0.0
    )
    model.build()
    model.encoder.freeze("encoder")
    model.compile(keras.optimizers.SGD(1e-2), AllPixels())
    model.optimizer.build(model.trainable_variables)


@tf.function
def step(batch):
    def both(batch):
        loss = model.objective.total(model.objective.terms(model, batch, training=False), 0)
        model.train_step(batch)
        return ops.convert_to_tensor(loss)

    return strategy.reduce("MEAN", strategy.run(both, args=(batch,)), axis=None)


pairs = iter(strategy.distribute_datasets_from_function(batches))
print(json.dumps([float(step(next(pairs))) for _ in range(STEPS)]))
