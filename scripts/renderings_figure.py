"""Draw docs/renderings.jpg: six bundled photographs, what enhance makes of them, and auto-contrast.

``python scripts/renderings_figure.py [FILE.jpg]``
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import qdnet_keras
from qdnet_keras.cli.output import run_script
from qdnet_keras.evaluation.enhancement import auto_contrast
from qdnet_keras.figures.ladder import Tile, ladder
from qdnet_keras.synthesis.build import save_jpeg

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = (
    "dog_bilateral",
    "sunrise_washed",
    "courtyard_reinhard",
    "armchair_underexposed",
    "bedroom_overexposed",
    "courtyard_grunge",
)
TARGETS = 50, 70, 90


def main(
    figure: Annotated[Path, typer.Argument(metavar="FILE.jpg", help="What to write.")] = ROOT
    / "docs/renderings.jpg",
) -> None:
    """Draws it."""
    model = qdnet_keras.load()
    files = [ROOT / f"qdnet_keras/samples/{name}.jpg" for name in PHOTOGRAPHS]
    tiles = [tile for file in files for tile in row(np.asarray(Image.open(file)), model)]
    grid = ladder(tiles, columns=2 + len(TARGETS), tile_height=200, max_width=2000)
    save_jpeg(grid, figure)


def row(photograph: np.ndarray, model: qdnet_keras.QDNet) -> list[Tile]:
    tiles = [(photograph, f"original\nscores {qdnet_keras.score(photograph, model).score:.0f}")]
    for target in TARGETS:
        made = qdnet_keras.enhance(photograph, target, model)
        tiles.append((made.pixels, f"target {target}\nscores {made.score_after:.0f}"))
    stretched = auto_contrast(photograph)
    score = qdnet_keras.score(stretched, model).score
    return [*tiles, (stretched, f"auto-contrast\nscores {score:.0f}")]


if __name__ == "__main__":
    run_script(main)
