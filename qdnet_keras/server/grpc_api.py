"""The gRPC side: PredictionService, ModelService and the health protocol."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.python.eager.cancellation import CancellationManager
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from qdnet_keras.server.servable import DEFAULT_SIGNATURE, Servable
from qdnet_keras.server.service import Service
from qdnet_keras.server.status import StatusError, invalid

SERVICES = (
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
)
ANSWER_SECONDS = 5.0  # in which answers that are ready leave

logger = logging.getLogger("qdnet_keras.server")


class GrpcApi:
    """A gRPC server over a `Service`.

    Args:
        address: `host:port`; port 0 takes a free one, see `port`.
        max_bytes: Largest request; gRPC refuses larger ones with RESOURCE_EXHAUSTED unread.

    Raises:
        RuntimeError: If the address cannot be bound.
    """

    def __init__(self, service: Service, address: str, max_bytes: int):
        self._server = grpc.aio.server(
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
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Answers from now on; health checks hear that the server is not ready yet."""
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def announce_ready(self) -> None:
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def announce_stop(self) -> None:
        """Tells health checks that the server is going; requests are still received."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, seconds: float) -> None:
        """Breaks off what is under way after so many seconds."""
        await self._server.stop(seconds)


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service, max_bytes: int):
        self.service = service
        self.max_bytes = max_bytes

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        def work(
            servable: Servable, cancellation: CancellationManager
        ) -> predict_pb2.PredictResponse:
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            inputs = servable.read(name, request.inputs, self.max_bytes)
            results = servable.predict(name, inputs, tuple(request.output_filter), cancellation)
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.signature_name = name
            response.model_spec.version.value = servable.version
            for output, values in results.items():
                response.outputs[output].CopyFrom(tf.make_tensor_proto(values))
            return response

        async with _abort_on_failure(context):
            _require_spec(request)
            return await self.service.compute(request.model_spec, work, context.time_remaining())

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        async with _abort_on_failure(context):
            _require_spec(request)
            return self.service.metadata(request.model_spec, request.metadata_field)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self.service = service

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        async with _abort_on_failure(context):
            _require_spec(request)
            return self.service.status(request.model_spec)


@asynccontextmanager
async def _abort_on_failure(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    try:
        yield
    except StatusError as error:
        await context.abort(error.code, str(error))
    except Exception:
        logger.exception("request failed")
        await context.abort(grpc.StatusCode.INTERNAL, "The server failed; its log says why.")


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
