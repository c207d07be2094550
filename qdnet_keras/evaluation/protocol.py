"""The paper's protocol on any data set: methods trained and tested on the same disjoint splits.

RUN/features/*.npz                 features of every picture, by method; shared by all protocols
RUN/PROTOCOL/near_duplicates.csv   pictures of different groups that are nearly the same
RUN/PROTOCOL/splits.csv            a row a picture: train, test or empty for each split
RUN/PROTOCOL/METHOD/settings.json  what the predictions depend on
RUN/PROTOCOL/METHOD/000.csv        predictions on the test side of split 0, and so on
RUN/PROTOCOL/METHOD/000/           QD-net's training on split 0
RUN/PROTOCOL/results.json, .md     the tables

PROTOCOL is `random-seed0`, or whatever the seed, or `fixed` for the manifest's own split. An
evaluation goes on where it was stopped; more splits or methods can be added later, nothing is
computed twice.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import parallel_config

from qdnet_keras import __version__
from qdnet_keras.data.duplicates import (
    NearDuplicate,
    PerceptualHash,
    merge_groups,
    near_duplicates,
)
from qdnet_keras.data.manifest import Manifest
from qdnet_keras.data.operators import operator_kind
from qdnet_keras.data.splits import check_disjoint, random_splits
from qdnet_keras.errors import DataError, OutputError
from qdnet_keras.evaluation.comparison import Predictions
from qdnet_keras.evaluation.methods import Options, make_method
from qdnet_keras.evaluation.methods.base import Method
from qdnet_keras.evaluation.methods.features import Describes, FeatureStore
from qdnet_keras.files import read_table, write_table, write_text

COLUMNS = ("file", "scene", "group", "operator", "mos", "predicted", "seconds")
Step = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Split:
    """Indices into the manifest, ascending, no group on both sides."""

    name: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Protocol:
    """The pictures, with near-duplicates in one group, and the splits.

    Attributes:
        name: Folder in the run.
        manifest: Renderings; their `group` never crosses a split.
        splits: The same for every method.
        duplicates: Pairs of near-duplicates that were found in different groups.
    """

    name: str
    manifest: Manifest
    splits: list[Split]
    duplicates: list[NearDuplicate]


def random_protocol(
    manifest: Manifest, store: FeatureStore, count: int = 100, seed: int = 0
) -> Protocol:
    """`count` random 4:1 splits by group; groups that share near-duplicates are merged first.

    Raises:
        ImageError: If a picture cannot be read.
        DataError: If there are too few groups.
    """
    duplicates = find_duplicates(manifest, store)
    merged = merge_groups(manifest, duplicates)
    pairs = enumerate(random_splits(merged, count, seed=seed))
    splits = [Split(f"{k:03d}", train, test) for k, (train, test) in pairs]
    return Protocol(f"random-seed{seed}", merged, splits, duplicates)


def fixed_protocol(manifest: Manifest, store: FeatureStore) -> Protocol:
    """The manifest's own split: trained on `train`, tested on `test`; `val` plays no part.

    Raises:
        ImageError: If a picture cannot be read.
        DataError: If a side is missing, or a scene, a group or a near-duplicate is on both.
    """
    check_disjoint(manifest)
    words = np.array([rendering.split or "" for rendering in manifest.renderings])
    split = Split("fixed", np.flatnonzero(words == "train"), np.flatnonzero(words == "test"))
    if not len(split.train) or not len(split.test):
        raise DataError(
            f"{manifest.source} gives no pictures the split train or none the split test; add a "
            "column 'split', or evaluate on random splits."
        )
    duplicates = find_duplicates(manifest, store)
    for pair in duplicates:
        sides = {words[pair.first], words[pair.second]}
        if sides == {"train", "test"}:
            here, there = (manifest.renderings[i].file.name for i in (pair.first, pair.second))
            raise DataError(
                f"{manifest.source}: {here} and {there} are nearly the same picture, but one is in "
                "train and the other in test; give them one split."
            )
    return Protocol("fixed", manifest, [split], duplicates)


def find_duplicates(manifest: Manifest, store: FeatureStore) -> list[NearDuplicate]:
    """Near-duplicates in different groups. Raises `ImageError` if pictures cannot be read."""
    hashes = store.get(PerceptualHash(), [r.file for r in manifest.renderings])
    return near_duplicates(hashes, [r.group for r in manifest.renderings])


def evaluate(
    protocol: Protocol,
    names: Sequence[str],
    options: Options,
    run: Path,
    store: FeatureStore,
    step: Step | None = None,
) -> tuple[dict[str, list[Predictions]], list[str]]:
    """Predictions of every method on every split, read from `run` where they are known.

    Args:
        protocol: See `random_protocol` and `fixed_protocol`.
        names: Methods, see `qdnet_keras.evaluation.methods.METHODS`.
        options: How they are made.
        run: Folder of the evaluation.
        store: Where features are kept.
        step: Called with a method's name, the number of splits done and their total.

    Returns:
        Predictions by method name, one entry a split, and notes that belong beside the figures.

    Raises:
        OutputError: If `run` cannot be written or was made from other data.
        DataError: If a preset was trained on pictures of a test side.
        ImageError, ConfigError, PresetError: As the methods do.
    """
    folder = run / protocol.name
    _prepare(protocol, folder)
    results: dict[str, list[Predictions]] = {}
    notes = unknown_operators(protocol.manifest)
    for name in names:
        method = make_method(name, options, store, folder / name / protocol.splits[0].name)
        _check_unseen(protocol, method)
        notes += [method.note] if method.note else []
        done = folder / method.name
        _keep_settings(method, done)
        open_splits = [split for split in protocol.splits if not _is_done(split, done)]
        if open_splits and isinstance(method, Describes):
            store.get(method, _files_used(protocol, open_splits, method.learns))
        for count, split in enumerate(protocol.splits, 1):
            if split in open_splits:
                method = make_method(name, options, store, folder / name / split.name)
                _predict(protocol, split, method, store, done)
            if step:
                step(method.name, count, len(protocol.splits))
        results[method.name] = [
            read_predictions(done / f"{split.name}.csv") for split in protocol.splits
        ]
    return results, notes


def read_predictions(path: Path) -> Predictions:
    """Predictions that `evaluate` wrote."""
    rows = read_table(path)
    return Predictions(
        predicted=np.array([float(row["predicted"]) for row in rows]),
        mos=np.array([float(row["mos"]) for row in rows]),
        scenes=[row["scene"] for row in rows],
        groups=[row["group"] for row in rows],
        operators=[row["operator"] or None for row in rows],
        seconds=float(rows[0]["seconds"]),
    )


def _predict(
    protocol: Protocol, split: Split, method: Method, store: FeatureStore, folder: Path
) -> None:
    """Trains on one side of a split and writes the predictions for the other."""
    rows = protocol.manifest.renderings
    train, test = ([rows[i] for i in side] for side in (split.train, split.test))
    with parallel_config(backend="threading", n_jobs=store.jobs):
        method.fit(
            [r.file for r in train],
            [r.mos for r in train],
            scenes=[r.scene for r in train],
            groups=[r.group for r in train],
        )
    start = time.process_time()
    predicted = method.predict([r.file for r in test])
    seconds = (time.process_time() - start) / len(test)
    if isinstance(method, Describes):
        seconds += store.seconds_per_picture(method)
    table = [
        (
            _name(protocol.manifest, r.file),
            r.scene,
            r.group,
            r.operator or "",
            r.mos,
            f"{value:.6g}",
            f"{seconds:.3g}",
        )
        for r, value in zip(test, predicted, strict=True)
    ]
    write_table(folder / f"{split.name}.csv", COLUMNS, table)


def unknown_operators(manifest: Manifest) -> list[str]:
    """A note about operators of no known kind, if there are any."""
    operators = [r.operator for r in manifest.renderings if r.operator]
    unknown = [name for name in operators if operator_kind(name) is None]
    if not unknown:
        return []
    names = ", ".join(sorted(set(unknown)))
    return [f"Of unknown kind, so in no row by kind: {len(unknown)} pictures ({names})."]


def _files_used(protocol: Protocol, splits: Sequence[Split], learns: bool) -> list[Path]:
    used = {int(i) for split in splits for i in split.test}
    if learns:
        used |= {int(i) for split in splits for i in split.train}
    return [protocol.manifest.renderings[i].file for i in sorted(used)]


def _is_done(split: Split, folder: Path) -> bool:
    return (folder / f"{split.name}.csv").is_file()


def _check_unseen(protocol: Protocol, method: Method) -> None:
    for split in protocol.splits:
        for i in split.test:
            rendering = protocol.manifest.renderings[i]
            if (rendering.file.name, rendering.scene) in method.seen:
                raise DataError(
                    f"{method.name} starts from a preset that was trained on "
                    f"{rendering.file.name}, which split {split.name} tests on; take another "
                    "preset, or evaluate on the fixed split that it was trained with."
                )


def _keep_settings(method: Method, folder: Path) -> None:
    """Records the settings; predictions made with other ones are removed."""
    text = json.dumps({"version": __version__, **method.settings}, indent=2) + "\n"
    path = folder / "settings.json"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    for outdated in folder.glob("*.csv"):
        outdated.unlink()
    write_text(path, text)


def _prepare(protocol: Protocol, folder: Path) -> None:
    """Writes the splits and near-duplicates. Raises `OutputError`."""
    manifest = protocol.manifest
    columns = ["file", "scene", "group", *(split.name for split in protocol.splits)]
    words = np.full((len(manifest), len(protocol.splits)), "", dtype="<U5")
    for k, split in enumerate(protocol.splits):
        words[split.train, k], words[split.test, k] = "train", "test"
    table = [
        [_name(manifest, r.file), r.scene, r.group, *row]
        for r, row in zip(manifest.renderings, words.tolist(), strict=True)
    ]
    path = folder / "splits.csv"
    stored = read_table(path) if path.is_file() else []
    shared = [k for k, column in enumerate(columns) if stored and column in stored[0]]
    ours = [{columns[k]: row[k] for k in shared} for row in table]
    if stored and ours != [{columns[k]: row[columns[k]] for k in shared} for row in stored]:
        raise OutputError(
            f"{path} has splits of other data; choose another folder, or remove {folder}."
        )
    if len(shared) < len(columns):
        write_table(path, columns, table)
    pairs = [
        (
            _name(manifest, manifest.renderings[pair.first].file),
            _name(manifest, manifest.renderings[pair.second].file),
            pair.distance,
        )
        for pair in protocol.duplicates
    ]
    write_table(folder / "near_duplicates.csv", ("first", "second", "distance"), pairs)


def _name(manifest: Manifest, file: Path) -> str:
    """The file relative to the data set."""
    return Path(os.path.relpath(file, manifest.source.parent)).as_posix()
