"""How the regression that teaches the scores does on operators and photographs that it never saw.

    python scripts/check_generalisation.py --data DATA [--photos PHOTOS] [--json]

The kernel regression of `qdnet_keras.training.scores` learns, from natural scene statistics alone,
from the training split of DATA:

* without the renderings of one operator, for each operator in turn. Shown are SROCC and RMSE on
  that operator's test renderings, with and without it in the training.
* without and with PHOTOS, other pictures with a MOS, of which a fifth is held out by image; and
  from PHOTOS alone. Shown are SROCC and PLCC on the test split of DATA and on the photographs held
  out.
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
HELD_OUT, FEWEST = 0.2, 20
Labelled = tuple[np.ndarray, np.ndarray]


def natural_statistics(manifest: "Manifest") -> Labelled:
    """Of whole pictures, float32 `[count, STATISTICS]`, and their MOS."""
    import tensorflow as tf
    from rich.progress import track

    from qdnet_keras.model.layers import NaturalStatistics
    from qdnet_keras.model.scoring import same_size_batches

    graph = tf.function(
        NaturalStatistics(), input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
    files = (rendering.file for rendering in track(manifest.renderings, str(manifest.source)))
    batches = [graph(batch).numpy() for batch in same_size_batches(files)]
    return np.concatenate(batches), manifest.mos


def taught(known: Labelled, unseen: np.ndarray) -> np.ndarray:
    """What the regression that knows `known` says of unseen pictures, MOS `[count]`."""
    from qdnet_keras.training.scores import KernelTeacher

    statistics, mos = known
    return KernelTeacher([statistics], mos, pictures=1)([unseen]).numpy()


def left_out(train: "Manifest", test: "Manifest", known: Labelled, unseen: Labelled) -> list[dict]:
    """A row for each operator with `FEWEST` test renderings or more."""
    from qdnet_keras.metrics import rmse, srocc

    with_it = taught(known, unseen[0])
    trained, tested = (np.array([r.operator for r in m.renderings]) for m in (train, test))
    rows = []
    for operator in sorted(set(tested)):
        own = tested == operator
        if own.sum() < FEWEST:
            continue
        others = trained != operator
        without = taught((known[0][others], known[1][others]), unseen[0][own])
        mos = unseen[1][own]
        rows.append(
            {
                "operator": operator,
                "pictures": int(own.sum()),
                "srocc": srocc(with_it[own], mos),
                "srocc left out": srocc(without, mos),
                "rmse": rmse(with_it[own], mos),
                "rmse left out": rmse(without, mos),
            }
        )
    return rows


def joined(known: Labelled, unseen: Labelled, photos: Labelled, seed: int) -> list[dict]:
    """A row for each set learnt from."""
    from qdnet_keras.metrics import plcc, srocc

    held_out = np.random.default_rng(seed).random(len(photos[1])) < HELD_OUT
    rest: Labelled = (photos[0][~held_out], photos[1][~held_out])
    both: Labelled = (np.concatenate([known[0], rest[0]]), np.concatenate([known[1], rest[1]]))
    rows = []
    for name, labelled in (("DATA", known), ("PHOTOS", rest), ("both", both)):
        row: dict[str, str | float] = {"learnt from": name}
        for where, (statistics, mos) in (
            ("test", unseen),
            ("photos", (photos[0][held_out], photos[1][held_out])),
        ):
            predicted = taught(labelled, statistics)
            row |= {f"{where} srocc": srocc(predicted, mos), f"{where} plcc": plcc(predicted, mos)}
        rows.append(row)
    return rows


def show(rows: list[dict]) -> None:
    names = list(rows[0])
    print(f"{names[0]:24s}" + "".join(f"{name:>16s}" for name in names[1:]))
    for first, *values in (row.values() for row in rows):
        print(f"{first:24s}" + "".join(f"{value:16.3f}" for value in values))


def main(
    data: Annotated[Path, typer.Option(help="Folder or CSV with splits.")],
    photos: Annotated[
        Path | None, typer.Option(help="Folder or CSV of other labelled pictures.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the photographs held out.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from qdnet_keras.data.reading import read_manifest

    manifest = read_manifest(data)
    train, test = manifest.select("train"), manifest.select("test")
    known, unseen = natural_statistics(train), natural_statistics(test)
    tables = {"operators": left_out(train, test, known, unseen)}
    if photos is not None:
        others = natural_statistics(read_manifest(photos))
        tables["photographs"] = joined(known, unseen, others, seed)
    if json_output:
        print(json.dumps(tables))
        return
    for rows in tables.values():
        show(rows)


if __name__ == "__main__":
    typer.run(main)
