"""The gRPC side: PredictionService, ModelService and the health protocol."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from qdnet_keras.server.servable import to_array
from qdnet_keras.server.service import Service
from qdnet_keras.server.status import StatusError, invalid

SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)
ANSWER_SECONDS = 5  # in which answers that are ready leave
SPARE_THREADS = 16  # for refusals, metadata, status and health


class GrpcApi:
    """A gRPC server over a `Service`.

    Args:
        address: `host:port`; port 0 takes a free one, see `port`.
        max_bytes: Largest request; gRPC refuses larger ones with RESOURCE_EXHAUSTED unread.

    Raises:
        RuntimeError: If the address cannot be bound.
    """

    def __init__(self, service: Service, address: str, max_bytes: int):
        self._server = grpc.server(
            ThreadPoolExecutor(service.admission.places + SPARE_THREADS),
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(service, max_bytes), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _ModelService(service), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(address)

    def start(self) -> None:
        self._server.start()
        for name in SERVICES:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def announce_stop(self) -> None:
        """Tells health checks that the server is going; requests are still received."""
        self._health.enter_graceful_shutdown()

    def stop(self) -> None:
        """Breaks off what is under way. gRPC tells a call that arrives now CANCELLED."""
        self._server.stop(ANSWER_SECONDS).wait()


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service, max_bytes: int):
        self.service = service
        self.max_bytes = max_bytes

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        admission = self.service.admission
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        with _abort_on_failure(context), admission.place(), admission.run(deadline):
            _require_spec(request)
            if not context.is_active():
                raise StatusError(grpc.StatusCode.CANCELLED, "The client gave up.")
            inputs = {
                name: to_array(name, tensor, self.max_bytes)
                for name, tensor in request.inputs.items()
            }
            used, results = self.service.predict(
                request.model_spec, inputs, tuple(request.output_filter), deadline
            )
            outputs = {name: tf.make_tensor_proto(values) for name, values in results.items()}
            return predict_pb2.PredictResponse(model_spec=used, outputs=outputs)

    def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        with _abort_on_failure(context):
            _require_spec(request)
            return self.service.metadata(request.model_spec, request.metadata_field)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self.service = service

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        with _abort_on_failure(context):
            _require_spec(request)
            return self.service.status(request.model_spec)


@contextmanager
def _abort_on_failure(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except StatusError as error:
        context.abort(error.code, str(error))


def _require_spec(request: predict_pb2.PredictRequest) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
