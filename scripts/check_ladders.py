"""Whether a photograph that people like scores highest as it is, not in another light.

    python scripts/check_ladders.py LABELS.csv [--count 200] [--least 76] [--part ss03] [--json]

LABELS is a manifest of photographs with votes; those of the split `test` whose MOS is at least
`--least` are drawn. Each is seen in seven exposures, two stops either way, and in seven contrasts.
A ladder *peaks at the photograph* if its highest score lies within a step of it, and *falls at both
ends* if each end scores below the highest by half a MOS.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE

STOPS = (-2, -4 / 3, -2 / 3, 0, 2 / 3, 4 / 3, 2)
CONTRASTS = (-0.6, -0.4, -0.2, 0, 0.3, 0.7, 1.2)  # added share of differences from the mean
SELF = 3  # which step is the photograph itself
FALL = 0.5  # MOS


def main(
    labels: Path,
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    count: Annotated[int, typer.Option(help="Photographs.", min=1)] = 200,
    least: Annotated[float, typer.Option(help="MOS of a photograph, at least.")] = 76.0,
    part: Annotated[str, typer.Option(help="Part of the data set, if it has parts.")] = "ss03",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Prints by ladder: shares that peak at the photograph, and that fall at both ends."""
    from rich.progress import track

    from qdnet_keras.advice.remedies import contrast, expose
    from qdnet_keras.evaluation.spoilt import liked_tests
    from qdnet_keras.model import graphs
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.photos.files import read_photo, working_copy

    model = QDNet.from_preset(preset)
    chosen = liked_tests(labels, count, least, part)
    ladders = {"exposure": (expose, STOPS), "contrast": (contrast, CONTRASTS)}
    rows: dict[str, list[tuple[bool, bool]]] = {name: [] for name in ladders}
    for file in track(chosen, "Photographs"):
        copy = working_copy(read_photo(file, least_side=WORKING_SIDE).srgb, WORKING_SIDE)
        for name, (edit, sizes) in ladders.items():
            steps = np.stack([edit(copy, size) if size else copy for size in sizes])
            mos = np.asarray(graphs.score(model)(steps)["mos"])
            peaks = abs(int(mos.argmax()) - SELF) <= 1
            rows[name].append((peaks, bool(max(mos[0], mos[-1]) < mos.max() - FALL)))
    figures = {
        name: dict(zip(("peaks", "falls"), np.mean(row, axis=0).tolist(), strict=True))
        for name, row in rows.items()
    }
    if as_json:
        print(json.dumps({"pictures": len(chosen), **figures}))
        return
    print(f"{len(chosen)} photographs")
    for name, figure in figures.items():
        print(
            f"  {name}: peaks at the photograph {figure['peaks']:.2f}, "
            f"falls at both ends {figure['falls']:.2f}"
        )


if __name__ == "__main__":
    run_script(main)
