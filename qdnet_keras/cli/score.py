"""`qdnet-keras score`: opinion scores of photographs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import qdnet_keras
from qdnet_keras.cli.common import AsJson, Preset, WorkingSize, load_model, read_input
from qdnet_keras.cli.output import Report
from qdnet_keras.errors import ImageError

if TYPE_CHECKING:
    from qdnet_keras.images import Photo


def run(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Photographs, folders of them, or - for standard input."
        ),
    ],
    preset: Preset = "open-tm",
    as_json: AsJson = False,
    working_size: WorkingSize = 512,
) -> None:
    """Score photographs, 0 to 100; higher is better.

    The second number is the standard deviation of the score under the network's own uncertainty.

    With --json: {"file", "score", "score_std"} or {"file", "error"}.
    """
    from qdnet_keras.images import find_photos
    from qdnet_keras.presets import preset_folder

    preset_folder(preset)
    files: list[str] = []
    for path in paths:
        files += [str(file) for file in find_photos([path])] or [path]
    score_all(files, preset, as_json, working_size)


def score_all(
    files: Sequence[str],
    preset: str,
    as_json: bool = False,
    working_size: int = 512,
    folder: str = "",
) -> None:
    """Reports the score of every file, found in `folder`. Raises `typer.Exit` if some failed."""
    report = Report(("file", "score", "±"), files, as_json)
    for file in files:
        report.start(file)
        try:
            photo = _read(os.path.join(folder, file))
        except ImageError as error:
            report.failure(file, error)
            continue
        model = load_model(preset)  # takes seconds, so files that cannot be read are told first
        score = qdnet_keras.score(photo.pixels, model, long_side=working_size)
        report.result(
            (file, f"{score.score:.1f}", f"{score.score_std:.1f}"),
            {"file": file, "score": score.score, "score_std": score.score_std},
        )
    report.finish()


def _read(file: str) -> "Photo":
    if os.path.isdir(file) and os.access(file, os.R_OK):
        raise ImageError(f"{file} holds no PNG, JPEG, TIFF or WebP pictures.")
    return read_input(file)
