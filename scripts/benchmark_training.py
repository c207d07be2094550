"""Speed of training beside a bare ResNet50, and what share of it the data costs, in one run.

    python scripts/benchmark_training.py --data DATA [--config scratch] [--steps 10]

Times, on one fixed batch and in turn, a training step and a forward and backward pass of
`keras.applications.ResNet50(include_top=False)` on as many pictures; and the pair pipeline alone,
as fast as it can run.
"""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.defaults import DEFAULT_CONFIG

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it


def main(
    data: Annotated[Path, typer.Option(help="Any manifest that training reads.")],
    config: Annotated[str, typer.Option(help="Name or file of a configuration.")] = DEFAULT_CONFIG,
    steps: Annotated[int, typer.Option(help="Batches to time.")] = 10,
) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.data.pairs import decode_images, training_pairs
    from qdnet_keras.data.splits import assign_splits
    from qdnet_keras.training.config import load_config
    from qdnet_keras.training.start import build_model

    settings = load_config(config)
    manifest = assign_splits(read_manifest(data)).select("train")
    start = time.perf_counter()
    store = decode_images(manifest, settings.data.max_side)
    print(f"decoding {len(manifest)} pictures once: {time.perf_counter() - start:.1f} s")
    section = settings.data
    pairs = training_pairs(
        manifest, store, batch_size=section.batch_size, crop=section.crop, scale=section.scale
    )
    start = time.perf_counter()
    for _ in pairs.take(steps):
        pass
    data_time = (time.perf_counter() - start) / steps

    batch = next(iter(pairs))
    model = build_model(settings, manifest, steps)
    train = tf.function(model.train_step)
    backbone = keras.applications.ResNet50(include_top=False, weights=None)

    @tf.function
    def bare(image: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(backbone(image, training=True))
        return tape.gradient(loss, backbone.trainable_variables)

    pictures = tf.concat([batch["image"], batch["pair"]], axis=0)
    times: dict[str, list[float]] = {"step": [], "bare": []}
    for turn in range(steps + 1):
        for name, run in (("step", lambda: train(batch)), ("bare", lambda: bare(pictures))):
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    step_time, bare_time = (float(np.median(values)) for values in times.values())
    count = len(pictures)
    print(f"training step: {1000 * step_time:.1f} ms, {count / step_time:.1f} pictures/s")
    print(f"bare ResNet50: {1000 * bare_time:.1f} ms, {count / bare_time:.1f} pictures/s")
    print(f"ratio: {bare_time / step_time:.2f}")
    print(f"pairs: {1000 * data_time:.1f} ms a batch of {section.batch_size}")
    print(f"share of the data: {100 * data_time / (data_time + step_time):.1f} %")


if __name__ == "__main__":
    typer.run(main)
