"""How far a score moves when the picture hardly does, and its rendering.

    python scripts/check_stability.py PATH... [--preset PRESET] [--every 1] [--target 60] [--json]

PATHs are photographs or folders, or a manifest (of which pictures of the split `test` are taken).
Mean and largest absolute change of the MOS when a picture is shifted by one pixel, laid on its
side, stored as JPEG of quality 90, without a border of 2 %, or halved. With a target, pictures that
lie on each other are both rendered at this score: median of the mean CIEDE2000 between the two
renderings, and the share of pictures where it is seen, above 3.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from qdnet_keras.cli.output import run_script
from qdnet_keras.defaults import DEFAULT_PRESET


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """Stored with quality 90, and read again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def without_border(pixels: np.ndarray) -> np.ndarray:
    """Without 2 % of the shorter side at every edge."""
    border = max(1, round(0.02 * min(pixels.shape[:2])))
    return pixels[border:-border, border:-border]


def halved(pixels: np.ndarray) -> np.ndarray:
    """Half as wide and high, by area means."""
    height, width, _ = pixels.shape
    return np.asarray(
        Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.BOX)
    )


# Each makes the two pictures whose scores are compared.
CHANGES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "shifted by 1 px": lambda pixels: (pixels[:-1, :-1], pixels[1:, 1:]),
    "on its side": lambda pixels: (pixels, np.rot90(pixels).copy()),
    "JPEG 90": lambda pixels: (pixels, as_jpeg(pixels)),
    "border cropped": lambda pixels: (pixels, without_border(pixels)),
    "halved": lambda pixels: (pixels, halved(pixels)),
}


# Of these, the parts of both pictures that show the same.
ALIKE: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "shifted by 1 px": lambda before, after: (before[1:, 1:], after[:-1, :-1]),
    "JPEG 90": lambda before, after: (before, after),
}
SEEN = 3.0  # CIEDE2000


def pictures_of(paths: list[Path]) -> list[Path]:
    """Photographs in folders, and test pictures of manifests."""
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.photos.files import find_photos

    manifests = [read_manifest(path) for path in paths if path.suffix == ".csv"]
    tests = [manifest.select("test") for manifest in manifests]
    if not all(map(len, tests)):
        raise typer.BadParameter("a manifest has no pictures of the split 'test'")
    listed = [rendering.file for test in tests for rendering in test.renderings]
    return [*listed, *find_photos([path for path in paths if path.suffix != ".csv"])]


def main(
    paths: Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")],
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = DEFAULT_PRESET,
    every: Annotated[int, typer.Option(help="Take every n-th photograph.")] = 1,
    target: Annotated[float | None, typer.Option(help="Score to render at.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from rich.progress import track

    from qdnet_keras.evaluation.spoilt import distance
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.model.scoring import score_pixels
    from qdnet_keras.photos.files import read_photo

    model = QDNet.from_preset(preset)
    files = pictures_of(paths)[::every]
    changes: dict[str, list[float]] = {name: [] for name in CHANGES}
    apart: dict[str, list[float]] = {name: [] for name in ALIKE}
    for file in track(files, "Scoring"):
        pixels = read_photo(file).srgb
        for name, change in CHANGES.items():
            before, after = (score_pixels(model, picture).mos for picture in change(pixels))
            changes[name].append(abs(after - before))
        if target is None:
            continue
        for name, alike in ALIKE.items():
            pair = CHANGES[name](pixels)
            first, second = (enhance_pixels(model, picture, target).pixels for picture in pair)
            apart[name].append(distance(*alike(first, second))["delta_e"])
    figures = {
        name: {"mean": float(np.mean(values)), "largest": float(np.max(values))}
        for name, values in changes.items()
    }
    renderings = {
        name: {"median": float(np.median(values)), "seen": float(np.mean(np.array(values) > SEEN))}
        for name, values in apart.items()
        if values
    }
    if json_output:
        print(json.dumps({"pictures": len(files), "changes": figures, "renderings": renderings}))
        return
    print(f"{len(files)} pictures, absolute change of the MOS")
    for name, values in figures.items():
        print(f"  {name:18s} mean {values['mean']:5.2f}, largest {values['largest']:5.2f}")
    if renderings:
        print(f"renderings at {target:g}, CIEDE2000 between the two")
    for name, of_change in renderings.items():
        print(f"  {name:18s} median {of_change['median']:5.2f}, seen in {of_change['seen']:.0%}")


if __name__ == "__main__":
    run_script(main)
