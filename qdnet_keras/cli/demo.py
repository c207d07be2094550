"""`qdnet-keras demo`: the bundled photographs, scored and re-rendered."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

import qdnet_keras
from qdnet_keras.cli.common import AsJson, Force, Preset, load_model, prepare_output
from qdnet_keras.cli.enhance import ladder_tile, write_ladder, write_rendering
from qdnet_keras.cli.output import print_json
from qdnet_keras.cli.score import score_all
from qdnet_keras.defaults import DEFAULT_PRESET

POOR = "dog_bilateral"
TARGETS = (25, 40, 55, 70)
CHOSEN = 70


def run(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures.")] = Path(
        "demo"
    ),
    preset: Preset = DEFAULT_PRESET,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Score and re-render photographs that come along.

    One of the poor ones is rendered at ascending targets.

    With --json: what `score --json` tells of each photograph, then {"ladder", "enhanced"}.
    """
    from qdnet_keras.model.presets import preset_folder
    from qdnet_keras.photos.files import read_photo

    preset_folder(preset)
    ladder, enhanced = out / "ladder.png", out / f"{POOR}_{CHOSEN}.jpg"
    for path in (ladder, enhanced):
        prepare_output(path, force)

    samples = Path(str(resources.files("qdnet_keras") / "samples"))
    names = sorted(file.name for file in samples.glob("*.jpg"))
    score_all(names, preset, as_json, folder=str(samples))

    photo = read_photo(samples / f"{POOR}.jpg")
    model = load_model(preset)
    rendered = {target: qdnet_keras.enhance(photo, target, model) for target in TARGETS}
    tiles = [ladder_tile(rendering) for rendering in rendered.values()]
    write_ladder(photo, rendered[CHOSEN].score_before, tiles, ladder, force)
    write_rendering(photo, rendered[CHOSEN].pixels, enhanced, force)
    if as_json:
        print_json({"ladder": str(ladder), "enhanced": str(enhanced)})
        return
    typer.echo(
        f"""
Each scene is there in two renderings, one meant to look better: compare their scores.

{ladder}
    {POOR}.jpg as it is, then rendered at targets {TARGETS[0]} to {TARGETS[-1]}. It should
    look better from one to the next; below each is the score of the rendering itself.
{enhanced}
    The rendering at target {CHOSEN} in full size."""
    )
