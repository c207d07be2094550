"""One version of a model in memory: a session with the SavedModel's graph and variables."""

import math
import time
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from qdnet_keras.server.status import StatusError, from_tensorflow, invalid

DEFAULT_SIGNATURE = "serving_default"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


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
        options = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        options.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=options)
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(
                self._session, [tf.saved_model.SERVING], str(folder)
            )
        self._session.graph.finalize()
        self.signatures = dict(meta_graph.signature_def)

    def warm_up(self, folder: Path) -> int:
        """Runs the requests that the export recorded; returns their number."""
        if not (folder / WARMUP).is_file():
            return 0
        count = 0
        for record in tf.compat.v1.io.tf_record_iterator(str(folder / WARMUP)):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: to_array(name, tensor) for name, tensor in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)
            count += 1
        return count

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature of a name, the default one for "".

        Raises:
            StatusError: FAILED_PRECONDITION, if there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]

    def predict(
        self,
        signature_name: str,
        inputs: dict[str, np.ndarray],
        outputs: tuple[str, ...] = (),
        deadline: float = math.inf,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: Its name, or "" for the default.
            inputs: Arrays by the signature's names.
            outputs: Names of the outputs wanted, by default all.
            deadline: On `time.monotonic`; the computation is cancelled when it passes.

        Raises:
            StatusError: With the code that TF-Serving gives.
        """
        signature = self.signature(signature_name)
        _check_names(signature, inputs, outputs)
        for name, values in inputs.items():
            _check_type(name, values, signature.inputs[name])
        fetches = {name: signature.outputs[name].name for name in outputs or signature.outputs}
        feeds = {signature.inputs[name].name: values for name, values in inputs.items()}
        try:
            return self._session.run(fetches, feeds, options=_run_options(deadline))
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        except (TypeError, ValueError) as error:  # of a shape that the signature rules out
            raise invalid(str(error)) from None

    def close(self) -> None:
        self._session.close()


def to_array(name: str, tensor: tensor_pb2.TensorProto, max_bytes: float = math.inf) -> np.ndarray:
    """The array in a message.

    A message of a few bytes can announce any size and let one value fill it, so the size is
    checked first.

    Raises:
        StatusError: INVALID_ARGUMENT, if it is damaged or larger than `max_bytes`.
    """
    try:
        dtype = tf.as_dtype(tensor.dtype)
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
            raise ValueError
        if math.prod(sizes) * max(dtype.size or 1, 1) > max_bytes:
            raise invalid(f"tensor {name} {sizes} exceeds the limit of {max_bytes:g} bytes")
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise invalid(f"tensor parsing error: {name}") from error


def _check_names(
    signature: meta_graph_pb2.SignatureDef,
    inputs: dict[str, np.ndarray],
    outputs: tuple[str, ...],
) -> None:
    if inputs.keys() != signature.inputs.keys():
        extra = ",".join(sorted(inputs.keys() - signature.inputs.keys()))
        missing = ",".join(sorted(signature.inputs.keys() - inputs.keys()))
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)}. "
            f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )
    for name in outputs:
        if name not in signature.outputs:
            known = ",".join(sorted(signature.outputs))
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{known}}}."
            )


def _check_type(name: str, values: np.ndarray, info: meta_graph_pb2.TensorInfo) -> None:
    expected = tf.as_dtype(info.dtype)
    fits = values.dtype == object if expected == tf.string else values.dtype == expected
    if not fits:
        raise invalid(f"Expected input {name} to be {expected.name} but got {values.dtype}.")


def _run_options(deadline: float) -> tf.compat.v1.RunOptions | None:
    if math.isinf(deadline):
        return None
    milliseconds = max(1, round((deadline - time.monotonic()) * 1000))
    return tf.compat.v1.RunOptions(timeout_in_ms=min(milliseconds, 2**31 - 1))
