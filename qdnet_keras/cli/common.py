"""Options that several commands have, and how they read pictures and load a model."""

import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qdnet_keras.errors import MissingPackageError, OutputError
from qdnet_keras.files import make_folder, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.photos.files import Photo

STDIN = "-"
FIGURES = (".png", ".svg")
EXTRAS = {
    "app": "gradio",
    "batch": "pyarrow",
    "data": "OpenEXR",
    "figures": "matplotlib",
    "onnx": "tf2onnx",
    "ray": "ray",
}

Preset = Annotated[
    str,
    typer.Option(
        help="Name of a released preset, a folder that training wrote, or a preset from elsewhere: "
        "hf://USER/REPO, kaggle://..., https://.../preset.zip or a zip."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite outputs that exist.")]
WorkingSize = Annotated[
    int,
    typer.Option(min=32, help="Long side, in pixels, of the copy that statistics are taken from."),
]

Scale = Annotated[
    Literal["score", "mos"],
    typer.Option(
        help="Scale of the targets: the score's, or the MOS of the training labels; a MOS is "
        "converted to the score that it has here."
    ),
]
DataSet = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder with labels.csv or in the form of ESPL-LIVE HDR, or a .csv manifest.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="section.key=value", help="Change one value; may be repeated."),
]
AsOneJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; progress goes to stderr.")
]
MosRange = Annotated[
    str | None,
    typer.Option(
        metavar="WORST,BEST",
        help="Scores of the worst and the best picture where they are not 0,100, such as 1,5, or "
        "100,0 for DMOS.",
    ),
]


def require(extra: str) -> None:
    """Checks that the package of an extra is installed. Raises `MissingPackageError`."""
    package = EXTRAS[extra]
    if find_spec(package) is None:
        raise MissingPackageError(
            f"This command needs {package}; install it with: pip install 'qdnet-keras[{extra}]'"
        )


def parse_mos_range(text: str | None) -> tuple[float, float] | None:
    """The two numbers of `--mos-range`. Raises `typer.BadParameter`."""
    if text is None:
        return None
    try:
        worst, best = (float(number) for number in text.split(","))
    except ValueError:
        worst = best = 0.0
    if worst == best or not math.isfinite(worst + best):
        raise typer.BadParameter(f"{text!r} is not like 1,5.", param_hint="--mos-range")
    return worst, best


def read_input(name: str) -> "Photo":
    """The photo in a file, or on standard input for "-". Raises `ImageError`."""
    return read_input_and_bytes(name)[0]


def read_input_and_bytes(name: str, least_side: int | None = None) -> "tuple[Photo, bytes]":
    """As `read_input`, with the bytes of the file beside it.

    Args:
        least_side: See `qdnet_keras.photos.files.read_photo`.
    """
    from qdnet_keras.photos.files import read_photo_and_bytes

    if name == STDIN:
        data = sys.stdin.buffer.read()
        return read_photo_and_bytes(data, "standard input", least_side=least_side)
    return read_photo_and_bytes(name, least_side=least_side)


@cache
def load_model(preset: str) -> "QDNet":
    """The model of a preset, loaded once. Raises `PresetError`."""
    import_tensorflow()
    from qdnet_keras.api import load

    return load(preset)


def import_tensorflow() -> None:
    """Imports TensorFlow without what its C++ code prints before logging can be set up."""
    with _silent_stderr():
        import tensorflow  # noqa: F401


@contextmanager
def _silent_stderr() -> Iterator[None]:
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "3":
        yield
        return
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def prepare_output(path: Path, force: bool) -> None:
    """Makes the folder of an output and checks what can be known before the work is done.

    Raises:
        OutputError: If `path` exists and `force` is not set, its suffix is of no known format, or
            the folder cannot be made.
    """
    from qdnet_keras.photos.files import SUFFIXES

    if path.suffix and path.suffix.lower() not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise OutputError(f"{path} has an unknown suffix; use one of {known}.")
    reserve_output(path, force)


def reserve_output(path: Path, force: bool) -> None:
    """Makes the folder of an output.

    Raises:
        OutputError: If `path` exists and `force` is not set, or the folder cannot be made.
    """
    if os.path.lexists(path) and not force:
        raise OutputError(f"{path} exists already; choose another name or add --force.")
    make_folder(path.parent)


def figure_paths(name: Path) -> list[Path]:
    """`name` itself if its suffix is .png or .svg, else `name`.png and `name`.svg."""
    if name.suffix.lower() in FIGURES:
        return [name.with_suffix(name.suffix.lower())]
    return [name.with_name(name.name + suffix) for suffix in FIGURES]


def write_figure(figure: "Figure", paths: Sequence[Path], dpi: int) -> None:
    """Writes a figure in the format of each suffix. Raises `OutputError`."""
    for path in paths:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=dpi)
        write_bytes(path, buffer.getvalue())
