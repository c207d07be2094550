"""`qdnet-keras train`: a network from one's own scored renderings."""

import contextlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdnet_keras.cli.common import (
    AsOneJson,
    DataSet,
    MosRange,
    Overrides,
    import_tensorflow,
    parse_mos_range,
)
from qdnet_keras.cli.output import print_json, print_note
from qdnet_keras.defaults import DEFAULT_CONFIG
from qdnet_keras.errors import QDNetError
from qdnet_keras.files import read_table

if TYPE_CHECKING:
    import numpy as np

    from qdnet_keras.data.manifest import Manifest
    from qdnet_keras.training.config import Config


def run(
    data: DataSet,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    config: Annotated[
        str | None,
        typer.Option(
            metavar="scratch|refine|paper|tiny|FILE.yaml",
            help="Configuration; scratch without it, or the run's own with --resume.",
        ),
    ] = None,
    mos_range: MosRange = None,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="all|0,1", help="GPUs that share each batch; without it the first alone."
        ),
    ] = None,
    workers: Annotated[
        bool,
        typer.Option(
            "--workers",
            help="Share each batch with the processes that TF_CONFIG lists, on several machines.",
        ),
    ] = False,
    as_json: AsOneJson = False,
) -> None:
    """Train a network on scored renderings.

    Validation scenes are kept apart and scored after each epoch; RUN/preset is the result. With
    --workers the same command runs once for each process, the first of which writes.

    With --json: {"run", "preset", "epochs", "val_srocc", "val_plcc"}.
    """
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.training.config import load_config

    stored = out / "config.yaml"
    source = config or (stored if resume and stored.exists() else DEFAULT_CONFIG)
    settings: Config = load_config(source, overrides or ())
    manifest = read_manifest(data, parse_mos_range(mos_range))
    if devices is not None and workers:
        raise typer.BadParameter("takes all GPUs of each machine.", param_hint="--workers")
    import_tensorflow()
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        if not _train(manifest, settings, out, resume, devices, workers):
            return

    reached = json.loads((out / "validation.json").read_text())
    preset = out / "preset"
    _draw(out)
    if as_json:
        record = {"run": str(out), "preset": str(preset), "epochs": settings.train.epochs}
        print_json({**record, "val_srocc": reached["srocc"], "val_plcc": reached["plcc"]})
        return
    typer.echo(_sentence(out, reached))
    typer.echo(f"preset: {preset}  (use it with --preset {preset})")


def _train(
    manifest: "Manifest",
    settings: "Config",
    out: Path,
    resume: bool,
    devices: str | None,
    workers: bool,
) -> bool:
    """Trains; False in a process that leaves the results to another."""
    import tensorflow as tf

    from qdnet_keras.training import devices as places
    from qdnet_keras.training.loop import train

    places.fix_order_of_operations()
    strategy = places.among_workers() if workers else None
    if devices is not None:
        strategy = places.on_devices(devices)
    try:
        train(manifest, settings, out, resume, strategy)
    except tf.errors.OpError as error:
        if not workers:
            raise
        raise QDNetError(
            f"This worker cannot go on, as when another has stopped ({type(error).__name__}); see "
            "what that one says, and start all again with --resume."
        ) from error
    return strategy is None or places.is_chief(strategy)


def _draw(run: Path) -> None:
    """`scores.png`, also for TensorBoard, where Matplotlib is installed."""
    if find_spec("matplotlib") is None:
        print_note(f"{run / 'scores.png'} is drawn when 'qdnet-keras[figures]' is installed.")
        return
    from qdnet_keras.figures.validation import draw_validation
    from qdnet_keras.training.renderings import show_scores

    show_scores(run, draw_validation(*_said(run)))


def _said(run: Path) -> "list[np.ndarray]":
    import numpy as np

    rows = read_table(run / "validation.csv")
    return [np.array([float(row[name]) for row in rows]) for name in ("label", "mos", "mos_std")]


def _sentence(run: Path, reached: dict[str, float]) -> str:
    """What a training reached, for people."""
    from qdnet_keras.outcomes import Z_90

    labels, mos, mos_std = _said(run)
    held = (abs(labels - mos) <= Z_90 * mos_std).mean()
    return (
        f"On {len(labels)} pictures held out, scores agree with the labels by SROCC "
        f"{reached['srocc']:.3f} and PLCC {reached['plcc']:.3f}, are off by {reached['rmse']:.1f} "
        f"MOS, and {held:.0%} of the labels lie in the 90 % interval."
    )
