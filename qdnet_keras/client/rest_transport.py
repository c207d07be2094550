"""Predict calls over TF-Serving's REST interface, with the standard library's HTTP client."""

import base64
import contextlib
import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from qdnet_keras.client.transport import CallError

CONNECT_SECONDS = 5.0
# The status codes of TF-Serving's REST interface, as gRPC calls them.
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """See `Transport`. One connection a call."""

    name = "REST"

    def __init__(self, server: str, model: str, version: int | None, label: str | None):
        host, _, port = server.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        if label is not None:
            self._path += f"/labels/{quote(label, safe='')}"

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        body = json.dumps(
            {
                "signature_name": signature,
                "inputs": {name: _to_json(array) for name, array in inputs.items()},
            }
        )
        status, answer = self._post(body.encode(), timeout)
        if status != 200:
            raise CallError(_CODES.get(status, "INTERNAL"), _reason(status, answer))
        try:
            outputs = json.loads(answer)["outputs"]
            return {name: _from_json(values) for name, values in outputs.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CallError("INTERNAL", f"the answer cannot be understood ({error})") from None

    def _post(self, body: bytes, timeout: float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.timeout = min(timeout, CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise CallError("UNAVAILABLE", error.strerror or str(error)) from None
        try:
            connection.sock.settimeout(timeout)
            headers = {"Content-Type": "application/json"}
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", f"{self._path}:predict", body, headers)
            # A server that refuses a body by its length answers without reading it.
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise CallError("DEADLINE_EXCEEDED", "no answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise CallError("UNAVAILABLE", f"the connection broke ({error})") from None
        finally:
            connection.close()

    def close(self) -> None:
        """Calls end by themselves, at the latest with their deadline."""


def _reason(status: int, answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {status}"


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != np.object_:
        return array.tolist()
    return [{"b64": base64.b64encode(data).decode()} for data in array]


def _from_json(values: list[Any]) -> np.ndarray:
    if values and isinstance(values[0], dict):
        return np.array([base64.b64decode(value["b64"]) for value in values], np.object_)
    return np.array(values)
