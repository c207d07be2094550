"""Starts the server, keeps to the newest version, and stops it without losing a request."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from qdnet_keras.errors import PresetError, ServerError
from qdnet_keras.files import reason
from qdnet_keras.server.grpc_api import ANSWER_SECONDS, GrpcApi
from qdnet_keras.server.rest_api import RestApi
from qdnet_keras.server.service import Service
from qdnet_keras.server.versions import Versions

Announce = Callable[[int, int | None], None]


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
    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int | None = None
    concurrency: int = 2
    queue: int = 16
    max_bytes: int = 128_000_000
    rest_timeout: float = 30.0
    poll: float = 1.0
    grace: float = 30.0
    warm_up: bool = True


def serve(options: Options, announce: Announce) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way and returns.

    Args:
        announce: Called with the ports of gRPC and REST when requests are answered.

    Raises:
        PresetError: If the folder holds no version that loads.
        ServerError: If a port cannot be used, or requests were broken off after the grace.
    """

    async def until_told() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await serve_until(stopping, options, announce)

    asyncio.run(until_told())


async def serve_until(stopping: asyncio.Event, options: Options, announce: Announce) -> None:
    """As `serve`, until `stopping` is set."""
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    versions = Versions(options.name, options.folder, options.warm_up)
    service = Service(versions, options.concurrency, options.queue)
    grpc_api, rest_api, rest_port = await _listen(service, options)
    seconds_to_answer = 0.0
    try:
        await asyncio.to_thread(versions.refresh)
        _require_version(versions)
        await grpc_api.announce_ready()
        announce(grpc_api.port, rest_port)
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), options.poll)
            except TimeoutError:
                await asyncio.to_thread(versions.refresh)
        service.admission.close()
        await grpc_api.announce_stop()
        await rest_api.stop_accepting()
        unanswered = await service.admission.wait_until_idle(options.grace)
        if unanswered:
            raise ServerError(
                f"{unanswered} requests were broken off after {options.grace:g} s; give --grace "
                "more."
            )
        seconds_to_answer = ANSWER_SECONDS
    finally:
        await rest_api.stop()
        await grpc_api.stop(seconds_to_answer)


async def _listen(service: Service, options: Options) -> tuple[GrpcApi, RestApi, int | None]:
    """Answers at both ports, though nothing is loaded. A port that is taken is told first."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    port = options.port
    rest_api, rest_port = RestApi(service, options.max_bytes, options.rest_timeout), None
    try:
        grpc_api = GrpcApi(service, f"{host}:{port}", options.max_bytes)
        if options.rest_port is not None:
            port = options.rest_port
            rest_port = await rest_api.start(options.host, port)
    except (OSError, RuntimeError) as error:
        await rest_api.stop()
        why = reason(error) if isinstance(error, OSError) else "it is in use or not this machine's"
        raise ServerError(
            f"The server cannot listen at {host}:{port} ({why}); choose another port."
        ) from error
    await grpc_api.start()
    return grpc_api, rest_api, rest_port


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
