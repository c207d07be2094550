"""How a preset agrees with votes: SROCC and PLCC, within scenes too, and what its intervals hold.

    python scripts/evaluate_votes.py LABELS.csv [--preset people] [--json]

LABELS is a manifest of pictures with votes (pictures of the split `test` are taken, all where there
are no splits), on any scale: before intervals are judged, votes are brought to the mean of the
predictions and the spread of the MOS that the preset learnt from (`--spread`).
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET


def main(
    labels: Path,
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    spread: Annotated[float, typer.Option(help="Of the MOS learnt from.")] = 9.97,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prints the figures of all test pictures and of each part."""
    import qdnet_keras
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.evaluation.votes import vote_figures
    from qdnet_keras.model.scoring import posteriors

    manifest = read_manifest(labels)
    test = manifest.select("test")
    manifest = test if len(test) else manifest
    model = qdnet_keras.load(preset)
    loc, scale = posteriors(model, [r.file for r in manifest.renderings])
    mos = np.asarray(model.score_latent(loc))
    std = model.calibration.spread(model.posterior.spread(model.score_latent, loc, scale))
    figures = vote_figures(mos, np.asarray(std), manifest, spread)
    if as_json:
        print(json.dumps(figures))
        return
    for part, of_part in figures.items():
        print(part, ", ".join(f"{name} {value:.3f}" for name, value in of_part.items()))


if __name__ == "__main__":
    run_script(main)
