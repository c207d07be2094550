"""Reader for folders in the form of ESPL-LIVE HDR: `Images/` and a file of `name mos std` lines.

Database: Kundu, Ghadiyaram, Bovik, Evans, "Large-scale crowdsourced study for tone-mapped HDR
pictures", IEEE Transactions on Image Processing 26(10), 2017.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qdnet_keras.data.labels import ImageFinder, Scale, parse_scores
from qdnet_keras.data.manifest import Manifest, Rendering, checked
from qdnet_keras.data.operators import ESPL_OPERATORS, operator_kind
from qdnet_keras.errors import DataError
from qdnet_keras.files import read_text

_SUFFIXES = re.compile(r"(\.(png|jpe?g|tiff?|webp|bmp))+$", re.IGNORECASE)
_PREFIX = re.compile("^[HV]_")
_NAME = re.compile(rf"(?:[HV]_)?(?P<scene>.+)_(?P<operator>{'|'.join(ESPL_OPERATORS)})")


class EsplName(NamedTuple):
    """What a file name says: `kind` is "tmo", "fusion", "effect", or None with the operator."""

    scene: str
    operator: str | None
    kind: str | None


def parse_name(name: str) -> EsplName:
    """Takes `[H_|V_]<scene>_<operator>.<suffix>` apart; the suffix may be doubled.

    The prefix tells landscape from portrait and is no part of the scene. A name that does not end
    in an operator of ESPL-LIVE is a scene of its own: its stem, with operator and kind None.
    """
    stem = _SUFFIXES.sub("", name)
    match = _NAME.fullmatch(stem)
    if match is None:
        return EsplName(stem, None, None)
    return EsplName(match["scene"], match["operator"], operator_kind(match["operator"]))


def read_espl(folder: str | Path, mos_range: tuple[float, float] | None = None) -> Manifest:
    """Reads `Images/` and the scores file, `scores.txt` or else the only `.txt` of such lines.

    Scenes come from `parse_name` and are their own groups. One exception keeps splits honest: a
    name whose operator is unknown, and which begins with the name of a scene of this folder, is
    not paired with that scene but shares its group.

    For `mos_range` and errors see `qdnet_keras.data.reading.read_manifest`.
    """
    folder = Path(folder)
    images = folder / "Images"
    if not images.is_dir():
        raise DataError(f"{folder} has neither labels.csv nor Images/; add one of them.")
    source = _scores_file(folder)
    lines = list(_lines(source))
    names = [parse_name(name) for _, name, _, _ in lines]
    scenes = {name.scene for name in names if name.operator}
    finder = ImageFinder([images])
    scale = None if mos_range is None else Scale(*mos_range)
    renderings = []
    for (row, file, mos, mos_std), name in zip(lines, names, strict=True):
        where = f"{source}, row {row}"
        renderings.append(
            Rendering(
                finder.find(file, where),
                *parse_scores(mos, mos_std, where, scale),
                scene=name.scene,
                group=name.scene if name.operator else _group(name.scene, scenes),
                operator=name.operator,
                split=None,
                row=row,
            )
        )
    return checked(renderings, source, scale)


def _scores_file(folder: Path) -> Path:
    scores = folder / "scores.txt"
    if scores.is_file():
        return scores
    found = [path for path in sorted(folder.glob("*.txt")) if _has_scores(path)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"{folder} needs one file of 'name mos std' lines beside Images/ (found: {names}); "
            "call it scores.txt."
        )
    return found[0]


def _has_scores(path: Path) -> bool:
    try:
        _, _, *numbers = next(_lines(path))
        return all(math.isfinite(float(number)) for number in numbers)
    except (DataError, StopIteration, ValueError):
        return False


def _lines(source: Path) -> Iterator[tuple[int, str, str, str]]:
    """Row number, file name, MOS and standard deviation (as text) of each line with content."""
    for row, line in enumerate(read_text(source).splitlines(), start=1):
        cells = line.rsplit(maxsplit=2)
        if len(cells) == 3:
            yield row, cells[0].strip(), cells[1], cells[2]
        elif cells:
            raise DataError(f"{source}, row {row}: '{line.strip()}' is not 'name mos std'.")


def _group(stem: str, scenes: set[str]) -> str:
    """The longest of `scenes` that `stem` begins with (bar its prefix), else `stem`."""
    words = _PREFIX.sub("", stem).split("_")
    starts = ("_".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    return next((start for start in starts if start in scenes), stem)
