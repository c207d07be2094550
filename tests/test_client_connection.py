"""How the client reaches a server: TLS, tokens, proxies, waiting, asyncio, without TensorFlow."""

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from fake_serving import FakeRest, FakeServing, score_of
from PIL import Image
from serving_process import free_port
from typer.testing import CliRunner

from qdnet_keras.cli import app
from qdnet_keras.client import AsyncClient, Client
from qdnet_keras.client.access import Access
from qdnet_keras.client.address import Address, parse_address
from qdnet_keras.client.rest_transport import RestTransport
from qdnet_keras.client.transport import Model
from qdnet_keras.errors import ImageError, ServerError, ServerUnreachableError


class Secured:
    """gRPC and REST over TLS, for `localhost`, by an authority of its own."""

    def __init__(self, folder: Path, serving: FakeServing, wants_certificate: bool):
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        issued = self.authority.issue_cert("localhost")
        self.client_file = folder / "client.pem"
        self.authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(
            self.client_file
        )
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.grpc = FakeServing(
            credentials=grpc.ssl_server_credentials(
                [(issued.private_key_pem.bytes(), chain)],
                self.authority.cert_pem.bytes() if wants_certificate else None,
                wants_certificate,
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        if wants_certificate:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        self.rest = FakeRest(serving, context)
        self.urls = [f"grpcs://localhost:{self.grpc.port}", f"https://localhost:{self.rest.port}/p"]

    def stop(self) -> None:
        self.grpc.stop()
        self.rest.stop()


@pytest.fixture(params=[False, True], ids=["server's certificate", "both certificates"])
def secured(request, serving, tmp_path) -> Iterator[Secured]:
    secured = Secured(tmp_path, serving, request.param)
    secured.wants_certificate = request.param
    yield secured
    secured.stop()


# --- TLS and tokens -------------------------------------------------------------------------------


def test_tls_tokens_headers_and_a_path_in_front(secured, photo):
    path = photo("a.png")
    expected = score_of(np.asarray(Image.open(path)))
    cert_file = secured.client_file if secured.wants_certificate else None
    for url in secured.urls:
        with Client(
            url,
            ca_file=secured.ca_file,
            cert_file=cert_file,
            token="secret",
            headers={"X-Team": "prints"},
        ) as client:
            assert client.score(path).score == pytest.approx(expected, rel=1e-5)
    (metadata,), ((requested, headers),) = secured.grpc.metadata, secured.rest.requests
    assert (metadata["authorization"], metadata["x-team"]) == ("Bearer secret", "prints")
    assert (headers["authorization"], headers["X-Team"]) == ("Bearer secret", "prints")
    assert requested == "/p/v1/models/qdnet:predict"


def test_a_certificate_by_a_stranger_is_refused_at_once_and_told(secured, photo):
    for url in secured.urls:
        start = time.monotonic()
        with Client(url) as client, pytest.raises(ServerUnreachableError, match="not one to trust"):
            client.score(photo("a.png"))
        assert time.monotonic() - start < 5
    assert not secured.grpc.requests and not secured.rest.requests


def test_a_certificate_for_another_host_is_refused(secured, photo):
    for url in secured.urls:
        address = url.replace("localhost", "127.0.0.1")
        with (
            Client(address, ca_file=secured.ca_file, cert_file=secured.client_file) as client,
            pytest.raises(ServerUnreachableError, match="not one to trust"),
        ):
            client.score(photo("a.png"))


def test_the_systems_authorities_are_trusted(secured, photo):
    """Those of a file that OpenSSL's own variable names: a test cannot add to the system's."""
    script = "import sys; from qdnet_keras.client import Client; "
    script += "print(*(Client(u, cert_file=sys.argv[1]).score(sys.argv[2]) for u in sys.argv[3:]))"
    files = [str(secured.client_file), str(photo("a.png"))]
    done = subprocess.run(
        [sys.executable, "-c", script, *files, *secured.urls],
        env={"SSL_CERT_FILE": str(secured.ca_file), "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("Score(") == 2, done.stderr


def test_the_commands_take_tls_and_tokens(secured, photo, monkeypatch):
    monkeypatch.setenv("QDNET_TOKEN", "from the environment")
    for url in secured.urls:
        options = ["--server", url, "--ca-file", str(secured.ca_file), "--header", "X-Team: a: b"]
        options += ["--client-cert", str(secured.client_file), "--wait", "10", "--model", "other"]
        done = CliRunner().invoke(app, ["score", str(photo("a.png")), *options, "--json"])
        assert done.exit_code == 0, done.output
    (metadata,) = secured.grpc.metadata
    assert metadata["authorization"] == "Bearer from the environment"
    assert metadata["x-team"] == "a: b"
    assert secured.grpc.requests[0].model_spec.name == "other"
    path, headers = secured.rest.requests[-1]
    assert path == "/p/v1/models/other:predict"
    assert headers["X-Team"] == "a: b"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ca-file", "missing.pem"], "missing.pem cannot be used (No such file"),
        (["--ca-file", __file__], "no certificate"),
        (["--client-key", "key.pem"], "only with its certificate"),
        (["--header", ": value"], "header"),
        (["--header", "a: b\nc"], "header"),
        (["--server", "localhost:99999"], "1 to 65535"),
    ],
)
def test_malformed_options_are_one_sentence(photo, options, sentence):
    options = ["--server", "grpcs://localhost", *options]
    done = CliRunner().invoke(app, ["score", str(photo("a.png")), *options])
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_token_that_is_not_accepted_ends_the_run(serving, photo, code):
    serving.failures = [(grpc.StatusCode[code], "no token")]
    with (
        Client(serving.address) as client,
        pytest.raises(ServerUnreachableError, match=r"who asks \(no token\); give a token"),
    ):
        client.score(photo("a.png"))


# --- Proxies --------------------------------------------------------------------------------------


class Proxy(BaseHTTPRequestHandler):
    """Tunnels and forwards to wherever `leads_to`, whatever host is asked for."""

    leads_to: int
    asked: list[tuple[str, str | None]]

    def do_CONNECT(self):
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        import socket

        with socket.create_connection(("127.0.0.1", self.leads_to)) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(upstream, self.connection))
            back.start()
            _pump(self.connection, upstream)
            back.join()
        self.close_connection = True

    def do_GET(self):
        self.asked.append((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def _pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(1)
    except OSError:
        pass


@pytest.fixture
def proxy(monkeypatch) -> Iterator[type[Proxy]]:
    handler = type("Handler", (Proxy,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:pa%20ss@127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    yield handler
    server.shutdown()
    server.server_close()


def test_rest_goes_through_the_proxy_of_the_environment(serving, proxy, photo, tmp_path):
    credentials = "Basic dXNlcjpwYSBzcw=="
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("far.example").configure_cert(context)
    rest = FakeRest(serving, context)
    proxy.leads_to = rest.port
    with Client("https://far.example/p", ca_file=tmp_path / "ca.pem") as client:
        assert client.score(photo("a.png")).score > 0
    rest.stop()
    assert proxy.asked.pop() == ("far.example:443", credentials)
    RestTransport(parse_address("http://far.example"), Model("m"), Access()).check_loaded(5)
    assert proxy.asked.pop() == ("http://far.example:80/v1/models/m/metadata", credentials)


def test_grpc_goes_through_the_proxy_and_this_machine_is_reached_without(serving, proxy, photo):
    proxy.leads_to = serving.port
    with Client("far.example:8500") as client:
        assert client.score(photo("a.png")).score > 0
    assert [host for host, _ in proxy.asked] == ["far.example:8500"]
    with Client(serving.address) as client:
        assert client.score(photo("a.png")).score > 0
    assert len(proxy.asked) == 1


def test_this_machine_by_all_its_names():
    for host in ("localhost", "127.0.0.1", "127.3.2.1", "::1"):
        assert Address(host, 1).is_loopback
    for host in ("example.org", "10.0.0.1", "localhost.example.org"):
        assert not Address(host, 1).is_loopback


# --- Waiting, and what is said when it was in vain ------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
def test_waiting_for_a_server_that_starts_and_then_loads(photo, rest):
    port, started = free_port(), []

    def start() -> None:
        time.sleep(0.5)
        serving = FakeServing(0 if rest else port)
        serving.failures = [
            (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(qdnet)"),
            (grpc.StatusCode.UNAVAILABLE, "loading"),
        ]
        started.append(serving)
        if rest:
            started.append(FakeRest(serving, port=port))

    threading.Thread(target=start).start()
    with Client(f"127.0.0.1:{port}", rest=rest) as client:
        client.wait_until_loaded(20)
        assert not started[0].failures
        assert client.score(photo("a.png")).score > 0
    for server in started:
        server.stop()


def test_waiting_ends(serving):
    serving.failures = [(grpc.StatusCode.NOT_FOUND, "Servable not found")] * 1000
    start = time.monotonic()
    with Client(serving.address) as client, pytest.raises(ServerError, match="Servable not found"):
        client.wait_until_loaded(1)
    assert time.monotonic() - start < 5
    assert len(serving.failures) < 998


def test_a_server_that_is_not_there_is_told_without_addresses(photo):
    port = free_port()
    with (
        Client(f"localhost:{port}", connect_timeout=0.3) as client,
        pytest.raises(ServerUnreachableError) as caught,
    ):
        client.score(photo("a.png"))
    assert "refused" in str(caught.value)
    assert "ipv" not in str(caught.value) and "UNKNOWN" not in str(caught.value)


def test_a_server_that_gives_up_earlier_is_told_with_its_own_time(serving, photo):
    serving.delay = 0.3
    serving.failures = [(grpc.StatusCode.DEADLINE_EXCEEDED, "its limit")]
    start = time.monotonic()
    with Client(serving.address) as client, pytest.raises(ServerError) as caught:
        client.score(photo("a.png"))
    told = re.search(r"gave up after ([\d.]+) seconds", str(caught.value))
    assert told and 0.3 <= float(told[1]) <= time.monotonic() - start + 0.1


# --- asyncio --------------------------------------------------------------------------------------


def test_the_asyncio_client_gives_what_the_other_gives(serving, photo):
    rest = FakeRest(serving)
    paths = [photo(f"{seed}.png", seed=seed) for seed in range(8)]
    serving.delay = 0.1

    async def all_scores(server: str) -> list:
        async with AsyncClient(server) as client:
            await client.wait_until_loaded(10)
            scores = await asyncio.gather(*map(client.score, paths))
            return [scores, await client.enhance(paths[0], 40)]

    with Client(serving.address) as client:
        expected = [client.score(path) for path in paths]
        rendering = client.enhance(paths[0], 40)
    for server in (serving.address, f"http://{rest.address}"):
        serving.most_at_once = 0
        scores, enhanced = asyncio.run(all_scores(server))
        assert scores == expected
        np.testing.assert_array_equal(enhanced.pixels, rendering.pixels)
        assert enhanced.score_after == rendering.score_after
        assert serving.most_at_once > 2
    rest.stop()


def test_asyncio_tries_again_refuses_and_keeps_its_deadline(serving, photo):
    path = photo("a.png")
    unavailable = (grpc.StatusCode.UNAVAILABLE, "loading")

    async def work() -> None:
        async with AsyncClient(serving.address, timeout=1.0) as client:
            serving.failures = [unavailable] * 2
            assert (await client.score(path)).score > 0
            serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no picture")]
            with pytest.raises(ServerError, match="refuses the request: no picture"):
                await client.score(path)
            with pytest.raises(ImageError, match="nowhere"):
                await client.score("nowhere.png")
            serving.delay = 5
            with pytest.raises(ServerError, match="within 1 seconds"):
                await client.score(path)

    asyncio.run(work())


def test_a_cancelled_task_cancels_its_call(serving, photo):
    serving.delay = 1.0
    path = photo("a.png")

    async def work() -> None:
        async with AsyncClient(serving.address) as client:
            task = asyncio.create_task(client.score(path))
            while not serving.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(serving.cancelled.wait, 5)

    asyncio.run(work())


# --- Without anything heavy -----------------------------------------------------------------------

FEW_PACKAGES = """if True:
    import sys
    known = {"numpy", "PIL", "grpc", "google", "typing_extensions"}  # the last: of grpcio
    known |= {"lazy_loader", "packaging", "qdnet_keras"}

    class Only:
        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            if top not in known | sys.stdlib_module_names and not top.startswith("_"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Only())
    from qdnet_keras.client import Client
    from qdnet_keras.errors import MissingPackageError
    server, *plain, tiff = sys.argv[1:]
    with Client(server) as client:
        for path in plain:
            print(client.score(path).score, client.enhance(path, 50).pixels.shape)
        try:
            client.score(tiff)
        except MissingPackageError as error:
            print(error)
"""


def test_the_client_alone_needs_numpy_pillow_grpcio_and_protobuf(serving, photo, tmp_path):
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "serving/client/pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]:
        folder = tmp_path / "installed" / package.replace(".", "/")
        folder.mkdir(parents=True)
        for file in root.joinpath(*package.split(".")).glob("*.py*"):
            if file.is_file():
                shutil.copy(file, folder)
    turned = Image.Exif()
    turned[274] = 6
    paths = [photo("a.png"), photo("b.jpg"), photo("turned.jpg", exif=turned), photo("c.tif")]
    command = [sys.executable, "-c", FEW_PACKAGES, serving.address, *map(str, paths)]
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *answers, missing = done.stdout.splitlines()
    assert [line.partition(" ")[2] for line in answers] == ["(64, 96, 3)"] * 2 + ["(96, 64, 3)"]
    expected = score_of(np.asarray(Image.open(paths[0])))
    assert float(answers[0].split()[0]) == pytest.approx(expected, rel=1e-5)
    assert "c.tif needs" in missing
