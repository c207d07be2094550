"""The REST side: predict, metadata and status over HTTP/1.1."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from qdnet_keras.server.rest_json import answer, parse_body, read_inputs
from qdnet_keras.server.service import METADATA_FIELD, Service
from qdnet_keras.server.status import StatusError, invalid

_VERSION = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
PREDICT = re.compile(_VERSION + ":predict", re.IGNORECASE)
DESCRIBE = re.compile(_VERSION + "(/metadata)?", re.IGNORECASE)
IDLE_SECONDS = 60  # after which a silent connection is closed

logger = logging.getLogger("qdnet_keras.server")


class RestApi:
    """A REST server over a `Service`.

    Args:
        host, port: Where to listen; port 0 takes a free one, see `port`.
        max_bytes: Largest body; larger ones are refused unread.
        timeout: Seconds that a request may take, queueing included.

    Raises:
        OSError: If the address cannot be bound.
    """

    def __init__(self, service: Service, host: str, port: int, max_bytes: int, timeout: float):
        handler = type(
            "Handler",
            (_Handler,),
            {"service": service, "max_bytes": max_bytes, "answer_within": timeout},
        )
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop_accepting(self) -> None:
        self._server.shutdown()
        self._server.socket.close()


class _Handler(BaseHTTPRequestHandler):
    service: Service
    max_bytes: int
    answer_within: float
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def do_POST(self) -> None:
        self._answer(self._predict, self.service.admission.place())

    def do_GET(self) -> None:
        self._answer(self._describe, nullcontext())  # however busy the server is

    def _answer(self, compute: Callable[[], dict[str, Any]], place: AbstractContextManager) -> None:
        try:
            with place:
                self._send(HTTPStatus.OK, compute())
                return
        except StatusError as error:
            status, reply = error.http_status, {"error": str(error)}
            self._discard_body()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            logger.exception("request failed")
            status, reply = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}
        self._send(status, reply)

    def _predict(self) -> dict[str, Any]:
        deadline = time.monotonic() + self.answer_within
        match = PREDICT.fullmatch(urlsplit(self.path).path)
        body = self._body()
        if match is None:
            raise self._malformed()
        spec = _spec(*match.groups())
        with self.service.admission.run(deadline):
            document = parse_body(body)
            spec.signature_name = document.get("signature_name", "")
            with self.service.versions.use(self.service.version_of(spec)) as servable:
                inputs = read_inputs(document, servable.signature(spec.signature_name))
            _, results = self.service.predict(spec, inputs, deadline=deadline)
            return answer(results, rows="instances" in document)

    def _describe(self) -> dict[str, Any]:
        match = DESCRIBE.fullmatch(urlsplit(self.path).path)
        if match is None:
            raise self._malformed()
        *named, metadata = match.groups()
        spec = _spec(*named)
        if not metadata:
            return _to_dict(self.service.status(spec))
        response = self.service.metadata(spec, [METADATA_FIELD])
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[METADATA_FIELD].Unpack(signatures)
        return {
            "model_spec": _to_dict(response.model_spec),
            "metadata": {METADATA_FIELD: _to_dict(signatures)},
        }

    def _body(self) -> bytes:
        length = self.headers["Content-Length"] or ""
        if not length.isdecimal():
            raise invalid("The request has no Content-Length.")
        if int(length) > self.max_bytes:
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The body has {length} bytes, the limit is {self.max_bytes}.",
            )
        del self.headers["Content-Length"]  # nothing is left to discard
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError
        return body

    def _discard_body(self) -> None:
        """Reads what a refused request still sends: it would not read the answer before."""
        length = self.headers["Content-Length"]
        if length is None and "Transfer-Encoding" not in self.headers:
            return
        self.close_connection = True
        left = min(int(length), 10 * self.max_bytes) if length and length.isdecimal() else 0
        try:
            while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
                left -= len(chunk)
        except (ConnectionError, TimeoutError):
            return

    def _malformed(self) -> StatusError:
        return invalid(f"Malformed request: {self.command} {self.path}")

    def _send(self, status: int, reply: dict[str, Any]) -> None:
        data = json.dumps(reply).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(name), version_label=unquote(label or ""))
    if version is not None:
        if int(version) >= 2**63:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    return spec


def _to_dict(message: Any) -> dict[str, Any]:
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
