"""Photographs spoilt by one known fault: does `explain` name the right remedy first?

    python scripts/evaluate_remedies.py LABELS.csv [--count 300] [--least 76] [--json]

LABELS is a manifest of photographs with votes, such as `qdnet-keras data import biq2021` writes;
those of the split `test` whose MOS is at least `--least` are drawn. Each is spoilt by one edit of
`qdnet_keras.synthesis.edits`, the kinds in turn; which remedies are right for it stands in
`qdnet_keras.evaluation.remedies`.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.cli.progress import Progress
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE


def main(
    labels: Path,
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(help="Photographs.", min=1)] = 300,
    least: Annotated[float, typer.Option(help="MOS of a photograph, at least.")] = 76.0,
    part: Annotated[str, typer.Option(help="Part of the data set, if it has parts.")] = "ss03",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prints a table: by kind of fault, how often the first remedy is right, and what was first."""
    import qdnet_keras
    from qdnet_keras.evaluation.remedies import RIGHT, judge_advice, shares
    from qdnet_keras.evaluation.spoilt import liked_tests, spoil_photographs

    chosen = liked_tests(labels, count, least, part)
    model = qdnet_keras.load(preset)
    verdicts = []
    with Progress() as progress:
        for pair in spoil_photographs(chosen, WORKING_SIDE, tuple(RIGHT)):
            verdicts.append(judge_advice(model, pair))
            progress.pictures("remedies", len(verdicts), len(chosen))
    figures = shares(verdicts)
    if as_json:
        print(json.dumps(figures))
        return
    print("| kind | pictures | right first | in the first three | nearer | most often first |")
    print("|---|---|---|---|---|---|")
    for kind, of_kind in figures.items():
        first = Counter(v.first for v in verdicts if kind in (v.kind, "all")).most_common(3)
        pictures, *of_verdicts = of_kind.values()
        cells = [kind, str(pictures), *(f"{100 * share:.0f} %" for share in of_verdicts)]
        print(f"| {' | '.join([*cells, ', '.join(name for name, _ in first)])} |")


if __name__ == "__main__":
    run_script(main)
