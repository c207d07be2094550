"""The client's calls against TF-Serving's own service definitions, over gRPC and REST."""

import threading
import time
from collections.abc import Iterator
from dataclasses import astuple, replace

import grpc
import numpy as np
import pytest
from fake_serving import FakeRest, FakeServing, score_of
from PIL import Image
from serving_process import free_port
from tensorflow_serving.apis import predict_pb2

from qdnet_keras.client import Client
from qdnet_keras.client.access import Access
from qdnet_keras.client.address import parse_address
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.client.transport import Model
from qdnet_keras.errors import ImageError, ServerError, ServerUnreachableError
from qdnet_keras.photos.files import read_photo

WRONG_ADDRESSES = [
    *("localhost", "localhost:", "a:b", ":8500", "", "a:0", "a:99999", "a:65536", "a b:1"),
    *("ftp://a:1", "http://", "http://:80", "http://a:99999", "http://a/b?c", "http://me@a"),
    *("grpc://a:1/path", "https://[::1", "a/b:80"),
]
ADDRESSES = {
    "localhost:8500": ("localhost", 8500, False, False, ""),
    "a:65535": ("a", 65535, False, False, ""),
    "[::1]:8500": ("::1", 8500, False, False, ""),
    "grpc://a": ("a", 8500, False, False, ""),
    "grpcs://a.example:8443": ("a.example", 8443, False, True, ""),
    "http://a:8501/": ("a", 8501, True, False, ""),
    "https://a.example": ("a.example", 443, True, True, ""),
    "https://a.example/models/qdnet/": ("a.example", 443, True, True, "/models/qdnet"),
}


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
        assert score.mos == pytest.approx(score_of(pixels) / 2, rel=1e-5)
        assert score.mos_std == pytest.approx(score_of(pixels) / 10, rel=1e-5)
        assert score.novelty == pytest.approx(score_of(pixels) / 50, rel=1e-5)
    assert {request.model_spec.name for request in serving.requests} == {"qdnet"}
    with pytest.raises(ImageError, match="float64"):
        client.score(pixels / 255)


def test_copies_have_the_mean_of_their_picture_and_one_size_for_an_aspect(serving, client, photo):
    pictures = [photo("a.png", (900, 600)), photo("b.jpg", (720, 480), 1)]
    for picture in pictures:
        expected = score_of(read_photo(picture).pixels)
        assert client.score_copy(picture).score == pytest.approx(expected, abs=0.01)
        pixels = read_photo(picture).pixels
        assert client.score_copy(pixels, long_side=256).score == pytest.approx(expected, abs=0.01)
    sizes = [
        [dim.size for dim in request.inputs["copy"].tensor_shape.dim]
        for request in serving.requests
    ]
    assert sizes == [[1, 256, 384, 3], [1, 171, 256, 3]] * 2


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
    assert time.monotonic() - start < 5


def test_retries_end_with_the_deadline(serving, photo):
    serving.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 1000
    start = time.monotonic()
    with (
        Client(serving.address, timeout=1) as client,
        pytest.raises(ServerUnreachableError, match="loading"),
    ):
        client.score(photo("a.png"))
    assert time.monotonic() - start < 5
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
    transport = GrpcTransport(f"ipv4:{','.join(addresses)}", Model("qdnet"), Access())
    inputs = {"image_bytes": np.array([photo("a.png").read_bytes()], object)}
    deadline = time.monotonic() + 10
    while not all(server.requests for server in servers) and time.monotonic() < deadline:
        transport.predict("score_bytes", inputs, 10)
    transport.close()
    assert all(server.requests for server in servers)
    for server in servers:
        server.stop()


@pytest.mark.parametrize("server", WRONG_ADDRESSES)
def test_a_server_is_host_and_port_or_a_url(server):
    with pytest.raises(ValueError, match="host:port"):
        Client(server)


@pytest.mark.parametrize("server", ADDRESSES)
def test_addresses(server):
    wanted = ADDRESSES[server]
    assert astuple(parse_address(server)) == wanted
    if "://" not in server:
        assert parse_address(server, rest=True) == replace(parse_address(server), rest=True)


def test_another_model_is_told(serving, photo, monkeypatch):
    monkeypatch.setattr(serving, "_answer", lambda request: predict_pb2.PredictResponse())
    with Client(serving.address) as client, pytest.raises(ServerError, match="no QD-net"):
        client.score(photo("a.png"))


# --- REST -----------------------------------------------------------------------------------------


@pytest.fixture
def gateway(serving: FakeServing) -> Iterator[FakeRest]:
    gateway = FakeRest(serving)
    yield gateway
    gateway.stop()


def test_rest_gives_what_grpc_gives(serving, gateway, client, photo):
    path = photo("a.jpg")
    with Client(gateway.address, rest=True, label="stable") as rest:
        assert rest.score(path) == client.score(path)
        ours, theirs = rest.enhance(path, 40), client.enhance(path, 40)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    assert (ours.score_after, ours.reached) == (theirs.score_after, theirs.reached)
    assert {path for path, _ in gateway.requests} == {"/v1/models/qdnet/labels/stable:predict"}


def test_rest_tries_again_and_tells_refusals(serving, gateway, photo):
    serving.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 2
    with Client(gateway.address, rest=True, timeout=10) as client:
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
    assert time.monotonic() - start < 5


def test_ports_mixed_up_are_told(serving, gateway, photo):
    mixed = [(serving.address, True, "REST port"), (gateway.address, False, "gRPC port")]
    for address, rest, advice in mixed:
        with (
            Client(address, rest=rest, timeout=1) as client,
            pytest.raises(ServerUnreachableError, match=advice),
        ):
            client.score(photo("a.png"))
