"""Well-liked photographs beside themselves, deliberately spoilt: an objective truth.

A score should prefer the photograph to its spoilt version, and a rendering of the spoilt one at the
photograph's own score should give the photograph back. Neither needs votes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import mean_squared_error, structural_similarity

from qdnet_keras.data.reading import read_manifest
from qdnet_keras.errors import DataError
from qdnet_keras.evaluation.enhancement import OTHERS, auto_contrast
from qdnet_keras.model.enhancement import enhance_pixels
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.model.scoring import score_pixels
from qdnet_keras.photos.files import from_float, read_photo, to_float, working_copy
from qdnet_keras.synthesis.edits import EDITS

NOTHING, OURS = "as it is", "QD-net"
KINDS = ("dark", "under", "over", "flat", "haze", "grey", "harsh", "cast")
STRENGTHS = (0.4, 0.8)
MOST_PSNR = 60.0  # dB, of equal pictures
STRIDE = 2  # pixels between those whose colour difference is taken


class Spoilt(NamedTuple):
    """A photograph, uint8 `[H, W, 3]`, and its version spoilt by one edit of `EDITS`."""

    original: np.ndarray
    spoilt: np.ndarray
    kind: str


def liked_tests(
    labels: Path, count: int, least: float, part: str | None, seed: int = 0
) -> list[Path]:
    """Well-liked photographs that no training saw, drawn from a manifest's split `test`.

    Args:
        labels: Manifest of photographs with votes.
        count: Photographs at most.
        least: MOS of each, at least.
        part: Part of the set that they are of, where it has parts.

    Raises:
        DataError: If the manifest cannot be read or has no such photograph.
    """
    tests = read_manifest(labels).select("test").renderings
    liked = [r.file for r in tests if r.mos >= least and r.part in (part, None)]
    if not liked:
        raise DataError(
            f"{labels} has no test photographs with a MOS of {least:g}; ask for a lower one."
        )
    return [liked[i] for i in np.random.default_rng(seed).permutation(len(liked))[:count]]


def spoil_photographs(
    files: Sequence[Path], long_side: int, kinds: Sequence[str] = KINDS, seed: int = 0
) -> Iterator[Spoilt]:
    """Each photograph spoilt once, the kinds in turn, with a strength drawn from `STRENGTHS`."""
    for number, file in enumerate(files):
        random = np.random.default_rng([seed, number])
        original = from_float(working_copy(read_photo(file).pixels, long_side), np.uint8)
        kind = kinds[number % len(kinds)]
        changed = EDITS[kind].apply(to_float(original), random.uniform(*STRENGTHS), random)
        yield Spoilt(original, from_float(changed, np.uint8), kind)


def judge(model: QDNet, pairs: Sequence[Spoilt]) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by kind of fault (and over all), by method.

    Returns:
        For each kind and `"all"`, for each method, `{"psnr", "delta_e", "ssim"}` to the original,
        dB and CIEDE2000; and of the network `{"original preferred"}`, the share of pairs whose
        original scores higher, and `{"reached"}`, that of renderings that reached the target.
    """
    histogram = _mean_histogram([pair.original for pair in pairs])
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        NOTHING: lambda pixels: pixels,
        **OTHERS,
        "grey world, auto-contrast": lambda pixels: auto_contrast(grey_world(pixels)),
        "histogram": lambda pixels: match_histogram(pixels, histogram),
    }
    rows: list[tuple[str, dict[str, dict[str, float]]]] = []
    for original, spoilt, kind in pairs:
        row = {name: distance(original, method(spoilt)) for name, method in methods.items()}
        target = score_pixels(model, original).score
        rendered = enhance_pixels(model, spoilt, target)
        row[OURS] = {
            **distance(original, rendered.pixels),
            "original preferred": float(target > rendered.score_before),
            "reached": float(rendered.reached),
        }
        rows.append((kind, row))
    kinds = [*dict.fromkeys(kind for kind, _ in rows), "all"]
    return {kind: _means([row for own, row in rows if kind in (own, "all")]) for kind in kinds}


def distance(original: np.ndarray, rendering: np.ndarray) -> dict[str, float]:
    """PSNR in dB, mean CIEDE2000 and SSIM of two uint8 pictures."""
    first, second = (rgb2lab(p[::STRIDE, ::STRIDE]) for p in (original, rendering))
    error = max(mean_squared_error(original, rendering) / 255**2, 10 ** (-MOST_PSNR / 10))
    return {
        "psnr": float(-10 * np.log10(error)),
        "delta_e": float(deltaE_ciede2000(first, second).mean()),
        "ssim": float(structural_similarity(original, rendering, channel_axis=-1)),
    }


def grey_world(pixels: np.ndarray) -> np.ndarray:
    """Channels multiplied so that their means are equal."""
    means = pixels.reshape(-1, 3).mean(0)
    return from_float(to_float(pixels) * (means.mean() / np.maximum(means, 1.0)), np.uint8)


def match_histogram(pixels: np.ndarray, share_below: np.ndarray) -> np.ndarray:
    """All levels moved together so that their distribution is `share_below`, `[256]`."""
    own = np.cumsum(np.bincount(pixels.ravel(), minlength=256)) / pixels.size
    return np.searchsorted(share_below, own, side="left").clip(0, 255).astype(np.uint8)[pixels]


def _mean_histogram(pictures: Sequence[np.ndarray]) -> np.ndarray:
    counts = [np.bincount(p.ravel(), minlength=256) / p.size for p in pictures]
    return np.cumsum(np.mean(counts, axis=0))


def _means(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        method: {name: float(np.mean([row[method][name] for row in rows])) for name in figures}
        for method, figures in rows[0].items()
    }
