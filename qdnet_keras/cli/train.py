import csv
import json
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import JsonOption, quiet_start, reports_errors


@reports_errors
def train(
    data: Annotated[
        Path,
        typer.Option(help="Folder in ESPL-LIVE HDR's form, folder with labels.csv, or CSV file."),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to create.")],
    config: Annotated[
        str | None, typer.Option(help="open-tm (default), paper, tiny, or a YAML file.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, such as optimizer.learning_rate=1e-3; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Train a network on pictures with opinion scores; the result is a preset folder."""
    from qdnet_keras.config import load_config
    from qdnet_keras.data.manifest import read_manifest

    stored = out / "config.yaml"
    default = str(stored) if resume and stored.exists() else "open-tm"
    settings = load_config(config or default, set_ or ())
    manifest = read_manifest(data)
    with quiet_start():
        from qdnet_keras import training
    training.train(manifest, settings, out, resume)
    with (out / "history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    result = {
        "run": str(out),
        "preset": str(out / "preset"),
        "epochs": int(last["epoch"]),
        **{name: float(value) for name, value in last.items() if name.startswith("val_")},
    }
    if json_output:
        typer.echo(json.dumps(result))
        return
    typer.echo(
        f"{result['preset']}: SROCC {result['val_srocc']:.3f}, PLCC {result['val_plcc']:.3f} on "
        f"validation scenes. Try: qdnet-keras score --preset {result['preset']} IMAGE"
    )
