"""What pictures with other labels would do to the scores: those alone, others alone, both.

    python scripts/compare_labels.py --data DATA --photos PHOTOS [--json]

DATA has labels with splits; PHOTOS are other pictures with a MOS, of which a fifth is held out by
image. The kernel regression that teaches the scores (`qdnet_keras.score_training`) learns, from
natural scene statistics alone, from either set and from both; SROCC and PLCC on the test split of
DATA and on the photographs held out are printed.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

if TYPE_CHECKING:
    from qdnet_keras.data.manifest import Manifest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it
HELD_OUT = 0.2


def natural_statistics(manifest: "Manifest") -> np.ndarray:
    """Of whole pictures, float32 `[count, STATISTICS]`."""
    import tensorflow as tf
    from rich.progress import track

    from qdnet_keras.layers import NaturalStatistics
    from qdnet_keras.scoring import same_size_batches

    graph = tf.function(
        NaturalStatistics(), input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
    files = (rendering.file for rendering in track(manifest.renderings, str(manifest.source)))
    return np.concatenate([graph(batch).numpy() for batch in same_size_batches(files)])


def main(
    data: Annotated[Path, typer.Option(help="Folder or CSV with splits.")],
    photos: Annotated[Path, typer.Option(help="Folder or CSV of other labelled pictures.")],
    seed: Annotated[int, typer.Option(help="Of what is held out.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.metrics import plcc, srocc
    from qdnet_keras.score_training import KernelTeacher

    manifest, others = read_manifest(data), read_manifest(photos)
    train, test = manifest.select("train"), manifest.select("test")
    held_out = np.random.default_rng(seed).random(len(others)) < HELD_OUT
    photo_statistics = natural_statistics(others)
    sets = {
        "DATA": (natural_statistics(train), train.mos),
        "PHOTOS": (photo_statistics[~held_out], others.mos[~held_out]),
    }
    sets["both"] = tuple(np.concatenate(parts) for parts in zip(*sets.values(), strict=True))
    tests = {
        "DATA, test": (natural_statistics(test), test.mos),
        "PHOTOS, held out": (photo_statistics[held_out], others.mos[held_out]),
    }
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name, (statistics, mos) in sets.items():
        teacher = KernelTeacher([statistics], mos, natural=True)
        figures[name] = {}
        for test_name, (unseen, labels) in tests.items():
            predicted = teacher([unseen]).numpy()
            agreement = {"srocc": srocc(predicted, labels), "plcc": plcc(predicted, labels)}
            figures[name][test_name] = agreement
    if json_output:
        print(json.dumps(figures))
        return
    print(f"{'learnt from':12s}" + "".join(f"{name:>24s}" for name in tests))
    for name, row in figures.items():
        cells = (f"{v['srocc']:16.3f} /{v['plcc']:6.3f}" for v in row.values())
        print(f"{name:12s}" + "".join(cells))


if __name__ == "__main__":
    typer.run(main)
