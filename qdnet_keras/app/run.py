"""Starts the page and stops it, and removes what its visitors have left."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qdnet_keras.defaults import DEFAULT_PRESET
from qdnet_keras.errors import ServerError
from qdnet_keras.files import reason

if TYPE_CHECKING:
    from fastapi import FastAPI

    from qdnet_keras.model.qdnet import QDNet

SECONDS_TO_STOP = 3


@dataclass(frozen=True)
class Options:
    """How to show the page.

    Attributes:
        host: Address to listen at.
        port: 0 takes a free one.
        preset: What the network comes from, see `qdnet_keras.load`.
        max_bytes: Largest file that may be uploaded, bytes.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    preset: str = DEFAULT_PRESET
    max_bytes: int = 200 * 2**20


def serve(load: "Callable[[], QDNet]", options: Options, announce: Callable[[int], None]) -> None:
    """Shows the page until SIGTERM or SIGINT.

    Args:
        load: Gives the network; called when the port is known to be free.
        announce: Called with the port when the page is there.

    Raises:
        ServerError: If the port cannot be used.
    """
    import uvicorn

    with _listen(options) as listener, tempfile.TemporaryDirectory(prefix="qdnet-keras-") as root:
        site = _site(load(), options, Path(root))
        config = uvicorn.Config(
            site, log_level="critical", timeout_graceful_shutdown=SECONDS_TO_STOP
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # which uvicorn raises again when it has stopped
        announce(listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])


def _listen(options: Options) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        return listener
    except OSError as error:
        listener.close()
        raise ServerError(
            f"The page cannot be shown at {options.host}:{options.port} ({reason(error)}); choose "
            "another --port or --host."
        ) from error


def _site(model: "QDNet", options: Options, root: Path) -> "FastAPI":
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr
    from fastapi import FastAPI

    from qdnet_keras.app.page import ASSETS, Page
    from qdnet_keras.app.studio import Studio
    from qdnet_keras.app.theme import theme
    from qdnet_keras.app.uploads import add_uploads, refuse_addresses
    from qdnet_keras.app.visitors import OwnFilesOnly, Visitors

    studio, visitors = Studio(model, options.preset), Visitors(root)
    studio.warm_up()
    site = FastAPI(openapi_url=None)
    site.add_middleware(OwnFilesOnly, visitors=visitors)
    add_uploads(site, visitors, options.max_bytes)
    refuse_addresses()
    return gr.mount_gradio_app(
        site,
        Page(studio, visitors).blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=options.max_bytes,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        theme=theme(),
        css_paths=ASSETS / "style.css",
        js=(ASSETS / "page.js").read_text(encoding="utf-8"),
    )
