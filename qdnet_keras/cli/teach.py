"""`qdnet-keras teach`: a network from people's votes of several sets, as the released preset."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import AsOneJson, Overrides, import_tensorflow, parse_mos_range
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_TEACHING


def run(
    votes: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR",
            help="Set with human votes; may be repeated. Photographs of the first are spoilt, and "
            "its votes are the scale of the others.",
        ),
    ],
    renderings: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Tone-mapped renderings that scores are compared with, not labels."
        ),
    ],
    statistics: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Published statistics with votes, as 'data import espl-statistics' writes them.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    config: Annotated[
        str, typer.Option(metavar="people|FILE.yaml", help="Configuration.")
    ] = DEFAULT_TEACHING,
    mos_range: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORST,BEST",
            help="Scores of the worst and the best picture of a set with votes, where they are not "
            "0,100; give one for each set, in their order.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same options where the run stopped.")
    ] = False,
    as_json: AsOneJson = False,
) -> None:
    """Teach a network from human votes of several sets and from spoilt photographs.

    The encoder stays as it is; what it says of all pictures is computed once and kept in RUN/seen.
    Test pictures of sets are not used. RUN/preset is the result.

    With --json: {"run", "preset", "votes", "order", "reconstruction", "swap", "restoration"}; votes
    is {"set", "srocc", "plcc"} of the validation pictures of each set, order the share of spoilt
    versions below their photograph.
    """
    from qdnet_keras.data.published_statistics import read_statistics
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.training.people.config import load_people_config

    settings = load_people_config(config, overrides or ())
    table = statistics / "labels.csv" if statistics.is_dir() else statistics
    texts: list[str | None] = [*mos_range] if mos_range else [None] * len(votes)
    scales = [parse_mos_range(text) for text in texts]
    if len(scales) != len(votes):
        raise typer.BadParameter("give one for each --votes.", param_hint="--mos-range")
    sets = [read_manifest(folder, scale) for folder, scale in zip(votes, scales, strict=True)]
    compared = read_manifest(renderings)
    published = read_statistics(table)
    import_tensorflow()
    from qdnet_keras.hubs.card import Figure
    from qdnet_keras.training.card import write_trained_card
    from qdnet_keras.training.people.sources import Sources
    from qdnet_keras.training.people.teach import build, teach

    sources = Sources(sets, compared, *published)
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        model = build(settings)
        reached = teach(model, sources, settings, out, resume)

    preset = out / "preset"
    figures = [
        Figure(f"{known['set']}, validation", metric.upper(), known[metric])
        for known in reached["votes"]
        for metric in ("srocc", "plcc")
    ]
    learnt = [
        known.subset(i for i, picture in enumerate(known.renderings) if picture.split != "test")
        for known in (*sets, published[0])
    ]
    write_trained_card(preset, model.get_config(), learnt, figures)
    if as_json:
        print_json({"run": str(out), "preset": str(preset), **reached})
        return
    for known in reached["votes"]:
        typer.echo(f"{known['set']}: SROCC {known['srocc']:.3f}, PLCC {known['plcc']:.3f}")
    typer.echo(f"spoilt versions below their photograph: {reached['order']:.1%}")
    typer.echo(f"preset: {preset}  (use it with --preset {preset})")
