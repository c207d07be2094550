"""The client's calls against TF-Serving's own service definitions, over gRPC and REST."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
import tensorflow as tf
from fake_serving import FakeServing, score_of
from PIL import Image
from serving_process import free_port
from tensorflow_serving.apis import predict_pb2

from qdnet_keras.client import Client
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.errors import ImageError, ServerError, ServerUnreachableError
from qdnet_keras.photos.files import read_photo


@pytest.fixture
def client(serving: FakeServing) -> Iterator[Client]:
    with Client(serving.address, timeout=20) as client:
        yield client


# --- Calls ----------------------------------------------------------------------------------------


def test_score_takes_paths_bytes_and_arrays(serving, client, photo):
    path = photo("a.png")
    pixels = np.asarray(Image.open(path))
    for picture in (path, str(path), path.read_bytes(), pixels):
        score = client.score(picture)
        assert score.score == pytest.approx(score_of(pixels), rel=1e-5)
        assert score.score_std == pytest.approx(score_of(pixels) / 10, rel=1e-5)
        assert score.novelty == pytest.approx(score_of(pixels) / 50, rel=1e-5)
    assert {request.model_spec.name for request in serving.requests} == {"qdnet"}
    with pytest.raises(ImageError, match="float64"):
        client.score(pixels / 255)


def test_enhance_returns_what_the_server_rendered(client, photo):
    path = photo("a.jpg")
    pixels = read_photo(path).pixels
    enhanced = client.enhance(path, 100 - score_of(pixels))
    np.testing.assert_array_equal(enhanced.pixels, 255 - pixels)
    assert enhanced.score_before == pytest.approx(score_of(pixels), rel=1e-5)
    assert enhanced.score_after == pytest.approx(100 - score_of(pixels), rel=1e-5)
    assert (enhanced.epsilon, enhanced.reached) == (0.5, True)
    assert client.enhance(path, 1.0).reached is False
    with pytest.raises(ImageError, match="16 bits"):
        client.enhance(pixels.astype(np.uint16), 50)


def test_answers_above_grpcs_default_limit_arrive(client):
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1400, 3), np.uint8)
    np.testing.assert_array_equal(client.enhance(pixels, 50).pixels, 255 - pixels)


def test_labels_and_versions_reach_the_server(serving, photo):
    for chosen in ({"label": "canary"}, {"version": 3}):
        with Client(serving.address, **chosen) as client:
            client.score(photo("a.png"))
    first, second = (request.model_spec for request in serving.requests)
    assert first.version_label == "canary"
    assert second.version.value == 3


def test_unavailable_is_tried_again_and_refusals_are_not(serving, client, photo):
    path = photo("a.png")
    busy = (grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is busy; try again later.")
    serving.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 2 + [busy]
    assert client.score(path).score > 0
    assert len(serving.requests) == 4
    for code, details in [
        (grpc.StatusCode.INVALID_ARGUMENT, "The bytes are no picture. [[{{node x/Assert}}]]"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 8)"),
        (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(qdnet)"),
        (grpc.StatusCode.INTERNAL, "out of luck"),
    ]:
        serving.requests.clear()
        serving.failures = [(code, details)]
        with pytest.raises(ServerError) as caught:
            client.score(path)
        assert details.partition(" [[")[0].rstrip(".") in str(caught.value)
        assert "node" not in str(caught.value)
        assert len(serving.requests) == 1


def test_the_deadline_holds_and_is_told(serving, photo):
    serving.delay = 5
    start = time.monotonic()
    with (
        Client(serving.address, timeout=0.5) as client,
        pytest.raises(ServerError, match=r"0\.5 s"),
    ):
        client.score(photo("a.png"))
    assert time.monotonic() - start < 3


def test_retries_end_with_the_deadline(serving, photo):
    serving.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 1000
    start = time.monotonic()
    with (
        Client(serving.address, timeout=1) as client,
        pytest.raises(ServerUnreachableError, match="loading"),
    ):
        client.score(photo("a.png"))
    assert time.monotonic() - start < 1.5
    assert 3 <= len(serving.requests) <= 200


def test_a_restart_loses_no_request(photo):
    path, port = photo("a.png"), free_port()
    expected = score_of(np.asarray(Image.open(path)))
    server = FakeServing(port)
    server.delay = 0.05
    scores: list[float] = []
    with Client(server.address, timeout=20) as client:

        def work() -> None:
            scores.extend(client.score(path).score for _ in range(15))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.2)
            server.stop()  # calls under way are cut off
            time.sleep(0.3)
            server = FakeServing(port)
        for thread in threads:
            thread.join()
    server.stop()
    assert scores == pytest.approx([expected] * 60, rel=1e-5)


def test_calls_take_turns_over_all_addresses(photo):
    """As over the pods of a headless Service in Kubernetes, one of which is gone."""
    servers = [FakeServing(), FakeServing()]
    addresses = [server.address for server in servers] + [f"127.0.0.1:{free_port()}"]
    transport = GrpcTransport(f"ipv4:{','.join(addresses)}", "qdnet", None, None)
    inputs = {"image_bytes": np.array([photo("a.png").read_bytes()], object)}
    deadline = time.monotonic() + 10
    while not all(server.requests for server in servers) and time.monotonic() < deadline:
        transport.predict("score_bytes", inputs, 10)
    transport.close()
    assert all(server.requests for server in servers)
    for server in servers:
        server.stop()


@pytest.mark.parametrize("server", ["localhost", "localhost:", "http://a:1", "a:b", ":8500", ""])
def test_a_server_is_host_and_port(server):
    with pytest.raises(ValueError, match="host:port"):
        Client(server)


def test_another_model_is_told(serving, photo, monkeypatch):
    monkeypatch.setattr(serving, "_answer", lambda request: predict_pb2.PredictResponse())
    with Client(serving.address) as client, pytest.raises(ServerError, match="no QD-net"):
        client.score(photo("a.png"))


# --- REST -----------------------------------------------------------------------------------------


class RestGateway(BaseHTTPRequestHandler):
    """TF-Serving's documented JSON in front of a `FakeServing`."""

    grpc_address: str
    paths: list[str]

    def do_POST(self):
        self.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = body["signature_name"]
        for name, values in body["inputs"].items():
            proto = tf.make_tensor_proto([_plain(value) for value in values])
            request.inputs[name].CopyFrom(proto)
        with grpc.insecure_channel(self.grpc_address) as channel:
            call = channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                predict_pb2.PredictRequest.SerializeToString,
                predict_pb2.PredictResponse.FromString,
            )
            try:
                outputs = call(request).outputs
                status, answer = 200, {"outputs": {k: _json(v) for k, v in outputs.items()}}
            except grpc.RpcError as error:
                status = {"INVALID_ARGUMENT": 400, "UNAVAILABLE": 503}[error.code().name]
                answer = {"error": error.details()}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _plain(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _json(proto):
    values = tf.make_ndarray(proto).tolist()
    return [
        {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for value in values
    ]


@pytest.fixture
def gateway(serving: FakeServing) -> Iterator[ThreadingHTTPServer]:
    handler = type("Gateway", (RestGateway,), {"grpc_address": serving.address, "paths": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_rest_gives_what_grpc_gives(serving, gateway, client, photo):
    path, address = photo("a.jpg"), f"127.0.0.1:{gateway.server_port}"
    with Client(address, rest=True, label="stable") as rest:
        assert rest.score(path) == client.score(path)
        ours, theirs = rest.enhance(path, 40), client.enhance(path, 40)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    assert (ours.score_after, ours.reached) == (theirs.score_after, theirs.reached)
    handler = gateway.RequestHandlerClass
    assert set(handler.paths) == {"/v1/models/qdnet/labels/stable:predict"}


def test_rest_tries_again_and_tells_refusals(serving, gateway, photo):
    serving.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 2
    with Client(f"127.0.0.1:{gateway.server_port}", rest=True, timeout=10) as client:
        assert client.score(photo("a.png")).score > 0
        serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no picture")]
        with pytest.raises(ServerError, match="refuses the request: no picture"):
            client.score(photo("a.png"))


@pytest.mark.parametrize("rest", [False, True])
def test_a_server_that_is_not_there_is_told_in_time(photo, rest):
    server = f"127.0.0.1:{free_port()}"
    start = time.monotonic()
    with (
        Client(server, rest=rest, timeout=1) as client,
        pytest.raises(ServerUnreachableError, match=server),
    ):
        client.score(photo("a.png"))
    assert time.monotonic() - start < 3


def test_ports_mixed_up_are_told(serving, gateway, photo):
    mixed = [(serving.port, True, "REST port"), (gateway.server_port, False, "gRPC port")]
    for port, rest, advice in mixed:
        with (
            Client(f"127.0.0.1:{port}", rest=rest, timeout=1) as client,
            pytest.raises(ServerUnreachableError, match=advice),
        ):
            client.score(photo("a.png"))
