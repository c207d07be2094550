"""Status codes of failed requests, in gRPC, HTTP and TensorFlow."""

import re

import grpc
import tensorflow as tf

MESSAGE_LIMIT = 1024  # characters, TF-Serving's own; longer ones exceed gRPC's metadata

HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_ADDED = re.compile(
    r"Graph execution error:|Detected at node .*|<stack traces unavailable>| \[Op:\S+\]$"
)
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    """A request that failed with one of gRPC's codes and a sentence."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message.encode(errors="replace").decode()[:MESSAGE_LIMIT])
        self.code = code

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(model: str, version: int | None) -> StatusError:
    """For a model or version that is not loaded; None means the newest."""
    wanted = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return StatusError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")


def from_tensorflow(error: tf.errors.OpError) -> StatusError:
    """What TF-Serving would answer, without what Python adds to the message."""
    message = _ADDED.sub("", error.message or "").strip()
    return StatusError(_BY_NUMBER.get(error.error_code, grpc.StatusCode.UNKNOWN), message)
