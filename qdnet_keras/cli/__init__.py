"""The command line, one file a command. Nothing heavy is imported before a command runs."""

from typing import Annotated

import typer

from qdnet_keras._version import __version__
from qdnet_keras.cli.demo import demo
from qdnet_keras.cli.enhance import enhance
from qdnet_keras.cli.info import info
from qdnet_keras.cli.score import score
from qdnet_keras.cli.train import train

EXIT_CODES = (
    "Exit codes: 0 all done; 1 some files of a batch failed; 2 wrong usage; "
    "3 image; 4 data set; 5 configuration; 6 preset; 7 output; 130 interrupted."
)

app = typer.Typer(
    help="Scores tone-mapped photographs and re-renders them at the score asked for.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (score, enhance, train, demo, info):
    app.command(epilog=EXIT_CODES)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qdnet-keras {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
