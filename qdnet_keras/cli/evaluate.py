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
    DataSet,
    MosRange,
    Overrides,
    import_tensorflow,
    load_model,
    parse_mos_range,
)
from qdnet_keras.cli.enhance import parse_targets
from qdnet_keras.cli.output import print_json
from qdnet_keras.cli.progress import Progress
from qdnet_keras.defaults import DEFAULT_CONFIG, DEFAULT_RESNET
from qdnet_keras.errors import OutputError


def run(
    data: DataSet,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for splits, predictions and tables.")
    ],
    mos_range: MosRange = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME,...",
            help="gm-log, desique, brisque, higrade-1, higrade-2, bibqa, he2018, qdnet, "
            "natural-statistics, published-statistics; qdnet-NAME for an ablation such as "
            "no-pair or z-4; or the sets handcrafted (the first seven), higrade, table "
            "(handcrafted and qdnet), ablations.",
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
    overrides: Overrides = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Score with this preset, a name or folder, instead of training QD-net."),
    ] = None,
    renderings: Annotated[
        bool,
        typer.Option(
            "--renderings",
            help="With --preset: judge what it renders on the test split, too; beside other "
            "methods by TMQI where DIR/hdr has the scenes.",
        ),
    ] = False,
    every: Annotated[
        int, typer.Option(min=1, help="With --renderings: enhance every n-th picture.")
    ] = 30,
    targets: Annotated[
        str, typer.Option(metavar="T,T,...", help="With --renderings: scores to render at.")
    ] = "40,50,60,70",
    resnet: Annotated[
        str,
        typer.Option(
            metavar="imagenet|FILE|PRESET", help="Weights for he2018; imagenet downloads."
        ),
    ] = DEFAULT_RESNET,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes for features; all cores without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods on the same splits, trained on one side and tested on the other.

    Run it again to go on after a stop, or with more methods or splits: what is in RUN is not
    computed again. The tables are printed and are in RUN/PROTOCOL/results.md and results.json.

    With --json: {"method", "splits", "srocc", "srocc_low", "srocc_high", ...} for each method, then
    {"first", "second", "difference", "p", "test"} for each pair, then {"note"} lines, then
    {"renderings"}.
    """
    names = _methods(methods, preset, renderings)
    wanted = sorted(parse_targets(targets, "--targets"))
    if not out.is_dir() and os.path.lexists(out):
        raise OutputError(f"{out} is not a folder; choose another name.")
    if any(name == "he2018" or name.startswith("qdnet") for name in names):
        import_tensorflow()
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.evaluation import protocol as evaluation
    from qdnet_keras.evaluation.comparison import compare, summarise
    from qdnet_keras.evaluation.methods import Options
    from qdnet_keras.evaluation.methods.features import FeatureStore
    from qdnet_keras.evaluation.report import method_record, write_results

    options = Options(config, overrides or (), preset, resnet)
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
    judged = None
    if renderings and preset is not None:
        from qdnet_keras.evaluation.renderings import judge_renderings, renderings_table

        judged = judge_renderings(load_model(preset), manifest, every, wanted, out)
        text += f"\n\n{renderings_table(judged)}"
    if not as_json:
        typer.echo(text)
        return
    for summary in summaries:
        print_json(method_record(summary))
    for difference in differences:
        print_json(asdict(difference))
    for note in notes:
        print_json({"note": note})
    if judged:
        print_json({"renderings": judged})


def _methods(words: str, preset: str | None, renderings: bool) -> list[str]:
    """Names of the methods, QD-net's too where there is a preset. Raises `typer.BadParameter`."""
    from qdnet_keras.evaluation.methods import ABLATED, method_names

    try:
        names = method_names(words)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--methods") from None
    if renderings and preset is None:
        raise typer.BadParameter("needs --preset.", param_hint="--renderings")
    if preset is None:
        return names
    if set(names) & set(ABLATED):
        raise typer.BadParameter("ablations have to be trained.", param_hint="--preset")
    return names if "qdnet" in names else [*names, "qdnet"]
