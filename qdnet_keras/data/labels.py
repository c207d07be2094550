"""Tables of labels as people have them: separators, decimal commas, scales, names of pictures."""

import difflib
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from qdnet_keras.errors import DataError
from qdnet_keras.files import csv_rows, read_text

REQUIRED_COLUMNS = ("file", "mos")
COLUMNS = (*REQUIRED_COLUMNS, "mos_std", "scene", "group", "operator", "split", "part")
LOW = 10  # scores of 0..100 that are never higher are taken for those of another scale
_SEPARATORS = ",;\t"


class Scale(NamedTuple):
    """Scores of the worst and of the best picture that a scale allows; worst > best for DMOS."""

    worst: float
    best: float

    def map(self, mos: float, mos_std: float | None) -> tuple[float, float | None]:
        """A score and its standard deviation on the scale 0..100, where higher is better."""
        factor = 100 / (self.best - self.worst)
        return (mos - self.worst) * factor, None if mos_std is None else mos_std * abs(factor)


PERCENT = Scale(0, 100)


def read_labels(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Row number (the header is row 1) and stripped cells by column of each row with content.

    Text is UTF-8, or UTF-16 with its mark; cells are separated by commas, semicolons or tabs.

    Raises:
        DataError: If the file cannot be read, a row does not fit the header, or the header lacks
            one of `REQUIRED_COLUMNS`, repeats one of `COLUMNS` or misspells one that is absent.
    """
    text = read_text(path)
    header: list[str] = []
    for row, record in csv_rows(text, path, _separator(text)):
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


def parse_scores(
    mos: str, mos_std: str, where: str, scale: Scale | None = None
) -> tuple[float, float | None]:
    """MOS in 0..100 and its standard deviation (None when empty), numbers with point or comma.

    Args:
        mos, mos_std: Cells of a table, on `scale`.
        where: Begins error messages.
        scale: 0..100 without it.

    Raises:
        DataError: If they are no finite numbers, off the scale, or the deviation is negative.
    """
    worst, best = scale or PERCENT
    score = _parse_number(mos, "mos", where)
    if not min(worst, best) <= score <= max(worst, best):
        hint = "correct the cell" if scale else "give the scale of the scores with --mos-range"
        raise DataError(f"{where}: mos {mos} is outside {worst:g}..{best:g}; {hint}.")
    spread = _parse_number(mos_std, "mos_std", where) if mos_std else None
    if spread is not None and spread < 0:
        raise DataError(f"{where}: mos_std {mos_std} is negative; give a standard deviation.")
    return Scale(worst, best).map(score, spread)


def check_scale(scores: Sequence[float], source: Path) -> None:
    """Raises `DataError` for scores so low, all of them, that their scale must be another."""
    if max(scores) > LOW:
        return
    guess = next(scale for scale in ((0, 1), (1, 5), (1, LOW)) if max(scores) <= scale[1])
    raise DataError(
        f"{source}: all scores lie in {min(scores):g}..{max(scores):g}; give the scores of the "
        f"worst and the best picture, such as --mos-range {guess[0]},{guess[1]}, or 0,100 if "
        "they are right."
    )


class ImageFinder:
    """Looks pictures up in folders by the names that a table gives them.

    A name that no file has exactly may differ in case, in how accents are composed (NFC, NFD) and
    have back-slashes, as long as only one file is like it.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str, where: str) -> Path:
        """The file called `name` in the first folder that has it. Raises `DataError`."""
        for folder in self.folders:
            if os.path.isfile(folder / name):
                return folder / name
        for folder in self.folders:
            found = self._alike(folder, name.replace("\\", "/"))
            if found and os.path.isfile(found):
                return found
        places = " or ".join(str(folder) for folder in self.folders)
        raise DataError(f"{where}: image '{name}' is not in {places}; add it or remove the row.")

    def _alike(self, folder: Path, name: str) -> Path | None:
        for part in PurePosixPath(name).parts:
            if os.path.lexists(folder / part):
                folder /= part
                continue
            alike = self._listing(folder).get(_key(part), [])
            if len(alike) != 1:
                return None
            folder /= alike[0]
        return folder

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for name in os.listdir(folder) if folder.is_dir() else ():
                listing.setdefault(_key(name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]


def listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _separator(text: str) -> str:
    """The separator that makes the most of the columns that are known out of the header."""
    header = next(filter(str.strip, text.splitlines()), "").lower()

    def columns(separator: str) -> int:
        return len({cell.strip(' "') for cell in header.split(separator)} & set(COLUMNS))

    return max(_SEPARATORS, key=columns)


def _checked_header(header: list[str], path: Path) -> list[str]:
    found = f"found the columns {', '.join(header)}"
    for column in COLUMNS:
        if header.count(column) > 1:
            raise DataError(f"{path}, header: column '{column}' is there twice; {found}.")
    for column in REQUIRED_COLUMNS:
        if column not in header and column == "mos" and "dmos" in header:
            raise DataError(
                f"{path}, header: rename column 'dmos' to 'mos' and give its scale, the worst "
                "first, such as --mos-range 100,0."
            )
        if column not in header:
            raise DataError(f"{path}, header: column '{column}' is missing; {found}.")
    absent = [column for column in COLUMNS if column not in header]
    for column in header:
        for meant in difflib.get_close_matches(column, absent, n=1, cutoff=0.8):
            raise DataError(f"{path}, header: rename column '{column}' to '{meant}' or otherwise.")
    return header


def _parse_number(text: str, column: str, where: str) -> float:
    try:
        number = float(text if "." in text else text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {column} '{text}' is not a finite number; correct the cell.")
    return number
