"""What the server answers, whatever the protocol."""

import math
from collections.abc import Iterable

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from qdnet_keras.server.admission import Admission
from qdnet_keras.server.servable import DEFAULT_SIGNATURE
from qdnet_keras.server.status import StatusError, invalid, not_found
from qdnet_keras.server.versions import Versions

METADATA_FIELD = "signature_def"


class Service:
    """Predictions, metadata and status of one model."""

    def __init__(self, versions: Versions, admission: Admission):
        self.versions = versions
        self.admission = admission

    def version_of(self, spec: model_pb2.ModelSpec) -> int | None:
        """The version that a request names, None for the newest.

        Raises:
            StatusError: NOT_FOUND for another model, INVALID_ARGUMENT for a label.
        """
        if spec.version_label:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if spec.HasField("version") else None
        if spec.name != self.versions.name:
            raise not_found(spec.name, version)
        return version

    def predict(
        self,
        spec: model_pb2.ModelSpec,
        inputs: dict[str, np.ndarray],
        outputs: tuple[str, ...] = (),
        deadline: float = math.inf,
    ) -> tuple[model_pb2.ModelSpec, dict[str, np.ndarray]]:
        """Runs a signature; returns what was used and the arrays. Raises `StatusError`."""
        with self.versions.use(self.version_of(spec)) as servable:
            results = servable.predict(spec.signature_name, inputs, outputs, deadline)
            used = model_pb2.ModelSpec(
                name=spec.name, signature_name=spec.signature_name or DEFAULT_SIGNATURE
            )
            used.version.value = servable.version
            return used, results

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
        with self.versions.use(self.version_of(spec)) as servable:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
            response.metadata[METADATA_FIELD].Pack(signatures)
            response.model_spec.name = spec.name
            response.model_spec.version.value = servable.version
        return response

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """States of one version, or of all that the server has seen. Raises `StatusError`."""
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
