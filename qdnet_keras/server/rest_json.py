"""JSON of TF-Serving's REST API to arrays and back, in its row and its columnar format.

    {"signature_name": S, "instances": [{"image": [...], "target": 60}, ...]}  row
    {"signature_name": S, "inputs": {"image": [...], "target": [60]}}         columnar

With one input its name may be left out. Bytes are `{"b64": "..."}`, in answers wherever the name of
an output ends in `_bytes`.
"""

import base64
import binascii
import json
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from qdnet_keras.server.status import invalid


def parse_body(body: bytes) -> dict[str, Any]:
    """The object in a request. Raises `StatusError`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid("JSON Parse error: the request is not an object")
    name = document.get("signature_name", "")
    if not isinstance(name, str) or not _is_unicode(name):
        raise invalid("'signature_name' key must be a string value.")
    if ("instances" in document) == ("inputs" in document):
        raise invalid("Give either an 'inputs' or an 'instances' key")
    return document


def read_inputs(
    document: dict[str, Any], signature: meta_graph_pb2.SignatureDef
) -> dict[str, np.ndarray]:
    """Arrays by the names of the signature's inputs. Raises `StatusError`."""
    kinds = {name: tf.as_dtype(info.dtype) for name, info in signature.inputs.items()}
    columns = (
        _columns_of_rows(document["instances"], set(kinds))
        if "instances" in document
        else _columns(document["inputs"], set(kinds))
    )
    return {name: _array(name, values, kinds[name]) for name, values in columns.items()}


def _columns_of_rows(rows: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise invalid("'instances' must be a list of at least one value")
    named = [isinstance(row, dict) and not _is_base64(row) for row in rows]
    if not any(named):
        if len(names) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input "
                f"tensors are required: {', '.join(sorted(names))}"
            )
        return {names.copy().pop(): rows}
    for index, row in enumerate(rows):
        if not named[index] or row.keys() != names:
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object keys must "
                f"be equal to: {','.join(sorted(names))}"
            )
    return {name: [row[name] for row in rows] for name in names}


def _columns(inputs: Any, names: set[str]) -> dict[str, Any]:
    if isinstance(inputs, dict) and not _is_base64(inputs):
        if missing := names - inputs.keys():
            raise invalid(f"Missing named input: {min(missing)} in 'inputs' object.")
        return {name: inputs[name] for name in names}
    if len(names) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors are "
            f"required: {', '.join(sorted(names))}"
        )
    return {names.copy().pop(): inputs}


def _array(name: str, values: Any, kind: tf.DType) -> np.ndarray:
    try:
        if kind == tf.string:
            return np.array(_decoded(values), object)
        array = np.array(values)
    except ValueError:
        raise invalid(f"The lists of {name} have different lengths.") from None
    numeric = array.dtype.kind in ("iu" if kind.is_integer else "iuf") or not array.size
    if not numeric or (array.size and kind.is_integer and not _in_range(array, kind)):
        raise invalid(f"JSON Value of {name} is not of expected type: {kind.name}")
    return array.astype(kind.as_numpy_dtype)


def _in_range(array: np.ndarray, kind: tf.DType) -> bool:
    return kind.min <= array.min() and array.max() <= kind.max


def _decoded(values: Any) -> Any:
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    if isinstance(values, str):
        if not _is_unicode(values):
            raise invalid("JSON Parse error: half of a surrogate pair in a string")
        return values.encode()
    if not _is_base64(values):
        raise invalid("JSON Value not formatted correctly for base64 data")
    try:
        return base64.b64decode(values["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which JSON can write and UTF-8 cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def answer(results: dict[str, np.ndarray], *, rows: bool) -> dict[str, Any]:
    """The answer in the format of the request. Raises `StatusError`."""
    columns = {name: _jsonable(name, values) for name, values in results.items()}
    single = next(iter(columns)) if len(columns) == 1 else None
    if not rows:
        return {"outputs": columns if single is None else columns[single]}
    counts = {len(values) if values.ndim else 0 for values in results.values()}
    if len(counts) != 1 or 0 in counts:
        raise invalid("The outputs have no batch dimension in common; ask with 'inputs' instead.")
    if single is not None:
        return {"predictions": columns[single]}
    count = counts.pop()
    return {
        "predictions": [
            {name: column[row] for name, column in columns.items()} for row in range(count)
        ]
    }


def _jsonable(name: str, values: np.ndarray) -> Any:
    if values.dtype == object:
        return _encoded(values.tolist(), as_base64=name.endswith("_bytes"))
    if values.dtype.kind == "f":  # the shortest decimals that give the same float32 again
        values = values.astype(str).astype(float)
    return values.tolist()


def _encoded(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_encoded(item, as_base64) for item in value]
    if as_base64:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode(errors="replace")
