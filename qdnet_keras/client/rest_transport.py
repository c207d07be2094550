"""Calls over TF-Serving's REST interface, with the standard library's HTTP client."""

import asyncio
import base64
import contextlib
import http.client
import json
import ssl
import urllib.request
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from qdnet_keras.client.access import Access
from qdnet_keras.client.address import Address
from qdnet_keras.client.transport import Arrays, CallError, Model

CONNECT_SECONDS = 5.0
# The status codes of TF-Serving's REST interface and of gateways, as gRPC calls them.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
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
    """See `Transport`. One connection a call, through the proxy that the environment names.

    Args:
        address: The server's.
        model: Which model to call.
        access: Certificates and headers.
    """

    def __init__(self, address: Address, model: Model, access: Access):
        self._address = address
        self._headers = {"Content-Type": "application/json", **access.headers}
        self._context = access.ssl_context() if address.tls else None
        self._proxy = _proxy_for(address)
        if self._proxy is not None and not address.tls:
            self._headers |= _proxy_headers(self._proxy)
        self._path = f"{address.prefix}/v1/models/{quote(model.name, safe='')}"
        if model.version is not None:
            self._path += f"/versions/{model.version}"
        if model.label is not None:
            self._path += f"/labels/{quote(model.label, safe='')}"

    def predict(self, signature: str, inputs: Arrays, timeout: float) -> dict[str, np.ndarray]:
        columns = {name: _to_json(array) for name, array in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        answer = self._request("POST", ":predict", body, timeout)
        try:
            outputs = json.loads(answer)["outputs"]
            return {name: _from_json(values) for name, values in outputs.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CallError("INTERNAL", f"the answer cannot be understood ({error})") from None

    def check_loaded(self, timeout: float) -> None:
        self._request("GET", "/metadata", None, timeout)

    def close(self) -> None:
        """Calls end by themselves, at the latest with their deadline."""

    def _request(self, method: str, suffix: str, body: bytes | None, timeout: float) -> bytes:
        connection = self._connection()
        connection.timeout = min(timeout, CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
        except ssl.SSLCertVerificationError as error:
            details = f"CERTIFICATE_VERIFY_FAILED: {error.verify_message}"
            raise CallError("UNAVAILABLE", details) from None
        except OSError as error:
            raise CallError("UNAVAILABLE", error.strerror or str(error)) from None
        try:
            # A server that refuses a body by its length answers without reading it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._target(suffix), body, self._headers)
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError:
            raise CallError("DEADLINE_EXCEEDED", "no answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise CallError("UNAVAILABLE", f"the connection broke ({error})") from None
        finally:
            connection.close()
        if response.status != 200:
            code = _CODES.get(response.status, "INTERNAL")
            raise CallError(code, _reason(response.status, answer))
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        """Not connected yet: to the server, or to the proxy in front of it."""
        host, port = self._address.host, self._address.port
        at, proxy = (host, port), self._proxy
        if proxy is not None:
            at = (proxy.hostname or "", proxy.port or 80)
        if self._context is None:
            return http.client.HTTPConnection(*at)
        connection = http.client.HTTPSConnection(*at, context=self._context)
        if proxy is not None:
            connection.set_tunnel(host, port, _proxy_headers(proxy))
        return connection

    def _target(self, suffix: str) -> str:
        path = self._path + suffix
        through_proxy = self._proxy is not None and self._context is None
        return f"http://{self._address.authority}{path}" if through_proxy else path


class AsyncRestTransport:
    """See `AsyncTransport`. Each call runs in a thread, which ends with the call's deadline."""

    def __init__(self, address: Address, model: Model, access: Access):
        self._transport = RestTransport(address, model, access)

    async def predict(
        self, signature: str, inputs: Arrays, timeout: float
    ) -> dict[str, np.ndarray]:
        return await asyncio.to_thread(self._transport.predict, signature, inputs, timeout)

    async def check_loaded(self, timeout: float) -> None:
        await asyncio.to_thread(self._transport.check_loaded, timeout)

    async def close(self) -> None:
        self._transport.close()


def _proxy_for(address: Address) -> Any:
    """The proxy that `https_proxy`, `http_proxy` and `no_proxy` ask for, as a split URL."""
    proxy = urllib.request.getproxies().get("https" if address.tls else "http")
    if not proxy or address.is_loopback or urllib.request.proxy_bypass(address.host):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _proxy_headers(proxy: Any) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


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
