"""Files that appear under their name when they are complete, tables as CSV, and folders of runs."""

import codecs
import csv
import fcntl
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from qdnet_keras.errors import DataError, OutputError

_UNFINISHED = ".part"
_SECONDS_TO_LOCK = 60.0  # in which a new folder is surely locked


def reason(error: BaseException) -> str:
    """What went wrong in a few words, for the brackets of a sentence."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split()).rstrip(".")


def make_folder(path: Path) -> None:
    """Makes a folder and those above it. Raises `OutputError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be used as a folder ({reason(error)}).") from error


@contextmanager
def new_file(path: Path, suffix: str = ".part") -> Iterator[BinaryIO]:
    """A binary file to fill, open for writing and reading, that replaces `path` at the end.

    Until then it lies beside `path` under a hidden name, which is `file.name`; it is removed if
    anything fails. The folder is made where it is missing. A link is written through, and a file
    that is replaced hands on its mode bits.

    Args:
        path: Where the file is to be.
        suffix: Of the hidden name, for writers that go by it.

    Raises:
        OutputError: If the file or its folder cannot be written.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path
    make_folder(path.parent)
    part = path.with_name(f".{secrets.token_hex(8)}{suffix}")
    try:
        with part.open("x+b") as file:
            yield file
        with suppress(FileNotFoundError):
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({reason(error)}).") from error
    finally:
        with suppress(OSError):
            part.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, complete or not at all. Raises `OutputError`."""
    with new_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8, complete or not at all. Raises `OutputError`."""
    write_bytes(path, text.encode(errors="surrogateescape"))  # file names may not be UTF-8


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent` to fill and rename; what is not renamed is removed at the end.

    What a process that was killed has left is removed here too.

    Raises:
        OutputError: If it cannot be written.
    """
    make_folder(parent)
    _remove_abandoned(parent)
    folder = parent / f".{secrets.token_hex(8)}{_UNFINISHED}"
    try:
        folder.mkdir()
        with _open_folder(folder) as handle:
            with suppress(OSError):  # not every network file system has locks
                _lock(handle)
            yield folder
    except OSError as error:
        raise OutputError(f"{parent} cannot be written ({reason(error)}).") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Removes unfinished folders whose lock nobody holds, which ends with its process."""
    for folder in parent.glob(f".*{_UNFINISHED}"):
        with suppress(OSError), _open_folder(folder) as handle:
            if time.time() - folder.stat().st_mtime > _SECONDS_TO_LOCK:
                _lock(handle)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Locks until the handle is closed. Raises `OSError` where it is locked, or cannot be."""
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark. Raises `DataError`."""
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8.") from error


def csv_rows(text: str, source: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) and cells of each row of a CSV. Raises `DataError`, which names `source`."""
    row = 0
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        for row, cells in enumerate(reader, 1):
            yield row, cells
    except csv.Error as error:
        raise DataError(f"{source}, row {row + 1}: not valid CSV ({error}).") from error


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV that `write_table` wrote, by column.

    Raises:
        DataError: If it cannot be read, or a row has more or fewer cells than the header.
    """
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    rows = csv_rows(text, path)
    _, columns = next(rows, (1, []))
    table = []
    for row, cells in rows:
        if len(cells) != len(columns):
            raise DataError(
                f"{path}, row {row}: {len(cells)} cells where the header has {len(columns)}; "
                "remove the file and make it again."
            )
        table.append(dict(zip(columns, cells, strict=True)))
    return table


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV with a header, complete or not at all. Raises `OutputError`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def start_run(folder: Path, name: str, settings: str, resume: bool) -> None:
    """Makes the folder of a run and keeps its settings there as the file `name`.

    Raises:
        OutputError: If the folder holds anything and `resume` is not set, or other settings.
    """
    stored = folder / name
    if folder.is_dir() and any(folder.iterdir()):
        if not resume:
            raise OutputError(f"{folder} is not empty; choose another folder or add --resume.")
        if not stored.is_file() or stored.read_text(encoding="utf-8") != settings:
            raise OutputError(
                f"{folder} was not made with these settings (see {stored}); repeat those, or "
                "choose another folder."
            )
    write_text(stored, settings)
