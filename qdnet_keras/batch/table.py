"""The table of a batch, made of parts that are written one by one and joined at the end.

Beside TABLE lies, until it is complete, the folder TABLE.parts: the settings, the list of files and
a file for each part that is done. Each appears under its name when it is complete, so that a run
that was cut off goes on where it was.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from qdnet_keras.errors import DataError
from qdnet_keras.files import new_file, start_run, write_table, write_text

# Names of pyarrow's types.
COLUMNS = {
    "file": "string",
    "score": "float32",
    "mos": "float32",
    "mos_std": "float32",
    "mos_low": "float32",
    "mos_high": "float32",
    "novelty": "float32",
    "output": "string",
    "target": "float32",
    "score_after": "float32",
    "epsilon": "float32",
    "reached": "bool",
    "notes": "string",
    "error": "string",
}
PARQUET, CSV = ".parquet", ".csv"


class Table:
    """A table in the making.

    Args:
        path: Where it is to be; the suffix, `.parquet` or `.csv`, tells the form.
    """

    def __init__(self, path: Path):
        self.path = path
        self.folder = path.with_name(path.name + ".parts")

    @property
    def is_begun(self) -> bool:
        return (self.folder / "files.jsonl").is_file()

    def begin(self, settings: dict[str, Any], list_files: Callable[[], list[str]]) -> list[str]:
        """The files to do, as listed when the table was begun.

        Raises:
            OutputError: If it was begun with other settings, or cannot be written.
            DataError: If the list was damaged since.
        """
        listed, text = self.folder / "files.jsonl", json.dumps(settings, indent=2) + "\n"
        files = [] if self.is_begun else list_files()
        start_run(self.folder, "settings.json", text, resume=True)
        if not self.is_begun:
            write_text(listed, "".join(json.dumps(file) + "\n" for file in files))
        try:
            return [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
        except ValueError:
            raise DataError(f"{listed} is damaged; remove {self.folder} and begin again.") from None

    def part(self, index: int) -> Path:
        return self.folder / f"{index:06d}{self.path.suffix.lower()}"

    def write_part(self, index: int, rows: Iterable[dict[str, Any]]) -> None:
        """Writes the rows of a part, complete or not at all. Raises `OutputError`."""
        rows = list(rows)
        if self.path.suffix.lower() == CSV:
            cells = ([row.get(name) for name in COLUMNS] for row in rows)
            write_table(self.part(index), COLUMNS, cells)
            return
        import pyarrow
        import pyarrow.parquet

        with new_file(self.part(index)) as file:
            table = pyarrow.Table.from_pylist(list(map(_printable, rows)), schema=_schema())
            pyarrow.parquet.write_table(table, file)

    def join(self, parts: int) -> None:
        """Joins the parts, one in memory at a time, and removes them. Raises `OutputError`."""
        join = _join_csv if self.path.suffix.lower() == CSV else _join_parquet
        join([self.part(index) for index in range(parts)], self.path)
        shutil.rmtree(self.folder, ignore_errors=True)

    def bad(self, index: int) -> int:
        """How many files of a part that is done failed."""
        if self.path.suffix.lower() == CSV:
            from qdnet_keras.files import read_table

            return sum(bool(row["error"]) for row in read_table(self.part(index)))
        import pyarrow.parquet

        errors = pyarrow.parquet.read_table(self.part(index), columns=["error"])["error"]
        return len(errors) - errors.null_count


def _printable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with names that are not UTF-8 escaped, as Parquet has no others."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def _schema() -> Any:
    import pyarrow

    types = {name: pyarrow.type_for_alias(kind) for name, kind in COLUMNS.items()}
    return pyarrow.schema(list(types.items()))


def _join_csv(parts: Sequence[Path], path: Path) -> None:
    with new_file(path) as file:
        for number, part in enumerate(parts):
            with part.open("rb") as rows:
                if number:
                    rows.readline()
                shutil.copyfileobj(rows, file)


def _join_parquet(parts: Sequence[Path], path: Path) -> None:
    import pyarrow.parquet

    with new_file(path) as file, pyarrow.parquet.ParquetWriter(file, _schema()) as writer:
        for part in parts:
            writer.write_table(pyarrow.parquet.read_table(part))
