"""`qdnet-keras evaluate`: methods trained and tested on the same splits, and their table."""

import contextlib
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import (
    AsJson,
    MosRange,
    import_tensorflow,
    parse_mos_range,
)
from qdnet_keras.cli.output import print_json
from qdnet_keras.cli.progress import Progress
from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_PRESET
from qdnet_keras.errors import OutputError


def run(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder with labels.csv or in the form of ESPL-LIVE HDR, or a .csv manifest.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for splits, predictions and tables.")
    ],
    mos_range: MosRange = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="gm-log, desique, brisque, higrade-1, higrade-2, bibqa, he2018, qdnet, "
            "qdnet-no-kl, qdnet-no-pair, qdnet-score-only, qdnet-rgb, qdnet-grid, "
            "qdnet-no-natural, natural-statistics, published-statistics, or the sets handcrafted "
            "(the first seven), higrade, table (handcrafted and qdnet), ablations.",
        ),
    ] = "table",
    splits: Annotated[
        int, typer.Option(min=1, help="Number of random 4:1 splits, disjoint by group.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the random splits.")] = 0,
    fixed_split: Annotated[
        bool,
        typer.Option(
            "--fixed-split", help="Use the data's own split instead: train on train, test on test."
        ),
    ] = False,
    config: Annotated[
        str,
        typer.Option(metavar="scratch|refine|paper|tiny|FILE.yaml", help="For training QD-net."),
    ] = DEFAULT_CONFIG,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="section.key=value", help="Change one value; may be repeated."
        ),
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Score with --preset instead of training QD-net.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="With --no-train: released preset or folder.")
    ] = None,
    resnet: Annotated[
        str,
        typer.Option(
            metavar="imagenet|FILE|PRESET", help="Weights for he2018; imagenet downloads."
        ),
    ] = DEFAULT_PRESET,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes for features; all cores without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods on the same splits, trained on one side and tested on the other.

    Run it again to go on after a stop, or with more methods or splits: what is in RUN is not
    computed again. The tables are printed and are in RUN/PROTOCOL/results.md and results.json.

    With --json: {"method", "splits", "srocc", "srocc_low", "srocc_high", ...} for each method, then
    {"first", "second", "difference", "p", "test"} for each pair, then {"note"} lines.
    """
    from qdnet_keras.evaluation.methods import ABLATIONS, Options, method_names

    try:
        names = method_names(methods)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--methods") from None
    if no_train and ("qdnet" not in names or set(names) & set(ABLATIONS)):
        raise typer.BadParameter("needs the method qdnet and no ablation.", param_hint="--no-train")
    if preset is not None and not no_train:
        raise typer.BadParameter("needs --no-train.", param_hint="--preset")
    if not out.is_dir() and os.path.lexists(out):
        raise OutputError(f"{out} is not a folder; choose another name.")
    if any(name == "he2018" or name.startswith("qdnet") for name in names):
        import_tensorflow()
    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.evaluation import protocol as evaluation
    from qdnet_keras.evaluation.comparison import compare, summarise
    from qdnet_keras.evaluation.methods.features import FeatureStore
    from qdnet_keras.evaluation.report import method_record, write_results

    options = Options(
        config, overrides or (), (preset or DEFAULT_PRESET) if no_train else None, resnet
    )
    manifest = read_manifest(data, parse_mos_range(mos_range))
    with contextlib.redirect_stdout(sys.stderr), Progress() as progress:
        store = FeatureStore(out / "features", jobs, progress.pictures)
        if fixed_split:
            protocol = evaluation.fixed_protocol(manifest, store)
        else:
            protocol = evaluation.random_protocol(manifest, store, splits, seed)
        predictions, notes = evaluation.evaluate(
            protocol, names, options, out, store, progress.splits
        )
    summaries = [summarise(name, of_splits) for name, of_splits in predictions.items()]
    differences = compare(predictions)
    text = write_results(protocol, summaries, differences, notes, out / protocol.name)
    if not as_json:
        typer.echo(text)
        return
    for summary in summaries:
        print_json(method_record(summary))
    for difference in differences:
        print_json(asdict(difference))
    for note in notes:
        print_json({"note": note})
