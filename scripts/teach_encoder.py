"""Teach a ResNet50 to see as EfficientNet-Lite2 does, from photographs without labels.

    python scripts/teach_encoder.py PATH... --teacher lite2.weights.h5 --out RUN [--resume]

PATHs are folders of photographs, or manifests, of which labels are not read and test pictures not
used; `scripts/convert_encoder.py` writes the teacher's weights. RUN/encoder.weights.h5 is for
`model.encoder_weights` of `qdnet-keras train` and `teach`.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.output import run_script


def main(
    paths: Annotated[list[Path], typer.Argument(help="Folders of photographs, or manifests.")],
    teacher: Annotated[Path, typer.Option(help="Weights of EfficientNet-Lite2.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    steps: Annotated[int, typer.Option(help="Batches to learn from.", min=1)] = 50_000,
    batch: Annotated[int, typer.Option(help="Crops of a batch.", min=2)] = 32,
    side: Annotated[int, typer.Option(help="Of the crops, pixels.", min=64)] = 112,
    start: Annotated[
        str | None, typer.Option("--from", help="Weights of ResNet50, or 'imagenet'; else random.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Highest learning rate.", min=1e-9)] = 1.5e-3,
    every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 250,
    seed: Annotated[int, typer.Option(help="Of weights and crops.", min=0)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same options where the run stopped.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Prints what was learnt, of photographs held out: loss, cosine of pooled features, R²."""
    from qdnet_keras.training.encoder.teach import EncoderConfig, build, teach_encoder

    config = EncoderConfig(
        photographs=tuple(map(str, paths)),
        teacher=str(teacher),
        start=start,
        steps=steps,
        batch=batch,
        side=side,
        every=min(every, steps),
        seed=seed,
    )
    config = config.model_copy(
        update={"optimizer": config.optimizer.model_copy(update={"learning_rate": rate})}
    )
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        reached = teach_encoder(build(config), config, out, resume)
    if as_json:
        print(json.dumps({"run": str(out), **reached}))
        return
    explained = ", ".join(f"{name} {value:.3f}" for name, value in reached["r2"].items())
    print(f"held out: loss {reached['loss']:.3f}, cosine of pooled {reached['cosine']:.3f}")
    print(f"R²: {explained}")


if __name__ == "__main__":
    run_script(main)
