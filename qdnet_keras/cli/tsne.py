"""`qdnet-keras tsne`: the latent qualities of a data set in the plane, coloured by score."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qdnet_keras.cli.common import (
    AsJson,
    DataSet,
    Force,
    MosRange,
    Preset,
    WorkingSize,
    figure_paths,
    load_model,
    parse_mos_range,
    require,
    reserve_output,
    write_figure,
)
from qdnet_keras.cli.output import print_json
from qdnet_keras.cli.progress import Progress
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import DataError
from qdnet_keras.files import write_table

if TYPE_CHECKING:
    from qdnet_keras.data.manifest import Manifest

MIN_RENDERINGS = 5
COLUMNS = ("file", "x", "y", "mos", "score", "scene", "operator")


def run(
    data: DataSet,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME",
            help="Writes NAME.png, NAME.svg and NAME.csv; only one of the figures where NAME has "
            "its suffix.",
        ),
    ] = Path("tsne"),
    mos_range: MosRange = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Only the renderings of this split; all without it."),
    ] = None,
    perplexity: Annotated[
        float, typer.Option(min=1, help="About how many neighbours of a point count.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrangement.")] = 0,
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw a t-SNE of the latent quality z of all renderings, coloured by MOS and by score.

    Renderings that the network finds alike in quality, whatever they show, lie together. The axes
    have no unit.

    With --json: {"file", "x", "y", "mos", "score", "scene", "operator"} for each rendering, then
    {"figures", "csv", "renderings", "trustworthiness"}, 1 for an arrangement that keeps all
    neighbours.
    """
    require("figures")
    from qdnet_keras.data.reading import read_manifest

    manifest = read_manifest(data, parse_mos_range(mos_range))
    manifest = manifest.select(split) if split else manifest
    if len(manifest) < MIN_RENDERINGS:
        raise DataError(
            f"{data} has {len(manifest)} rendering(s) to draw; {MIN_RENDERINGS} are needed."
        )
    paths = figure_paths(output)
    table = paths[0].with_suffix(".csv")
    for path in (*paths, table):
        reserve_output(path, force)
    model = load_model(preset)

    import numpy as np
    from sklearn.manifold import trustworthiness

    from qdnet_keras.figures.tsne import draw_latents, place_latents
    from qdnet_keras.model.scoring import posterior_means

    files = [rendering.file for rendering in manifest.renderings]
    with Progress() as progress:
        z = posterior_means(model, _counted(files, progress), working_size)
    scores = np.asarray(model.rank_latent(z))
    places = place_latents(z, perplexity, seed)
    figure = draw_latents(places, manifest.mos, scores)
    write_figure(figure, paths, dpi=200)
    rows = _rows(manifest, places.tolist(), scores.tolist())
    write_table(table, COLUMNS, (row.values() for row in rows))
    kept = float(trustworthiness(z, places, n_neighbors=min(10, (len(z) - 1) // 2)))
    if as_json:
        for row in rows:
            print_json(row)
        names = [str(path) for path in paths]
        summary = {"figures": names, "csv": str(table), "renderings": len(rows)}
        print_json({**summary, "trustworthiness": kept})
        return
    typer.echo("\n".join(map(str, [*paths, table])))
    typer.echo(f"{len(rows)} renderings; trustworthiness of the arrangement {kept:.3f}")


def _rows(
    manifest: "Manifest", places: list[list[float]], scores: list[float]
) -> list[dict[str, object]]:
    return [
        {
            "file": str(rendering.file),
            "x": round(x, 4),
            "y": round(y, 4),
            "mos": rendering.mos,
            "score": round(score, 4),
            "scene": rendering.scene,
            "operator": rendering.operator,
        }
        for rendering, (x, y), score in zip(manifest.renderings, places, scores, strict=True)
    ]


def _counted(files: Sequence[Path], progress: Progress) -> Iterator[Path]:
    for number, file in enumerate(files, start=1):
        yield file
        progress.pictures("z", number, len(files))
