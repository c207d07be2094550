"""The command `qdnet-keras`: one module a subcommand.

Modules here import nothing heavy, TensorFlow least of all, before a command runs.
"""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qdnet_keras import __version__
from qdnet_keras.cli import app as app_command
from qdnet_keras.cli import (
    apply,
    batch,
    data,
    demo,
    enhance,
    evaluate,
    explain,
    export,
    export_onnx,
    info,
    ladder,
    pack,
    presets,
    score,
    serve,
    teach,
    tonemap,
    train,
    tsne,
)
from qdnet_keras.cli.output import EXIT_CODES, one_line_errors

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow leaves it off on AMD


class Commands(TyperGroup):
    """Turns errors that a user can cause into one line and an exit code."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with one_line_errors():  # --help and --version
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
        with one_line_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help="Score tone-mapped photographs, and render them at the quality asked for.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in {
    "score": score,
    "enhance": enhance,
    "explain": explain,
    "tonemap": tonemap,
    "apply": apply,
    "batch": batch,
    "train": train,
    "teach": teach,
    "evaluate": evaluate,
    "ladder": ladder,
    "tsne": tsne,
    "export": export,
    "export-onnx": export_onnx,
    "serve": serve,
    "demo": demo,
    "app": app_command,
    "info": info,
    "presets": presets,
    "pack": pack,
}.items():
    app.command(name, epilog=EXIT_CODES)(module.run)
app.add_typer(data.app, name="data")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"qdnet-keras {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
