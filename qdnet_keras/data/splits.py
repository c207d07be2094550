"""Splits by group: no group, hence no scene, is ever on both sides.

Groups are put in the order of a SHA-256 of the seed and their name, so that a split depends on
nothing but the seed and the set of groups: not on the order of rows, the platform or a library.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from qdnet_keras.data.manifest import Manifest, check_single
from qdnet_keras.errors import DataError


def assign_splits(
    manifest: Manifest, val: float = 0.1, test: float = 0.0, seed: int = 0
) -> Manifest:
    """Gives every rendering a split; a manifest that has splits already keeps them.

    Data sets that are published with a training and a test part only get a validation part out of
    the groups to train on, where `val` is not 0.

    `val` and `test` are fractions of the number of groups, rounded, but at least one group each
    unless 0. Raises `DataError` when some renderings have a split and others do not, when a scene
    or group crosses splits, or when there are too few groups; `ValueError` for bad fractions.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise ValueError(f"val and test must be >= 0 and leave some to train: {val}, {test}")
    lacking = [rendering for rendering in manifest.renderings if rendering.split is None]
    if not lacking:
        check_disjoint(manifest)
        return _with_validation(manifest, val, seed) if val else manifest
    if len(lacking) < len(manifest):
        raise DataError(
            f"{manifest.source}, row {lacking[0].row}: no split although other rows have one; "
            "give a split to every row or to none."
        )
    groups = _shuffled_groups(manifest, f"{seed}")
    test_count, val_count = _held_out(manifest, len(groups), test, val)
    words = dict.fromkeys(groups, "train")
    words |= dict.fromkeys(groups[:test_count], "test")
    words |= dict.fromkeys(groups[test_count : test_count + val_count], "val")
    assigned = _renamed(manifest, words)
    check_disjoint(assigned)
    return assigned


def random_splits(
    manifest: Manifest, count: int, test_fraction: float = 0.2, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields `count` pairs of ascending int64 index arrays (train, test), disjoint by group.

    `test_fraction` is of the number of groups (0.2: the 4:1 protocol). Split k is the same
    whatever `count` is; splits given in the manifest play no part. Raises `DataError` for fewer
    than two groups.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be between 0 and 1: {test_fraction}")
    group_of = np.array([rendering.group for rendering in manifest.renderings])
    for k in range(count):
        groups = _shuffled_groups(manifest, f"{seed}/{k}")
        (test_count,) = _held_out(manifest, len(groups), test_fraction)
        is_test = np.isin(group_of, groups[:test_count])
        yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


def check_disjoint(manifest: Manifest) -> None:
    """Raises `DataError` with the row when a scene or a group has renderings in two splits."""
    check_single(manifest, "scene", "split")
    check_single(manifest, "group", "split")


def _with_validation(manifest: Manifest, val: float, seed: int) -> Manifest:
    training = manifest.select("train")
    if not len(training) or len(manifest.select("val")):
        return manifest
    groups = _shuffled_groups(training, f"{seed}")
    (val_count,) = _held_out(training, len(groups), val)
    words = {rendering.group: rendering.split for rendering in manifest.renderings}
    return _renamed(manifest, words | dict.fromkeys(groups[:val_count], "val"))


def _renamed(manifest: Manifest, words: Mapping[str, str | None]) -> Manifest:
    renderings = tuple(replace(r, split=words[r.group]) for r in manifest.renderings)
    return Manifest(renderings, manifest.source)


def _shuffled_groups(manifest: Manifest, key: str) -> list[str]:
    def digest(group: str) -> bytes:
        return hashlib.sha256(f"{key}/{group}".encode()).digest()

    return sorted({rendering.group for rendering in manifest.renderings}, key=digest)


def _held_out(manifest: Manifest, groups: int, *fractions: float) -> list[int]:
    """How many of `groups` each fraction asks for; at least one is left over."""
    counts = [max(1, round(fraction * groups)) if fraction else 0 for fraction in fractions]
    if sum(counts) >= groups:
        raise DataError(
            f"{manifest.source}: {groups} group(s) are too few to hold {sum(counts)} out; "
            "add scenes or lower the fractions."
        )
    return counts
