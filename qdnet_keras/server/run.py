"""Starts the server, keeps to the newest version, and stops it without losing a request."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from qdnet_keras.errors import PresetError, ServerError
from qdnet_keras.server.admission import Admission
from qdnet_keras.server.grpc_api import GrpcApi
from qdnet_keras.server.rest_api import RestApi
from qdnet_keras.server.service import Service
from qdnet_keras.server.versions import Versions


@dataclass(frozen=True)
class Options:
    """How to serve.

    Attributes:
        folder: Holds the versions of the model.
        name: The model's name in requests.
        host: Address to listen at.
        port, rest_port: Ports of gRPC and REST; 0 takes a free one, `None` leaves REST out.
        concurrency, queue: Requests that run, and that wait, at a time.
        max_bytes: Largest request, bytes.
        rest_timeout: Seconds that a REST request may take.
        poll: Seconds between looks for a new version.
        grace: Seconds that requests under way get after SIGTERM.
        warm_up: Whether recorded requests run before a version is used.
    """

    folder: Path
    name: str
    host: str
    port: int
    rest_port: int | None
    concurrency: int
    queue: int
    max_bytes: int
    rest_timeout: float
    poll: float
    grace: float
    warm_up: bool


def serve(options: Options, announce: Callable[[int, int | None], None]) -> int:
    """Serves until SIGTERM or SIGINT, then answers what is under way and returns.

    Args:
        announce: Called with the ports of gRPC and REST when requests are answered.

    Returns:
        How many requests were not answered within the grace. Their threads still compute: leave
        the process by `os._exit`, which does not wait for them.

    Raises:
        PresetError: If the folder holds no version that loads.
        ServerError: If a port cannot be used.
    """
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    versions = Versions(options.name, options.folder, options.warm_up)
    service = Service(versions, Admission(options.concurrency, options.queue))
    grpc_api, rest_api = _listen(service, options)  # loading takes long: a taken port is told first
    versions.refresh()
    _require_version(versions)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    grpc_api.start()
    if rest_api is not None:
        rest_api.start()
    announce(grpc_api.port, rest_api.port if rest_api else None)
    while not stopping.wait(options.poll):
        versions.refresh()
    service.admission.close()
    grpc_api.announce_stop()
    if rest_api is not None:
        rest_api.stop_accepting()
    unanswered = service.admission.wait_until_idle(options.grace)
    grpc_api.stop()
    return unanswered


def _require_version(versions: Versions) -> None:
    if not versions.status:
        raise PresetError(
            f"{versions.folder} holds no exported version; write one with qdnet-keras export "
            f"--out {versions.folder}."
        )
    for version, status in versions.status.items():
        if status.message:
            raise PresetError(
                f"{versions.folder / str(version)} cannot be loaded ({status.message}); export "
                "it again."
            )


def _listen(service: Service, options: Options) -> tuple[GrpcApi, RestApi | None]:
    host = f"[{options.host}]" if ":" in options.host else options.host
    port = options.port
    try:
        grpc_api = GrpcApi(service, f"{host}:{port}", options.max_bytes)
        if options.rest_port is None:
            return grpc_api, None
        port = options.rest_port
        return grpc_api, RestApi(
            service, options.host, port, options.max_bytes, options.rest_timeout
        )
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the address is in use or not this machine's"
        raise ServerError(
            f"The server cannot listen at {host}:{port} ({reason}); choose another port."
        ) from error
