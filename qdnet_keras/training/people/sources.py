"""The data that a network is taught from, and what the encoder says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qdnet_keras.data.manifest import Manifest, Rendering
from qdnet_keras.data.operators import operator_kind
from qdnet_keras.data.splits import assign_splits
from qdnet_keras.errors import DataError
from qdnet_keras.files import start_run
from qdnet_keras.model.qdnet import QDNet
from qdnet_keras.training.people.config import PeopleConfig, PeopleDataSection
from qdnet_keras.training.people.seen import Spoilt, see_pictures, see_spoilt


class Sources(NamedTuple):
    """What is learnt from.

    `votes` are sets with human votes; the first is the scale of the others, and its well-liked
    photographs are spoilt. `renderings` are tone-mapped, their labels are not looked at; scores are
    compared with theirs. `published` and `statistics` are what `read_statistics` gives: votes of
    tone-mapped pictures that need not be here.
    """

    votes: Sequence[Manifest]
    renderings: Manifest
    published: Manifest
    statistics: np.ndarray


class Pictures(NamedTuple):
    """Pictures, and what the posterior sees of them, float32 `[count, channels]` a stage.

    `views` is what it sees of them turned, smaller and compressed.
    """

    manifest: Manifest
    statistics: list[np.ndarray]
    views: list[np.ndarray]

    def where(self, chosen: Sequence[bool]) -> "Pictures":
        """Those for which `chosen` is true."""
        indices = np.flatnonzero(chosen)
        statistics, views = ([s[indices] for s in part] for part in (self.statistics, self.views))
        return Pictures(self.manifest.subset(indices), statistics, views)

    def split(self, name: str) -> "Pictures":
        return self.where([rendering.split == name for rendering in self.manifest.renderings])

    def without_faults(self) -> "Pictures":
        """Renderings by operators that are not meant to spoil."""
        operators = [rendering.operator or "" for rendering in self.manifest.renderings]
        return self.where([operator_kind(operator) != "fault" for operator in operators])


@dataclass(frozen=True)
class Seen:
    """What the encoder says of `Sources`; the last `held_out` photographs are for validation."""

    votes: list[Pictures]
    renderings: Pictures
    spoilt: Spoilt
    held_out: int


def see(model: QDNet, sources: Sources, config: PeopleConfig, folder: Path) -> Seen:
    """Sees all training and validation pictures and spoils photographs, or goes on with it.

    Raises:
        DataError: If the sets cannot be split or have too few well-liked photographs.
        ImageError: If a picture cannot be read.
        OutputError: If the folder has seen other pictures, or has no room.
    """
    options, seed = config.data, config.train.seed

    def used(manifest: Manifest) -> Manifest:
        split = assign_splits(manifest, val=options.validation_fraction, seed=seed)
        return split.subset(i for i, r in enumerate(split.renderings) if r.split != "test")

    votes, renderings = [used(manifest) for manifest in sources.votes], used(sources.renderings)
    training, held_out = liked_photographs(votes[0], options, seed)
    listed = [r for manifest in (*votes, renderings) for r in manifest.renderings]
    lines = [f"{r.file},{r.mos:.4f},{r.split}" for r in listed]
    lines += [f"{r.file},,spoilt" for r in (*training, *held_out)]
    start_run(folder, "pictures.csv", "\n".join(["file,mos,split", *lines]) + "\n", resume=True)

    def of(manifest: Manifest, name: str) -> Pictures:
        return Pictures(
            manifest, *see_pictures(model, manifest, folder / name, options.long_side, seed)
        )

    files = [rendering.file for rendering in (*training, *held_out)]
    return Seen(
        [of(manifest, f"votes_{number}") for number, manifest in enumerate(votes)],
        of(renderings, "renderings"),
        see_spoilt(model, files, folder / "spoilt", options, seed),
        len(held_out),
    )


def liked_photographs(
    manifest: Manifest, options: PeopleDataSection, seed: int
) -> tuple[list[Rendering], list[Rendering]]:
    """The photographs to spoil, of the training and of the validation pictures.

    Raises:
        DataError: If there are none of one of the two.
    """
    part = options.liked_part
    known = [r for r in manifest.renderings if part is None or r.part == part]
    random = np.random.default_rng(seed)
    best = [known[i] for i in random.permutation(len(known)) if known[i].split == "train"]
    if best:
        least = np.quantile([r.mos for r in best], 1.0 - options.liked_share)
        best = [r for r in best if r.mos >= least][: options.photographs]
    held_out = [r for r in known if best and r.split == "val" and r.mos >= least]
    if not held_out:
        raise DataError(
            f"{manifest.source} has no well-liked photographs"
            f"{'' if part is None else f' of the part {part}'} to train and to validate on; "
            "change data.liked_part or data.liked_share."
        )
    return best, held_out
