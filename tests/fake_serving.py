"""A model server built from TF-Serving's own service definitions: checks what a client sends.

Its "network" is arithmetic that a test can repeat: the score of a picture is the mean of its
samples / 2.55, the rendering is its negative.
"""

import io
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class FakeServing(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Starts on construction; `requests` holds what came in.

    `failures` are `(code, details)` given, one a call, before anything is answered; `delay` is
    the seconds that each answer takes.
    """

    def __init__(self, port: int = 0):
        self.requests: list[predict_pb2.PredictRequest] = []
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def Predict(self, request, context):
        with self._lock:
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            failure = self.failures.pop(0) if self.failures else None
        try:
            time.sleep(self.delay)
            if failure:
                context.abort(*failure)
            return self._answer(request)
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(self, request):
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        pictures = [np.asarray(Image.open(io.BytesIO(data))) for data in inputs["image_bytes"]]
        scores = np.array([score_of(picture) for picture in pictures], np.float32)
        if request.model_spec.signature_name == "score_bytes":
            outputs = {"score": scores, "score_std": scores / 10, "novelty": scores / 50}
        else:
            outputs = {
                "image_bytes": np.array([_png(255 - picture) for picture in pictures], object),
                "score_before": scores,
                "score_after": 100 - scores,
                "epsilon": np.full(len(pictures), 0.5, np.float32),
                "reached": np.abs(100 - scores - inputs["target"]) <= 1,
            }
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


def score_of(pixels: np.ndarray) -> float:
    return float(pixels.mean() / 2.55)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()
