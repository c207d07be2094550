"""Numbers of a model's versions, each a folder in the folder of the model."""

from pathlib import Path

from qdnet_keras.errors import OutputError

MAX_VERSION = 2**63 - 1  # TF-Serving passes over larger ones


def check_new(out: Path, version: int | None) -> None:
    """Raises `OutputError` if the version exists, or no number above the highest is left."""
    if version is None:
        _next_version(out)
    elif (out / str(version)).exists():
        raise OutputError(f"{out / str(version)} exists already; choose another version.")


def publish(folder: Path, out: Path, version: int | None) -> Path:
    """Renames a complete folder to its number in `out`, by default one above the highest."""
    while True:
        final = out / str(_next_version(out) if version is None else version)
        try:
            return folder.rename(final)
        except OSError:
            if version is not None or not final.exists():
                raise  # an export beside this one took the number: try the next


def _next_version(out: Path) -> int:
    names = [entry.name for entry in out.iterdir()] if out.is_dir() else []
    numbers = [int(name) for name in names if name.isdecimal() and name.isascii()]
    highest = max((number for number in numbers if number <= MAX_VERSION), default=0)
    if highest == MAX_VERSION:
        raise OutputError(f"{out / str(highest)} has the highest number there is; choose another.")
    return highest + 1
