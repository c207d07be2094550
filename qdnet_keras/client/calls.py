"""What a call of a QD-net holds, what its answer means, and what its failure is called."""

import io
import re
from typing import Any

import numpy as np
from PIL import Image

from qdnet_keras.client.address import Address
from qdnet_keras.client.transport import Arrays, CallError
from qdnet_keras.errors import ServerError, ServerUnreachableError
from qdnet_keras.outcomes import RESULTS, SCORES, Enhanced, Score


def score_inputs(data: bytes) -> Arrays:
    """Inputs of `score_bytes` for one PNG or JPEG file."""
    return {"image_bytes": np.array([data], np.object_)}


def enhance_inputs(data: bytes, target: float) -> Arrays:
    """Inputs of `enhance_bytes` for one PNG or JPEG file."""
    return {**score_inputs(data), "target": np.array([target], np.float32)}


def score_of(outputs: Arrays) -> Score:
    """The score in an answer for one picture. Raises `ServerError`."""
    return Score(**{name: float(_single(outputs, name)) for name in SCORES})


def enhanced_of(outputs: Arrays, target: float) -> Enhanced:
    """The rendering in an answer for one picture. Raises `ServerError`."""
    results = {name: _single(outputs, name).item() for name in RESULTS}
    try:
        with Image.open(io.BytesIO(_single(outputs, "image_bytes"))) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise ServerError(f"The server's rendering cannot be decoded ({error}).") from None
    return Enhanced(pixels=pixels, target=target, **results)


def _single(outputs: Arrays, name: str) -> Any:
    try:
        (value,) = outputs[name]
    except (KeyError, TypeError, ValueError):
        raise ServerError(f"The model is no QD-net: its answer lacks {name}.") from None
    return value


def explain(error: CallError, address: Address, elapsed: float, timeout: float) -> ServerError:
    """A sentence about a call that failed for good.

    Args:
        error: How it failed.
        address: The server's.
        elapsed, timeout: Seconds that passed, and that were allowed.
    """
    at, details = address.authority, _one_line(error.details)
    if error.is_distrust:
        return ServerUnreachableError(
            f"The certificate of {at} is not one to trust ({details}); "
            "name the file of the authority that signed it."
        )
    if error.code == "UNAVAILABLE":
        protocol = "REST" if address.rest else "gRPC"
        return ServerUnreachableError(
            f"No {protocol} server can be reached at {at} ({details}); "
            f"check that it runs and that this is its {protocol} port."
        )
    if error.code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return ServerUnreachableError(
            f"The server at {at} wants to know who asks ({details}); give a token that it accepts."
        )
    if error.code == "DEADLINE_EXCEEDED" and elapsed < 0.95 * timeout:
        return ServerError(f"The server at {at} gave up after {elapsed:.2g} seconds ({details}).")
    if error.code == "DEADLINE_EXCEEDED":
        return ServerError(
            f"The server at {at} did not answer within {timeout:g} seconds; "
            "allow it more time or send it less at once."
        )
    if error.code == "INVALID_ARGUMENT":
        return ServerError(f"The server at {at} refuses the request: {details}.")
    return ServerError(f"The server at {at} failed: {error.code} ({details}).")


def _one_line(details: str) -> str:
    """What a person needs of a status message: without traces of nodes and addresses tried."""
    sentence = details.partition("[[{{node")[0].rpartition("last error: ")[2]
    sentence = re.sub(r"\b(UNKNOWN|UNAVAILABLE): |\bipv[46]:\S+: ", "", sentence)
    return " ".join(sentence.split()).rstrip(".") or "no reason given"
