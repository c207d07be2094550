"""`qdnet-keras ladder`: a figure of photographs at ascending targets, one a row."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import qdnet_keras
from qdnet_keras.cli.common import (
    AsJson,
    Force,
    Preset,
    Scale,
    WorkingSize,
    figure_paths,
    load_model,
    read_input,
    reserve_output,
)
from qdnet_keras.cli.enhance import check_preset, ladder_tile, parse_targets, to_score
from qdnet_keras.cli.output import Report, print_json
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import ImageError
from qdnet_keras.files import write_bytes

if TYPE_CHECKING:
    from qdnet_keras.figures.ladder import Tile
    from qdnet_keras.outcomes import Enhanced

PAGE = 7.2  # inches: a figure over two columns of print


def run(
    images: Annotated[list[str], typer.Argument(metavar="IMG", help="Photographs, one a row.")],
    targets: Annotated[
        str, typer.Option(metavar="T,T,...", help="Scores to render at, 0 to 100.")
    ] = "30,40,50,60,70",
    scale: Scale = "score",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME",
            help="Writes NAME.png and NAME.svg, or one of them where NAME has that suffix.",
        ),
    ] = Path("ladder"),
    sampler: Annotated[
        Literal["bank", "prior"],
        typer.Option(help="Where other qualities come from: training pictures or N(0, I)."),
    ] = "bank",
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw photographs at ascending targets, enhanced and degraded, as a figure for print.

    Each row is a photograph with its score and then its renderings; below each is the score of the
    rendering itself. Photographs that cannot be read are left out.

    With --json: {"file", "target", "score_before", "score_after", "reached"} or {"file", "error"},
    then {"figures"}.
    """
    wanted = parse_targets(targets, "--targets")
    paths = figure_paths(output)
    for path in paths:
        reserve_output(path, force)
    check_preset(preset, sampler)
    report = Report(("file", "target", "before", "after"), images, as_json)
    tiles: list[Tile] = []
    for file in images:
        report.start(file)
        try:
            photo = read_input(file)
        except ImageError as error:
            report.failure(file, error)
            continue
        model = load_model(preset)
        pixels = photo.srgb
        row = [
            qdnet_keras.enhance(
                pixels,
                to_score(model, target, scale),
                model,
                sampler=sampler,
                long_side=working_size,
            )
            for target in wanted
        ]
        for enhanced in row:
            _report(report, file, enhanced)
        tiles.append((pixels, f"original\nscores {row[0].score_before:.1f}"))
        tiles += map(ladder_tile, row)
    if tiles:
        for path in paths:
            write_bytes(path, _draw(tiles, len(wanted) + 1, path.suffix))
        if as_json:
            print_json({"figures": [str(path) for path in paths]})
        else:
            typer.echo("\n".join(map(str, paths)))
    report.finish()


def _draw(tiles: "list[Tile]", columns: int, suffix: str) -> bytes:
    from PIL import Image

    from qdnet_keras.figures.ladder import ladder, ladder_svg

    if suffix == ".svg":
        return ladder_svg(tiles, columns=columns, for_print=True).encode()
    pixels = ladder(tiles, columns=columns, for_print=True)
    dpi = pixels.shape[1] / PAGE
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", dpi=(dpi, dpi))
    return buffer.getvalue()


def _report(report: Report, file: str, enhanced: "Enhanced") -> None:
    cells = [
        file,
        f"{enhanced.target:g}",
        f"{enhanced.score_before:.1f}",
        f"{enhanced.score_after:.1f}",
    ]
    if not enhanced.reached:
        cells.append("out of reach")
    names = ("target", "score_before", "score_after", "reached")
    report.result(cells, {"file": file} | {name: getattr(enhanced, name) for name in names})
