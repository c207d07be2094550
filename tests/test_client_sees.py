"""The table "What a client sees when ..." of serving/README.md, made by letting it happen.

PYTHONPATH=. python tests/test_client_sees.py     prints it
"""

import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy as np
from served_arithmetic import X, add_version
from serving_process import ServingThread, free_port, wait_for

from qdnet_keras.client.access import Access
from qdnet_keras.client.address import Address
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.client.rest_transport import RestTransport
from qdnet_keras.client.retries import Retries
from qdnet_keras.client.transport import CallError, Model
from qdnet_keras.server import versions

README = Path(__file__).parents[1] / "serving" / "README.md"
HEADER = ("| when | gRPC | REST | the client repeats the call |", "|---|---|---|---|")
Inputs = dict[str, np.ndarray]


def row(
    situation: str,
    port: int,
    rest_port: int,
    signature: str = "score",
    inputs: Inputs | None = None,
    model: str = "toy",
    timeout: float = 5.0,
) -> str:
    """A call over both protocols, and what comes of it."""
    inputs = {"x": X} if inputs is None else inputs
    cells, repeats = [], []
    for kind, at in ((GrpcTransport, port), (RestTransport, rest_port)):
        address = Address("127.0.0.1", at, rest=kind is RestTransport)
        transport = kind(address, Model(model), Access())
        statuses: list[int] = []
        with recorded_statuses(statuses):
            try:
                transport.predict(signature, inputs, timeout)
                code = "OK"
            except CallError as error:
                code = error.code
                repeats.append(Retries(10, 10).pause(error) is not None)
        transport.close()
        cells.append(code if kind is GrpcTransport else str(*statuses) or "no answer")
    answer = "" if not repeats else "yes" if all(repeats) else "no" if not any(repeats) else "?"
    return f"| {situation} | {cells[0]} | {cells[1]} | {answer} |"


@contextmanager
def recorded_statuses(statuses: list[int]) -> Iterator[None]:
    """HTTP statuses of answers that arrive meanwhile."""
    original = HTTPConnection.getresponse

    def getresponse(connection: HTTPConnection):
        response = original(connection)
        statuses.append(response.status)
        return response

    HTTPConnection.getresponse = getresponse  # type: ignore[method-assign]
    try:
        yield
    finally:
        HTTPConnection.getresponse = original  # type: ignore[method-assign]


@contextmanager
def dies_on_every_request() -> Iterator[int]:
    """Port of a process that ends as soon as it has read something: the system resets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    threading.Thread(target=work, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def table(folder: Path) -> list[str]:
    """The rows, from servers that this starts."""
    models = folder / "toy"
    models.mkdir()
    add_version(models, 1, 2.0)
    rows = [*HEADER, row("nothing listens there", free_port(), free_port(), timeout=1.0)]
    loaded, let_go = versions.Servable, threading.Event()

    def slow(*arguments):
        let_go.wait()
        return loaded(*arguments)

    versions.Servable = slow  # type: ignore[assignment, misc]
    server = ServingThread(models, max_bytes=100_000, concurrency=1, queue=0, rest_timeout=2.0)
    try:
        wait_for(lambda: server.rest("", "GET")[0] == 200)
        see = told(server)
        rows.append(see("the model is loading (TF-Serving: nothing listens yet)"))
        let_go.set()
        assert server.loaded.wait(180)
        rows.append(see("all is well"))
        rows += refusals(see)
        rows.append(see("its time is over", "hold", path(folder / "never"), timeout=1.0))
        rows.append(busy(see, server, folder / "go"))
        add_version(models, 2, 3.0)
        wait_for(lambda: server.states().get(2) == "AVAILABLE")
        rows.append(see("a new version has taken over (rollout)"))
        rows.append(stopping(see, server, folder / "stop"))
    finally:
        versions.Servable = loaded  # type: ignore[misc]
        let_go.set()
        server.stop()
    with dies_on_every_request() as port:
        rows.append(row("the server is killed while it computes", port, port))
    return rows


def told(server: ServingThread) -> Callable[..., str]:
    return lambda situation, *arguments, **options: row(
        situation, server.port, server.rest_port, *arguments, **options
    )


def refusals(see: Callable[..., str]) -> list[str]:
    large = {"x": np.zeros((50_000, 2), np.float32)}
    return [
        see("the input is not what the model takes", inputs={"x": X[:0]}),
        see("the signature is unknown", "nothing"),
        see("the model or version is not served", model="other"),
        see("the request is larger than the server takes", inputs=large),
    ]


def path(file: Path) -> Inputs:
    return {"path": np.array([str(file).encode()], np.object_)}


@contextmanager
def held(server: ServingThread, go: Path) -> Iterator[None]:
    """The only place of the server is taken meanwhile."""

    def status() -> int:
        return server.rest(":predict", body={"instances": [[1, 2]]})[0]

    def hold() -> None:
        while True:
            try:
                server.predict("hold", path=[str(go)])
                return
            except grpc.RpcError as error:  # the place was taken by a call of `status`
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(hold)
        wait_for(lambda: status() == 429)
        try:
            yield
        finally:
            go.touch()
        call.result()


def busy(see: Callable[..., str], server: ServingThread, go: Path) -> str:
    with held(server, go):
        return see("all places are taken (overload)")


def stopping(see: Callable[..., str], server: ServingThread, go: Path) -> str:
    with held(server, go):
        server.tell_to_stop()
        wait_for(lambda: server.rest("", "GET")[0] == 0)
        return see("the server is stopping; what it has, it answers")


def test_the_table_in_the_readme_is_what_happens(tmp_path):
    text = README.read_text()
    start = text.index(HEADER[0])
    written = text[start:].partition("\n\n")[0].splitlines()
    assert written == table(tmp_path)


if __name__ == "__main__":
    print("\n".join(table(Path(tempfile.mkdtemp()))))
