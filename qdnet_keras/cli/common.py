"""What the commands share: options, quiet start of TensorFlow, errors, rows of results."""

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qdnet_keras.errors import QDNetError

if TYPE_CHECKING:
    from qdnet_keras.model import QDNet

Command = TypeVar("Command", bound=Callable[..., None])

PresetOption = Annotated[
    str, typer.Option("--preset", help="Name of a released preset, or a preset folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
WorkingSizeOption = Annotated[
    int,
    typer.Option("--working-size", min=32, help="Long side, in pixels, of the copy looked at."),
]


def reports_errors(command: Command) -> Command:
    """Errors of the user become one line on stderr and their exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except QDNetError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return wrapped  # type: ignore[return-value]


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps the start-up chatter of TensorFlow's C++ off stderr; shows it if the start fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except QDNetError:
            raise
        except BaseException:
            chatter.seek(0)
            os.write(saved, chatter.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def load_model(preset: str) -> "QDNet":
    """The preset's network; the first import of TensorFlow happens here."""
    with quiet_start():
        from qdnet_keras.model import QDNet

        return QDNet.from_preset(preset)


class Rows:
    """Results of a batch as they come: a table for people or JSON lines, and failures.

    Args:
        columns: Heading and width of each column of the table, the first for the file.
        as_json: Print JSON lines instead.
    """

    def __init__(self, columns: dict[str, int], as_json: bool):
        self.columns = columns
        self.as_json = as_json
        self.done = 0
        self.errors: list[QDNetError] = []

    def add(self, record: dict[str, Any], cells: list[str]) -> None:
        """Prints a result: `record` as JSON, or `cells` as a row."""
        if self.as_json:
            typer.echo(json.dumps(record))
        else:
            if not self.done:
                typer.echo(self._row(list(self.columns)))
            typer.echo(self._row(cells))
        self.done += 1

    @contextmanager
    def item(self, file: str) -> Iterator[None]:
        """Reports an error inside as the failure of `file`; the batch goes on."""
        try:
            yield
        except QDNetError as error:
            self.errors.append(error)
            if self.as_json:
                typer.echo(json.dumps({"file": file, "error": str(error)}))
            else:
                typer.echo(f"error: {error}", err=True)

    def finish(self) -> None:
        """Ends the command: the error's own exit code if nothing worked, 1 if some did."""
        if self.errors:
            codes = {error.exit_code for error in self.errors}
            raise typer.Exit(1 if self.done or len(codes) > 1 else codes.pop())

    def _row(self, cells: list[str]) -> str:
        widths = self.columns.values()
        first, *others = (
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()
