"""The client against TF-Serving's own message classes, service definitions and image decoders."""

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
import tifffile
from fake_serving import FakeServing, score_of
from PIL import Image, ImageCms
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2
from typer.testing import CliRunner, Result

from qdnet_keras.cli import app
from qdnet_keras.cli.remote import in_order
from qdnet_keras.client import Client, messages, pictures
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.errors import ImageError, ServerError, ServerUnreachableError
from qdnet_keras.images import read_photo, read_photo_and_bytes

ORIENTATION = 274
ARRAYS = [
    np.array([[1.5, -2.25, 3e38]], np.float32),
    np.array([1e-300], np.float64),
    np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3) * 10,
    np.array([-(2**31), 2**31 - 1], np.int32),
    np.array([-(2**63)], np.int64),
    np.array([True, False]),
    np.array([b"\x00\xff", b"", b"picture"], object),
    np.zeros((0, 5), np.float32),
    np.array(7.0, np.float32),
]


@pytest.fixture
def serving() -> Iterator[FakeServing]:
    server = FakeServing()
    yield server
    server.stop()


@pytest.fixture
def client(serving: FakeServing) -> Iterator[Client]:
    with Client(serving.address, timeout=20) as client:
        yield client


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- The messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensors_are_those_of_tensorflow(array):
    written = TensorProto.FromString(messages.to_tensor(array).SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(written), array)
    for proto in (tf.make_tensor_proto(array), _as_proto_field(array)):
        read = messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def _as_proto_field(array: np.ndarray) -> TensorProto:
    """One value a field, as TF-Serving answers by default."""
    proto = tf.make_tensor_proto(array)
    if array.dtype == object:
        return proto
    field = messages._DTYPES[array.dtype][1]
    getattr(proto, field)[:] = array.ravel().tolist()
    proto.tensor_content = b""
    return proto


def test_values_left_out_at_the_end_equal_the_last_one():
    proto = TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=5)
    read = messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))
    np.testing.assert_array_equal(read, tf.make_ndarray(proto))


def test_tensors_of_other_types_are_refused():
    proto = tf.make_tensor_proto(np.array([1j], np.complex64))
    with pytest.raises(ValueError, match="not supported"):
        messages.to_array(messages.Tensor.FromString(proto.SerializeToString()))


@pytest.mark.parametrize("chosen", [{}, {"version": 7}, {"label": "canary"}])
def test_requests_are_those_of_tf_serving(chosen):
    target = np.array([50], np.float32)
    ours = messages.predict_request("qdnet", "enhance", {"target": target}, **chosen)
    request = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    spec = request.model_spec
    assert (spec.name, spec.signature_name) == ("qdnet", "enhance")
    assert spec.WhichOneof("version_choice") == {
        "version": "version",
        "label": "version_label",
    }.get(*chosen or [None])
    assert spec.version.value == chosen.get("version", 0)
    assert spec.version_label == chosen.get("label", "")
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["target"]), target)


# --- Pictures -------------------------------------------------------------------------------------


def _server_decodes(data: bytes) -> np.ndarray:
    """As the exported graph does."""
    if data.startswith(b"\xff\xd8\xff"):
        return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_png(data, 3).numpy()


def _icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _kinds(folder: Path) -> dict[str, Path]:
    """Files of every kind that is not an upright 8-bit PNG or JPEG in RGB or grey."""
    samples = np.random.default_rng(0).integers(0, 256, (48, 40, 4), np.uint8)
    rgb, rgba = Image.fromarray(samples[..., :3]), Image.fromarray(samples)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    names = (
        *("a.tif", "a.webp", "deep.png", "turned.jpg", "turned.png"),
        *("alpha.png", "alpha.tif", "cmyk.jpg", "palette.png", "bits.png"),
    )
    files = {name: folder / name for name in names}
    rgb.save(files["a.tif"])
    rgba.save(files["a.webp"], lossless=True)
    tifffile.imwrite(files["alpha.tif"], samples, photometric="rgb", extrasamples=["unassalpha"])
    deep = samples[..., :3].astype(np.uint16) * 200 + 77
    files["deep.png"].write_bytes(imagecodecs.png_encode(deep))
    rgb.save(files["turned.jpg"], exif=turned)
    rgb.save(files["turned.png"], exif=turned)
    rgba.save(files["alpha.png"], icc_profile=_icc())
    rgb.convert("CMYK").save(files["cmyk.jpg"])
    rgb.quantize(16).save(files["palette.png"], bits=4)
    rgb.convert("1").save(files["bits.png"])
    return files


def test_what_is_sent_decodes_to_the_pixels_of_the_photo(tmp_path):
    for name, path in _kinds(tmp_path).items():
        photo, data = read_photo_and_bytes(path)
        pixels = photo.pixels
        if photo.depth == 16:
            pixels = np.rint(pixels / 257.0).astype(np.uint8)
        sent = pictures.to_file(photo, data)
        np.testing.assert_array_equal(_server_decodes(sent), pixels, err_msg=name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "grey.jpg", "grey.png", "exif.jpg", "icc.png"])
def test_plain_files_travel_as_they_are(photo, name):
    upright = Image.Exif()
    upright[ORIENTATION] = 1
    options = {"exif.jpg": {"exif": upright}, "icc.png": {"icc_profile": _icc()}}.get(name, {})
    path = photo(name, quality=80, **options)
    if name.startswith("grey"):
        Image.open(path).convert("L").save(path)
    read, data = read_photo_and_bytes(path)
    assert pictures.to_file(read, data) == path.read_bytes()
    np.testing.assert_array_equal(_server_decodes(data), read.pixels)


def test_photos_above_the_limit_are_averaged_for_scoring_and_not_rendered(monkeypatch, photo):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 40 * 40)
    read, data = read_photo_and_bytes(photo("a.png", size=(96, 64)))
    sent = _server_decodes(pictures.to_file(read, data))
    assert sent.shape[0] * sent.shape[1] <= 40 * 40
    np.testing.assert_allclose(sent.mean((0, 1)), read.pixels.mean((0, 1)), atol=0.5)
    with pytest.raises(ImageError, match=r"a\.png has .* megapixels"):
        pictures.check_renderable(read, "a.png")


# --- Calls ----------------------------------------------------------------------------------------


def test_score_takes_paths_bytes_and_arrays(serving, client, photo):
    path = photo("a.png")
    pixels = np.asarray(Image.open(path))
    for picture in (path, str(path), path.read_bytes(), pixels):
        score = client.score(picture)
        assert score.score == pytest.approx(score_of(pixels), rel=1e-5)
        assert score.score_std == pytest.approx(score_of(pixels) / 10, rel=1e-5)
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


# --- The commands ---------------------------------------------------------------------------------


def test_a_folder_is_scored_in_parallel_and_in_order(serving, photo, tmp_path):
    serving.delay = 0.1
    expected = {}
    for number in range(9):
        path = photo(f"in/{number}.png", size=(40 + 8 * number, 48), seed=number)
        expected[str(path)] = score_of(np.asarray(Image.open(path)))
    (tmp_path / "in/3.jpg").write_text("no picture")
    result = run("score", tmp_path / "in", "--server", serving.address, "--parallel", 3, "--json")
    assert result.exit_code == 1
    printed = records(result)
    assert [Path(record["file"]).name for record in printed] == sorted(
        ["3.jpg", *(Path(file).name for file in expected)]
    )
    good = {record["file"]: record["score"] for record in printed if "score" in record}
    assert good == pytest.approx(expected, rel=1e-5)
    assert {frozenset(record) for record in printed} == {
        frozenset({"file", "score", "score_std"}),
        frozenset({"file", "error"}),
    }
    assert serving.most_at_once == 3


def test_the_table_is_that_of_local_scores(serving, photo):
    path = photo("a.png")
    header, row = run("score", path, "--server", serving.address).stdout.splitlines()
    assert header.split() == ["file", "score", "±"]
    assert row.split()[0] == str(path)
    assert float(row.split()[1]) == pytest.approx(score_of(np.asarray(Image.open(path))), abs=0.051)


def test_enhance_keeps_format_alpha_profile_and_never_overwrites(serving, tmp_path):
    kinds = _kinds(tmp_path)
    arguments = ("enhance", kinds["alpha.png"], kinds["alpha.tif"], kinds["turned.jpg"])
    arguments += ("--target", 50, "--server", serving.address, "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for record in records(result):
        before, after = read_photo(record["file"]), read_photo(record["output"])
        assert (after.format, after.icc, after.turned) == (before.format, before.icc, False)
        if before.alpha is None:
            assert np.abs(after.pixels.astype(int) + before.pixels - 255).mean() < 3
        else:
            np.testing.assert_array_equal(after.alpha, before.alpha)
            np.testing.assert_array_equal(after.pixels, 255 - before.pixels)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(*arguments).exit_code == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
    assert run(*arguments, "--force").exit_code == 0


def test_enhance_refuses_16_bits_and_goes_on(serving, photo, tmp_path):
    deep = _kinds(tmp_path)["deep.png"]
    result = run(
        *("enhance", deep, photo("b.png"), "--ladder", "40,60"),
        *("-o", tmp_path / "out", "--server", serving.address, "--json"),
    )
    assert result.exit_code == 1
    failed, *done = records(result)
    assert "16 bits" in failed["error"]
    assert str(deep) in failed["error"]
    assert [record["target"] for record in done] == [40, 60]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"b_40.png", "b_60.png", "b_ladder.png"}


def test_a_refusal_names_the_file_and_the_next_goes_on(serving, photo):
    serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "too strange")]
    first, second = photo("a.png"), photo("b.png")
    arguments = ("score", first, second, "--server", serving.address, "--parallel", 1)
    result = run(*arguments, "--json")
    refused, scored = records(result)
    assert result.exit_code == 1
    assert refused["file"] == str(first)
    assert refused["error"].startswith(f"{first}: ")
    assert "too strange" in refused["error"]
    assert scored["file"] == str(second)
    serving.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "too strange")]
    assert run("score", first, "--server", serving.address).exit_code == 8


def test_an_unreachable_server_ends_the_run(photo, tmp_path):
    for number in range(20):
        photo(f"in/{number}.png")
    start = time.monotonic()
    server = f"127.0.0.1:{free_port()}"
    result = run("score", tmp_path / "in", "--server", server, "--timeout", 1)
    assert result.exit_code == 8
    (line,) = result.stderr.splitlines()
    assert server in line
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "options",
    [
        ("score", "--preset", "open-tm", "--server", "localhost:1"),
        ("score", "--working-size", "256", "--server", "localhost:1"),
        ("enhance", "--target", "50", "--sampler", "prior", "--server", "localhost:1"),
        ("enhance", "--target", "50", "--tolerance", "2", "--server", "localhost:1"),
        ("score", "--rest"),
        ("score", "--parallel", "2"),
        ("enhance", "--target", "50", "--label", "canary"),
        ("enhance", "--target", "50", "--timeout", "3"),
        ("score", "--server", "localhost"),
    ],
)
def test_options_that_would_do_nothing_are_refused(photo, options):
    command, *others = options
    result = run(command, photo("a.png"), *others)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_tensorflow_is_never_imported(serving, photo, tmp_path):
    script = """if True:
        import sys
        from qdnet_keras.cli import app
        try:
            app(sys.argv[1:])
        except SystemExit as exit:
            assert not exit.code, exit.code
        heavy = {"tensorflow", "keras", "tensorflow_probability"} & sys.modules.keys()
        assert not heavy, heavy
    """
    path, server = photo("a.webp"), ("--server", serving.address)
    for arguments in (
        ["score", path],
        ["enhance", path, "--ladder", "40,50", "-o", tmp_path / "o"],
    ):
        command = [sys.executable, "-c", script, *map(str, [*arguments, *server])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_in_order_is_lazy_bounded_and_ordered():
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.02 * (item % 3))
        return item

    results = in_order(work, iter(range(50)), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(started) <= 5 + 4
    results.close()
    assert list(in_order(work, range(7), 3)) == list(range(7))
    assert list(in_order(work, range(3), 1)) == [0, 1, 2]
