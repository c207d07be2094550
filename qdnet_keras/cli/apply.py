"""`qdnet-keras apply`: a recipe done to other photographs."""

from pathlib import Path
from typing import Annotated

import typer

import qdnet_keras
from qdnet_keras.cli.common import AsJson, Force, import_tensorflow, read_input
from qdnet_keras.cli.enhance import Outputs, write_rendering
from qdnet_keras.cli.output import Report
from qdnet_keras.errors import ImageError, OutputError


def run(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="What qdnet-keras enhance --recipe wrote.")
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="IMG", help="Photographs, or folders of them.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where the renderings go, under their names."
        ),
    ],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Do to photographs what a recipe keeps of another.

    The change belongs to places in the frame, so the frames should be of one view; their sizes may
    differ. No preset is loaded and nothing is scored. Format, size, depth, colour profile and
    metadata stay as they are; what cannot is noted.

    With --json: {"file", "output", "notes"} or {"file", "error"}.
    """
    import_tensorflow()
    from qdnet_keras.photos.files import find_photos

    change = qdnet_keras.Recipe.load(recipe)
    files = [str(file) for file in find_photos(images)]
    outputs = Outputs(str(out), several=True, force=force)
    report = Report(("file", "output"), files, as_json)
    for file in files:
        report.start(file)
        try:
            photo = read_input(file)
            path = outputs.take(file, None, photo.format)
            notes = write_rendering(photo, change.render(photo.srgb), path, force)
        except (ImageError, OutputError) as error:
            report.failure(file, error)
            continue
        cells = [file, str(path), *(["; ".join(notes)] if notes else [])]
        report.result(cells, {"file": file, "output": str(path), "notes": list(notes)})
    report.finish()
