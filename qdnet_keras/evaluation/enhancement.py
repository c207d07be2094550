"""QD-net's enhancement beside CLAHE, auto-contrast and gamma, judged by TMQI against the HDR scene.

TMQI knows the HDR scene, which no method here does.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.errors import DataError
from qdnet_keras.files import reason
from qdnet_keras.model.enhancement import enhance_pixels
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.photos.files import read_photo
from qdnet_keras.synthesis.hdr import read_scene
from qdnet_keras.synthesis.tmqi import tmqi

OURS = "QD-net"
NEUTRAL_CHROMA = 3.0  # ΔE from grey up to which a pixel counts as neutral
BURNT, BLACK = 253, 2  # of 255
REACHED = 3.0  # of the score
VISIBLE_CHROMA = 10.0  # ΔE from grey from which a hue is seen
AREAS = {"blue": (230, 300), "green": (110, 170), "skin-like": (30, 70)}  # hues, degrees of CIELAB
LEAST_AREA = 0.01  # of a picture
STRONG_EDGE, WEAK_EDGE = 20.0, 5.0  # levels between neighbouring pixels


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
    """What must not change: structure, greys, colours, and the shares of burnt and black pixels."""
    return {
        "edges reversed": edges_reversed(before, after),
        "hue shift": hue_shift(before, after),
        **{f"chroma of {name}": share for name, share in chroma_kept(before, after).items()},
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
    first, second = _lab(before), _lab(after)
    neutral = np.hypot(first[..., 1], first[..., 2]) < NEUTRAL_CHROMA
    if neutral.mean() < 0.001:
        return float("nan")
    shift = (second - first)[neutral][:, 1:].mean(0)
    return float(np.hypot(*shift))


def chroma_kept(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Mean chroma after to mean chroma before in areas of some hues; nan where there are none.

    Hues are told by the picture before, where its chroma is visible, see `AREAS`.
    """
    first, second = _lab(before), _lab(after)
    chroma, hue = _chroma(first), _hue(first)
    kept = {}
    for name, (low, high) in AREAS.items():
        area = (chroma >= VISIBLE_CHROMA) & (hue >= low) & (hue < high)
        is_large = area.mean() >= LEAST_AREA
        kept[name] = (
            float(_chroma(second)[area].mean() / chroma[area].mean()) if is_large else np.nan
        )
    return kept


def hue_shift(before: np.ndarray, after: np.ndarray) -> float:
    """Median turn of hues in degrees, where visible before and after; nan where none are."""
    first, second = _lab(before), _lab(after)
    seen = (_chroma(first) >= VISIBLE_CHROMA) & (_chroma(second) >= VISIBLE_CHROMA / 2)
    if seen.mean() < LEAST_AREA:
        return float("nan")
    turn = np.abs(_hue(first) - _hue(second))[seen]
    return float(np.median(np.minimum(turn, 360 - turn)))


def edges_reversed(before: np.ndarray, after: np.ndarray) -> float:
    """Percentage of strong edges that clearly run the other way; 0 where there are none."""
    strong, turned = 0, 0
    for axis in (0, 1):
        first, second = (np.diff(p.astype(float).mean(-1), axis=axis) for p in (before, after))
        edges = np.abs(first) >= STRONG_EDGE
        strong += edges.sum()
        turned += (edges & (first * second < 0) & (np.abs(second) >= WEAK_EDGE)).sum()
    return 100.0 * float(turned / max(strong, 1))


def _lab(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _chroma(lab: np.ndarray) -> np.ndarray:
    return np.hypot(lab[..., 1], lab[..., 2])


def _hue(lab: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360


def clipped(pixels: np.ndarray) -> float:
    """Percentage of pixels with a burnt colour, plus that of black ones."""
    burnt, black = (pixels >= BURNT).any(-1), (pixels <= BLACK).all(-1)
    return 100 * float(burnt.mean() + black.mean())


def compare_enhancement(
    model: QDNet, manifest: Manifest, hdr: Path, every: int, target: float
) -> dict[str, dict[str, float]]:
    """Figures by method of enhancing the lower half of the pictures by MOS.

    Args:
        model: See `qdnet_keras.load`.
        manifest: Renderings.
        hdr: Folder of `SCENE.exr`.
        every: Every n-th of the lower half is enhanced.
        target: Score that QD-net is asked for, 0..100.

    Raises:
        ImageError: If a picture or scene cannot be read.
        DataError: If a picture does not fit its scene, or is too small for TMQI.
    """
    middle = float(np.median(manifest.mos))
    chosen = [r for r in manifest.renderings if r.mos <= middle][::every]
    rows = list(enhanced_rows(model, chosen, hdr, target))
    return {name: summary([row[name] for row in rows]) for name in (OURS, *OTHERS)}


def enhanced_rows(
    model: QDNet, renderings: Sequence[Rendering], hdr: Path, target: float
) -> Iterator[dict[str, dict[str, float]]]:
    """For each rendering, by method: TMQI gained, what was kept; for QD-net its re-score too."""
    for rendering in renderings:
        scene = read_scene(hdr / f"{rendering.scene}.exr")
        pixels = read_photo(rendering.file).srgb
        try:
            before = tmqi(scene, pixels).q
        except ValueError as error:  # of other or too small a size
            raise DataError(f"{rendering.file} cannot be judged ({reason(error)}).") from None
        result = enhance_pixels(model, pixels, target)
        outputs = {OURS: result.pixels, **{name: f(pixels) for name, f in OTHERS.items()}}
        rows = {
            name: {"TMQI gain": tmqi(scene, output).q - before, **kept(pixels, output)}
            for name, output in outputs.items()
        }
        rows[OURS]["within 3 of the target"] = abs(result.score_after - target) <= REACHED
        rows[OURS]["score gained"] = result.score_after - result.score_before
        yield rows


def _median(values: np.ndarray) -> float:
    """Of those that are numbers; nan where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Figures of one method over all renderings; shares in 0..1."""
    column = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    greys = column["shift of greys"][np.isfinite(column["shift of greys"])]
    chroma = {name: column[f"chroma of {name}"] for name in AREAS}
    all_chroma = np.concatenate(list(chroma.values()))
    all_chroma = all_chroma[np.isfinite(all_chroma)]
    figures = {
        "TMQI gain": column["TMQI gain"].mean(),
        "TMQI rose": (column["TMQI gain"] > 0).mean(),
        "gradient correlation": column["gradient correlation"].mean(),
        "gradient correlation >= 0.9": (column["gradient correlation"] >= 0.9).mean(),
        "edges reversed": column["edges reversed"].mean(),
        "hue shift": _median(column["hue shift"]),
        **{f"chroma of {name}, median": _median(kept) for name, kept in chroma.items()},
        "chroma >= 0.7": (all_chroma >= 0.7).mean(),
        "shift of greys": greys.mean(),
        "shift of greys <= 3": (greys <= 3).mean(),
        "clipping added": column["clipping added"].mean(),
        "clipping added <= 1": (column["clipping added"] <= 1).mean(),
    }
    for name in ("within 3 of the target", "score gained"):
        if name in column:
            figures[name] = column[name].mean()
    return {name: float(value) for name, value in figures.items()}
