"""`qdnet-keras data import`: public sources of human votes as manifests."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import AsJson, Force
from qdnet_keras.cli.output import print_error, print_json


class SourceName(StrEnum):
    """The sources that `qdnet_keras.data.votes` knows."""

    BIQ2021 = "biq2021"
    CLIVE = "clive"
    ESPL_LIVE_HDR = "espl-live-hdr"
    ESPL_STATISTICS = "espl-statistics"


def run(
    source: Annotated[SourceName, typer.Argument(help="What the folder holds.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The source as its authors publish it.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for labels.csv and TERMS.md.")],
    test: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=0.9,
            help="Share of pictures to hold out as test split.",
        ),
    ] = 0.0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Turn a public source of human votes into a data set.

    DIR gets labels.csv, which points at the pictures in FOLDER, scores mapped to 0..100, and
    TERMS.md: what the source is, asks and wants cited. Every picture is decoded once; those that
    are missing or damaged are named and left out. espl-statistics has no pictures: its labels.csv
    holds 73 published statistics instead.

    With --json: {"out", "pictures", "left_out", "mos_min", "mos_mean", "mos_max"}.
    """
    from qdnet_keras.data.votes import import_votes

    votes = import_votes(source, folder, out, test=test, force=force)
    mos = [rendering.mos for rendering in votes.renderings]
    low, mean, high = min(mos), sum(mos) / len(mos), max(mos)
    if as_json:
        record = {"out": str(out), "pictures": len(mos), "left_out": votes.left_out}
        print_json({**record, "mos_min": low, "mos_mean": mean, "mos_max": high})
        return
    for name, reason in votes.left_out.items():
        print_error(f"{name} left out: {reason}")
    typer.echo(
        f"{out}: {len(mos)} pictures with human votes, MOS {low:.1f}..{high:.1f}, mean {mean:.1f}; "
        "terms in TERMS.md"
    )
