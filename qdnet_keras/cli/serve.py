"""`qdnet-keras serve`: a local server that speaks the API of TF-Serving."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from qdnet_keras.cli.common import import_tensorflow
from qdnet_keras.cli.output import print_json


def run(
    folder: Annotated[
        Path, typer.Argument(metavar="MODELS/NAME", help="Folder of exported versions.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for gRPC; 0: a free one.")
    ] = 8500,
    rest_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for REST; without it no REST.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    name: Annotated[
        str | None, typer.Option(help="Name of the model; without it that of the folder.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests computed at a time.")] = 2,
    queue: Annotated[
        int, typer.Option(min=0, help="Requests that wait; RESOURCE_EXHAUSTED beyond.")
    ] = 16,
    max_megabytes: Annotated[
        float, typer.Option(min=0.001, max=2047, help="Largest request.")
    ] = 128,
    rest_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a REST request may take.")
    ] = 30,
    poll: Annotated[
        float, typer.Option(min=0.01, help="Seconds between looks for a new version.")
    ] = 1,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for requests under way after SIGTERM.")
    ] = 30,
    warm_up: Annotated[
        bool, typer.Option("--warm-up/--no-warm-up", help="Run the recorded requests first.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Serve an exported model on this machine, for development and tests.

    It speaks the gRPC and REST API of TF-Serving, which is what production should run. The newest
    version is served; a new one replaces it without a gap.

    With --json: {"model", "host", "port", "rest_port"} once it answers.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("qdnet_keras.server").setLevel(logging.INFO)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C++ code prints what is reported here
    import_tensorflow()
    from qdnet_keras.server.run import Options, serve

    model = name or folder.resolve().name

    def announce(port: int, rest_port: int | None) -> None:
        if as_json:
            print_json({"model": model, "host": host, "port": port, "rest_port": rest_port})
            return
        rest = "" if rest_port is None else f", REST at {host}:{rest_port}"
        typer.echo(f"serving {model}: gRPC at {host}:{port}{rest} (stop with Ctrl-C)")

    options = Options(
        folder=folder,
        name=model,
        host=host,
        port=port,
        rest_port=rest_port,
        concurrency=concurrency,
        queue=queue,
        max_bytes=round(max_megabytes * 1e6),
        rest_timeout=rest_timeout,
        poll=poll,
        grace=grace,
        warm_up=warm_up,
    )
    serve(options, announce)
