"""`qdnet-keras data`: `build`, renderings of HDR pictures with pseudo-MOS, and `import`."""

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdnet_keras.cli import data_import
from qdnet_keras.cli.common import AsJson, require
from qdnet_keras.cli.output import EXIT_CODES, print_error, print_json
from qdnet_keras.errors import QDNetError

if TYPE_CHECKING:
    from qdnet_keras.errors import ImageError
    from qdnet_keras.synthesis.build import Row

app = typer.Typer(
    help="Make data sets.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


app.command("import", epilog=EXIT_CODES)(data_import.run)


@app.command("build", epilog=EXIT_CODES)
def run(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[HDR_DIR]",
            help="Folder of OpenEXR, Radiance .hdr and floating-point TIFF files, and of folders "
            "with an exposure stack each.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the data set.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Use the 8 bundled panoramas instead of HDR_DIR.")
    ] = False,
    operators: Annotated[
        str | None, typer.Option(metavar="NAME,NAME,...", help="Operators; all without it.")
    ] = None,
    faults: Annotated[
        int, typer.Option(min=0, help="Deliberate faults a scene, drawn with their strength.")
    ] = 3,
    views: Annotated[int, typer.Option(min=1, help="Views of a panorama.")] = 4,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Of a view; photographs are shrunk to fit in.")
    ] = "480x360",
    seed: Annotated[int, typer.Option(help="Of views, faults and strengths.")] = 0,
    keep_hdr: Annotated[
        bool, typer.Option("--keep-hdr", help="Keep every scene as OpenEXR in hdr/.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a build that stopped, or add pictures.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Pictures at a time; all processors without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Render HDR pictures with many operators, as a data set to train on.

    DIR gets Images/, labels.csv (file, mos, scene, group, operator, TMQI) and scores.txt, the form
    of ESPL-LIVE HDR. The scores are pseudo-MOS computed from TMQI; they are not human votes.
    Panoramas, twice as wide as high, are cut into views; other pictures are one scene. The same
    pictures, options and seed give the same data set.

    With --json: {"file", "scenes", "renderings"} or {"file", "error"} for each picture, then
    {"out", "labels", "pictures", "failed", "scenes", "renderings", "mos_min", "mos_mean",
    "mos_max"}.
    """
    if (source is None) != embedded:
        raise typer.BadParameter("give one of the two.", param_hint="HDR_DIR / --embedded")
    width, height = _size(size)
    require("data")
    from qdnet_keras.synthesis.build import BuildSettings, build_dataset
    from qdnet_keras.synthesis.scenes import find_sources
    from qdnet_keras.synthesis.tone_mapping import OPERATORS

    names = tuple(OPERATORS) if operators is None else tuple(filter(None, operators.split(",")))
    settings = BuildSettings(seed, views, width, height, names, faults, keep_hdr)
    folder = source or Path(str(resources.files("qdnet_keras") / "samples" / "hdr"))
    count = len(find_sources(folder))
    progress = _Progress(count, as_json)
    result = build_dataset(
        folder, out, settings, resume=resume, workers=workers, report=progress.report
    )
    _summarise(result.rows, len(result.failures), out, as_json)
    if result.failures:
        raise typer.Exit(3 if count == 1 else 1)


class _Progress:
    """A line, or a JSON object, for each picture that is done."""

    def __init__(self, count: int, as_json: bool):
        self.count = count
        self.as_json = as_json
        self.done = 0

    def report(self, file: str, outcome: "list[Row] | ImageError") -> None:
        self.done += 1
        if isinstance(outcome, QDNetError):
            if self.as_json:
                print_json({"file": file, "error": str(outcome)})
            else:
                print_error(outcome)
            return
        scenes = len({row.scene for row in outcome})
        if self.as_json:
            print_json({"file": file, "scenes": scenes, "renderings": len(outcome)})
            return
        typer.echo(
            f"{self.done}/{self.count}  {file}: {scenes} scene(s), {len(outcome)} renderings",
            err=True,
        )


def _summarise(rows: "list[Row]", failed: int, out: Path, as_json: bool) -> None:
    mos = [float(row.mos) for row in rows]
    record = {
        "out": str(out),
        "labels": "pseudo-MOS (TMQI)",
        "pictures": len({row.group for row in rows}),
        "failed": failed,
        "scenes": len({row.scene for row in rows}),
        "renderings": len(rows),
        "mos_min": min(mos, default=None),
        "mos_mean": sum(mos) / len(mos) if mos else None,
        "mos_max": max(mos, default=None),
    }
    if as_json:
        print_json(record)
    elif rows:
        typer.echo(
            f"{out}: {record['renderings']} renderings of {record['scenes']} scenes from "
            f"{record['pictures']} pictures; pseudo-MOS (TMQI, no human votes) "
            f"{record['mos_min']:.1f}..{record['mos_max']:.1f}, mean {record['mos_mean']:.1f}"
        )


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not like 480x360.", param_hint="--size")
    return int(match[1]), int(match[2])
