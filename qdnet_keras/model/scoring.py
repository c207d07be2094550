"""Scores of files, pictures and whole manifests."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qdnet_keras.data.manifest import Manifest
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.model import graphs
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.outcomes import SCORES, Score
from qdnet_keras.photos.files import read_photo, working_copy

BATCH = 8


class Seen(NamedTuple):
    """What the network sees in working copies, float32.

    `score` is `[count]`, 0..100. `z`, the mean of p(z|x), and `restored`, the quality that the
    network expects of the picture where it is not spoilt (`z` itself before it has learnt that),
    are `[count, latent_dim]`.
    """

    score: np.ndarray
    z: np.ndarray
    restored: np.ndarray


def score_pixels(model: QDNet, pixels: np.ndarray, long_side: int = WORKING_SIDE) -> Score:
    """Scores one picture.

    Args:
        pixels: uint8 or uint16 `[height, width, 3]`, sRGB-encoded.
        long_side: The score is computed on a copy of at most this long side.
    """
    encoding = graphs.encode(model)(working_copy(pixels, long_side)[None])
    outputs = graphs.report(model)(encoding)
    return Score(**{name: float(outputs[name][0]) for name in SCORES})


def score_copies(model: QDNet, copies: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of working copies of one size, in batches.

    Args:
        copies: float32 `[height, width, 3]` in 0..1 each.

    Returns:
        float32 `[count]`, 0..100.
    """
    return see_copies(model, copies).score


def see_copies(model: QDNet, copies: Sequence[np.ndarray]) -> Seen:
    """As `score_copies`, and the qualities that scores are of."""
    batches = []
    for start in range(0, len(copies), BATCH):
        encoding = graphs.encode(model)(np.stack(copies[start : start + BATCH]))
        score = graphs.report(model)(encoding)["score"]
        batches.append((score, encoding.loc, encoding.restored))
    return Seen(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def score_files(model: QDNet, manifest: Manifest, long_side: int = WORKING_SIDE) -> np.ndarray:
    """MOS that the network expects of all renderings of a manifest, 0..100, float32 `[count]`."""
    files = [rendering.file for rendering in manifest.renderings]
    return np.clip(model.score_latent(posterior_means(model, files, long_side)), 0.0, 100.0)


def posterior_means(
    model: QDNet, files: Iterable[Path], long_side: int = WORKING_SIDE
) -> np.ndarray:
    """Means of p(z|x) of pictures, float32 `[count, latent_dim]`."""
    return posteriors(model, files, long_side)[0]


def posteriors(
    model: QDNet, files: Iterable[Path], long_side: int = WORKING_SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of p(z|x) of pictures, float32 `[count, latent_dim]` each."""
    posterior = graphs.posterior(model)
    batches = [posterior(batch) for batch in same_size_batches(files, long_side)]
    loc, scale = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return loc, scale


def same_size_batches(files: Iterable[Path], long_side: int = WORKING_SIDE) -> Iterator[np.ndarray]:
    """Working copies, float32 `[count, height, width, 3]`, neighbours of one size together."""
    pending: list[np.ndarray] = []
    for file in files:
        copy = working_copy(read_photo(file, least_side=long_side).srgb, long_side)
        if pending and (len(pending) == BATCH or pending[0].shape != copy.shape):
            yield np.stack(pending)
            pending = []
        pending.append(copy)
    if pending:
        yield np.stack(pending)
