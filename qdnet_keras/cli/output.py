"""What commands say: rows or JSON lines on stdout, progress and errors on stderr."""

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from qdnet_keras.errors import OutputError, QDNetError
from qdnet_keras.files import reason

EXIT_CODES = """\b
Exit codes:
  0  everything asked for was done
  1  some files of several failed; the others were done
  2  wrong use of the command line
  3  a picture cannot be used
  4  a data set cannot be used
  5  a configuration or recipe is wrong
  6  a preset cannot be loaded
  7  an output exists already or cannot be written
  8  a model server cannot be reached, or refused or failed a request
  9  a package that the command needs is not installed
"""

WIDEST_NAME = 60  # for which the table has room; longer ones move the rest of their row


class Report:
    """Results and failures of one run over `files`, as a table or as JSON lines.

    They go to stdout, or to stderr where `err` is set.

    Rows appear as soon as they are known. Where stderr is a terminal, it tells which file is being
    worked on.
    """

    def __init__(
        self, columns: Sequence[str], files: Sequence[str], as_json: bool, err: bool = False
    ):
        self.columns = columns
        self.widths = [max(len(column), 6) for column in columns]
        longest = max(map(len, map(printable, (*columns[:1], *files))))
        self.widths[:1] = [min(longest, WIDEST_NAME)]
        self.count = len(files)
        self.as_json, self.err = as_json, err
        self.started = 0
        self.errors: list[QDNetError] = []
        self.shows_progress = self.count > 1 and sys.stderr.isatty()

    def start(self, file: str) -> None:
        """Tells that work on the next file begins."""
        self.started += 1
        if self.shows_progress:
            line = f"{self.started}/{self.count}  {printable(file)}"
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r\x1b[K{line}\r")
            sys.stderr.flush()

    def result(self, cells: Sequence[str], record: dict[str, Any]) -> None:
        """Prints a row of the table, or the record as JSON."""
        self._clear_progress()
        if self.as_json:
            print_json(record, self.err)
            return
        if self.columns:
            self._print_row(self.columns)
            self.columns = ()
        self._print_row(cells)

    def failure(self, file: str, error: QDNetError) -> None:
        """Prints why a file failed; the other files go on."""
        self._clear_progress()
        self.errors.append(error)
        if self.as_json:
            print_json({"file": file, "error": str(error)}, self.err)
        else:
            print_error(error)

    def finish(self) -> None:
        """Raises `typer.Exit` with the exit code if anything failed."""
        self._clear_progress()
        if self.errors:
            raise typer.Exit(self.errors[0].exit_code if self.count == 1 else 1)

    def _print_row(self, cells: Sequence[str]) -> None:
        first, *others = map(printable, cells)  # may end with a note that has no column
        widths = [*self.widths[1:], *[0] * len(others)]
        aligned = [f"{cell:>{width}}" for cell, width in zip(others, widths, strict=False)]
        typer.echo("  ".join([f"{first:<{self.widths[0]}}", *aligned]).rstrip(), err=self.err)

    def _clear_progress(self) -> None:
        if self.shows_progress:
            sys.stderr.write("\x1b[K")
            sys.stderr.flush()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns errors that a user can cause into one line and an exit code."""
    try:
        yield
    except QDNetError as error:
        print_error(error)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:
        if error.filename is not None:
            raise
        close_stdout()  # only writing there fails without the name of a file
        print_error(f"Standard output cannot be written ({reason(error)}).")
        raise typer.Exit(OutputError.exit_code) from None
    except KeyboardInterrupt:
        print_error("interrupted.")
        raise typer.Exit(130) from None


def run_script(main: Callable) -> None:
    """Runs `main` as the command of a script: its options, and errors in one line."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(one_line_errors()(main))
    app()


def printable(text: str) -> str:
    """The text on one line: names of files may hold line ends, and commands to the terminal."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


def print_error(error: QDNetError | str) -> None:
    """One line on stderr."""
    typer.echo(f"error: {printable(' '.join(str(error).split()))}", err=True)


def close_stdout() -> None:
    """Sends what is left for standard output nowhere, so that nothing fails at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_note(text: str) -> None:
    """One line on stderr about something that is no error."""
    typer.echo(f"note: {printable(' '.join(text.split()))}", err=True)


def print_json(record: dict[str, Any], err: bool = False) -> None:
    """One line on stdout, or on stderr with `err`; numbers that are not finite become null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    typer.echo(json.dumps(finite), err=err)
