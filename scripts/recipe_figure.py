"""Draw docs/recipes.jpg: a recipe found on one frame of a series, done to the next, and its table.

The frames are two views of a panorama bundled in ``qdnet_keras/samples/hdr``, tone-mapped badly.
The last picture is the second frame through the table, as ffmpeg applies it.

Run from a checkout with ffmpeg and the ``data`` extra installed:
``python scripts/recipe_figure.py [FILE.jpg]``.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import qdnet_keras
from qdnet_keras.cli.output import run_script
from qdnet_keras.figures.ladder import ladder
from qdnet_keras.photos.files import from_float, to_float
from qdnet_keras.recipes.cube import Cube
from qdnet_keras.synthesis.build import save_jpeg
from qdnet_keras.synthesis.hdr import mend, normalise, read_scene
from qdnet_keras.synthesis.panorama import View, cut_view
from qdnet_keras.synthesis.tone_mapping.faults import underexposed

ROOT = Path(__file__).resolve().parents[1]
VIEWS = View(yaw=-3, rise=-15, fov=98), View(yaw=3, rise=-15, fov=98)
TARGET = 60


def main(
    figure: Annotated[Path, typer.Argument(metavar="FILE.jpg", help="What to write.")] = ROOT
    / "docs/recipes.jpg",
) -> None:
    """Draws it."""
    scene = normalise(mend(read_scene(ROOT / "qdnet_keras/samples/hdr/interior.exr")))
    frames = [underexposed(cut_view(scene, view, 480, 360), strength=0.75) for view in VIEWS]
    first, second = (from_float(frame, np.uint8) for frame in frames)
    enhanced = qdnet_keras.enhance(first, TARGET)
    recipe = qdnet_keras.Recipe.of(enhanced)
    applied = qdnet_keras.apply(second, recipe).pixels
    cube = Cube.fit(recipe, to_float(first))
    scores = [qdnet_keras.score(pixels).score for pixels in (second, applied)]
    tabled = through_ffmpeg(cube, second)
    made, left = cube.made, cube.left
    tiles = [
        (first, f"frame 1\nscores {enhanced.score_before:.1f}"),
        (enhanced.pixels, f"enhanced, target {TARGET}\nscores {enhanced.score_after:.1f}"),
        (second, f"frame 2\nscores {scores[0]:.1f}"),
        (applied, f"by the recipe\nscores {scores[1]:.1f}"),
        (tabled, f"by the table alone\nleaves out {left:.1f} of dE {made:.1f}, frame 1"),
    ]
    save_jpeg(ladder(tiles, columns=5, tile_height=240), figure)


def through_ffmpeg(cube: Cube, pixels: np.ndarray) -> np.ndarray:
    with TemporaryDirectory() as folder:
        cube.save(Path(folder, "look.cube"))
        Image.fromarray(pixels).save(Path(folder, "frame.png"))
        command = ["ffmpeg", "-loglevel", "error", "-i", "frame.png", "-vf"]
        command += ["format=gbrp,lut3d=look.cube", "done.png"]
        subprocess.run(command, cwd=folder, check=True)
        return np.asarray(Image.open(Path(folder, "done.png")).convert("RGB"))


if __name__ == "__main__":
    run_script(main)
