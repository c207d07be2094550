"""Public sources of human votes, turned into the project's manifest form.

The pictures stay where they are: the manifest points at them. What each source is, and asks of
those who use it, is written beside the manifest.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import loadmat

from qdnet_keras.data.espl import read_espl
from qdnet_keras.data.labels import COLUMNS, ImageFinder, Scale, parse_scores, read_labels
from qdnet_keras.data.manifest import Manifest, Rendering, checked
from qdnet_keras.data.published_statistics import COLUMNS as STATISTICS
from qdnet_keras.data.published_statistics import read_statistics
from qdnet_keras.data.reading import TERMS
from qdnet_keras.data.splits import assign_splits
from qdnet_keras.errors import DataError, ImageError, OutputError
from qdnet_keras.files import csv_rows, read_text, write_table, write_text
from qdnet_keras.photos.files import read_photo

LABELS = "labels.csv"
_NOTICES = ("NOTICE.txt", "README.txt", "Readme.txt", "readme.txt", "LICENSE.txt")


@dataclass
class Votes:
    """What a source holds: pictures with votes, those left out, numbers beside the votes.

    Attributes:
        renderings: In the order of the source, MOS in 0..100.
        left_out: Why a picture of the source is not among them, by its name.
        columns, numbers: Further columns of the manifest, and their values, `[N, columns]`.
    """

    renderings: list[Rendering]
    left_out: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    numbers: np.ndarray | None = None


class Source(NamedTuple):
    """A public source of votes: its name, how its folder is read, what it is and asks."""

    title: str
    read: Callable[[Path], Votes]
    terms: str


def import_votes(
    name: str, folder: str | Path, out: str | Path, *, test: float = 0.0, force: bool = False
) -> Votes:
    """Writes `labels.csv` and `TERMS.md` for a source of votes.

    Every picture is decoded once; those that are missing or damaged are left out.

    Args:
        name: One of `SOURCES`.
        folder: The source as its authors publish it.
        out: Folder for the two files, made where it is missing.
        test: Share of the pictures, 0..1, that get the split `test` and are never learnt from. The
            choice depends on nothing but their names.
        force: Overwrite an earlier import.

    Raises:
        DataError: If the folder is not in the source's form, no picture can be used, or the source
            has a test split of its own.
        OutputError: If `out` holds a manifest already, or cannot be written.
    """
    source, folder, out = SOURCES[name], Path(folder).absolute(), Path(out)
    if (out / LABELS).exists() and not force:
        raise OutputError(f"{out / LABELS} exists already; choose another folder or add --force.")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give {source.title} as it is published.")
    votes = source.read(folder)
    if votes.numbers is None:
        _leave_damaged_out(votes)
    checked(votes.renderings, folder, Scale(0, 100))
    if test:
        _hold_out(source, folder, votes, test)
    write_text(out / TERMS, _terms(source, folder, votes))
    write_table(out / LABELS, (*COLUMNS, *votes.columns), _rows(votes))
    return votes


def read_biq2021(folder: Path) -> Votes:
    """A checkout of its repository: `Images/` and the tables of the official split, MOS 0..1."""
    finder, votes = ImageFinder([folder / "Images"]), Votes([])
    for split in ("train", "test"):
        table = folder / f"{split.capitalize()} (Images and MOS).csv"
        for row, (name, mos, *_) in csv_rows(read_text(table), table):
            if row == 1:
                continue
            where = f"{table}, row {row}"
            score, _ = parse_scores(mos, "", where, Scale(0, 1))
            try:
                file = finder.find(name, where)
            except DataError:
                votes.left_out[name] = "has votes, but no picture"
                continue
            part, scene = name.split(" ", 1)[0], Path(name).stem
            votes.renderings.append(
                Rendering(file, score, None, scene, scene, None, split, row, part)
            )
    return votes


def read_clive(folder: Path) -> Votes:
    """Its release with `Data/*.mat`, or a copy with `labels.csv`; without the training pictures."""
    if (folder / "Data" / "AllMOS_release.mat").is_file():
        table = list(_clive_release(folder / "Data"))
    else:
        table = [
            (row, cells["file"], cells["mos"], cells.get("mos_std", ""))
            for row, cells in read_labels(folder / LABELS)
        ]
    finder, votes = ImageFinder([folder / "Images"]), Votes([])
    for row, name, mos, mos_std in table:
        where = f"{folder}, row {row}"
        if (folder / "Images" / "trainingImages" / name).is_file():
            continue
        scores = parse_scores(mos, mos_std, where)
        try:
            file = finder.find(name, where)
        except DataError:
            votes.left_out[name] = "has votes, but no picture"
            continue
        scene = Path(name).stem
        votes.renderings.append(Rendering(file, *scores, scene, scene, None, None, row))
    return votes


def read_espl_statistics(folder: Path) -> Votes:
    """A folder with `statistics.csv`; see `read_statistics`. Files are names only."""
    manifest, numbers = read_statistics(folder / "statistics.csv")
    return Votes(list(manifest.renderings), {}, STATISTICS, numbers)


def _clive_release(data: Path) -> Iterable[tuple[int, str, str, str]]:
    def load(name: str) -> Any:
        try:
            return loadmat(data / f"{name}_release.mat")[f"{name}_release"].ravel()
        except (OSError, KeyError, ValueError, NotImplementedError) as error:
            raise DataError(f"{data / name}_release.mat cannot be read ({error}).") from error

    columns = [load(name) for name in ("AllImages", "AllMOS", "AllStdDev")]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"{data} has tables of different lengths; copy the release again.")
    for row, (name, mos, mos_std) in enumerate(zip(*columns, strict=True), start=1):
        yield row, str(np.asarray(name).item()), str(mos), str(mos_std)


def _leave_damaged_out(votes: Votes) -> None:
    def fault(rendering: Rendering) -> str | None:
        try:
            read_photo(rendering.file)
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(pool.map(fault, votes.renderings))
    sound = []
    for rendering, reason in zip(votes.renderings, faults, strict=True):
        if reason is None:
            sound.append(rendering)
        else:
            votes.left_out[rendering.file.name] = reason
    votes.renderings = sound


def _hold_out(source: Source, folder: Path, votes: Votes, share: float) -> None:
    if votes.renderings[0].split is not None:
        raise DataError(f"{source.title} has a test split of its own; leave --test out.")
    manifest = Manifest(tuple(votes.renderings), folder)
    votes.renderings = list(assign_splits(manifest, val=0.0, test=share).renderings)


def _rows(votes: Votes) -> Iterable[tuple[Any, ...]]:
    numbers = [()] * len(votes.renderings) if votes.numbers is None else votes.numbers.tolist()
    for rendering, more in zip(votes.renderings, numbers, strict=True):
        shown = replace(rendering, mos=round(rendering.mos, 4))
        cells = [getattr(shown, name) for name in COLUMNS]
        yield (*("" if cell is None else cell for cell in cells), *more)


def _terms(source: Source, folder: Path, votes: Votes) -> str:
    mos = [rendering.mos for rendering in votes.renderings]
    text = f"""# {source.title}

{source.terms}

{len(mos)} pictures with **human** votes, MOS {min(mos):.1f}..{max(mos):.1f} on 0..100 in
`{LABELS}`, which points at the pictures where they are. The terms above hold for every copy, and
for what is trained on them where they say so.
"""
    if votes.left_out:
        lines = (f"- {name}: {reason}" for name, reason in votes.left_out.items())
        text += "\n## Left out\n\n" + "\n".join(lines) + "\n"
    for notice in filter(Path.is_file, (folder / name for name in _NOTICES)):
        text += f"\n## {notice.name} of the source\n\n```\n{read_text(notice).strip()}\n```\n"
    return text


SOURCES = {
    "biq2021": Source(
        "BIQ2021",
        read_biq2021,
        """12,000 photographs with mean opinion scores of 30 observers in a laboratory, MOS 0..1 in
the source. Parts: ss01 amateur photographs, ss02 faults made on purpose, ss03 from Unsplash.com.
The official split is kept: 10,000 to train on, 2,000 to test.

Its repository (https://github.com/nisarahmedrana/BIQ2021) states no licence; pictures of ss03
come under Unsplash's. Do not pass the pictures on.

To be cited: N. Ahmed, S. Asif, "BIQ2021: a large-scale blind image quality assessment
database", Journal of Electronic Imaging 31(5), 053010, 2022.""",
    ),
    "clive": Source(
        "LIVE In the Wild Image Quality Challenge Database",
        read_clive,
        """1,162 photographs with mean opinion scores of about 175 people each, collected by
crowdsourcing; the seven training pictures of the study are left out. `mos_std` is the standard
deviation of the raw votes.

Copyright (c) 2015 The University of Texas at Austin. Use, copies, changes and distribution are
free for any purpose, provided that the copyright notice appears in its entirety in all copies and
the Laboratory for Image and Video Engineering (http://live.ece.utexas.edu) is acknowledged in
publications.

To be cited: D. Ghadiyaram, A. C. Bovik, "Massive online crowdsourced study of subjective and
objective picture quality", IEEE Transactions on Image Processing 25(1), 2016; and "LIVE In the
Wild Image Quality Challenge Database", 2015.""",
    ),
    "espl-live-hdr": Source(
        "ESPL-LIVE HDR Image Quality Database",
        lambda folder: Votes(list(read_espl(folder).renderings)),
        """1,811 tone-mapped, fused and post-processed pictures of 605 scenes with mean opinion
scores collected by crowdsourcing.

The pictures are licensed by The University of Texas at Austin to those who ask its laboratory for
them; do not pass them on.

To be cited: D. Kundu, D. Ghadiyaram, A. C. Bovik, B. L. Evans, "Large-scale crowdsourced study for
tone-mapped HDR pictures", IEEE Transactions on Image Processing 26(10), 2017.""",
    ),
    "espl-statistics": Source(
        "Published statistics of ESPL-LIVE HDR",
        read_espl_statistics,
        """Names, human mean opinion scores and 73 no-reference statistics (`s00`..`s72`) of
pictures of ESPL-LIVE HDR. Facts of published studies; the pictures belong to The University of
Texas at Austin and are not part of this. Where they are put into `Images/` beside the manifest, it
is a whole data set.

Statistics: Y. Shen, release of RETI (https://github.com/niannianyouyu/RETI). MOS: D. Kundu,
D. Ghadiyaram, A. C. Bovik, B. L. Evans, "Large-scale crowdsourced study for tone-mapped HDR
pictures", IEEE Transactions on Image Processing 26(10), 2017, by way of
https://github.com/lidq92/msmlTMIQA.""",
    ),
}
