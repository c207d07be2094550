"""What a network renders on a test split: reconstruction, swapped pairs, enhancement to targets.

Whole pictures are used. Where the HDR scenes are at hand, enhancement is judged beside other
methods too, see `qdnet_keras.evaluation.enhancement`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.pairs import whole_scenes
from qdnet_keras.errors import DataError
from qdnet_keras.evaluation.enhancement import OURS, compare_enhancement
from qdnet_keras.evaluation.report import finite, markdown
from qdnet_keras.files import write_text
from qdnet_keras.metrics import srocc
from qdnet_keras.model.enhancement import enhance_pixels
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import WORKING_SIDE, posteriors
from qdnet_keras.outcomes import Z_90
from qdnet_keras.photos.files import read_photo

Figures = dict[str, float]
FALL = 1.0  # of the score: a ladder that falls by less is counted as rising


def judge_renderings(
    model: QDNet, manifest: Manifest, every: int, targets: Sequence[float], out: Path
) -> dict[str, Any]:
    """Figures of the test split, also written to `out/renderings.json` and `.md`.

    Args:
        model: See `qdnet_keras.load`.
        manifest: With a test split; HDR scenes are looked for in `hdr/` beside its source.
        every: Enhancement is judged on every n-th test picture.
        targets: Scores, 0..100, ascending; methods are compared at the (upper) middle one.
        out: Folder.

    Returns:
        `{"scores": figures, "pictures": figures, "enhancement": figures}`, and `"methods"`, figures
        by method, where there are HDR scenes. None stands for what is not finite.

    Raises:
        DataError: If there is no test split.
        OutputError: If `out` cannot be written.
    """
    test = manifest.select("test")
    if not len(test):
        raise DataError(f"{manifest.source} gives no picture the split test; add a column 'split'.")
    result: dict[str, Any] = {
        "scores": score_figures(model, test),
        "pictures": picture_figures(model, test, WORKING_SIDE),
        "enhancement": enhancement_figures(model, test, WORKING_SIDE, every, targets),
    }
    hdr = manifest.source.parent / "hdr"
    if hdr.is_dir():
        result["methods"] = compare_enhancement(model, test, hdr, every, targets[len(targets) // 2])
    result = finite(result)
    write_text(out / "renderings.json", json.dumps(result, indent=2) + "\n")
    write_text(out / "renderings.md", renderings_table(result) + "\n")
    return result


def renderings_table(result: Mapping[str, Any]) -> str:
    """What `judge_renderings` returns as Markdown."""
    rows = [
        [name, _cell(value)]
        for section in ("scores", "pictures", "enhancement")
        for name, value in result[section].items()
    ]
    tables = [markdown(["renderings of the test split", ""], rows)]
    if methods := result.get("methods"):
        cells = [
            [name, *(_cell(of[name]) if name in of else "" for of in methods.values())]
            for name in methods[OURS]
        ]
        tables.append(markdown(["enhancement", *methods], cells))
    return "\n\n".join(tables)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def score_figures(model: QDNet, manifest: Manifest) -> Figures:
    """How well the intervals hold."""
    files = [rendering.file for rendering in manifest.renderings]
    loc, scale = posteriors(model, files)
    predicted = np.asarray(model.score_latent(loc))
    spread = model.posterior.spread(model.score_latent, loc, scale)
    spread = np.asarray(model.calibration.spread(spread))
    held = np.abs(predicted - manifest.mos) <= Z_90 * spread
    return {"labels in the 90 % interval": float(held.mean())}


def picture_figures(model: QDNet, manifest: Manifest, long_side: int) -> Figures:
    """Self-reconstruction, swapped pair (partner: the scene's next rendering) and z effect."""
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
                    "reconstruction psnr": float(tf.image.psnr(own[i], x[i], 1.0)),
                    "reconstruction ssim": float(tf.image.ssim(own[i], x[i], 1.0)),
                    "swapped psnr": float(tf.image.psnr(swapped[i], pair[i], 1.0)),
                    "unchanged psnr": float(tf.image.psnr(x[i], pair[i], 1.0)),
                    "z effect": float(
                        np.abs(swapped[i] - own[i]).mean() / np.abs(pair[i] - x[i]).mean()
                    ),
                }
            )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    means["swapped gain"] = means["swapped psnr"] - means["unchanged psnr"]
    return means


def enhancement_figures(
    model: QDNet, manifest: Manifest, long_side: int, every: int, targets: Sequence[float]
) -> Figures:
    """Re-scored result of `enhance` over targets, on every n-th picture."""
    asked, got, reached, rank, rises = [], [], [], [], []
    for rendering in manifest.renderings[::every]:
        pixels = read_photo(rendering.file).srgb
        results = [enhance_pixels(model, pixels, target, long_side=long_side) for target in targets]
        asked += list(targets)
        reached += [result.reached for result in results]
        scores = [result.score_after for result in results]
        got += scores
        rank.append(srocc(targets, scores))
        rises.append(bool((np.diff(scores) >= -FALL).all()))
    errors = np.abs(np.array(asked) - got).reshape(-1, len(targets))
    return {
        "pictures": len(rank),
        "mean error": float(errors.mean()),
        **{f"mean error at {t:g}": float(e) for t, e in zip(targets, errors.mean(0), strict=True)},
        "reached": float(np.mean(reached)),
        "ladders that never fall": float(np.mean(rises)),
        "target srocc": srocc(asked, got),
        "target srocc per picture": float(np.nanmean(rank)),
    }
