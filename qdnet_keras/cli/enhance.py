"""`qdnet-keras enhance`: photographs rendered at a target score."""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import qdnet_keras
from qdnet_keras.cli.common import (
    STDIN,
    AsJson,
    Force,
    Preset,
    Scale,
    WorkingSize,
    load_model,
    prepare_output,
    read_input_and_bytes,
)
from qdnet_keras.cli.keep import Keep, told
from qdnet_keras.cli.output import Report
from qdnet_keras.cli.remote import (
    Remote,
    check_server_options,
    in_order,
    naming,
    with_server_options,
)
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import (
    ImageError,
    OutputError,
    PresetError,
    QDNetError,
    ServerError,
    ServerUnreachableError,
)

if TYPE_CHECKING:
    import numpy as np

    from qdnet_keras.client import Client
    from qdnet_keras.model.qdnet import QDNet
    from qdnet_keras.outcomes import Enhanced
    from qdnet_keras.photos.files import Photo

Renderer = Callable[["_Job", float, Path], "Enhanced"]
Row = tuple[list[str], dict[str, Any]]

STDOUT = Path("-")


@with_server_options
def run(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMG", help="Photographs, or - for standard input (needs -o)."),
    ],
    target: Annotated[
        str | None, typer.Option(metavar="T", help="Score to render at, 0 to 100.")
    ] = None,
    scale: Scale = "score",
    ladder: Annotated[
        str | None,
        typer.Option(
            metavar="T,T,...",
            help="Several targets instead, such as 30,40,50,60,70: a rendering for each, and all "
            "side by side in <name>_ladder.png.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write; a folder for several photographs or a ladder; - for standard "
            "output. Without it: <name>_<target>.<suffix> beside the photograph.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["bank", "prior"],
        typer.Option(help="Where other qualities come from: training pictures or N(0, I)."),
    ] = "bank",
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest distance to the target that counts as reached.")
    ] = 1.0,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what was done as JSON, for qdnet-keras apply.",
        ),
    ] = None,
    cube: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the part of it that is the same everywhere as a .cube table of 33³ colours "
            "for other programs.",
        ),
    ] = None,
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
    *,
    remote: Remote,
) -> None:
    """Render photographs at a target score.

    Format, size, depth, colour profile and metadata stay as they are; what cannot is noted. The
    file written is scored again; where the target is out of reach, the nearest rendering is written
    and the table says so. A target below a photograph's own score makes it worse.

    With --json: {"file", "output", "target", "score_before", "score_after", "epsilon", "reached",
    "notes"} or {"file", "error"}; with --recipe and --cube also {"recipe"} and {"cube": {"file",
    "delta_e_made", "delta_e_left_out"}}. With --output - all go to standard error.
    """
    targets = _targets(target, ladder)
    if STDIN in images and output is None:
        raise typer.BadParameter("standard input needs --output.", param_hint="IMG")
    several = ladder is not None or len(images) > 1
    to_stdout = output == str(STDOUT)
    if to_stdout and several:
        raise typer.BadParameter("standard output takes one rendering.", param_hint="--output")
    local_options = ("preset", "scale", "sampler", "tolerance", "working_size", "recipe", "cube")
    check_server_options(context, remote, local_options)
    outputs = Outputs(output, several, force)
    keep = Keep(recipe, cube, preset, force)
    if keep:
        keep.check(several)
    is_sent = remote.server is not None
    jobs = (_prepare(file, targets, ladder is not None, outputs, keep, is_sent) for file in images)
    report = Report(("file", "target", "before", "after", "output"), images, as_json, err=to_stdout)
    if is_sent:
        with remote.connect() as client:
            _report(report, images, jobs, _remote_renderer(client), remote.parallel)
        return
    check_preset(preset, sampler)
    options = {"sampler": sampler, "tolerance": tolerance, "long_side": working_size}
    _report(report, images, jobs, _local_renderer(preset, scale, options), 1)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A photograph and what is to be written of it."""

    file: str
    photo: "Photo"
    data: bytes  # of the file, for a server
    renderings: list[tuple[float, Path]]  # target, output
    strip: Path | None
    force: bool
    keep: Keep


def _prepare(
    file: str,
    targets: Sequence[float],
    ladder: bool,
    outputs: "Outputs",
    keep: Keep,
    is_sent: bool,
) -> _Job | QDNetError:
    from qdnet_keras.photos.files import format_for

    try:
        photo, data = read_input_and_bytes(file)
        paths = [outputs.take(file, f"{target:g}", photo.format) for target in targets]
        for path in paths:
            format_for(path, photo)
        strip = outputs.take(file, "ladder", "PNG") if ladder else None
    except (ImageError, OutputError) as error:
        return error
    renderings = list(zip(targets, paths, strict=True))
    data = data if is_sent else b""  # a large file is held no longer than needed
    return _Job(file, photo, data, renderings, strip, outputs.force, keep)


def _local_renderer(preset: str, scale: str, options: dict[str, Any]) -> Renderer:
    def render(job: _Job, target: float, path: Path) -> "Enhanced":
        model = load_model(preset)  # takes seconds, so files that cannot be read are told first
        score = to_score(model, target, scale)
        return qdnet_keras.enhance(job.photo, score, model, save_as=path, **options)

    return render


def _remote_renderer(client: "Client") -> Renderer:
    from qdnet_keras.client.pictures import check_renderable, to_file

    def render(job: _Job, target: float, path: Path) -> "Enhanced":
        check_renderable(job.photo.pixels, job.file)
        with naming(job.file):
            return client.enhance_file(to_file(job.photo, job.data), target)

    return render


def _report(
    report: Report,
    files: Sequence[str],
    jobs: Iterator[_Job | QDNetError],
    renderer: Renderer,
    parallel: int,
) -> None:
    """Does the jobs and reports each file. Raises `typer.Exit` if some failed."""
    results = in_order(lambda job: _do(job, renderer), jobs, parallel)
    for file in files:
        report.start(file)
        rows, error = next(results)
        for cells, record in rows:
            report.result(cells, record)
        if error is not None:
            report.failure(file, error)
    report.finish()


def _do(job: _Job | QDNetError, renderer: Renderer) -> tuple[list[Row], QDNetError | None]:
    """Writes what the job asks for. Returns rows of what was written, and why it ended early."""
    rows: list[Row] = []
    if isinstance(job, QDNetError):
        return rows, job
    tiles = []
    try:
        for target, path in job.renderings:
            enhanced = renderer(job, target, path)
            notes = write_rendering(job.photo, enhanced.pixels, path, job.force)
            kept = job.keep.write(job.photo, enhanced)
            rows.append(_row(job.file, path, enhanced, notes, kept))
            if job.strip:
                tiles.append(ladder_tile(enhanced))
        if job.strip:
            write_ladder(job.photo, enhanced.score_before, tiles, job.strip, job.force)
    except ServerUnreachableError:
        raise
    except (ImageError, OutputError, ServerError) as error:
        return rows, error
    return rows, None


def write_rendering(
    photo: "Photo", pixels: "np.ndarray", path: Path, force: bool
) -> tuple[str, ...]:
    """Writes a rendering of `photo.srgb` with everything else as in `photo`.

    Returns:
        Notes of what could not be kept.

    Raises:
        OutputError: It cannot be written.
    """
    from qdnet_keras.photos.files import photo_file, write_photo

    rendered = photo.with_rendered(pixels)
    if path != STDOUT:
        return write_photo(rendered, path, force=force)
    data, notes = photo_file(rendered)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return notes


def ladder_tile(enhanced: "Enhanced") -> "tuple[np.ndarray, str]":
    """A small copy of a rendering with its caption, see `qdnet_keras.figures.ladder.ladder`."""
    from qdnet_keras.figures.ladder import tile

    note = "" if enhanced.reached else " (out of reach)"
    caption = f"target {enhanced.target:g}\nscores {enhanced.score_after:.1f}{note}"
    return tile(enhanced.pixels), caption


def write_ladder(
    photo: "Photo",
    score: float,
    tiles: "list[tuple[np.ndarray, str]]",
    path: Path,
    force: bool,
) -> None:
    """Writes the original, with its score, and then the tiles as a PNG. Raises `OutputError`."""
    from qdnet_keras.figures.ladder import ladder, tile
    from qdnet_keras.photos.files import Photo, write_photo

    pixels = ladder([(tile(photo.srgb), f"original\nscores {score:.1f}"), *tiles])
    write_photo(Photo(pixels, None, False, "PNG"), path, force=force)


class Outputs:
    """Names of the outputs of one run, each given once."""

    def __init__(self, output: str | None, several: bool, force: bool):
        self.output = None if output is None else Path(output)
        self.is_folder = several or (
            output is not None and (output.endswith(os.sep) or os.path.isdir(output))
        )
        self.force = force
        self.taken: set[Path] = set()

    def take(self, file: str, label: str | None, format: str) -> Path:
        """Path for an output of `file`, its folder made, named with a label or as the file.

        Raises:
            OutputError: It is taken, exists, or cannot be made.
        """
        from qdnet_keras.photos.files import FORMATS

        if self.output == STDOUT:
            return STDOUT
        source = Path("stdin" if file == STDIN else file)
        known = FORMATS[format].suffixes
        suffix = source.suffix if source.suffix.lower() in known else known[0]
        path = source.with_name(f"{source.stem}{f'_{label}' if label else ''}{suffix}")
        if self.output is not None:
            path = self.output / path.name if self.is_folder else self.output
        if path in self.taken:
            raise OutputError(f"{path} is an output of two photographs; enhance them one by one.")
        prepare_output(path, self.force)
        self.taken.add(path)
        return path


def _targets(target: str | None, ladder: str | None) -> list[float]:
    if target is not None and ladder is None:
        return [_target(target, "--target")]
    if ladder is not None and target is None:
        return parse_targets(ladder, "--ladder")
    raise typer.BadParameter("give one of the two.", param_hint="--target / --ladder")


def parse_targets(text: str, option: str) -> list[float]:
    """Scores separated by commas, each once. Raises `typer.BadParameter`."""
    return list(dict.fromkeys(_target(part, option) for part in text.split(",")))


def _target(text: str, option: str) -> float:
    try:
        target = float(text)
    except ValueError:
        target = math.nan
    if not 0 <= target <= 100:
        raise typer.BadParameter(f"{text!r} is not a score in 0..100.", param_hint=option)
    return target


def to_score(model: "QDNet", target: float, scale: str) -> float:
    """The score, to a tenth, that a target on a scale, see `Scale`, stands for."""
    if scale == "score":
        return target
    import numpy as np

    return round(float(model.calibration.rank(np.array([target], np.float32))[0]), 1)


def check_preset(preset: str, sampler: str) -> None:
    """Raises `PresetError` if the preset cannot be read or lacks the bank that is asked for."""
    from qdnet_keras.model.presets import read_preset_config

    bank_size = read_preset_config(preset)["model"].get("bank_size", 0)
    if sampler == "bank" and not bank_size:
        raise PresetError(f"The preset {preset} has no bank of qualities; add --sampler prior.")


def _row(
    file: str, path: Path, enhanced: "Enhanced", notes: Sequence[str], kept: dict[str, Any]
) -> Row:
    cells = [
        file,
        f"{enhanced.target:g}",
        f"{enhanced.score_before:.1f}",
        f"{enhanced.score_after:.1f}",
        str(path),
    ]
    missed = f"reached {enhanced.score_after:.1f} of {enhanced.target:g}"
    remarks = [*([] if enhanced.reached else [missed]), *notes, *told(kept)]
    if remarks:
        cells.append("; ".join(remarks))
    record: dict[str, Any] = {"file": file, "output": str(path)}
    for name in ("target", "score_before", "score_after", "epsilon", "reached"):
        record[name] = getattr(enhanced, name)
    record["notes"] = list(notes)
    return cells, record | kept
