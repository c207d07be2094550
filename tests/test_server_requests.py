"""The local server, and TF-Serving itself where it is installed, as clients see them."""

import base64
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from served_arithmetic import X, add_version, code_of
from serving_process import TF_SERVING, ServingProcess, ServingThread, wait_for
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2
from typer.testing import CliRunner

from qdnet_keras.cli import app

CASES = Path(__file__).parent / "data" / "serving"
OPTIONS = {"max_bytes": 1_000_000, "rest_timeout": 3.0, "concurrency": 2, "queue": 1}
needs_tf_serving = pytest.mark.skipif(
    TF_SERVING is None, reason="tensorflow_model_server is not on PATH"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    add_version(folder, 1, 2.0)
    return folder


@pytest.fixture(
    scope="module",
    params=[
        "local",
        pytest.param("tensorflow_model_server", marks=needs_tf_serving),
    ],
)
def server(request, folder):
    """Serves version 1, by whichever server is installed."""
    if request.param == "local":
        server = ServingThread(folder, **OPTIONS)
        assert server.loaded.wait(180)
        yield server
        assert server.stop() is None
    else:
        server = ServingProcess(request.param, folder)
        yield server
        assert server.stop() == -signal.SIGTERM


@pytest.fixture
def local(server):
    """`server`, for what this project's own server does by its options or better."""
    if not isinstance(server, ServingThread):
        pytest.skip("a test of this project's own server")
    return server


# --- gRPC -----------------------------------------------------------------------------------------


def test_predict_fills_in_what_was_used(server):
    response = server.prediction.Predict(server.request(x=X))
    assert tf.make_ndarray(response.outputs["score"]).tolist() == [6, 14]
    used = response.model_spec
    assert (used.name, used.version.value) == ("toy", 1)
    assert used.signature_name == "serving_default"
    assert server.predict("score", 1, x=X)["score"].tolist() == [6, 14]
    request = server.request("pair", count=[3, 4], image_bytes=[b"a\xff", b""])
    request.output_filter.append("image_bytes")
    (name,), tensors = zip(*server.prediction.Predict(request).outputs.items(), strict=True)
    assert name == "image_bytes"
    assert tf.make_ndarray(tensors[0]).tolist() == [b"a\xffa\xff", b""]


def test_wrong_requests_get_the_codes_of_tf_serving(server):
    predict = server.prediction.Predict
    another = server.request(x=X)
    another.model_spec.name = "other"
    filtered = server.request(x=X)
    filtered.output_filter.append("nothing")
    labelled = server.request(x=X)
    labelled.model_spec.version_label = "stable"
    cut = server.request(x=X)
    cut.inputs["x"].tensor_content = b"123"
    for request, code in [
        (another, StatusCode.NOT_FOUND),
        (server.request("", 9, x=X), StatusCode.NOT_FOUND),
        (server.request("nothing", x=X), StatusCode.FAILED_PRECONDITION),
        (server.request(), StatusCode.INVALID_ARGUMENT),
        (server.request(x=X, y=X), StatusCode.INVALID_ARGUMENT),
        (server.request(x=X.astype(np.int32)), StatusCode.INVALID_ARGUMENT),
        (filtered, StatusCode.INVALID_ARGUMENT),
        (labelled, StatusCode.INVALID_ARGUMENT),
        (cut, StatusCode.INVALID_ARGUMENT),
        (predict_pb2.PredictRequest(), StatusCode.INVALID_ARGUMENT),
    ]:
        assert code_of(predict, request)[0] == code, request
    code, details = code_of(predict, server.request(x=X[:0]))
    assert code == StatusCode.INVALID_ARGUMENT
    assert "x is empty" in details
    assert code_of(server.metadata)[0] == StatusCode.INVALID_ARGUMENT
    assert code_of(server.metadata, "weights")[0] == StatusCode.INVALID_ARGUMENT
    unknown = get_model_status_pb2.GetModelStatusRequest()
    unknown.model_spec.name = "other"
    assert code_of(server.models.GetModelStatus, unknown)[0] == StatusCode.NOT_FOUND


def test_metadata_status_and_health(server):
    packed = server.metadata("signature_def").metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert {"score", "pair", "hold", "serving_default"} <= set(signatures.signature_def)
    assert server.states() == {1: "AVAILABLE"}
    check = health_pb2.HealthCheckRequest()
    assert server.health.Check(check).status == health_pb2.HealthCheckResponse.SERVING


def test_a_deadline_ends_the_computation(server):
    for _ in range(6):  # more than run and wait at a time
        code, _ = code_of(server.predict, "hold", path=["/never"], timeout=0.3)
        assert code in (StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED)
    wait_for(lambda: server.rest(":predict", body={"instances": [[1, 2]]})[0] == 200)


# --- REST -----------------------------------------------------------------------------------------


def test_rest_rows_and_columns(server):
    assert server.rest(":predict", body={"instances": X.tolist()}) == (
        200,
        {"predictions": [6.0, 14.0]},
    )
    assert server.rest("/versions/1:predict", body={"inputs": {"x": X.tolist()}}) == (
        200,
        {"outputs": [6.0, 14.0]},
    )
    encoded = {"b64": base64.b64encode(b"\xffa").decode()}
    doubled = {"b64": base64.b64encode(b"\xffa\xffa").decode()}
    rows = [{"count": 3, "image_bytes": encoded}, {"count": 4, "image_bytes": "z"}]
    answer = [
        {"image_bytes": doubled, "text": "3", "half": 1.5},
        {"image_bytes": {"b64": "eno="}, "text": "4", "half": 2.0},
    ]
    body = {"signature_name": "pair", "instances": rows}
    assert server.rest(":predict", body=body) == (200, {"predictions": answer})
    body = {"signature_name": "pair", "inputs": {"count": [3], "image_bytes": [encoded]}}
    columns = {"image_bytes": [doubled], "text": ["3"], "half": [1.5]}
    assert server.rest(":predict", body=body) == (200, {"outputs": columns})


def test_rest_floats_are_those_of_grpc(server):
    values = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    _, answer = server.rest(":predict", body={"instances": values.tolist()})
    assert np.array_equal(np.float32(answer["predictions"]), server.predict(x=values)["score"])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[" * 100_000, ""),
        ([1], ""),
        ({}, "instances"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": [[1, 2], [3]]}, ""),
        ({"instances": [["a", "b"]]}, ""),
        ({"instances": [[1, None]]}, ""),
        ({"instances": [{"y": [1, 2]}]}, "x"),
        ({"inputs": {"y": [[1, 2]]}}, "x"),
        ({"instances": [[1, 2]], "signature_name": "nothing"}, "nothing"),
        ({"inputs": [1], "signature_name": "pair"}, ""),
        ({"inputs": {"count": [1.5], "image_bytes": ["a"]}, "signature_name": "pair"}, ""),
        ({"inputs": {"count": [2**40], "image_bytes": ["a"]}, "signature_name": "pair"}, ""),
        ({"inputs": {"count": [1], "image_bytes": [{"b64": "%"}]}, "signature_name": "pair"}, ""),
        ((CASES / "rest_init_op.json").read_bytes(), "__saved_model_init_op"),
        ((CASES / "rest_lone_surrogate.json").read_bytes(), "signature_name"),
        (b'{"inputs": ["\\ud800"], "signature_name": "length"}', "surrogate"),
        (b'{"inputs": {"\\ud800": [1]}, "signature_name": "length"}', "image_bytes"),
        (b'{"inputs": [NaN], "signature_name": "length"}', ""),
        (b"\xff\xfe", ""),
    ],
)
def test_rest_refuses_wrong_bodies(server, body, sentence):
    status, answer = server.rest(":predict", body=body)
    assert status == 400
    assert sentence in answer["error"]


def test_rest_paths_metadata_and_status(server):
    status, answer = server.rest("", "GET")
    entry = {"error_code": "OK", "error_message": ""}
    version = {"version": "1", "state": "AVAILABLE", "status": entry}
    assert (status, answer) == (200, {"model_version_status": [version]})
    assert server.rest("/versions/1", "GET") == (200, answer)
    status, answer = server.rest("/metadata", "GET")
    assert status == 200
    assert answer["model_spec"] == {"name": "toy", "version": "1", "signature_name": ""}
    signature = answer["metadata"]["signature_def"]["signature_def"]["score"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert server.rest("/versions/9", "GET")[0] == 404
    assert server.rest("/labels/stable", "GET")[0] >= 400
    assert server.rest("/labels/stable/metadata", "GET")[0] >= 400
    assert server.rest("/versions/9:predict", body={"instances": [[1, 2]]})[0] == 404
    assert server.rest("other:predict", body={"instances": [[1, 2]]})[0] == 404
    assert server.rest(":explain", body={})[0] == 400
    assert server.rest("/nothing", "GET")[0] == 400


def test_rest_gives_up_after_its_timeout(local):
    body = {"signature_name": "hold", "inputs": ["/never"]}
    assert local.rest(":predict", body=body)[0] == 504


# --- Hostile requests -----------------------------------------------------------------------------


def test_too_large_and_lying_messages_are_refused(local):
    before = psutil.Process().memory_info().rss
    large = np.zeros((300_000, 2), np.float32)
    assert code_of(local.predict, x=large)[0] == StatusCode.RESOURCE_EXHAUSTED
    assert local.rest(":predict", body={"instances": large.tolist()})[0] == 413
    request = local.request()
    shape = tf.TensorShape([10**6, 10**6]).as_proto()
    request.inputs["x"].CopyFrom(
        tensor_pb2.TensorProto(dtype=1, tensor_shape=shape, float_val=[0.0])
    )
    code, details = code_of(local.prediction.Predict, request)
    assert code == StatusCode.INVALID_ARGUMENT
    assert "limit" in details
    assert local.predict(x=X)["score"].tolist() == [6, 14]
    assert psutil.Process().memory_info().rss < before + 2**27


def sent(name: str, signature: str) -> predict_pb2.PredictRequest:
    """A request of a few bytes from a file, to a signature of the toy."""
    request = predict_pb2.PredictRequest.FromString((CASES / name).read_bytes())
    request.model_spec.name, request.model_spec.signature_name = "toy", signature
    return request


def test_few_bytes_cost_little_whatever_they_announce(local):
    before, start = psutil.Process().memory_info().rss, time.monotonic()
    for name, signature in [
        ("predict_2.7GB_from_few_bytes.pb", "brightness"),
        ("predict_string_120M.pb", "length"),
    ]:
        code, details = code_of(local.prediction.Predict, sent(name, signature))
        assert (code, "limit" in details) == (StatusCode.INVALID_ARGUMENT, True)
    assert time.monotonic() - start < 5
    assert psutil.Process().memory_info().rss < before + 2**25


def test_values_and_types_that_no_signature_has_are_refused(local):
    wrong = [sent("predict_int_val_700.pb", "brightness")]
    for kind in ("DT_RESOURCE", "DT_VARIANT", "DT_INVALID", "DT_BFLOAT16", "DT_COMPLEX64"):
        request = local.request()
        request.inputs["x"].dtype = types_pb2.DataType.Value(kind)
        wrong.append(request)
    wrong.append(local.request())
    wrong[-1].inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=99))
    for request in wrong:
        assert code_of(local.prediction.Predict, request)[0] == StatusCode.INVALID_ARGUMENT
    code, _ = code_of(local.predict, "__saved_model_init_op")
    assert code == StatusCode.FAILED_PRECONDITION
    code, _ = code_of(local.predict, "brightness", image=np.zeros((2, 2, 3), np.uint8))
    assert code == StatusCode.INVALID_ARGUMENT


def test_a_connection_outlives_a_refusal(server):
    connection = HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    for path, status in [("toy", 400), ("toy:predict", 200), ("other:predict", 404)] * 2:
        connection.request("POST", f"/v1/models/{path}", b'{"instances": [[1, 2]]}')
        response = connection.getresponse()
        assert response.status == status
        response.read()


def raw_request(local, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", local.rest_port), timeout=60)
    connection.sendall(request)
    return connection


def test_bodies_that_do_not_arrive_hold_no_place_and_time_out(local):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"
    start = time.monotonic()
    slow = [raw_request(local, head) for _ in range(60)]
    assert local.rest(":predict", body={"instances": [[1, 2]]})[0] == 200
    assert local.predict(x=X)["score"][0] == 6
    assert time.monotonic() - start < OPTIONS["rest_timeout"]
    for connection in slow[30:]:
        connection.close()
    for connection in slow[:30]:
        assert b" 504 " in connection.recv(100)
        connection.close()


def test_two_lengths_of_one_body_are_refused(local):
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    request = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\n" + both
    with raw_request(local, request) as connection:
        assert connection.recv(100).split()[1] == b"400"


def test_a_body_in_chunks_is_read(local):
    body = json.dumps({"instances": [[1, 2]]}).encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_request(local, head + chunks) as connection:
        assert connection.recv(100).split()[1] == b"200"


def test_many_connect_at_once(local):
    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(lambda _: local.rest("", "GET")[0], range(64))
        assert set(answers) == {200}


def test_what_nobody_waits_for_ends(local):
    """Twice as many as can compute at a time, and then one more is answered."""
    for _ in range(2):
        calls = [
            local.prediction.Predict.future(local.request("hold", path=["/never"]))
            for _ in range(2)
        ]
        time.sleep(0.3)
        for call in calls:
            call.cancel()
        body = json.dumps({"signature_name": "hold", "inputs": ["/never"]}).encode()
        head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        gone = [raw_request(local, head % len(body) + body) for _ in range(2)]
        time.sleep(0.3)
        for connection in gone:
            connection.close()
    start = time.monotonic()
    wait_for(lambda: local.rest(":predict", body={"instances": [[1, 2]]})[0] == 200)
    assert time.monotonic() - start < OPTIONS["rest_timeout"]


def test_a_full_queue_refuses_at_once_and_the_rest_is_served(local, tmp_path):
    path = tmp_path / "go"
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(local.predict, "hold", path=[str(path)]) for _ in range(8)]
        wait_for(lambda: sum(call.done() for call in calls) == 5)
        assert local.states() == {1: "AVAILABLE"}  # status is told however busy it is
        assert local.rest("", "GET")[0] == 200
        path.touch()
        errors = [call.exception() for call in calls]
    refused = [error.code() for error in errors if error is not None]
    assert refused == [StatusCode.RESOURCE_EXHAUSTED] * 5


# --- A second server ------------------------------------------------------------------------------


def test_a_taken_port_is_one_sentence(folder, server):
    done = CliRunner().invoke(app, ["serve", str(folder), "--port", str(server.port)])
    assert done.exit_code == 8
    assert "choose another port" in done.stderr
