"""A manifest lists the renderings of a data set with their scores, scenes, groups and splits.

Renderings of one *scene* show the same picture and form pairs. A *group* holds one or more scenes
(say, views of one panorama) and never crosses a split.
"""

import csv
import difflib
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from qdnet_keras.errors import DataError

REQUIRED_COLUMNS = ("file", "mos")
COLUMNS = (*REQUIRED_COLUMNS, "mos_std", "scene", "group", "operator", "split")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Rendering:
    """One tone-mapped version of a scene.

    `mos` is in 0..100, higher is better; `mos_std` is in the same unit. `split` is "train", "val",
    "test" or None. `row` is the row of the source (from 1), for messages; 0 where there is none.
    """

    file: Path
    mos: float
    mos_std: float | None
    scene: str
    group: str
    operator: str | None
    split: str | None
    row: int = field(default=0, compare=False)


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
            raise DataError(f"{self.source}: '{split}' is not a split; use {_listed(SPLITS)}.")
        return Manifest(tuple(r for r in self.renderings if r.split == split), self.source)


def read_manifest(path: str | Path) -> Manifest:
    """Reads a data set: a `.csv` file, a folder with `labels.csv`, or ESPL-LIVE's folder form.

    A folder without `labels.csv` must hold `Images/` and a scores file (see
    `qdnet_keras.data.espl.read_espl`). Raises `DataError` with the file and row of what is wrong.
    """
    from qdnet_keras.data.espl import read_espl

    path = Path(path)
    if path.is_dir():
        labels = path / "labels.csv"
        return read_csv(labels) if labels.is_file() else read_espl(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder of renderings or a .csv manifest.")
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is not a manifest; give a folder of renderings or a .csv file.")
    return read_csv(path)


def read_csv(path: str | Path, images: Path | None = None) -> Manifest:
    """Reads a UTF-8 CSV with the columns `file,mos[,mos_std,scene,group,operator,split]`.

    `file` is looked up in `images` when that is given, else beside the CSV and then in its
    `Images/` folder. An empty or absent `scene` is the file name without its suffix, an empty
    `group` is the scene. Other columns are ignored, unless one looks like a misspelt column of
    the above that is absent. Raises `DataError` with the row of what is wrong.
    """
    path = Path(path)
    folders = [path.parent, path.parent / "Images"] if images is None else [Path(images)]
    renderings = []
    for row, cells in _table(path):
        where = f"{path}, row {row}"
        file = find_image(cells["file"], folders, where)
        mos, mos_std = parse_scores(cells["mos"], cells.get("mos_std", ""), where)
        scene = cells.get("scene") or PurePath(cells["file"]).with_suffix("").as_posix()
        group = cells.get("group") or scene
        split = cells.get("split") or None
        if split not in (None, *SPLITS):
            raise DataError(f"{where}: '{split}' is not a split; use {_listed(SPLITS)}.")
        operator = cells.get("operator") or None
        renderings.append(Rendering(file, mos, mos_std, scene, group, operator, split, row))
    return checked(renderings, path)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises `DataError`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8.") from error


def find_image(name: str, folders: Sequence[Path], where: str) -> Path:
    """The first file called `name` in `folders`. Raises `DataError` when there is none."""
    for folder in folders:
        if os.path.isfile(folder / name):
            return folder / name
    places = " or ".join(str(folder) for folder in folders)
    raise DataError(f"{where}: image '{name}' is not in {places}; add it or remove the row.")


def parse_scores(mos: str, mos_std: str, where: str) -> tuple[float, float | None]:
    """MOS in 0..100 and its standard deviation (None when empty). Raises `DataError`."""
    score = _parse_number(mos, "mos", where)
    if not 0 <= score <= 100:
        raise DataError(f"{where}: mos {mos} is outside 0..100; rescale the scores to that range.")
    if not mos_std:
        return score, None
    spread = _parse_number(mos_std, "mos_std", where)
    if spread < 0:
        raise DataError(f"{where}: mos_std {mos_std} is negative; give a standard deviation.")
    return score, spread


def checked(renderings: Iterable[Rendering], source: Path) -> Manifest:
    """A manifest with what holds across rows checked.

    Raises `DataError` when it is empty, lists an image twice, or has a scene in two groups or a
    scene or group in two splits.
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


def _table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number (the header is row 1) and stripped cells by column of each row with content."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    header: list[str] = []
    row = 0
    try:
        for row, record in enumerate(reader, start=1):
            cells = [cell.strip() for cell in record]
            if not any(cells):
                continue
            if not header:
                header = _checked_header([cell.lower() for cell in cells], path)
            elif len(cells) != len(header):
                raise DataError(
                    f"{path}, row {row}: {len(cells)} cells where the header has {len(header)}; "
                    "quote cells that contain a comma."
                )
            else:
                yield row, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, row {row + 1}: not valid CSV ({error}).") from error


def _checked_header(header: list[str], path: Path) -> list[str]:
    found = f"found the columns {', '.join(header)}"
    for column in COLUMNS:
        if header.count(column) > 1:
            raise DataError(f"{path}, header: column '{column}' is there twice; {found}.")
        if column in REQUIRED_COLUMNS and column not in header:
            raise DataError(f"{path}, header: column '{column}' is missing; {found}.")
    absent = [column for column in COLUMNS if column not in header]
    for column in header:
        for meant in difflib.get_close_matches(column, absent, n=1, cutoff=0.8):
            raise DataError(f"{path}, header: rename column '{column}' to '{meant}' or otherwise.")
    return header


def _parse_number(text: str, column: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {column} '{text}' is not a finite number; correct the cell.")
    return number


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
