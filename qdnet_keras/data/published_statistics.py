"""A table of published statistics of pictures with human votes; the pictures need not be here."""

from pathlib import Path

import numpy as np

from qdnet_keras.data.espl import parse_name
from qdnet_keras.data.labels import parse_scores
from qdnet_keras.data.manifest import Manifest, Rendering, checked
from qdnet_keras.errors import DataError
from qdnet_keras.files import csv_rows, read_text

COLUMNS = tuple(f"s{number:02d}" for number in range(73))
_REQUIRED = ("scene", "mos", *COLUMNS)


def read_statistics(path: Path) -> tuple[Manifest, np.ndarray]:
    """Reads a CSV with the columns `name,scene,mos[,mos_std],s00,...,s72`; others are ignored.

    `name` may be called `file`, as in manifests.

    The statistics are those of `qdnet_keras.evaluation.methods.published`. Operators come from
    names in ESPL-LIVE HDR's form. Scenes are their own groups.

    Returns:
        A row a picture, whose file is only a name, and the statistics, float64 `[N, 73]`.

    Raises:
        DataError: With the row of what is wrong.
    """
    rows = csv_rows(read_text(path), path)
    _, header = next(rows, (1, []))
    name = "name" if "name" in header else "file"
    for column in (name, *_REQUIRED):
        if column not in header:
            raise DataError(f"{path}, header: column '{column}' is missing.")
    renderings, values = [], []
    for row, cells in rows:
        where = f"{path}, row {row}"
        if len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} cells where the header has {len(header)}.")
        picture = dict(zip(header, cells, strict=True))
        scene, operator = picture["scene"], parse_name(picture[name]).operator
        scores = parse_scores(picture["mos"], picture.get("mos_std", ""), where)
        renderings.append(
            Rendering(Path(picture[name]), *scores, scene, scene, operator, None, row)
        )
        values.append(_numbers([picture[column] for column in COLUMNS], where))
    return checked(renderings, path), np.array(values)


def _numbers(cells: list[str], where: str) -> np.ndarray:
    try:
        numbers = np.array(cells, np.float64)
    except ValueError:
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: a statistic is not a finite number; correct or remove the row.")
    return numbers
