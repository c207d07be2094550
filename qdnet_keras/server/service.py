"""What the server answers, whatever the protocol."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc
from tensorflow.python.eager.cancellation import CancellationManager
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from qdnet_keras.server.admission import Admission
from qdnet_keras.server.servable import Servable
from qdnet_keras.server.status import StatusError, invalid, not_found
from qdnet_keras.server.versions import Versions

METADATA_FIELD = "signature_def"

Answer = TypeVar("Answer")
Work = Callable[[Servable, CancellationManager], Answer]


class Service:
    """Predictions, metadata and status of one model.

    Args:
        versions: The model's.
        concurrency, queue: Requests that compute, and that wait, at a time.
    """

    def __init__(self, versions: Versions, concurrency: int, queue: int):
        self.versions = versions
        self.admission = Admission(concurrency, queue)
        self._pool = ThreadPoolExecutor(concurrency)

    async def compute(
        self, spec: model_pb2.ModelSpec, work: Work[Answer], seconds: float | None
    ) -> Answer:
        """Runs `work` in a thread, with the version that the request names.

        Where nobody wants the answer any more (cancelled, out of time), the computation ends.

        Args:
            spec: Name, and version or label, of the request.
            work: Called with the loaded version and what cancels its computation.
            seconds: That waiting and computing may take together; None: any time.

        Raises:
            StatusError: DEADLINE_EXCEEDED, what `Admission.place` raises, or what `work` does.
        """
        version = self._version_of(spec)
        cancellation = CancellationManager()

        def run() -> Answer:
            with self.versions.use(version) as servable:
                return work(servable, cancellation)

        with self.admission.place():
            future = self._pool.submit(run)
            try:
                async with asyncio.timeout(seconds):
                    return await asyncio.wrap_future(future)
            except TimeoutError:
                raise StatusError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"The request was not answered within {seconds or 0:.3g} seconds.",
                ) from None
            finally:
                cancellation.start_cancel()

    def metadata(
        self, spec: model_pb2.ModelSpec, fields: Iterable[str]
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version. Raises `StatusError`."""
        fields = list(fields)
        if not fields:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in fields:
            if field != METADATA_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.versions.use(self._version_of(spec)) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            response.metadata[METADATA_FIELD].Pack(signatures)
            response.model_spec.name = spec.name
            response.model_spec.version.value = servable.version
        return response

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """States of one version, or of all that the server has seen. Raises `StatusError`."""
        _refuse_label(spec)
        known = self.versions.status if spec.name == self.versions.name else {}
        if spec.HasField("version"):
            known = {key: value for key, value in known.items() if key == spec.version.value}
            missing = f"Could not find version {spec.version.value} of model {spec.name}"
        else:
            missing = f"Could not find any versions of model {spec.name}"
        if not known:
            raise StatusError(grpc.StatusCode.NOT_FOUND, missing)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in sorted(known.items(), reverse=True):
            entry = response.model_version_status.add(version=version, state=status.state)
            entry.status.error_code = status.code.value[0]
            entry.status.error_message = status.message
        return response

    def _version_of(self, spec: model_pb2.ModelSpec) -> int | None:
        """The version that a request names, None for the newest. Raises `StatusError`."""
        _refuse_label(spec)
        version = spec.version.value if spec.HasField("version") else None
        if spec.name != self.versions.name:
            raise not_found(spec.name, version)
        return version


def _refuse_label(spec: model_pb2.ModelSpec) -> None:
    if spec.version_label:
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
