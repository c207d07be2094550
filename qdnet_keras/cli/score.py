import sys
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import (
    JsonOption,
    PresetOption,
    Rows,
    WorkingSizeOption,
    load_model,
    reports_errors,
)


@reports_errors
def score(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Pictures, folders (searched recursively), or - for stdin."),
    ],
    preset: PresetOption = "open-tm",
    working_size: WorkingSizeOption = 512,
    json_output: JsonOption = False,
) -> None:
    """Predict how good people would find pictures (MOS, 0..100, higher is better)."""
    from qdnet_keras.errors import ImageError
    from qdnet_keras.images import SUFFIXES, find_photos, read_photo

    files = list(find_photos(paths))
    if not files:
        names = ", ".join(str(path) for path in paths)
        raise ImageError(
            f"{names} holds no picture with a suffix of {', '.join(sorted(SUFFIXES))}."
        )
    model = load_model(preset)
    from qdnet_keras.scoring import score_pixels

    width = min(max(len(str(file)) for file in files), 60)
    rows = Rows({"file": width, "score": 6, "± std": 6}, json_output)
    for file in files:
        with rows.item(str(file)):
            stdin = str(file) == "-"
            photo = read_photo(sys.stdin.buffer.read(), "stdin") if stdin else read_photo(file)
            result = score_pixels(model, photo.pixels, working_size)
            rows.add(
                {"file": str(file), "score": result.score, "score_std": result.score_std},
                [str(file), f"{result.score:.1f}", f"{result.score_std:.1f}"],
            )
    rows.finish()
