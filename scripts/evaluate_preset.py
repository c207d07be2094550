"""Prints what a preset reaches on the test split of a data set: scores, pictures, enhancement.

    python scripts/evaluate_preset.py --data DATA [--preset open-tm] [--json]

DATA is any manifest that `qdnet-keras train` reads, with a split column. Whole pictures are used.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

if TYPE_CHECKING:
    from qdnet_keras.data.manifest import Manifest
    from qdnet_keras.model.qdnet import QDNet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it


def score_figures(model: "QDNet", manifest: "Manifest", long_side: int) -> dict[str, float]:
    """Agreement of scores with the manifest's MOS."""
    from qdnet_keras.metrics import krocc, plcc, rmse, srocc, within_group_srocc
    from qdnet_keras.model.scoring import posteriors
    from qdnet_keras.outcomes import Z_90

    mos = manifest.mos
    files = [rendering.file for rendering in manifest.renderings]
    scores = model.score_posterior(*posteriors(model, files, long_side))
    predicted, score_std = (np.asarray(values) for values in scores)
    scenes = [rendering.scene for rendering in manifest.renderings]
    return {
        "srocc": srocc(predicted, mos),
        "plcc": plcc(predicted, mos),
        "krocc": krocc(predicted, mos),
        "rmse": rmse(predicted, mos),
        "within-scene srocc": within_group_srocc(predicted, mos, scenes),
        "labels in the 90 % interval": float(np.mean(np.abs(predicted - mos) <= Z_90 * score_std)),
    }


def picture_figures(model: "QDNet", manifest: "Manifest", long_side: int) -> dict[str, float]:
    """Self-reconstruction, swapped pair (partner: the scene's next rendering) and z effect."""
    from qdnet_keras.data.pairs import whole_scenes
    from qdnet_keras.metrics import psnr, ssim

    rows = []
    for scene in whole_scenes(manifest, long_side):
        x, pair = scene["image"], scene["pair"]
        contents, _, z, *_ = model.encode(x)
        own = np.clip(np.asarray(model.decoder(contents, z)), 0.0, 1.0)
        other_z = np.roll(np.asarray(z), -1, axis=0)
        swapped = np.clip(np.asarray(model.decoder(contents, other_z)), 0.0, 1.0)
        for i in range(len(x)):
            rows.append(
                {
                    "reconstruction psnr": psnr(own[i], x[i]),
                    "reconstruction ssim": ssim(own[i], x[i]),
                    "swapped psnr": psnr(swapped[i], pair[i]),
                    "unchanged psnr": psnr(x[i], pair[i]),
                    "z effect": float(
                        np.abs(swapped[i] - own[i]).mean() / np.abs(pair[i] - x[i]).mean()
                    ),
                }
            )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    means["swapped gain"] = means["swapped psnr"] - means["unchanged psnr"]
    return means


def enhancement_figures(
    model: "QDNet",
    manifest: "Manifest",
    long_side: int,
    every: int,
    targets: list[float],
    sampler: str,
) -> dict[str, float]:
    """Re-scored result of `enhance` over targets, on every n-th test picture."""
    from qdnet_keras.metrics import srocc
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.photos.files import read_photo

    asked, got, reached, rank = [], [], [], []
    for rendering in manifest.renderings[::every]:
        pixels = read_photo(rendering.file).pixels
        results = [
            enhance_pixels(model, pixels, target, sampler=sampler, long_side=long_side)
            for target in targets
        ]
        asked += targets
        got += [result.score_after for result in results]
        reached += [result.reached for result in results]
        rank.append(srocc(targets, [result.score_after for result in results]))
    errors = np.abs(np.array(asked) - got).reshape(-1, len(targets))
    return {
        "pictures": len(rank),
        "mean error": float(errors.mean()),
        **{f"mean error at {t:g}": float(e) for t, e in zip(targets, errors.mean(0), strict=True)},
        "reached": float(np.mean(reached)),
        "target srocc": srocc(asked, got),
        "target srocc per picture": float(np.nanmean(rank)),
    }


def main(
    data: Annotated[Path, typer.Option(help="Folder or CSV with a test split.")],
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = "open-tm",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    long_side: Annotated[int, typer.Option(help="Long side of the working copy.")] = 512,
    every: Annotated[int, typer.Option(help="Enhance every n-th picture.")] = 10,
    targets: Annotated[str, typer.Option(help="Targets of the enhancement.")] = "40,50,60,70",
    sampler: Annotated[str, typer.Option(help="bank or prior.")] = "bank",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.model.qdnet import QDNet

    manifest = read_manifest(data).select(split)
    model = QDNet.from_preset(preset)
    values = [float(target) for target in targets.split(",")]
    figures = {
        "score": score_figures(model, manifest, long_side),
        "pictures": picture_figures(model, manifest, long_side),
        "enhancement": enhancement_figures(model, manifest, long_side, every, values, sampler),
    }
    if json_output:
        print(json.dumps(figures))
        return
    for section, numbers in figures.items():
        print(f"{section} ({len(manifest)} pictures, split {split})")
        for name, value in numbers.items():
            print(f"  {name:26s} {value:8.3f}")


if __name__ == "__main__":
    typer.run(main)
