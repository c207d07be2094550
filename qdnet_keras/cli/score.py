"""`qdnet-keras score`: opinion scores of photographs."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import qdnet_keras
from qdnet_keras.cli.common import (
    AsJson,
    Preset,
    WorkingSize,
    load_model,
    read_input_and_bytes,
)
from qdnet_keras.cli.output import Report, print_note
from qdnet_keras.cli.remote import (
    Remote,
    check_server_options,
    in_order,
    naming,
    with_server_options,
)
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import ImageError, ServerError, ServerUnreachableError

if TYPE_CHECKING:
    from pathlib import Path

    from qdnet_keras.client import Client
    from qdnet_keras.outcomes import Score
    from qdnet_keras.photos.files import Photo

UNFAMILIAR = "not a photograph it knows"

Scorer = Callable[[str], "Score"]


@with_server_options
def run(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Photographs, folders of them, or - for standard input."
        ),
    ],
    preset: Preset = DEFAULT_PRESET,
    as_json: AsJson = False,
    working_size: WorkingSize = WORKING_SIDE,
    *,
    remote: Remote,
) -> None:
    """Score photographs, 0 to 100; higher is better.

    The score is the share of tone-mapped renderings, in per cent, that people would like less.
    MOS is the mean opinion score on the scale of the training labels, with the interval that holds
    nine opinions in ten. A note marks pictures unlike the training pictures: there the score means
    little.

    With --json: {"file", "score", "mos", "mos_std", "interval", "novelty"} or {"file", "error"}.
    """
    from qdnet_keras.photos.files import find_photos

    def passed_over(file: "Path") -> None:
        print_note(f"{file} is passed over: it is no ordinary file.")

    check_server_options(context, remote, ("preset", "working_size"))
    files: list[str] = []
    for path in paths:
        files += [str(file) for file in find_photos([path], passed_over)] or [path]
    if remote.server is None:
        score_all(files, preset, as_json, working_size)
        return
    with remote.connect() as client:
        _report(files, _remote_scorer(client), remote.parallel, as_json)


def score_all(
    files: Sequence[str],
    preset: str,
    as_json: bool = False,
    working_size: int = WORKING_SIDE,
    folder: str = "",
) -> None:
    """Reports the score of every file, found in `folder`. Raises `typer.Exit` if some failed."""
    from qdnet_keras.model.presets import preset_folder

    preset_folder(preset)

    def score(file: str) -> "Score":
        photo, _ = _read(os.path.join(folder, file), least_side=working_size)
        pixels = photo.srgb
        model = load_model(preset)  # takes seconds, so files that cannot be read are told first
        return qdnet_keras.score(pixels, model, long_side=working_size)

    _report(files, score, 1, as_json)


def _remote_scorer(client: "Client") -> Scorer:
    from qdnet_keras.client.pictures import to_file

    def score(file: str) -> "Score":
        photo, data = _read(file, least_side=WORKING_SIDE)
        with naming(file):
            return client.score_file(to_file(photo, data))

    return score


def _report(files: Sequence[str], score: Scorer, parallel: int, as_json: bool) -> None:
    report = Report(("file", "score", "MOS", "90 % interval", "note"), files, as_json)

    def attempt(file: str) -> "Score | ImageError | ServerError":
        try:
            return score(file)
        except ServerUnreachableError:
            raise
        except (ImageError, ServerError) as error:
            return error

    results = in_order(attempt, files, parallel)
    for file in files:
        report.start(file)
        result = next(results)
        if isinstance(result, ImageError | ServerError):
            report.failure(file, result)
            continue
        report.result(
            (
                file,
                f"{result.score:.1f}",
                f"{result.mos:.1f}",
                _range(result),
                "" if result.familiar else UNFAMILIAR,
            ),
            {
                "file": file,
                "score": result.score,
                "mos": result.mos,
                "mos_std": result.mos_std,
                "interval": result.interval,
                "novelty": result.novelty,
            },
        )
    report.finish()


def _range(score: "Score") -> str:
    low, high = score.interval
    return f"{low:.0f} to {high:.0f}"


def _read(file: str, least_side: int | None = None) -> "tuple[Photo, bytes]":
    if os.path.isdir(file) and os.access(file, os.R_OK):
        raise ImageError(f"{file} holds no pictures of a known format.")
    return read_input_and_bytes(file, least_side)
