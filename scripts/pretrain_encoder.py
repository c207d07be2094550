"""Teaches the encoder what an ImageNet network sees, and what open-tm's tables say.

ImageNet weights for ResNet50 are not part of this project. The encoder learns instead to predict,
from its own taps, the features of EfficientNet-Lite0 (`teacher.py`) on the training pictures of
open-tm and on photographs of everyday life (CLIVE, four in five), and, from its statistics, what
the tables say of each picture: MOS, TMQI, operator; for CLIVE its own MOS. Start it from a preset,
and train the whole network from what it writes:

    python scripts/teacher.py lite0.npz
    python scripts/pretrain_encoder.py OPEN_TM CLIVE --teacher lite0.npz --init RUN/preset --out PRE
    qdnet-keras train --data OPEN_TM --set train.init=PRE ...
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from teacher import efficientnet_lite0

from qdnet_keras import QDNet
from qdnet_keras.data.manifest import Manifest, read_manifest
from qdnet_keras.data.pairs import ImageStore, decode_images
from qdnet_keras.encoder import preprocess

TAUGHT_TAPS = (2, 3, 4, 4)  # of the encoder's five, for the teacher's four features
NORM_BATCHES = 60
TMQI_COLUMNS = ("tmqi_q", "tmqi_s", "tmqi_n")
WEIGHTS = {"distil": 1.0, "mos": 1.0, "tmqi": 0.3, "operator": 0.2, "photo_mos": 0.3}


class Student(keras.Model):
    """Encoder with adapters to the teacher's features and heads for the tables.

    Call arguments:
        image: Pictures `(batch_size, height, width, 3)`, values 0..1.

    Returns:
        A tuple `(features, answers)`: predictions of the standardised features of the teacher, and
        `(batch_size, outputs)`: MOS, TMQI, MOS of photographs, logits of the operators.
    """

    def __init__(self, encoder, channels, outputs):
        super().__init__()
        self.encoder = encoder
        self.tap_norms = [layers.BatchNormalization(center=False, scale=False) for _ in channels]
        self.adapters = [layers.Conv2D(count, 1, use_bias=False) for count in channels]
        self.norms = [layers.BatchNormalization(center=False, scale=False) for _ in range(6)]
        self.compress = [layers.Dense(64, "gelu") for _ in range(6)]
        self.dropout = layers.Dropout(0.3)
        self.answer = layers.Dense(outputs)

    def call(self, image, training=False):
        taps = self.encoder.backbone(preprocess(image), training=training)
        features = [
            adapter(norm(taps[tap], training=training))
            for tap, norm, adapter in zip(TAUGHT_TAPS, self.tap_norms, self.adapters, strict=True)
        ]
        statistics = [statistics_of(tap) for tap in (image, *taps)]
        joined = ops.concatenate(
            [
                compress(norm(stage, training=training))
                for compress, norm, stage in zip(self.compress, self.norms, statistics, strict=True)
            ],
            axis=-1,
        )
        return features, self.answer(self.dropout(joined, training=training))


def tables(folder: Path, manifest: Manifest) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Standardised MOS and TMQI `[count, 4]`, operator numbers `[count]` and their names."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    values = np.array(
        [
            [r.mos, *(float(rows[r.file.name][column]) for column in TMQI_COLUMNS)]
            for r in manifest.renderings
        ],
        "float32",
    )
    operators = [str(r.operator) for r in manifest.renderings]
    names = sorted(set(operators))
    numbers = np.array([names.index(operator) for operator in operators], "int32")
    return (values - values.mean(0)) / values.std(0), numbers, names


def crops(
    store: ImageStore, labels: list[tf.Tensor], batch_size: int, crop: int, seed: int
) -> tf.data.Dataset:
    """Endless batches of `(crop, labels)`; windows of `crop` pixels up to the whole short side."""
    count = int(store.offsets.shape[0])

    def example(number):
        epoch, position = number // count, number % count
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        index = order[position]
        draws = tf.random.stateless_uniform([4], seed=tf.stack([tf.cast(seed, tf.int64), number]))
        picture = store.get(index)
        sides = tf.cast(tf.shape(picture)[:2], tf.float32)
        window = crop + draws[0] * (tf.reduce_min(sides) - crop)
        first = tf.cast(draws[1:3] * (sides - window), tf.int32)
        side = tf.cast(window, tf.int32)
        picture = picture[first[0] : first[0] + side, first[1] : first[1] + side]
        picture = tf.cond(draws[3] < 0.5, lambda: picture, lambda: tf.reverse(picture, [1]))
        picture = tf.image.resize(tf.cast(picture, tf.float32), [crop, crop], antialias=True)
        return tf.clip_by_value(picture / 255.0, 0.0, 1.0), tuple(
            tf.gather(v, index) for v in labels
        )

    dataset = tf.data.Dataset.counter().map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def statistics_of(features):
    """μ ⊕ σ `(batch_size, 2 * channels)`, as the encoder gives them but without the content."""
    mean, variance = ops.moments(features, axes=(1, 2))
    return ops.concatenate([mean, ops.sqrt(variance + 1e-5)], axis=-1)


def standardise(features):
    """Each channel with mean 0 and variance 1 over the batch."""
    mean, variance = ops.moments(features, axes=(0, 1, 2), keepdims=True)
    return (features - mean) / ops.sqrt(variance + 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder open-tm")
    parser.add_argument("photographs", type=Path, help="folder of CLIVE")
    parser.add_argument("--teacher", type=Path, required=True, help="what teacher.py wrote")
    parser.add_argument("--init", default="open-tm", help="preset to start from")
    parser.add_argument("--out", type=Path, required=True, help="preset to write")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, help="fit the schedule into this time instead")
    parser.add_argument("--batch", type=int, nargs=2, default=(14, 6))
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)

    scenes = read_manifest(options.data).select("train")
    photographs = read_manifest(options.photographs)
    photographs = hold_out(photographs, 0.2, options.seed)
    values, operators, names = tables(options.data, scenes)
    photo_mos = photographs.mos
    photo_mos = ((photo_mos - photo_mos.mean()) / photo_mos.std()).astype("float32")
    first = crops(
        decode_images(scenes),
        [tf.constant(values), tf.constant(operators)],
        options.batch[0],
        options.crop,
        options.seed,
    )
    second = crops(
        decode_images(photographs),
        [tf.constant(photo_mos)],
        options.batch[1],
        options.crop,
        options.seed + 1,
    )

    model = QDNet.from_preset(options.init)
    teacher = efficientnet_lite0(options.teacher)
    student = Student(model.encoder, [40, 112, 320, 1280], 5 + len(names))
    student(ops.zeros((1, 64, 64, 3)))
    rate = tf.Variable(0.0)
    optimizer = keras.optimizers.AdamW(
        0.0, weight_decay=1e-4, global_clipnorm=1.0, use_ema=True, ema_momentum=0.998
    )
    variables = student.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(scene_batch, photo_batch):
        image, (truth, operator) = scene_batch
        photo, (photo_truth,) = photo_batch
        both = tf.concat([image, photo], 0)
        goals = [standardise(features) for features in teacher(both, training=False)]
        with tf.GradientTape() as tape:
            features, answers = student(both, training=True)
            count = tf.shape(image)[0]
            losses = {
                "distil": tf.add_n(
                    [
                        tf.reduce_mean(tf.square(goal - found))
                        for goal, found in zip(goals, features, strict=True)
                    ]
                )
                / len(goals),
                "mos": tf.reduce_mean(tf.square(answers[:count, 0] - truth[:, 0])),
                "tmqi": tf.reduce_mean(tf.square(answers[:count, 1:4] - truth[:, 1:])),
                "operator": tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(operator, answers[:count, 5:])
                ),
                "photo_mos": tf.reduce_mean(tf.square(answers[count:, 4] - photo_truth)),
            }
            loss = tf.add_n([WEIGHTS[name] * value for name, value in losses.items()])
        optimizer.learning_rate.assign(rate)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return losses

    start = time.monotonic()
    totals: dict[str, float] = {}
    for number, (scene_batch, photo_batch) in enumerate(zip(first, second, strict=False)):
        if options.minutes:
            done = (time.monotonic() - start) / 60 / options.minutes
        else:
            done = number / options.steps
        if done >= 1:
            break
        rate.assign(options.rate * min(1.0, number / 50) * (0.51 + 0.49 * np.cos(np.pi * done)))
        losses = step(scene_batch, photo_batch)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value)
        if number % 20 == 19:
            report = {name: round(value / 20, 4) for name, value in totals.items()}
            seconds = round(time.monotonic() - start)
            print(json.dumps({"step": number + 1, "seconds": seconds, **report}), flush=True)
            totals.clear()
        if number % 200 == 199:
            student.save_weights(options.out.with_suffix(".weights.h5"))
    optimizer.finalize_variable_values(variables)
    for (image, _), (photo, _) in zip(first.take(NORM_BATCHES), second, strict=False):
        student(tf.concat([image, photo], 0), training=True)  # BatchNorm's of averaged weights
    model.save_to_preset(options.out)


def hold_out(manifest: Manifest, share: float, seed: int) -> Manifest:
    """The manifest without a fixed random share of its pictures."""
    order = np.random.default_rng(seed).permutation(len(manifest))
    return manifest.subset(sorted(order[int(share * len(order)) :]))


if __name__ == "__main__":
    main()
