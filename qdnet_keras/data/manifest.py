"""A manifest lists the renderings of a data set with their scores, scenes, groups and splits.

Renderings of one *scene* show the same picture and form pairs. A *group* holds one or more scenes
(say, views of one panorama) and never crosses a split.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qdnet_keras.data.labels import Scale, check_scale, listed
from qdnet_keras.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Rendering:
    """One tone-mapped version of a scene.

    `mos` is in 0..100, higher is better; `mos_std` is in the same unit. `split` is "train", "val",
    "test" or None. `part` is a word for a part of the data set with a nature of its own, or None.
    `row` is the row of the source (from 1), for messages; 0 where there is none.
    """

    file: Path
    mos: float
    mos_std: float | None
    scene: str
    group: str
    operator: str | None
    split: str | None
    row: int = field(default=0, compare=False)
    part: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Renderings in the order of the file that they were read from, and that file."""

    renderings: tuple[Rendering, ...]
    source: Path

    def __len__(self) -> int:
        return len(self.renderings)

    @property
    def mos(self) -> np.ndarray:
        """Scores in 0..100, float32 `[N]`."""
        return np.array([rendering.mos for rendering in self.renderings], np.float32)

    def by_scene(self) -> dict[str, list[int]]:
        """Indices of the renderings of each scene, scenes in order of first appearance."""
        scenes: dict[str, list[int]] = {}
        for index, rendering in enumerate(self.renderings):
            scenes.setdefault(rendering.scene, []).append(index)
        return scenes

    def subset(self, indices: Iterable[int]) -> "Manifest":
        """The renderings at `indices`, in that order."""
        return Manifest(tuple(self.renderings[index] for index in indices), self.source)

    def select(self, split: str) -> "Manifest":
        """The renderings of one split, possibly none. Raises `DataError` for an unknown word."""
        if split not in SPLITS:
            raise DataError(f"{self.source}: '{split}' is not a split; use {listed(SPLITS)}.")
        return Manifest(tuple(r for r in self.renderings if r.split == split), self.source)


def checked(renderings: Iterable[Rendering], source: Path, scale: Scale | None = None) -> Manifest:
    """A manifest with what holds across rows checked.

    Raises `DataError` when it is empty, lists an image twice, has a scene in two groups or a
    scene or group in two splits, or, without a known scale, has scores that seem to be on another.
    """
    manifest = Manifest(tuple(renderings), source)
    if not manifest.renderings:
        raise DataError(f"{source} lists no renderings; add at least one row with a score.")
    first: dict[str, Rendering] = {}
    for rendering in manifest.renderings:
        seen = first.setdefault(os.path.abspath(rendering.file), rendering)
        if seen is not rendering:
            raise DataError(
                f"{source}, row {rendering.row}: image '{rendering.file.name}' is in row "
                f"{seen.row} already; keep one of the two rows."
            )
    for owner, owned in (("scene", "split"), ("scene", "group"), ("group", "split")):
        check_single(manifest, owner, owned)
    if scale is None:
        check_scale([rendering.mos for rendering in manifest.renderings], source)
    return manifest


def check_single(manifest: Manifest, owner: str, owned: str) -> None:
    """Raises `DataError` when two renderings with one `owner` differ in `owned`.

    Both are names of fields of `Rendering`, such as "group" and "split".
    """
    first: dict[str, Rendering] = {}
    for rendering in manifest.renderings:
        seen = first.setdefault(getattr(rendering, owner), rendering)
        here, there = getattr(rendering, owned), getattr(seen, owned)
        if here != there:
            raise DataError(
                f"{manifest.source}, row {rendering.row}: {owner} '{getattr(seen, owner)}' has "
                f"{owned} {here or 'none'} here but {there or 'none'} in row {seen.row}; "
                f"give all its renderings one {owned}."
            )
