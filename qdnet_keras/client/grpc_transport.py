"""Calls over gRPC, from threads and from asyncio."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np

from qdnet_keras.client import messages
from qdnet_keras.client.access import Access
from qdnet_keras.client.address import Address
from qdnet_keras.client.transport import Arrays, CallError, Model

_OPTIONS = [
    ("grpc.max_send_message_length", -1),  # the default limit for an answer is 4 MB
    ("grpc.max_receive_message_length", -1),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # how long one attempt to connect may take
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses that the name stands for
]


class GrpcTransport:
    """See `Transport`. One channel for all threads.

    Args:
        target: Address, or a gRPC name such as `ipv4:10.0.0.1:8500,10.0.0.2:8500`.
        model: Which model to call.
        access: Certificates and metadata.
    """

    def __init__(self, target: Address | str, model: Model, access: Access):
        self._model = model
        self._metadata = _metadata(access)
        self._channel = _channel(grpc, target, access)
        self._predict, self._describe = _calls(self._channel)

    def predict(self, signature: str, inputs: Arrays, timeout: float) -> dict[str, np.ndarray]:
        request = messages.predict_request(self._model, signature, inputs)
        return messages.outputs_of(self._call(self._predict, request, timeout))

    def check_loaded(self, timeout: float) -> None:
        self._call(self._describe, messages.metadata_request(self._model), timeout)

    def _call(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _failure(error) from None
        except ValueError as error:  # the channel was closed
            raise CallError("CANCELLED", str(error)) from None

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcTransport:
    """See `AsyncTransport`. One channel for all tasks of one event loop."""

    def __init__(self, address: Address, model: Model, access: Access):
        self._model = model
        self._metadata = _metadata(access)
        self._channel = _channel(grpc.aio, address, access)
        self._predict, self._describe = _calls(self._channel)

    async def predict(
        self, signature: str, inputs: Arrays, timeout: float
    ) -> dict[str, np.ndarray]:
        request = messages.predict_request(self._model, signature, inputs)
        return messages.outputs_of(await self._call(self._predict, request, timeout))

    async def check_loaded(self, timeout: float) -> None:
        await self._call(self._describe, messages.metadata_request(self._model), timeout)

    async def _call(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return await method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _failure(error) from None
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:  # it was closed
            raise CallError("CANCELLED", str(error)) from None

    async def close(self) -> None:
        await self._channel.close()


def _channel(library: Any, target: Address | str, access: Access) -> Any:
    if isinstance(target, str):
        return library.insecure_channel(target, _OPTIONS)
    options = [*_OPTIONS, ("grpc.enable_http_proxy", int(not target.is_loopback))]
    if target.tls:
        return library.secure_channel(target.authority, access.channel_credentials(), options)
    return library.insecure_channel(target.authority, options)


def _calls(channel: Any) -> tuple[Any, Any]:
    """The calls of Predict and of GetModelMetadata, whose answer is only wanted to arrive."""
    serialize = {"request_serializer": lambda message: message.SerializeToString()}
    predict = channel.unary_unary(
        messages.PREDICT_METHOD,
        response_deserializer=messages.PredictResponse.FromString,
        **serialize,
    )
    return predict, channel.unary_unary(messages.METADATA_METHOD, **serialize)


def _metadata(access: Access) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in access.headers.items()]


def _failure(error: Any) -> CallError:
    return CallError(error.code().name, error.details() or "")
