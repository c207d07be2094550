"""`qdnet-keras tonemap`: the best rendering of an HDR scene."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdnet_keras.cli.common import (
    AsJson,
    Force,
    Preset,
    WorkingSize,
    load_model,
    prepare_output,
    require,
)
from qdnet_keras.cli.output import print_json, printable
from qdnet_keras.cli.progress import Progress
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE

if TYPE_CHECKING:
    import numpy as np

    from qdnet_keras.outcomes import Candidate

SHEET_HEIGHT = 240  # of a rendering on the sheet, pixels


def run(
    scene: Annotated[
        Path,
        typer.Argument(
            metavar="SCENE",
            help="An OpenEXR, Radiance .hdr or floating-point TIFF file, or a folder with an "
            "exposure stack.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="File to write.", show_default=False),
    ] = ...,  # type: ignore[assignment]
    all_in: Annotated[
        Path | None,
        typer.Option(
            "--all",
            metavar="DIR",
            help="Also write each operator's own rendering in full size, as DIR/OPERATOR with "
            "the suffix of OUT.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Also draw all that was considered, with scores, side by side."
        ),
    ] = None,
    operators: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME,...", help="Operators to compare; all without it."),
    ] = None,
    tune: Annotated[int, typer.Option(min=0, help="How many of the best operators are tuned.")] = 3,
    trials: Annotated[
        int, typer.Option(min=8, help="Renderings that tuning one of them may take.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the parameters that are tried.")] = 0,
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Render an HDR scene by the operator, with the parameters, that scores best.

    Every operator renders a small copy of the scene with its own defaults. The parameters of those
    that score best are tuned. The best rendering is carried over to the full size.

    With --json: {"scene", "output", "score", "operator", "parameters", "candidates": [{"operator",
    "parameters", "tuned", "score"}], "all": [], "sheet"}.
    """
    require("data")
    from qdnet_keras.photos.files import Photo, write_photo
    from qdnet_keras.synthesis.hdr import read_scene
    from qdnet_keras.synthesis.tone_mapping import OPERATORS

    names = list(OPERATORS if operators is None else dict.fromkeys(operators.split(",")))
    if set(names) - OPERATORS.keys():
        raise typer.BadParameter(f"they are {', '.join(OPERATORS)}.", param_hint="--operators")
    others = {name: all_in / f"{name}{output.suffix}" for name in names} if all_in else {}
    for path in (output, *others.values(), *([sheet] if sheet else [])):
        prepare_output(path, force)
    radiance = read_scene(scene)
    model = load_model(preset)  # takes seconds, so scenes that cannot be read are told first
    from qdnet_keras.advice.tonemap import prepare_scene, render_full, tonemap_scene

    prepared = prepare_scene(radiance, str(scene))
    del radiance  # large
    with Progress() as progress:
        result = tonemap_scene(
            model,
            prepared,
            operators=names,
            tune=tune,
            trials=trials,
            seed=seed,
            long_side=working_size,
            report=progress.renderings,
        )
    result.save(output, force=force)
    for candidate in result.candidates:
        if others and not candidate.tuned:
            pixels = render_full(prepared, candidate)
            write_photo(Photo(pixels, None, False, "PNG"), others[candidate.operator], force=force)
    if sheet:
        write_photo(Photo(_sheet(result.candidates), None, False, "PNG"), sheet, force=force)
    if as_json:
        print_json(
            {
                "scene": str(scene),
                "output": str(output),
                "score": result.score,
                "operator": result.best.operator,
                "parameters": result.best.parameters,
                "candidates": [candidate.record() for candidate in result.candidates],
                "all": [str(path) for path in others.values()],
                "sheet": str(sheet) if sheet else None,
            }
        )
        return
    for candidate in result.candidates:
        typer.echo(f"{candidate.score:6.1f}  {_label(candidate)}")
    typer.echo(f"\n{printable(str(output))} scores {result.score:.1f}")


def _label(candidate: "Candidate") -> str:
    if not candidate.tuned:
        return candidate.operator
    values = ", ".join(f"{name} {value:.2g}" for name, value in candidate.parameters.items())
    return f"{candidate.operator}, tuned: {values}"


def _sheet(candidates: "tuple[Candidate, ...]") -> "np.ndarray":
    """All candidates, the best first, with operator and score below each."""
    from qdnet_keras.figures.ladder import ladder

    tiles = []
    for candidate in candidates:
        note = ", tuned" if candidate.tuned else ""
        caption = f"{candidate.operator}{note}\nscores {candidate.score:.1f}"
        tiles.append((candidate.pixels, caption))
    return ladder(tiles, tile_height=SHEET_HEIGHT)
