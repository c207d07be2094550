"""`qdnet-keras app`: a page in the browser for photographers."""

from typing import Annotated

import typer

from qdnet_keras.cli.common import Preset, load_model, require
from qdnet_keras.cli.output import print_json
from qdnet_keras.defaults import DEFAULT_PRESET


def run(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 shows the page to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 7860,
    preset: Preset = DEFAULT_PRESET,
    max_upload: Annotated[
        float, typer.Option(min=0.001, help="Largest photograph, megabytes.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a page in the browser: drop photographs, see scores, render, compare, download.

    Photographs stay on this machine: the page fetches nothing from elsewhere, only the browser that
    added a photograph can fetch it, and it is removed when its page is closed.

    With --json: {"url"} once the page is there.
    """
    require("app")
    from qdnet_keras.app.run import Options, serve
    from qdnet_keras.model.presets import preset_folder

    preset_folder(preset)
    options = Options(host, port, preset, round(max_upload * 2**20))

    def announce(port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{port}"
        if as_json:
            print_json({"url": url})
        else:
            typer.echo(f"{url} (stop with Ctrl-C)")

    serve(lambda: load_model(preset), options, announce)
