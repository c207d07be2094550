"""Teaches a ResNet50 by EfficientNet-Lite2, into a run folder that can be resumed.

RUN/config.yaml         the whole configuration
RUN/versions.json       of Python and the libraries
RUN/history.csv         one row every `every` steps, `val_` of photographs held out
RUN/checkpoint/         student, heads, optimiser and step, replaced atomically
RUN/encoder.weights.h5  the student as it was at the last row: `model.encoder_weights`
RUN/validation.json     what it has learnt in the end, of photographs held out
"""

import json
import math
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from qdnet_keras.files import new_file, start_run, write_text
from qdnet_keras.model.efficientnet_lite import PYRAMID, TAPS
from qdnet_keras.model.encoder import LITE2, Encoder
from qdnet_keras.training.config import BaseConfig, Count, OptimizerSection
from qdnet_keras.training.devices import fix_order_of_operations
from qdnet_keras.training.encoder.crops import Crops, find_photographs
from qdnet_keras.training.encoder.lesson import EncoderLesson
from qdnet_keras.training.loop import EpochRecord, named_failures, write_versions
from qdnet_keras.training.start import build_optimizer

WEIGHTS = "encoder.weights.h5"
SAMPLE = 512  # crops that targets are standardised by
EXAMINED = 256  # crops of photographs held out


class EncoderConfig(BaseConfig):
    """Everything that defines such a training.

    `photographs` are manifests and folders; `teacher` is a weights file of EfficientNet-Lite2,
    `start` one of ResNet50, `"imagenet"`, or None for random weights. `steps` batches of `batch`
    crops of `side` pixels are seen, rounded up to whole multiples of `every`, the steps from
    checkpoint to checkpoint.
    """

    photographs: tuple[str, ...]
    teacher: str
    start: str | None = None
    steps: Count = 50_000
    batch: Annotated[int, Field(ge=2)] = 32
    side: Annotated[int, Field(ge=64)] = 112
    every: Count = 250
    seed: int = 0
    optimizer: OptimizerSection = OptimizerSection(
        learning_rate=1.5e-3, clip_norm=1.0, weight_decay=0.01
    )


def build(config: EncoderConfig) -> EncoderLesson:
    """Student and teacher.

    Raises:
        PresetError: If weights cannot be loaded.
    """
    fix_order_of_operations()
    keras.utils.set_random_seed(config.seed)
    teacher = Encoder(LITE2, TAPS, PYRAMID, config.teacher, name="teacher")
    return EncoderLesson(Encoder(weights=config.start, name="student"), teacher)


def teach_encoder(
    lesson: EncoderLesson, config: EncoderConfig, run: Path, resume: bool = False
) -> dict[str, Any]:
    """Teaches the student and leaves everything in the folder `run`.

    A run that stopped goes on from its last checkpoint, with the crops that would have come next.

    Returns:
        What stands in `validation.json`, see `EncoderLesson.examine`.

    Raises:
        DataError, ImageError: If the photographs cannot be used.
        OutputError: If `run` holds anything and `resume` is false, or another configuration.
        QDNetError: If the loss is no longer a number.
    """
    training, held_out = find_photographs([Path(path) for path in config.photographs], config.seed)
    start_run(run, "config.yaml", config.to_yaml(), resume)
    write_versions(run)
    crops = Crops(training, config.side, [config.seed, 0])
    examined = Crops(held_out, config.side, [config.seed, 1])
    with named_failures(crops.pictures), named_failures(examined.pictures):
        count = math.ceil(EXAMINED / config.batch)
        known = [batch.numpy() for batch in islice(examined.batches(config.batch), count)]
        _fit(lesson, crops, known, config, run)
    reached = lesson.examine(known)
    write_text(run / "validation.json", json.dumps(reached, indent=2) + "\n")
    return reached


def _fit(
    lesson: EncoderLesson, crops: Crops, known: list[np.ndarray], config: EncoderConfig, run: Path
) -> None:
    lesson.build(known[0].shape)
    epochs = math.ceil(config.steps / config.every)
    optimizer = build_optimizer(config.optimizer, config.every, epochs)
    lesson.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(lesson.trainable_variables)
    epoch = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        weights=[weight.value for weight in lesson.weights], optimizer=optimizer, epoch=epoch
    )
    manager = tf.train.CheckpointManager(checkpoint, run / "checkpoint", max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    else:
        lesson.adapt(list(islice(crops.batches(config.batch), math.ceil(SAMPLE / config.batch))))
    done = int(epoch)
    if done < epochs:
        lesson.fit(
            crops.batches(config.batch, done * config.every),
            validation_data=tf.data.Dataset.from_tensor_slices(np.stack(known)),
            initial_epoch=done,
            epochs=epochs,
            steps_per_epoch=config.every,
            shuffle=False,
            callbacks=[KeepEncoder(run), EpochRecord(run / "history.csv", done, epoch, manager)],
        )


class KeepEncoder(keras.callbacks.Callback):
    """Writes the student's weights at the end of each epoch."""

    def __init__(self, run: Path):
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        write_weights(self.model.student, self.run / WEIGHTS)


def write_weights(encoder: Encoder, path: Path) -> None:
    """Writes a file for `Encoder(weights=...)`. Raises `OutputError`."""
    with new_file(path, suffix=".weights.h5") as file:
        encoder.backbone.save_weights(file.name)
