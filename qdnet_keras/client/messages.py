"""The messages of TF-Serving's calls, without TensorFlow.

`tensorflow_serving.apis` imports all of TensorFlow, so the few fields that a client needs are
described here. Names of messages do not travel, only numbers and types of fields do: what these
classes write is what TF-Serving reads, and the other way round. Fields that are not listed are
skipped. Source of the numbers: `model.proto`, `predict.proto` and `get_model_metadata.proto` of
TF-Serving, `tensor.proto` and `tensor_shape.proto` of TensorFlow.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from qdnet_keras.client.transport import CallError, Model

PREDICT_METHOD = "/tensorflow.serving.PredictionService/Predict"
METADATA_METHOD = "/tensorflow.serving.PredictionService/GetModelMetadata"

_PACKAGE = "qdnet_keras.client"
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Dimension": {"size": (1, "int64")},
    "TensorShape": {"dim": (2, "repeated Dimension")},
    "Tensor": {
        "dtype": (1, "int32"),  # an enum, which travels like an int32
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
    },
    "NamedTensor": {"key": (1, "string"), "value": (2, "Tensor")},  # an entry of a map
    "Version": {"value": (1, "int64")},  # google.protobuf.Int64Value
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Version"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "repeated NamedTensor")},
    "PredictResponse": {"outputs": (1, "repeated NamedTensor"), "model_spec": (2, "ModelSpec")},
    "MetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "repeated string")},
}

# NumPy's dtype: number of TensorFlow's, and the field of `Tensor` that holds its values.
_DTYPES: dict[Any, tuple[int, str]] = {
    np.dtype(np.float32): (1, "float_val"),
    np.dtype(np.float64): (2, "double_val"),
    np.dtype(np.int32): (3, "int_val"),
    np.dtype(np.uint8): (4, "int_val"),
    np.dtype(np.object_): (7, "string_val"),
    np.dtype(np.int64): (9, "int64_val"),
    np.dtype(np.bool_): (10, "bool_val"),
}
_BY_NUMBER = {number: (dtype, field) for dtype, (number, field) in _DTYPES.items()}


def _describe_field(name: str, number: int, kind: str) -> descriptor_pb2.FieldDescriptorProto:
    field = descriptor_pb2.FieldDescriptorProto(name=name, number=number)
    _, repeated, kind = kind.rpartition("repeated ")
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind in _MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
    return field


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="qdnet_keras/client.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        described = [_describe_field(field, *about) for field, about in fields.items()]
        file.message_type.add(name=name, field=described)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _message_classes()
Tensor = _CLASSES["Tensor"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
MetadataRequest = _CLASSES["MetadataRequest"]


def predict_request(model: Model, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
    """A `PredictRequest`; arrays of dtype object hold bytes."""
    request = PredictRequest()
    _fill_in(request.model_spec, model)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        request.inputs.add(key=name, value=to_tensor(array))
    return request


def metadata_request(model: Model) -> Any:
    """A `GetModelMetadataRequest` for the signatures of a model."""
    request = MetadataRequest(metadata_field=["signature_def"])
    _fill_in(request.model_spec, model)
    return request


def _fill_in(spec: Any, model: Model) -> None:
    spec.name = model.name
    if model.version is not None:
        spec.version.value = model.version
    if model.label is not None:
        spec.version_label = model.label


def outputs_of(response: Any) -> dict[str, np.ndarray]:
    """The output arrays of a `PredictResponse` by name.

    Raises:
        CallError: One of them is damaged or of an unknown type.
    """
    try:
        return {output.key: to_array(output.value) for output in response.outputs}
    except ValueError as error:
        raise CallError("INTERNAL", f"the answer cannot be understood ({error})") from None


def to_tensor(array: np.ndarray) -> Any:
    """An array of any rank as a `Tensor`."""
    number, field = _DTYPES[array.dtype]
    tensor = Tensor(dtype=number)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if field == "string_val":
        tensor.string_val.extend(array.ravel())
    else:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


def to_array(tensor: Any) -> np.ndarray:
    """The array in a `Tensor`, bytes as dtype object.

    Raises:
        ValueError: Its type is none of those above, or it holds too many or no values.
    """
    if tensor.dtype not in _BY_NUMBER:
        raise ValueError(f"Tensors of TensorFlow's type {tensor.dtype} are not supported.")
    dtype, field = _BY_NUMBER[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = _array(getattr(tensor, field), dtype)
    missing = int(np.prod(shape)) - values.size
    if missing > 0:  # TensorFlow may leave out values at the end that equal the last one
        values = np.pad(values, (0, missing), mode="edge")
    return values.reshape(shape)


def _array(values: Iterable[Any], dtype: Any) -> np.ndarray:
    return np.fromiter(values, dtype)
