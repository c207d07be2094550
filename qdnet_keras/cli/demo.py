from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import JsonOption, PresetOption, Rows, load_model, reports_errors

SHOWN = "bedroom_overexposed.jpg"
TARGETS = (40.0, 45.0, 50.0, 55.0, 60.0)


@reports_errors
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo"),
    preset: PresetOption = "open-tm",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Score the bundled photographs and re-render one of them."""
    from dataclasses import replace
    from importlib import resources

    from qdnet_keras.errors import OutputError
    from qdnet_keras.figures import ladder, save_figure
    from qdnet_keras.images import read_photo, write_photo

    best_file, ladder_file = out / SHOWN.replace(".jpg", "_enhanced.jpg"), out / "ladder.png"
    for path in (best_file, ladder_file):
        if path.exists() and not force:
            raise OutputError(f"{path} exists already; choose another --out or add --force.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be created ({error.strerror}).") from error
    samples = Path(str(resources.files("qdnet_keras") / "samples"))
    model = load_model(preset)
    from qdnet_keras.enhancement import enhance_pixels
    from qdnet_keras.scoring import score_pixels

    files = sorted(samples.glob("*.jpg"))
    rows = Rows({"file": 28, "score": 6, "± std": 6}, json_output)
    for file in files:
        result = score_pixels(model, read_photo(file).pixels)
        rows.add(
            {"file": file.name, "score": result.score, "score_std": result.score_std},
            [file.name, f"{result.score:.1f}", f"{result.score_std:.1f}"],
        )

    photo = read_photo(samples / SHOWN)
    steps = [enhance_pixels(model, photo.pixels, target) for target in TARGETS]
    best = max(steps, key=lambda step: step.score_after)
    write_photo(replace(photo, pixels=best.pixels), best_file, force=force)
    tiles = [(photo.pixels, f"original: {best.score_before:.0f}")]
    tiles += [(s.pixels, f"asked for {s.target:g}, got {s.score_after:.0f}") for s in steps]
    save_figure(ladder(tiles), ladder_file, force)
    if not json_output:
        typer.echo(f"\n{SHOWN} at ascending targets: {ladder_file}")
        typer.echo(f"its best rendering ({best.score_after:.0f}): {best_file}")
