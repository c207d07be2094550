"""`qdnet-keras export`: a SavedModel for TF-Serving."""

import math
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import Preset, WorkingSize, load_model
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE


def run(
    out: Annotated[
        Path, typer.Option(metavar="MODELS/NAME", help="Folder that holds the model's versions.")
    ],
    preset: Preset = DEFAULT_PRESET,
    version: Annotated[
        int | None,
        typer.Option(min=1, max=2**63 - 1, help="Version; without it one above the highest."),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="bank|prior", help="Where enhance takes new qualities from.")
    ] = "bank",
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=100, help="Largest distance to the target that counts as reached."),
    ] = 1.0,
    working_size: WorkingSize = WORKING_SIDE,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, max=400, help="Largest request that is served.")
    ] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a preset for TF-Serving, as OUT/VERSION.

    The signatures score, enhance, score_bytes and enhance_bytes hold the whole algorithm; the
    folder appears under its number only when it is complete.

    With --json: {"folder", "version", "bytes", "preset", "signatures"}.
    """
    from qdnet_keras.model.presets import preset_folder

    if sampler not in ("bank", "prior"):
        raise typer.BadParameter(f"{sampler!r} is neither bank nor prior.", param_hint="--sampler")
    if math.isnan(tolerance):
        raise typer.BadParameter("nan is no distance.", param_hint="--tolerance")
    preset_folder(preset)
    model = load_model(preset)
    from qdnet_keras.export.saved_model import describe, export

    folder = export(
        model,
        out,
        version,
        sampler=sampler,
        tolerance=tolerance,
        long_side=working_size,
        max_pixels=round(max_megapixels * 1e6),
    )
    signatures = describe(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        record = {"folder": str(folder), "version": int(folder.name), "bytes": size}
        print_json({**record, "preset": preset, "signatures": signatures})
        return
    typer.echo(f"{folder}: version {folder.name} of {out.name}, {size / 1e6:.0f} MB")
    for name, signature in signatures.items():
        inputs, outputs = (
            ", ".join(f"{key} {kind}" for key, kind in signature[side].items())
            for side in ("inputs", "outputs")
        )
        typer.echo(f"  {name}({inputs})\n    -> {outputs}")
    typer.echo(
        f"serve it: tensorflow_model_server --model_name={out.name} "
        f"--model_base_path={out.resolve()}, or for trials: qdnet-keras serve {out}"
    )
