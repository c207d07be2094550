"""Predict calls over gRPC."""

from collections.abc import Mapping

import grpc
import numpy as np

from qdnet_keras.client import messages
from qdnet_keras.client.transport import CallError

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # the default limit for an answer is 4 MB
    ("grpc.max_receive_message_length", -1),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # how long one attempt to connect may take
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses that the name stands for
]


class GrpcTransport:
    """See `Transport`. One channel for all threads."""

    name = "gRPC"

    def __init__(self, server: str, model: str, version: int | None, label: str | None):
        self.model, self.version, self.label = model, version, label
        self._channel = grpc.insecure_channel(server, CHANNEL_OPTIONS)
        self._predict = self._channel.unary_unary(
            messages.PREDICT_METHOD,
            request_serializer=messages.PredictRequest.SerializeToString,
            response_deserializer=messages.PredictResponse.FromString,
        )

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        request = messages.predict_request(self.model, signature, inputs, self.version, self.label)
        try:
            return messages.outputs_of(self._predict(request, timeout=timeout))
        except grpc.RpcError as error:
            raise CallError(error.code().name, error.details() or "") from None
        except ValueError as error:  # the channel was closed, or an output is of an unknown type
            raise CallError("CANCELLED", str(error)) from None

    def close(self) -> None:
        self._channel.close()
