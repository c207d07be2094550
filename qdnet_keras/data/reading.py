"""Readers of data sets, in any of their forms."""

from pathlib import Path, PurePath

from qdnet_keras.data.espl import read_espl
from qdnet_keras.data.labels import ImageFinder, Scale, listed, parse_scores, read_labels
from qdnet_keras.data.manifest import SPLITS, Manifest, Rendering, checked
from qdnet_keras.errors import DataError
from qdnet_keras.files import read_text

TERMS = "TERMS.md"


def read_manifest(path: str | Path, mos_range: tuple[float, float] | None = None) -> Manifest:
    """Reads a data set: a `.csv` or `.tsv` file, a folder with `labels.csv`, or ESPL-LIVE's form.

    A folder without `labels.csv` must hold `Images/` and a scores file (see
    `qdnet_keras.data.espl.read_espl`).

    Args:
        path: Of the file or folder.
        mos_range: Scores of the worst and of the best picture, where they are not 0 and 100, such
            as (1, 5), or (100, 0) for DMOS; scores are mapped to 0..100.

    Raises:
        DataError: With the file and row of what is wrong; or if no score is above 10 and
            `mos_range` is not given.
    """
    path = Path(path)
    if path.is_dir():
        labels = path / "labels.csv"
        if labels.is_file():
            return read_csv(labels, mos_range=mos_range)
        return read_espl(path, mos_range)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder of renderings or a .csv manifest.")
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{path} is not a manifest; give a folder of renderings or a .csv file.")
    return read_csv(path, mos_range=mos_range)


def read_terms(manifest: Manifest) -> str | None:
    """What a set is and asks of those who use it: `TERMS.md` beside its table, if it is there.

    Raises:
        DataError: If it cannot be read.
    """
    file = manifest.source.parent / TERMS
    return read_text(file) if file.is_file() else None


def read_csv(
    path: str | Path, images: Path | None = None, mos_range: tuple[float, float] | None = None
) -> Manifest:
    """Reads a table with the columns `file,mos[,mos_std,scene,group,operator,split,part]`.

    `file` is looked up in `images` when that is given, else beside the table and then in its
    `Images/` folder. An empty or absent `scene` is the file name without its suffix, an empty
    `group` is the scene. Other columns are ignored, unless one looks like a misspelt column of
    the above that is absent. For the rest see `read_manifest` and `read_labels`.
    """
    path = Path(path)
    finder = ImageFinder([path.parent, path.parent / "Images"] if images is None else [images])
    scale = None if mos_range is None else Scale(*mos_range)
    renderings = []
    for row, cells in read_labels(path):
        where = f"{path}, row {row}"
        file = finder.find(cells["file"], where)
        mos, mos_std = parse_scores(cells["mos"], cells.get("mos_std", ""), where, scale)
        scene = cells.get("scene") or PurePath(cells["file"]).with_suffix("").as_posix()
        group = cells.get("group") or scene
        operator, split, part = (cells.get(name) or None for name in ("operator", "split", "part"))
        if split not in (None, *SPLITS):
            raise DataError(f"{where}: '{split}' is not a split; use {listed(SPLITS)}.")
        renderings.append(Rendering(file, mos, mos_std, scene, group, operator, split, row, part))
    return checked(renderings, path, scale)
