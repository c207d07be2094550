"""Share of a training step that its data costs, in one run.

    python scripts/benchmark_pipeline.py --data DATA [--config open-tm] [--steps 10]

Times the pair pipeline alone, as fast as it can run, and training steps on one fixed batch.
"""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it


def main(
    data: Annotated[Path, typer.Option(help="Any manifest that training reads.")],
    config: Annotated[str, typer.Option(help="Name or file of a configuration.")] = "open-tm",
    steps: Annotated[int, typer.Option(help="Batches to time.")] = 10,
) -> None:
    from qdnet_keras.config import load_config
    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.data.pairs import decode_images, training_pairs
    from qdnet_keras.data.splits import assign_splits
    from qdnet_keras.training import build_model

    settings = load_config(config)
    manifest = assign_splits(read_manifest(data)).select("train")
    start = time.perf_counter()
    store = decode_images(manifest, settings.data.max_side)
    print(f"decoding {len(manifest)} pictures once: {time.perf_counter() - start:.1f} s")
    section = settings.data
    pairs = training_pairs(
        manifest, store, batch_size=section.batch_size, crop=section.crop, scale=section.scale
    )
    model = build_model(settings, manifest, steps)
    fixed = pairs.take(1).cache().repeat()
    model.fit(fixed, steps_per_epoch=1, verbose=0)

    start = time.perf_counter()
    for _ in pairs.take(steps):
        pass
    data_time = (time.perf_counter() - start) / steps
    start = time.perf_counter()
    model.fit(fixed, steps_per_epoch=steps, verbose=0)
    step_time = (time.perf_counter() - start) / steps
    print(f"pairs: {1000 * data_time:.1f} ms a batch of {section.batch_size}")
    print(f"training step: {1000 * step_time:.1f} ms")
    print(f"share of the data: {100 * data_time / (data_time + step_time):.1f} %")


if __name__ == "__main__":
    typer.run(main)
