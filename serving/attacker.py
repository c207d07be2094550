"""Sends a server what it must refuse, and calls and bodies that are given up on the way."""

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import hostile
from workload import call_for, photograph

from qdnet_keras.client import messages
from qdnet_keras.client.access import Access
from qdnet_keras.client.address import parse_address
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.client.transport import CallError, Model

TIMEOUT = 120.0
GIVE_UP = 0.3  # seconds after which a call or a body is given up
REFUSALS = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "400", "413"}
GIVEN_UP = "given up"


class Attacker:
    """Attacks of every kind of `hostile`, over gRPC and REST.

    Args:
        port, rest_port: Of the server, on this machine.

    Attributes:
        attacks: By kind, what does it and returns the code of the answer.
    """

    def __init__(self, port: int, rest_port: int):
        self._rest_port = rest_port
        address, model = f"127.0.0.1:{port}", Model("qdnet")
        self._transport = GrpcTransport(parse_address(address), model, Access())
        self._channel = grpc.insecure_channel(address)
        self._predict = self._channel.unary_unary(messages.PREDICT_METHOD)
        good = call_for("enhance_bytes", photograph(0.2, 0), 50.0, batch=32)
        self._good = messages.predict_request(model, good.signature, good.inputs)
        self.attacks: dict[str, Callable[[], str]] = {"cancelled call": self._cancel}
        sent: list[tuple[Callable[[Any], str], dict[str, Any]]] = [
            (self._call, hostile.calls()),
            (self._message, hostile.messages()),
            (self._http, hostile.http_requests()),
        ]
        for send, requests in sent:
            for kind, request in requests.items():
                self.attacks[kind] = partial(send, request)

    def close(self) -> None:
        self._transport.close()
        self._channel.close()

    def _call(self, call: hostile.Call) -> str:
        try:
            self._transport.predict(call.signature, call.inputs, TIMEOUT)
        except CallError as error:
            return error.code
        return "OK"

    def _message(self, message: bytes) -> str:
        try:
            self._predict(message, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    def _cancel(self) -> str:
        call = self._predict.future(self._good.SerializeToString(), timeout=TIMEOUT)
        time.sleep(GIVE_UP)
        return GIVEN_UP if call.cancel() else "OK"

    def _http(self, request: bytes) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self._rest_port), TIMEOUT) as connection:
                connection.sendall(request)
                if request.endswith(hostile.UNFINISHED):
                    time.sleep(GIVE_UP)
                    return GIVEN_UP
                return connection.recv(100).split()[1].decode()
        except OSError:
            return "UNAVAILABLE"
