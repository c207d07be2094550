"""`qdnet-keras batch`: a table of scores of many photographs, that goes on where it was cut off."""

import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdnet_keras.cli.common import (
    AsJson,
    Force,
    Preset,
    WorkingSize,
    import_tensorflow,
    require,
    reserve_output,
)
from qdnet_keras.cli.enhance import check_preset
from qdnet_keras.cli.output import print_json, print_note
from qdnet_keras.defaults import DEFAULT_PRESET, WORKING_SIDE
from qdnet_keras.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdnet_keras.batch.runners import Done, Part
    from qdnet_keras.batch.worker import Job

SECONDS_BETWEEN_LINES = 10.0


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a .txt with a path or URL a line, or a URL of fsspec such as "
            "s3://bucket/folder.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="TABLE", help="A .parquet or .csv to write.")
    ],
    enhance_to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also render each photograph, into this folder."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(metavar="T", min=0, max=100, help="Score to render at, 0 to 100."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with a network of its own, by Ray.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A Ray cluster whose machines do the work; local is Ray on this one.",
        ),
    ] = None,
    part_size: Annotated[
        int, typer.Option(min=1, help="Photographs a part: at most what a crash costs a worker.")
    ] = 256,
    preset: Preset = DEFAULT_PRESET,
    working_size: WorkingSize = WORKING_SIDE,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Score many photographs, and render them, into a table with a row each.

    A file that cannot be used is a row with its error. The same command goes on where a run was
    cut off: finished parts lie in TABLE.parts until the table is complete. Without Ray, or with one
    worker, all is done in this process.

    With --json: {"table", "files", "bad", "resumed", "seconds", "files_per_second"}.
    """
    from qdnet_keras.batch.sources import list_files, output_names
    from qdnet_keras.batch.table import CSV, PARQUET, Table
    from qdnet_keras.batch.worker import Job
    from qdnet_keras.model.presets import preset_hash

    if (enhance_to is None) != (target is None):
        raise typer.BadParameter("give both or none.", param_hint="--enhance-to / --target")
    if out.suffix.lower() not in (PARQUET, CSV):
        raise typer.BadParameter(f"{out} must end in .parquet or .csv.", param_hint="--out")
    if out.suffix.lower() == PARQUET:
        require("batch")
    if enhance_to is not None:
        check_preset(preset, "bank")
    reserve_output(out, force)
    folder = None if enhance_to is None else str(enhance_to)
    table, job = Table(out), Job(preset, working_size, folder, target)
    settings = {"source": source, "part_size": part_size, "preset_sha256": preset_hash(preset)}
    if enhance_to and not table.is_begun and enhance_to.is_dir() and any(enhance_to.iterdir()):
        raise OutputError(f"{enhance_to} is not empty; choose another folder for the renderings.")
    files = table.begin(settings | asdict(job), lambda: list_files(source))
    pairs = list(zip(files, output_names(files), strict=True))
    starts = range(0, len(files), part_size)
    parts = [(index, pairs[first : first + part_size]) for index, first in enumerate(starts)]
    missing = [part for part in parts if not table.part(part[0]).exists()]
    begun = time.monotonic()
    progress = Progress(len(files), len(files) - sum(len(part) for _, part in missing))
    progress.bad = sum(table.bad(index) for index, _ in parts if table.part(index).exists())
    for index, rows in _run(job, missing, workers, address):
        table.write_part(index, rows)
        progress.add(len(rows), sum("error" in row for row in rows))
    table.join(len(parts))
    progress.finish(out, time.monotonic() - begun, as_json)


def _run(job: "Job", parts: "list[Part]", workers: int, address: str | None) -> "Iterator[Done]":
    from qdnet_keras.batch.runners import LOCAL, in_process, on_ray

    if not parts:
        return iter(())
    if address:
        require("ray")
    if address or (workers > 1 and find_spec("ray")):
        return on_ray(job, parts, workers, address or LOCAL)
    if workers > 1:
        print_note("Ray is not installed, so this process does all: pip install 'qdnet-keras[ray]'")
    import_tensorflow()
    return in_process(job, parts)


class Progress:
    """How far a batch is: a line on stderr, now and then, and one at the end."""

    def __init__(self, total: int, resumed: int):
        self.total, self.resumed, self.done, self.bad = total, resumed, 0, 0
        self.begun = self.told = time.monotonic()
        if resumed:
            print_note(f"{resumed} of {total} files are done already.")

    def add(self, files: int, bad: int) -> None:
        """Tells of files that are done, at most every few seconds."""
        self.done, self.bad = self.done + files, self.bad + bad
        now = time.monotonic()
        if now - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told, rate = now, self.done / (now - self.begun)
        left = (self.total - self.resumed - self.done) / rate
        end = "\r" if sys.stderr.isatty() else "\n"
        known = f"{self.resumed + self.done}/{self.total} files, {self.bad} bad"
        sys.stderr.write(f"{known}, {rate:.1f} files/s, {left / 60:.0f} min left{end}")
        sys.stderr.flush()

    def finish(self, table: Path, seconds: float, as_json: bool) -> None:
        """Prints the result. Raises `typer.Exit` if there are bad files."""
        rate = self.done / max(seconds, 1e-9)
        if as_json:
            record = {"table": str(table), "files": self.total, "bad": self.bad}
            speed = {"seconds": round(seconds, 1), "files_per_second": round(rate, 2)}
            print_json({**record, "resumed": self.resumed, **speed})
        else:
            done = f"{self.done} files in {seconds:.0f} s, {rate:.1f} files/s"
            typer.echo(f"{table}: {self.total} files, {self.bad} bad; now {done}")
        if self.bad:
            raise typer.Exit(1)
