"""The REST side: predict, metadata and status over HTTP/1.1, by aiohttp."""

import asyncio
import json
import logging
import re
from typing import Any
from urllib.parse import unquote

import grpc
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from tensorflow.python.eager.cancellation import CancellationManager
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from qdnet_keras.server.rest_json import answer, parse_body, read_inputs
from qdnet_keras.server.servable import DEFAULT_SIGNATURE, Servable
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
        max_bytes: Largest body; larger ones are refused with 413.
        timeout: Seconds that a request may take, the arrival of its body and queueing included.
    """

    def __init__(self, service: Service, max_bytes: int, timeout: float):
        self._service = service
        self._timeout = timeout
        app = web.Application(client_max_size=max_bytes)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=IDLE_SECONDS,
            handler_cancellation=True,  # when the client goes
            shutdown_timeout=1.0,
        )
        self._site: web.TCPSite | None = None

    async def start(self, host: str, port: int) -> int:
        """Answers from now on. Returns the port, a free one for 0. Raises `OSError`."""
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port)
        await self._site.start()
        return self._runner.addresses[0][1]

    async def stop_accepting(self) -> None:
        if self._site is not None:
            await self._site.stop()

    async def stop(self) -> None:
        """Breaks off what is under way."""
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            if request.method == "POST":
                return _response(200, await self._predict(request))
            return _response(200, json.dumps(self._describe(request)))
        except StatusError as error:
            return _failure(error.http_status, str(error))
        except web.HTTPRequestEntityTooLarge:
            return _failure(413, "The body is larger than this server takes.")
        except (ConnectionError, web.HTTPException):
            raise
        except Exception:
            logger.exception("request failed")
            return _failure(500, "The server failed; its log says why.")

    async def _predict(self, request: web.Request) -> str:
        began = asyncio.get_running_loop().time()
        match = PREDICT.fullmatch(_path(request))
        if match is None:
            raise _malformed(request)
        spec = _spec(*match.groups())
        body = await self._body(request)

        def work(servable: Servable, cancellation: CancellationManager) -> str:
            document = parse_body(body)
            name = document.get("signature_name") or DEFAULT_SIGNATURE
            inputs = read_inputs(document, servable.signature(name))
            results = servable.predict(name, inputs, (), cancellation)
            return json.dumps(answer(results, rows="instances" in document))

        spent = asyncio.get_running_loop().time() - began
        return await self._service.compute(spec, work, max(self._timeout - spent, 0.0))

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await request.read()
        except TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"The body did not arrive within {self._timeout:g} seconds.",
            ) from None

    def _describe(self, request: web.Request) -> dict[str, Any]:
        match = DESCRIBE.fullmatch(_path(request))
        if match is None or request.method != "GET":
            raise _malformed(request)
        *named, metadata = match.groups()
        spec = _spec(*named)
        if not metadata:
            return _to_dict(self._service.status(spec))
        response = self._service.metadata(spec, [METADATA_FIELD])
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[METADATA_FIELD].Unpack(signatures)
        return {
            "model_spec": _to_dict(response.model_spec),
            "metadata": {METADATA_FIELD: _to_dict(signatures)},
        }


def _path(request: web.Request) -> str:
    """As it was sent, so that an encoded slash is no slash."""
    return request.raw_path.partition("?")[0]


def _malformed(request: web.Request) -> StatusError:
    return invalid(f"Malformed request: {request.method} {request.raw_path}")


def _response(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/json")


def _failure(status: int, sentence: str) -> web.Response:
    return _response(status, json.dumps({"error": sentence}))


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
