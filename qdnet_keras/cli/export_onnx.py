"""`qdnet-keras export-onnx`: the score as ONNX, for NVIDIA Triton and ONNX Runtime."""

from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import Preset, load_model, require
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE


def run(
    out: Annotated[
        Path,
        typer.Option(metavar="REPOSITORY/NAME", help="Folder of the model in a model repository."),
    ],
    preset: Preset = DEFAULT_PRESET,
    version: Annotated[
        int | None,
        typer.Option(min=1, max=2**63 - 1, help="Version; without it one above the highest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export the score of a preset as ONNX, as OUT/VERSION/model.onnx.

    The folder is one of NVIDIA Triton's model repository, with OUT/config.pbtxt. The graph takes
    working copies, float32 in 0..1. Before it appears, a photograph is scored by ONNX Runtime and
    compared. This needs pip install 'qdnet-keras[onnx]'.

    With --json: {"file", "version", "bytes", "preset"}.
    """
    require("onnx")
    model = load_model(preset)
    from qdnet_keras.export.onnx import FILE, export

    file = export(model, out, version) / FILE
    size = file.stat().st_size
    if as_json:
        record = {"file": str(file), "version": int(file.parent.name), "bytes": size}
        print_json({**record, "preset": preset})
        return
    typer.echo(f"{file}: version {file.parent.name} of {out.name}, {size / 1e6:.0f} MB")
    typer.echo(f"  copy float32 [?, ?, ?, 3], long side {WORKING_SIDE}")
    typer.echo(f"serve it: tritonserver --model-repository={out.resolve().parent}")
