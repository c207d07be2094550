"""A model server built from TF-Serving's own service definitions: checks what a client sends.

Its "network" is arithmetic that a test can repeat: the score of a picture is the mean of its
samples / 2.55, the rendering is its negative.
"""

import base64
import io
import json
import ssl
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_NO_PROXY = [("grpc.enable_http_proxy", 0)]


class FakeServing(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Starts on construction; `requests` holds what came in.

    `failures` are `(code, details)` given, one a call, before anything is answered; `delay` is
    the seconds that each answer takes; `metadata` is that of each call; `cancelled` is set when a
    caller goes.

    Args:
        port: 0 takes a free one.
        credentials: For TLS.
    """

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None):
        self.requests: list[predict_pb2.PredictRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.cancelled = threading.Event()
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        self.port = (
            self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
            if credentials
            else self._server.add_insecure_port(f"127.0.0.1:{port}")
        )
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def Predict(self, request, context):
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            failure = self.failures.pop(0) if self.failures else None
        context.add_callback(lambda: context.code() or self.cancelled.set())
        try:
            time.sleep(self.delay)
            if failure:
                context.abort(*failure)
            return self._answer(request)
        finally:
            with self._lock:
                self.at_once -= 1

    def GetModelMetadata(self, request, context):
        with self._lock:
            failure = self.failures.pop(0) if self.failures else None
        if failure:
            context.abort(*failure)
        assert list(request.metadata_field) == ["signature_def"]
        return get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)

    def _answer(self, request):
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        if request.model_spec.signature_name == "score_copy":
            return _response(request, _scores(100 * inputs["copy"].mean((1, 2, 3))))
        pictures = [np.asarray(Image.open(io.BytesIO(data))) for data in inputs["image_bytes"]]
        scores = np.array([score_of(picture) for picture in pictures], np.float32)
        if request.model_spec.signature_name == "score_bytes":
            outputs = _scores(scores)
        else:
            outputs = {
                "image_bytes": np.array([_png(255 - picture) for picture in pictures], object),
                "score_before": scores,
                "score_after": 100 - scores,
                "epsilon": np.full(len(pictures), 0.5, np.float32),
                "reached": np.abs(100 - scores - inputs["target"]) <= 1,
            }
        return _response(request, outputs)


def _scores(scores: np.ndarray) -> dict[str, np.ndarray]:
    shares = {"score": 1, "mos": 2, "mos_std": 10, "novelty": 50}
    return {name: scores / share for name, share in shares.items()}


def _response(request, outputs: dict[str, np.ndarray]) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse(model_spec=request.model_spec)
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
    return response


class FakeRest:
    """TF-Serving's documented JSON in front of a `FakeServing`, starts on construction.

    `requests` are the path and headers of each request.

    Args:
        serving: What answers.
        tls: For HTTPS.
        port: 0 takes a free one.
    """

    def __init__(self, serving: FakeServing, tls: ssl.SSLContext | None = None, port: int = 0):
        self.requests: list[tuple[str, dict[str, str]]] = []
        handler = type("Handler", (_RestHandler,), {"serving": serving, "requests": self.requests})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _RestHandler(BaseHTTPRequestHandler):
    serving: FakeServing
    requests: list[tuple[str, dict[str, str]]]

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = body["signature_name"]
        for name, values in body["inputs"].items():
            proto = tf.make_tensor_proto([_plain(value) for value in values])
            request.inputs[name].CopyFrom(proto)
        self._ask("Predict", request, predict_pb2.PredictResponse)

    def do_GET(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        assert self.path.endswith("/metadata")
        self._ask("GetModelMetadata", request, get_model_metadata_pb2.GetModelMetadataResponse)

    def _ask(self, method, request, answers):
        self.requests.append((self.path, dict(self.headers)))
        with grpc.insecure_channel(self.serving.address, _NO_PROXY) as channel:
            call = channel.unary_unary(
                f"/tensorflow.serving.PredictionService/{method}",
                type(request).SerializeToString,
                answers.FromString,
            )
            try:
                outputs = getattr(call(request), "outputs", {})
                status, answer = 200, {"outputs": {k: _json(v) for k, v in outputs.items()}}
            except grpc.RpcError as error:
                codes = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
                status, answer = codes[error.code().name], {"error": error.details()}
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


def score_of(pixels: np.ndarray) -> float:
    return float(pixels.mean() / 2.55)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()
