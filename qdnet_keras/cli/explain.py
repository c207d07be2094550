"""`qdnet-keras explain`: why photographs have their scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import qdnet_keras
from qdnet_keras.cli.common import (
    AsJson,
    Force,
    Preset,
    WorkingSize,
    figure_paths,
    load_model,
    read_input_and_bytes,
    require,
    reserve_output,
    write_figure,
)
from qdnet_keras.cli.output import Report
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import ImageError

if TYPE_CHECKING:
    from qdnet_keras.outcomes import Explanation


def run(
    images: Annotated[
        list[str], typer.Argument(metavar="IMG", help="Photographs, or - for standard input.")
    ],
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME",
            help="Also draw the regions and the edits of one photograph: NAME.png and NAME.svg, or "
            "one of them where NAME has that suffix.",
        ),
    ] = None,
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Tell why photographs have their scores.

    For each, the score and what it would be after small edits: exposure, middle tones, contrast,
    highlights and shadows, colour, white balance, local contrast, noise, haze. First come edits
    that raise it and mend what is amiss: those that lead to what the network expects of this
    picture where it is not spoilt. Then the others, by their gain. Where the standard size of an
    edit helps, larger ones are tried. Below it a map of regions: the score of each part of the
    picture, so that their mean is the score; low ones hold it down.

    With --json: {"file", "score", "effects": [{"remedy", "trials": [{"edit", "size", "score",
    "gain", "mends"}], "gain", "best_gain", "mends"}], "regions": [[]], "figures": []} or {"file",
    "error"}; mends is 0..1, 1 for an edit that leads all the way there.
    """
    paths = []
    if figure is not None:
        if len(images) > 1:
            raise typer.BadParameter("takes one photograph.", param_hint="--figure")
        require("figures")
        paths = figure_paths(figure)
        for path in paths:
            reserve_output(path, force)
    report = Report((), images, as_json)
    for file in images:
        report.start(file)
        try:
            photo, _ = read_input_and_bytes(file, working_size)
        except ImageError as error:
            report.failure(file, error)
            continue
        model = load_model(preset)
        explanation = qdnet_keras.explain(photo.srgb, model, long_side=working_size)
        if paths:
            from qdnet_keras.figures.explanation import draw_explanation

            write_figure(draw_explanation(explanation), paths, dpi=120)
        figures = [str(path) for path in paths]
        record = {"file": file, **explanation.record(), "figures": figures}
        lines = [""] if as_json else [*_lines(file, explanation), *figures]
        for line in lines:
            report.result((line,), record)
    report.finish()


def _lines(file: str, explanation: "Explanation") -> list[str]:
    """A paragraph: the score, a line for each remedy, the map of regions."""
    scores = f"{file} scores {explanation.score:.1f}."
    lines = [f"{scores} It would score, after an edit, what mends most first:", ""]
    for effect in explanation.effects:
        standard, best = effect.standard, effect.best
        line = f"  {standard.score:5.1f}  {standard.gain:+5.1f}  {standard.edit}"
        lines.append(line if best is standard else f"{line}; {best}")
    lines += ["", "Regions, whose mean is the score; low ones hold it down:", ""]
    lines += ["  " + "".join(f"{cell:6.0f}" for cell in row) for row in explanation.regions]
    return [*lines, ""]
