"""`qdnet-keras train`: a network from one's own scored renderings."""

import contextlib
import json
import sys
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
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
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
    as_json: AsOneJson = False,
) -> None:
    """Train a network on scored renderings.

    Validation scenes are kept apart and scored after each epoch; RUN/preset is the result.

    With --json: {"run", "preset", "epochs", "val_srocc", "val_plcc"}.
    """
    from qdnet_keras.data.reading import read_manifest
    from qdnet_keras.training.config import load_config

    stored = out / "config.yaml"
    source = config or (stored if resume and stored.exists() else DEFAULT_CONFIG)
    settings: Config = load_config(source, overrides or ())
    manifest = read_manifest(data, parse_mos_range(mos_range))
    import_tensorflow()
    from qdnet_keras.training.loop import train

    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        train(manifest, settings, out, resume)

    reached = json.loads((out / "validation.json").read_text())
    srocc, plcc = reached["srocc"], reached["plcc"]
    preset = out / "preset"
    if as_json:
        record = {"run": str(out), "preset": str(preset), "epochs": settings.train.epochs}
        print_json({**record, "val_srocc": srocc, "val_plcc": plcc})
        return
    typer.echo(f"validation: SROCC {srocc:.3f}, PLCC {plcc:.3f}")
    typer.echo(f"preset: {preset}  (use it with --preset {preset})")
