"""Well-liked photographs beside themselves, spoilt: which does a preset prefer, what gives it back?

    python scripts/evaluate_spoilt.py LABELS.csv [--count 300] [--least 76] [--json]

LABELS is a manifest of photographs with votes, such as `qdnet-keras data import biq2021` writes;
those of the split `test` whose MOS is at least `--least` are drawn. Each is spoilt by one edit of
eight kinds; the network is asked to render it at the score of the original.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET


def main(
    labels: Path,
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(help="Photographs.", min=8)] = 300,
    least: Annotated[float, typer.Option(help="MOS of a photograph, at least.")] = 76.0,
    part: Annotated[str, typer.Option(help="Part of the data set, if it has parts.")] = "ss03",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prints PSNR / CIEDE2000 to the original by method and kind, and what the network prefers."""
    import qdnet_keras
    from qdnet_keras.evaluation.spoilt import OURS, judge, liked_tests, spoil_photographs
    from qdnet_keras.model.scoring import WORKING_SIDE

    photographs = spoil_photographs(liked_tests(labels, count, least, part), WORKING_SIDE)
    figures = judge(qdnet_keras.load(preset), list(photographs))
    if as_json:
        print(json.dumps(figures))
        return
    for kind, methods in figures.items():
        cells = [f"{name} {f['psnr']:.1f} / {f['delta_e']:.1f}" for name, f in methods.items()]
        ours = methods[OURS]
        print(f"{kind}: {'; '.join(cells)}")
        print(f"    preferred {ours['original preferred']:.2f}, reached {ours['reached']:.2f}")


if __name__ == "__main__":
    run_script(main)
