"""Draw docs/renderings.jpg: six bundled photographs, what enhance makes of them, and auto-contrast.

``python scripts/renderings_figure.py [FILE.jpg]``
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import qdnet_keras
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


def main(figure: Path) -> None:
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
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/renderings.jpg")
