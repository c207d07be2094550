"""The gateway's configuration in a real nginx, between the client and a stand-in for TF-Serving."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from qdnet_keras.client import Client, messages
from qdnet_keras.errors import ServerError, ServerUnreachableError
from qdnet_keras.outcomes import SCORES

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
GATEWAY = Path(__file__).parents[1] / "serving" / "gateway"
PICTURE = np.zeros((32, 32, 3), np.uint8)

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt install nginx")


class Rest(BaseHTTPRequestHandler):
    """Scores everything 50; `seen` holds path, headers and the length of the body."""

    seen: list[tuple[str, dict[str, str], int]]

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        outputs = {"score": [50.0], "mos": [40.0], "mos_std": [5.0], "novelty": [0.5]}
        self._answer(len(body), json.dumps({"outputs": outputs}).encode())

    def do_GET(self):
        self._answer(0, b"{}")

    def do_HEAD(self):
        self._answer(0, b"")

    def _answer(self, length, data):
        self.seen.append((self.path, dict(self.headers), length))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Gateway:
    """nginx with the configuration as it is shipped, but for addresses and the allowed rate."""

    def __init__(self, folder: Path):
        self.folder = folder
        handler = type("Handler", (Rest,), {"seen": []})
        self.seen = handler.seen
        self.rest = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.rest.serve_forever, daemon=True).start()
        self.messages: list[bytes] = []
        self.grpc = grpc.server(ThreadPoolExecutor(4))
        methods = {"Predict": grpc.unary_unary_rpc_method_handler(self._predict)}
        service = "tensorflow.serving.PredictionService"
        handlers = grpc.method_handlers_generic_handler(service, methods)
        self.grpc.add_generic_rpc_handlers((handlers,))
        grpc_port = self.grpc.add_insecure_port("127.0.0.1:0")
        self.grpc.start()
        self.port = free_port()
        self._write(grpc_port)
        command = [NGINX, "-p", folder, "-c", folder / "nginx.conf"]
        if os.geteuid() == 0:  # else its workers may not read the folders of tests
            command += ["-g", "user root;"]
        self.process = subprocess.Popen(command)
        self.url = f"https://localhost:{self.port}"
        self.grpc_url = f"grpcs://localhost:{self.port}"

    def _predict(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert "authorization" not in dict(context.invocation_metadata())
        self.messages.append(request)
        response = messages.PredictResponse()
        for name in SCORES:
            value = messages.to_tensor(np.array([50.0], np.float32))
            response.outputs.add(key=name, value=value)
        return response.SerializeToString()

    def _write(self, grpc_port: int) -> None:
        authority = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("localhost")
        (self.folder / "tls").mkdir()
        issued.private_key_pem.write_to_path(self.folder / "tls" / "tls.key")
        issued.cert_chain_pems[0].write_to_path(self.folder / "tls" / "tls.crt")
        shipped = (GATEWAY / "tokens.map").read_text()
        tokens = '"~^Bearer open$" prints;\n"~^Bearer inside$" trusted-batch;\n'
        (self.folder / "tokens.map").write_text(shipped + tokens)
        text = (GATEWAY / "nginx.conf").read_text()
        for shipped, here in [
            ("listen 8443", f"listen 127.0.0.1:{self.port}"),
            ("qdnet:8501", f"127.0.0.1:{self.rest.server_port}"),
            ("qdnet:8500", f"127.0.0.1:{grpc_port}"),
            (" /tmp/", f" {self.folder}/"),
            ("rate=20r/s", "rate=1r/s"),  # which the slowest machine exceeds
        ]:
            assert shipped in text
            text = text.replace(shipped, here)
        (self.folder / "nginx.conf").write_text(text)

    def ask(self, method: str, path: str, token: str | None = "open", body: bytes = b"") -> tuple:
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = HTTPSConnection("localhost", self.port, context=context, timeout=30)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")

    def client(self, url: str, token: str | None) -> Client:
        return Client(url, ca_file=self.ca_file, token=token, connect_timeout=2)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.rest.shutdown()
        self.rest.server_close()
        self.grpc.stop(None).wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def gateway(tmp_path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    with Client(gateway.url, ca_file=gateway.ca_file, token="open") as client:
        client.wait_until_loaded(20)
    gateway.seen.clear()
    yield gateway
    gateway.stop()


def test_a_client_with_a_token_is_served_and_its_token_goes_no_further(gateway):
    with gateway.client(gateway.url, "open") as client:
        assert client.score(PICTURE).score == 50
    ((path, headers, _),) = gateway.seen
    assert path == "/v1/models/qdnet:predict"
    assert "Authorization" not in headers
    for path in ("/v1/models/qdnet/labels/stable:predict", "/v1/models/qdnet/versions/3:predict"):
        assert gateway.ask("POST", path, body=b"{}")[0] == 200
        assert gateway.seen[-1][0] == path


@pytest.mark.parametrize("token", [None, "", "Open", "open x"])
def test_without_a_token_nothing_gets_through(gateway, token):
    for url in (gateway.url, gateway.grpc_url):
        with (
            gateway.client(url, token) as client,
            pytest.raises(ServerUnreachableError, match="give a token"),
        ):
            client.score(PICTURE)
    assert gateway.ask("GET", "/v1/models/qdnet/metadata", token)[0] == 401
    assert not gateway.seen and not gateway.messages


def test_grpc_is_for_trusted_clients(gateway):
    attack = (Path(__file__).parent / "data/serving/predict_2.7GB_from_few_bytes.pb").read_bytes()
    credentials = grpc.ssl_channel_credentials(gateway.ca_file.read_bytes())
    with grpc.secure_channel(f"localhost:{gateway.port}", credentials) as channel:
        call = channel.unary_unary(messages.PREDICT_METHOD)
        with pytest.raises(grpc.RpcError) as caught:
            call(attack, metadata=[("authorization", "Bearer open")], timeout=20)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert not gateway.messages
    with gateway.client(gateway.grpc_url, "inside") as client:
        assert client.score(PICTURE).score == 50
    assert len(gateway.messages) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/monitoring/prometheus/metrics"),
        ("POST", "/v1/models/other:predict"),
        ("POST", "/v1/models/qdnet:classify"),
        ("POST", "/v1/models/qdnet/versions/99999999999999999999:predict"),
        ("POST", "/v1/models/qdnet/../other:predict"),
        ("GET", "/v1/models/qdnet:predict"),
        ("DELETE", "/v1/models/qdnet"),
        ("POST", "/tensorflow.serving.ModelService/HandleReloadConfigRequest"),
    ],
)
def test_nothing_else_is_reachable(gateway, method, path):
    status, answer = gateway.ask(method, path, "inside")
    assert status == 404
    assert "name" in answer["error"]
    assert not gateway.seen


def test_bodies_have_a_limit(gateway):
    status, answer = gateway.ask("POST", "/v1/models/qdnet:predict", body=bytes(65 << 20))
    assert (status, "64 MB" in answer["error"]) == (413, True)
    assert not gateway.seen
    assert gateway.ask("POST", "/v1/models/qdnet:predict", body=bytes(20 << 20))[0] == 200
    assert gateway.seen[0][2] == 20 << 20


def test_a_body_reaches_the_server_only_when_it_is_whole(gateway):
    context = ssl.create_default_context(cafile=gateway.ca_file)
    with (
        socket.create_connection(("localhost", gateway.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as slow,
    ):
        slow.sendall(
            b"POST /v1/models/qdnet:predict HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer open\r\nContent-Length: 100\r\n\r\n{"
        )
        time.sleep(0.5)
        assert not gateway.seen
        assert gateway.ask("POST", "/v1/models/qdnet:predict", body=b"{}")[0] == 200


def test_one_client_that_asks_too_often_is_told_and_another_is_served(gateway):
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: gateway.ask("GET", "/v1/models/qdnet/metadata"), range(100))
        )
    refused = [answer["error"] for status, answer in answers if status == 429]
    assert refused and "try again" in refused[0]
    assert {status for status, _ in answers} == {200, 429}
    assert gateway.ask("GET", "/v1/models/qdnet/metadata", "inside")[0] == 200


def test_a_server_that_is_away_is_told_as_such(gateway):
    assert gateway.ask("GET", "/healthz", None)[0] == 200
    gateway.rest.shutdown()
    gateway.rest.server_close()
    gateway.grpc.stop(None).wait()
    assert gateway.ask("GET", "/healthz", None)[0] == 502
    status, answer = gateway.ask("POST", "/v1/models/qdnet:predict", body=b"{}")
    assert (status, "does not answer" in answer["error"]) == (502, True)
    for url in (gateway.url, gateway.grpc_url):
        with gateway.client(url, "inside") as client, pytest.raises(ServerError):
            client.score(PICTURE)
