"""One version of a model in memory."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.eager import context, execute
from tensorflow.python.eager.cancellation import CancellationManager
from tensorflow_serving.apis import prediction_log_pb2

from qdnet_keras.server.status import StatusError, from_tensorflow, invalid

DEFAULT_SIGNATURE = "serving_default"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
STRING_BYTES = 64  # that an empty string takes in memory

Arrays = Mapping[str, np.ndarray]


class Servable:
    """A loaded SavedModel.

    Args:
        folder: Folder of the version, as the export wrote it.
        version: Its number.

    Raises:
        Exception: Whatever the loader raises on a damaged folder.
    """

    def __init__(self, folder: Path, version: int):
        self.version = version
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {
            name: signature
            for name, signature in saved.meta_graphs[0].signature_def.items()
            if not name.startswith("__")  # of the loader, not for clients
        }
        self._model = tf.saved_model.load(str(folder), [tf.saved_model.SERVING])

    def warm_up(self, folder: Path) -> int:
        """Runs the requests that the export recorded; returns their number."""
        if not (folder / WARMUP).is_file():
            return 0
        count = 0
        for record in tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            name = request.model_spec.signature_name
            self.predict(name, self.read(name, request.inputs), (), CancellationManager())
            count += 1
        return count

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature of a name.

        Raises:
            StatusError: FAILED_PRECONDITION, if there is none.
        """
        if name not in self.signatures:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]

    def read(
        self,
        signature_name: str,
        tensors: Mapping[str, tensor_pb2.TensorProto],
        max_bytes: float = math.inf,
    ) -> dict[str, np.ndarray]:
        """The arrays in a message, by the signature's names.

        Raises:
            StatusError: INVALID_ARGUMENT, if names or types are not those of the signature, or a
                tensor is damaged or larger than `max_bytes`.
        """
        signature = self.signature(signature_name)
        _check_inputs(signature, set(tensors))
        for name, tensor in tensors.items():
            _check_type(name, tensor.dtype, signature.inputs[name])
        return {name: _to_array(name, tensor, max_bytes) for name, tensor in tensors.items()}

    def predict(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: tuple[str, ...],
        cancellation: CancellationManager,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: Its name.
            inputs: Arrays by the signature's names, of its types.
            outputs: Names of the outputs wanted; none: all.
            cancellation: Ends the computation.

        Raises:
            StatusError: With the code that TF-Serving gives.
        """
        signature = self.signature(signature_name)
        _check_inputs(signature, set(inputs))
        _check_outputs(signature, outputs)
        for name, values in inputs.items():
            _check_shape(name, values, signature.inputs[name])
        tensors = {
            name: tf.constant(values, tf.as_dtype(signature.inputs[name].dtype))
            for name, values in inputs.items()
        }
        try:
            results = _run(self._model.signatures[signature_name], tensors, cancellation)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        return {name: results[name].numpy() for name in outputs or signature.outputs}


def _run(
    function: Any, tensors: Mapping[str, tf.Tensor], cancellation: CancellationManager
) -> dict[str, tf.Tensor]:
    """What `function(**tensors)` gives, with a cancellation of its own.

    TensorFlow's own context manager for that holds for all threads of a process together.
    """
    _, keywords = function.structured_input_signature
    inputs = [tensors[name] for name in tf.nest.flatten({name: name for name in keywords})]
    outputs = execute.execute_with_cancellation(
        function.name,
        num_outputs=len(function.outputs),
        inputs=[*inputs, *function.captured_inputs],
        attrs=tuple(itertools.chain(*context.context().function_call_options.as_attrs().items())),
        ctx=context.context(),
        cancellation_manager=cancellation,
    )
    return tf.nest.pack_sequence_as(function.structured_outputs, outputs)


def _to_array(name: str, tensor: tensor_pb2.TensorProto, max_bytes: float) -> np.ndarray:
    """The array in a message.

    A message of a few bytes can announce any size and let one value fill it, so the size is
    checked first.
    """
    try:
        dtype = tf.as_dtype(tensor.dtype)
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
            raise ValueError
        each = STRING_BYTES if dtype == tf.string else dtype.size
        if math.prod(sizes) * each > max_bytes:
            raise invalid(f"tensor {name} {sizes} exceeds the limit of {max_bytes:g} bytes")
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"tensor parsing error: {name}") from error


def _check_inputs(signature: meta_graph_pb2.SignatureDef, names: set[str]) -> None:
    wanted = set(signature.inputs)
    if names != wanted:
        extra, missing = (",".join(sorted(few)) for few in (names - wanted, wanted - names))
        raise invalid(
            f"input size does not match signature: {len(names)}!={len(wanted)}. "
            f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )


def _check_outputs(signature: meta_graph_pb2.SignatureDef, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{known}}}."
            )


def _check_type(name: str, dtype: int, info: meta_graph_pb2.TensorInfo) -> None:
    if dtype != info.dtype:
        raise invalid(
            f"Expected input {name} to be {tf.as_dtype(info.dtype).name} and not TensorFlow's type "
            f"{dtype}."
        )


def _check_shape(name: str, values: np.ndarray, info: meta_graph_pb2.TensorInfo) -> None:
    expected = tf.TensorShape(info.tensor_shape)
    if not expected.is_compatible_with(values.shape):
        raise invalid(f"Expected input {name} to be of shape {expected} but got {values.shape}.")
