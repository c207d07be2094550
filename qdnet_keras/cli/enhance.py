import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdnet_keras.cli.common import (
    JsonOption,
    PresetOption,
    Rows,
    WorkingSizeOption,
    load_model,
    reports_errors,
)

if TYPE_CHECKING:
    from qdnet_keras.enhancement import Enhanced


def _targets(text: str) -> list[float]:
    try:
        targets = [float(part) for part in text.split(",")]
    except ValueError:
        targets = []
    if not targets or not all(0.0 <= target <= 100.0 for target in targets):
        raise typer.BadParameter(f"{text!r} must be scores in 0..100, such as 30,40,50,60,70.")
    return sorted(set(targets))


@reports_errors
def enhance(
    images: Annotated[
        list[Path],
        typer.Argument(help="Pictures, folders (searched recursively), or - for stdin."),
    ],
    target: Annotated[
        float | None, typer.Option(min=0.0, max=100.0, help="Score to render at, 0..100.")
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(help="Scores such as 30,40,50,60,70: one file each and a ladder picture."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File; a folder for several outputs."),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(help="Where z̄ comes from: bank (training qualities) or prior (the paper)."),
    ] = "bank",
    tolerance: Annotated[
        float, typer.Option(min=0.05, help="Difference to the target that counts as reached.")
    ] = 1.0,
    preset: PresetOption = "open-tm",
    working_size: WorkingSizeOption = 512,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Re-render pictures at the score asked for; size, depth and metadata are kept."""
    if (target is None) == (ladder is None) or target != target:
        raise typer.BadParameter("Give either --target or --ladder.")
    if sampler not in ("bank", "prior"):
        raise typer.BadParameter(f"--sampler must be bank or prior, not {sampler!r}.")
    targets = [target] if target is not None else _targets(ladder or "")

    from qdnet_keras.images import find_photos, read_photo, write_photo

    files = list(find_photos(images))
    if any(str(file) == "-" for file in files) and output is None:
        raise typer.BadParameter("A picture from stdin needs --output.")
    into_folder = ladder is not None or len(files) > 1 or (output is not None and output.is_dir())
    model = load_model(preset)
    from qdnet_keras.enhancement import enhance_pixels

    rows = Rows({"output": 40, "target": 6, "before": 6, "after": 6, "": 24}, json_output)
    for file in files:
        with rows.item(str(file)):
            outputs = _outputs(file, targets, output, into_folder, ladder is not None)
            _refuse_existing(outputs, force)
            stdin = str(file) == "-"
            photo = read_photo(sys.stdin.buffer.read(), "stdin") if stdin else read_photo(file)
            tiles = [(photo.pixels, "original")]
            for aim, path in zip(targets, outputs, strict=False):
                result = enhance_pixels(
                    model,
                    photo.pixels,
                    aim,
                    sampler=sampler,
                    tolerance=tolerance,
                    long_side=working_size,
                )
                write_photo(replace(photo, pixels=result.pixels), path, force=force)
                _report(rows, file, path, result)
                if ladder is not None:
                    tiles[0] = (photo.pixels, f"original: {result.score_before:.0f}")
                    tiles.append((_small(result.pixels), f"{aim:g} → {result.score_after:.0f}"))
            if ladder is not None:
                _write_ladder(tiles, outputs[-1], force)
    rows.finish()


def _outputs(
    file: Path, targets: list[float], output: Path | None, into_folder: bool, ladder: bool
) -> list[Path]:
    """A path for each target, and the ladder's at the end."""
    if output is not None and not into_folder:
        return [output]
    stem, suffix = ("stdin", ".png") if str(file) == "-" else (file.stem, file.suffix)
    folder = output if output is not None else file.parent
    paths = [folder / f"{stem}_{target:g}{suffix}" for target in targets]
    return [*paths, folder / f"{stem}_ladder.png"] if ladder else paths


def _refuse_existing(outputs: list[Path], force: bool) -> None:
    from qdnet_keras.errors import OutputError

    for path in outputs:
        if path.exists() and not force:
            raise OutputError(f"{path} exists already; choose another name or add --force.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be created ({error.strerror}).") from error


def _report(rows: Rows, file: Path, path: Path, result: "Enhanced") -> None:
    note = "" if result.reached else "not reached"
    rows.add(
        {
            "file": str(file),
            "output": str(path),
            "target": result.target,
            "score_before": result.score_before,
            "score_after": result.score_after,
            "epsilon": result.epsilon,
            "reached": result.reached,
        },
        [
            str(path),
            f"{result.target:g}",
            f"{result.score_before:.1f}",
            f"{result.score_after:.1f}",
            note,
        ],
    )


def _small(pixels):
    from qdnet_keras.images import from_float, working_copy

    return from_float(working_copy(pixels, 1024), "uint8")


def _write_ladder(tiles: list, path: Path, force: bool) -> None:
    from qdnet_keras.figures import ladder, save_figure

    save_figure(ladder([(_small(pixels), caption) for pixels, caption in tiles]), path, force)
