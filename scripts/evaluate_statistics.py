"""Trains and tests the regressor on published statistics and human votes, scene by scene apart.

    python scripts/evaluate_statistics.py STATISTICS.csv [--splits 10] [--seed 0] [--json]

STATISTICS.csv has the columns name, scene, mos and s00 to s72, see
`qdnet_keras.data.published_statistics`. Random 4:1 splits by scene; the regressor is that of
`qdnet-keras evaluate --methods published-statistics`.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.data.published_statistics import read_statistics
from qdnet_keras.data.splits import random_splits
from qdnet_keras.evaluation.comparison import Predictions, Summary, summarise
from qdnet_keras.evaluation.methods.published import Published, regressor


def evaluate(path: Path, splits: int, seed: int) -> Summary:
    """Figures of the regressor on `splits` splits. Raises `DataError`."""
    manifest, statistics = read_statistics(path)
    predictions = []
    for train, test in random_splits(manifest, splits, seed=seed):
        model = regressor().fit(statistics[train], manifest.mos[train])
        rows = manifest.subset(test).renderings
        predictions.append(
            Predictions(
                predicted=np.asarray(model.predict(statistics[test])),
                mos=manifest.mos[test],
                scenes=[row.scene for row in rows],
                groups=[row.group for row in rows],
                operators=[row.operator for row in rows],
                seconds=float("nan"),
            )
        )
    return summarise(Published.name, predictions)


def main(
    statistics: Annotated[Path, typer.Argument(metavar="STATISTICS.csv")],
    splits: Annotated[int, typer.Option(min=1, help="Number of random 4:1 splits.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    summary = evaluate(statistics, splits, seed)
    figures = {**summary.figures, **{f"srocc_{k}": v for k, v in summary.kinds.items()}}
    if as_json:
        values = {name: interval.value for name, interval in figures.items()}
        print(json.dumps({"splits": summary.splits, **values, "per_split": summary.per_split}))
        return
    print(f"{splits} random 4:1 splits by scene: median (95 % bootstrap interval of it)")
    for name, interval in figures.items():
        print(f"  {name:14s} {interval.value:8.3f} ({interval.low:.3f}..{interval.high:.3f})")


if __name__ == "__main__":
    run_script(main)
