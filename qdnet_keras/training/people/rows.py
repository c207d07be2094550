"""Arrays on disk with a row a picture, filled from the first on: a stop loses a batch at most."""

import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qdnet_keras.errors import OutputError
from qdnet_keras.files import make_folder, reason, write_text

Shape = tuple[int, ...]


class Rows:
    """Arrays of `count` rows in a folder, `NAME.npy` each.

    Args:
        folder: Made where it is missing; what it holds must be of the same count and columns.
        columns: Shape and dtype of a row of each array, by name.

    Raises:
        OutputError: If the folder cannot be written, or the disk has no room for the arrays.
    """

    def __init__(self, folder: Path, count: int, columns: Mapping[str, tuple[Shape, Any]]):
        make_folder(folder)
        self.count = count
        self._done = folder / "done.txt"
        self.done = int(self._done.read_text()) if self._done.is_file() else 0
        try:
            if not self.done:
                _check_room(folder, count, columns)
            self.arrays = {
                name: self._open(folder / f"{name}.npy", (count, *shape), dtype)
                for name, (shape, dtype) in columns.items()
            }
        except OSError as error:
            raise OutputError(f"{folder} cannot be written ({reason(error)}).") from error

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Keeps the next rows, as many of each array."""
        stop = self.done + len(next(iter(rows.values())))
        for name, values in rows.items():
            self.arrays[name][self.done : stop] = values
            self.arrays[name].flush()
        self.done = stop
        write_text(self._done, f"{stop}\n")

    def _open(self, path: Path, shape: Shape, dtype: Any) -> np.memmap:
        mode = "r+" if self.done else "w+"
        return np.lib.format.open_memmap(
            path, mode, None if self.done else dtype, None if self.done else shape
        )


def _check_room(folder: Path, count: int, columns: Mapping[str, tuple[Shape, Any]]) -> None:
    size = sum(count * prod(shape) * np.dtype(dtype).itemsize for shape, dtype in columns.values())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{folder} needs {size / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB left; "
            "choose another folder or lower data.photographs."
        )
