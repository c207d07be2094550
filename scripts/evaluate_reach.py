"""How often a target is reached, and whether a second opinion shares the gain.

    python scripts/evaluate_reach.py LABELS.csv --statistics DIR [--target 70] [--count 48] [--json]

LABELS is a manifest of tone-mapped renderings with their operators; those of the split `test` that
are no deliberate faults are taken: sound ones, which score 30 or more and less than the target, and
weak ones, which score less than 30 and are not burnt. Their labels are not read. The second opinion
is a regression of people's votes on published statistics (`data import espl-statistics`), which
enhancement does not see.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET

WEAK = 30.0  # score below which a rendering counts as weak
BURNT, MOST_BURNT = 253, 0.05  # of 255; share of burnt pixels of a weak rendering


def main(
    labels: Path,
    statistics: Annotated[Path, typer.Option(help="Published statistics with votes.")],
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    target: Annotated[float, typer.Option(help="Score asked for.")] = 70.0,
    count: Annotated[int, typer.Option(help="Renderings of each kind.", min=1)] = 48,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Prints by kind: scores before and after, share that reached the target, gains in MOS."""
    import qdnet_keras
    from qdnet_keras.data.operators import operator_kind
    from qdnet_keras.data.published_statistics import read_statistics
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.model.layers.published_statistics import COLUMNS, PublishedStatistics
    from qdnet_keras.model.scoring import score_pixels
    from qdnet_keras.photos.files import read_photo, to_float
    from qdnet_keras.training.people.teachers import PublishedTeacher

    model, describe = qdnet_keras.load(preset), PublishedStatistics()
    test = read_manifest(labels).select("test").renderings
    files = [r.file for r in test if operator_kind(r.operator or "") != "fault"]
    table = statistics / "labels.csv" if statistics.is_dir() else statistics
    published, numbers = read_statistics(table)
    seen = numbers[:, [int(name[1:]) for name in COLUMNS]]
    regression = PublishedTeacher(numbers, published.mos, seen).regression

    def opinion(pixels: np.ndarray) -> float:
        return float(regression.predict(np.asarray(describe(to_float(pixels)[None]), "float64"))[0])

    rows: dict[str, list[list[float]]] = {"sound": [], "weak": []}
    for number in np.random.default_rng(0).permutation(len(files)):
        if all(len(row) == count for row in rows.values()):
            break
        pixels = read_photo(files[number]).srgb
        before = score_pixels(model, pixels)
        kind = "sound" if WEAK <= before.score < target else "weak"
        is_burnt = (pixels >= BURNT).any(-1).mean() >= MOST_BURNT
        if before.score >= target or (kind == "weak" and is_burnt) or len(rows[kind]) == count:
            continue
        made = enhance_pixels(model, pixels, target)
        gain = score_pixels(model, made.pixels).mos - before.mos
        second = opinion(made.pixels) - opinion(pixels)
        rows[kind].append([before.score, made.score_after, made.reached, gain, second])
    names = ("before", "after", "reached", "MOS gained", "second opinion gained")
    figures = {
        kind: {"pictures": len(row), **dict(zip(names, np.mean(row, axis=0).tolist(), strict=True))}
        for kind, row in rows.items()
        if row
    }
    if as_json:
        print(json.dumps(figures))
        return
    for kind, of_kind in figures.items():
        print(f"{kind}: " + ", ".join(f"{name} {value:.2f}" for name, value in of_kind.items()))


if __name__ == "__main__":
    run_script(main)
