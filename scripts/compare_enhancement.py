"""QD-net's enhancement beside CLAHE, auto-contrast and gamma, judged by TMQI against the HDR scene.

    python scripts/compare_enhancement.py --data DATA [--preset open-tm] [--target 60] [--json]

DATA is a folder of `qdnet-keras data build --keep-hdr` or of its form: labels with splits, and
`hdr/SCENE.exr`. Renderings of the split whose MOS is below `--below` are enhanced. TMQI knows the
HDR scene, which no method here does, and is not what the network was trained on.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from qdnet_keras.model.qdnet import QDNet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it

LADDER = (35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0)
NEUTRAL_CHROMA = 3.0  # ΔE from grey up to which a pixel counts as neutral
BURNT, BLACK = 253, 2  # of 255
REACHED, FALL = 3.0, 1.0  # MOS


def clahe(pixels: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of CIELAB lightness."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def auto_contrast(pixels: np.ndarray) -> np.ndarray:
    """Pillow's, with 1 % cut off at either end, equally for the three colours."""
    return np.asarray(ImageOps.autocontrast(Image.fromarray(pixels), 1, preserve_tone=True))


def gamma_by_mean(pixels: np.ndarray) -> np.ndarray:
    """The power that brings the mean level to the middle."""
    mean = float(np.clip(pixels.mean() / 255, 0.02, 0.98))
    return np.round((pixels / 255) ** (np.log(0.5) / np.log(mean)) * 255).astype(np.uint8)


OTHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "CLAHE": clahe,
    "auto-contrast": auto_contrast,
    "gamma by mean": gamma_by_mean,
}


def kept(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """What must not change: structure, neutral greys, and the shares of burnt and black pixels."""
    return {
        "gradient correlation": gradient_correlation(before, after),
        "shift of greys": shift_of_greys(before, after),
        "clipping added": clipped(after) - clipped(before),
    }


def gradient_correlation(before: np.ndarray, after: np.ndarray) -> float:
    """Pearson correlation of the luminance gradients, both directions."""
    first, second = (
        np.concatenate([g.ravel() for g in np.gradient(p.astype(float).mean(-1))])
        for p in (before, after)
    )
    return float(np.corrcoef(first, second)[0, 1]) if second.any() else 0.0


def shift_of_greys(before: np.ndarray, after: np.ndarray) -> float:
    """Mean chroma difference ΔE of pixels that were neutral; nan where there are hardly any."""
    first, second = (
        cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for p in (before, after)
    )
    neutral = np.hypot(first[..., 1], first[..., 2]) < NEUTRAL_CHROMA
    if neutral.mean() < 0.001:
        return float("nan")
    shift = (second - first)[neutral][:, 1:].mean(0)
    return float(np.hypot(*shift))


def clipped(pixels: np.ndarray) -> float:
    """Percentage of pixels with a burnt colour, plus that of black ones."""
    burnt, black = (pixels >= BURNT).any(-1), (pixels <= BLACK).all(-1)
    return 100 * float(burnt.mean() + black.mean())


def enhanced_rows(
    model: "QDNet", data: Path, split: str, below: float, every: int, target: float
) -> Iterator[dict[str, dict[str, float]]]:
    """For each rendering, by method: TMQI gained, what was kept; for QD-net its re-score too."""
    from rich.progress import track

    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.photos.files import read_photo
    from qdnet_keras.synthesis.hdr import read_scene
    from qdnet_keras.synthesis.tmqi import tmqi

    manifest = read_manifest(data).select(split)
    chosen = [r for r in manifest.renderings if r.mos < below][::every]
    for rendering in track(chosen, "Enhancing"):
        hdr = read_scene(data / "hdr" / f"{rendering.scene}.exr")
        pixels = read_photo(rendering.file).pixels
        before = tmqi(hdr, pixels).q
        result = enhance_pixels(model, pixels, target)
        rows: dict[str, dict[str, float]] = {}
        for name, output in (
            ("QD-net", result.pixels),
            *((name, method(pixels)) for name, method in OTHERS.items()),
        ):
            rows[name] = {"TMQI gain": tmqi(hdr, output).q - before, **kept(pixels, output)}
        rows["QD-net"]["within 3 of the target"] = abs(result.score_after - target) <= REACHED
        rows["QD-net"]["said so"] = result.reached or abs(result.score_after - target) > 1.0
        rows["QD-net"]["score gained"] = result.score_after - result.score_before
        yield rows


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Figures of one method over all renderings; shares in 0..1."""
    column = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    greys = column["shift of greys"][np.isfinite(column["shift of greys"])]
    figures = {
        "TMQI gain": column["TMQI gain"].mean(),
        "TMQI rose": (column["TMQI gain"] > 0).mean(),
        "gradient correlation": column["gradient correlation"].mean(),
        "gradient correlation >= 0.9": (column["gradient correlation"] >= 0.9).mean(),
        "shift of greys": greys.mean(),
        "shift of greys <= 3": (greys <= 3).mean(),
        "clipping added": column["clipping added"].mean(),
        "clipping added <= 1": (column["clipping added"] <= 1).mean(),
    }
    for name in ("within 3 of the target", "said so", "score gained"):
        if name in column:
            figures[name] = column[name].mean()
    return {name: float(value) for name, value in figures.items()}


def monotone_share(model: "QDNet", data: Path, split: str, below: float, every: int) -> float:
    """Share of renderings whose re-scored ladder never falls by more than `FALL`."""
    from rich.progress import track

    from qdnet_keras.data.manifest import read_manifest
    from qdnet_keras.model.enhancement import enhance_pixels
    from qdnet_keras.photos.files import read_photo

    manifest = read_manifest(data).select(split)
    chosen = [r for r in manifest.renderings if r.mos < below][::every]
    rising = []
    for rendering in track(chosen, "Ladders"):
        pixels = read_photo(rendering.file).pixels
        scores = [enhance_pixels(model, pixels, target).score_after for target in LADDER]
        rising.append(np.diff(scores).min() >= -FALL)
    return float(np.mean(rising))


def main(
    data: Annotated[Path, typer.Option(help="Folder with labels, splits and hdr/.")],
    preset: Annotated[str, typer.Option(help="Name or folder of a preset.")] = "open-tm",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    target: Annotated[float, typer.Option(help="Score asked for.")] = 60.0,
    below: Annotated[float, typer.Option(help="Enhance renderings with a lower MOS.")] = 45.0,
    every: Annotated[int, typer.Option(help="Enhance every n-th of them.")] = 1,
    ladder_every: Annotated[int, typer.Option(help="Ladders of every n-th of them.")] = 8,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    from qdnet_keras.model.qdnet import QDNet

    model = QDNet.from_preset(preset)
    rows = list(enhanced_rows(model, data, split, below, every, target))
    figures = {name: summary([row[name] for row in rows]) for name in ("QD-net", *OTHERS)}
    rising = monotone_share(model, data, split, below, ladder_every)
    if json_output:
        print(json.dumps({"pictures": len(rows), "methods": figures, "rising ladders": rising}))
        return
    names = list(figures["QD-net"])
    print(f"{len(rows)} renderings of the split {split} with a MOS below {below:g}")
    print(f"{'':28s}" + "".join(f"{name:>15s}" for name in figures))
    for name in names:
        cells = (f"{f[name]:15.3f}" if name in f else f"{'':15s}" for f in figures.values())
        print(f"{name:28s}" + "".join(cells))
    print(f"ladders that never fall by more than {FALL:g}: {rising:.3f}")


if __name__ == "__main__":
    typer.run(main)
