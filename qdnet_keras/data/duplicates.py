"""Near-duplicates by perceptual hash: pictures that would leak through a split by group.

The hash tells, for the lowest 12×12 frequencies of the cosine transform of a 32×32 luma thumbnail
but the mean, which lie above their median ("pHash": Zauner, Implementation and Benchmarking of
Perceptual Image Hash Functions, 2010). Tone mapping, compression and resizing change few of the 143
bits; other scenes differ in about half of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from qdnet_keras.data.manifest import Manifest

THUMBNAIL = 32
FREQUENCIES = 12
BITS = FREQUENCIES**2 - 1
LIMIT = 28  # of 2.8 million pairs of different scenes, none differed in fewer than 37 bits


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """The 143 bits of a picture, float32 0 or 1.

    Args:
        pixels: uint8 or uint16 `[H, W, 3]`.
    """
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    thumbnail = cv2.resize(luma, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(thumbnail)[:FREQUENCIES, :FREQUENCIES].ravel()[1:]
    return (lowest > np.median(lowest)).astype(np.float32)


class PerceptualHash:
    """The hash as a feature, see `qdnet_keras.evaluation.methods.features.Describes`."""

    cache_name = "phash"
    in_process = False
    describe: Callable[[np.ndarray], np.ndarray] = staticmethod(perceptual_hash)


@dataclass(frozen=True)
class NearDuplicate:
    """Two pictures of a manifest (their indices) and the number of bits in which they differ."""

    first: int
    second: int
    distance: int


def near_duplicates(hashes: np.ndarray, labels: Sequence[str]) -> list[NearDuplicate]:
    """Pairs of pictures with different labels that are nearly the same, or one's mirror image.

    Args:
        hashes: 0 or 1, `[N, 143]`, of `perceptual_hash`.
        labels: `[N]`; pairs that share a label are left out.
    """
    signs = 2 * np.asarray(hashes, np.float32) - 1
    mirrored = 2 * _mirrored(np.asarray(hashes, np.float32)) - 1
    names = np.asarray(labels)
    found = []
    for first in range(len(signs) - 1):
        rest = slice(first + 1, None)
        agreement = np.maximum(signs[rest] @ signs[first], mirrored[rest] @ signs[first])
        distance = (BITS - agreement) / 2
        close = np.flatnonzero((distance <= LIMIT) & (names[rest] != names[first]))
        found += [NearDuplicate(first, first + 1 + int(k), round(distance[k])) for k in close]
    return found


def merge_groups(manifest: Manifest, pairs: Sequence[NearDuplicate]) -> Manifest:
    """The manifest with the groups of each pair made one, under the name of the first of them."""
    group_of = {rendering.group: rendering.group for rendering in manifest.renderings}

    def root(group: str) -> str:
        while group_of[group] != group:
            group = group_of[group]
        return group

    for pair in pairs:
        first, second = sorted(
            root(manifest.renderings[i].group) for i in (pair.first, pair.second)
        )
        group_of[second] = first
    renderings = tuple(replace(r, group=root(r.group)) for r in manifest.renderings)
    return Manifest(renderings, manifest.source)


def _mirrored(hashes: np.ndarray) -> np.ndarray:
    """Hashes of the mirror images: odd horizontal frequencies change their sign.

    That is the hash of the mirrored picture as far as the median of its frequencies is about zero.
    """
    odd = np.arange(FREQUENCIES**2)[1:] % FREQUENCIES % 2 == 1
    return np.where(odd, 1 - hashes, hashes)
