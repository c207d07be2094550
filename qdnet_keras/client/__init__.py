"""Scores and renders pictures on a TF-Serving that serves an exported QD-net.

Nothing here imports TensorFlow. Pictures travel as files, PNG or JPEG, through the signatures
`score_bytes` and `enhance_bytes`, which take any mix of sizes; `Client.predict` calls any
signature.
"""

import itertools
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.client.pictures import check_renderable, to_file
from qdnet_keras.client.rest_transport import RestTransport
from qdnet_keras.client.transport import CallError, Transport
from qdnet_keras.errors import ServerError, ServerUnreachableError
from qdnet_keras.outcomes import Enhanced, Score
from qdnet_keras.photos.files import Photo, check_pixels, read_photo, read_photo_and_bytes

__all__ = ["Client"]

Picture = str | os.PathLike[str] | bytes | np.ndarray

CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds, before the jitter


class Client:
    """A QD-net behind TF-Serving. May be used from several threads, and in a `with` statement.

    A call that finds the server unavailable (restarting, its queue full) is repeated until the
    timeout, after pauses drawn at random from 0 to a bound that doubles each time; until the
    server has answered once, for at most `connect_timeout`. The signatures depend on their inputs
    alone, so that repeating a call does no harm.

    Args:
        server: `"host:port"`: TF-Serving's gRPC port, or its REST port.
        rest: Whether the port speaks REST.
        model: Name that the server gives the model.
        version: Version of the model; by default the newest that the server has.
        label: Label of a version instead, such as `"stable"` or `"canary"`.
        timeout: Seconds that a call may take, repetitions included.
        connect_timeout: Seconds that a call may be repeated for before there was any answer.

    Raises:
        ValueError: `server` is not `host:port`, or both `version` and `label` are given.

    Example:
        >>> with Client("localhost:8500") as client:
        ...     client.score("photo.jpg").score
        ...     client.enhance("photo.jpg", target=50).pixels
    """

    def __init__(
        self,
        server: str,
        *,
        rest: bool = False,
        model: str = "qdnet",
        version: int | None = None,
        label: str | None = None,
        timeout: float = 60.0,
        connect_timeout: float = CONNECT_SECONDS,
    ):
        if not re.fullmatch(r"\[[0-9a-fA-F:.]+\]:\d{1,5}|[^:/\s]+:\d{1,5}", server):
            raise ValueError(f"A server is given as host:port. Received: server={server!r}")
        if version is not None and label is not None:
            raise ValueError("Give a version or a label of one, not both.")
        self.server, self.model = server, model
        self.timeout, self.connect_timeout = timeout, connect_timeout
        transport = RestTransport if rest else GrpcTransport
        self._transport: Transport = transport(server, model, version, label)
        self._has_answered = False

    def score(self, picture: Picture) -> Score:
        """Scores a picture.

        Args:
            picture: Path or bytes of a PNG, JPEG, TIFF or WebP file, or uint8
                or uint16 `[height, width, 3]`, sRGB-encoded, sides ≥ 32; 16 bits are rounded to 8.

        Raises:
            ImageError: The picture cannot be read.
            ServerError: The server cannot be reached, or refuses or fails.
        """
        return self.score_file(to_file(*_read(picture)))

    def enhance(self, picture: Picture, target: float) -> Enhanced:
        """Renders a picture at the score asked for, or as near to it as the model can.

        Args:
            picture: As for `score`, but of 8 bits a channel.
            target: MOS units 0..100.

        Returns:
            `Enhanced` with uint8 `pixels` of the picture's size.

        Raises:
            ImageError: The picture cannot be read, has 16 bits, or is too large for a server.
            ServerError: The server cannot be reached, or refuses or fails.
        """
        photo, data = _read(picture)
        check_renderable(photo, "The picture")
        return self.enhance_file(to_file(photo, data), target)

    def score_file(self, data: bytes) -> Score:
        """Scores a picture given as a PNG or JPEG file that needs no turning. Errors as `score`."""
        outputs = self.predict("score_bytes", {"image_bytes": _batch_of_one(data)})
        return Score(*self._scalars(outputs, ("score", "score_std", "novelty")))

    def enhance_file(self, data: bytes, target: float) -> Enhanced:
        """As `enhance`, for a PNG or JPEG file that needs no turning."""
        inputs = {"image_bytes": _batch_of_one(data), "target": np.array([target], np.float32)}
        outputs = self.predict("enhance_bytes", inputs)
        before, after, epsilon, reached = self._scalars(
            outputs, ("score_before", "score_after", "epsilon", "reached")
        )
        rendering = read_photo(self._output(outputs, "image_bytes"), "the server's rendering")
        return Enhanced(rendering.pixels, target, before, after, epsilon, bool(reached))

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature: `score`, `enhance`, `score_bytes` or `enhance_bytes`.

        Args:
            signature: Its name.
            inputs: Arrays by name, the batch first; dtype object holds bytes.

        Returns:
            Arrays by name, the batch first.

        Raises:
            ServerUnreachableError: No server answers in time.
            ServerError: The server refuses or fails.
        """
        start = time.monotonic()
        for attempt in itertools.count():
            left = start + self.timeout - time.monotonic()
            try:
                outputs = self._transport.predict(signature, inputs, max(left, 0.001))
            except CallError as error:
                patience = self.timeout
                if not self._has_answered:
                    patience = min(patience, self.connect_timeout)
                pause = random.uniform(0, min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
                in_time = time.monotonic() + pause < start + patience
                if not (_is_transient(error) and in_time):
                    raise self._explain(error) from None
                time.sleep(pause)
            else:
                self._has_answered = True
                return outputs
        raise AssertionError  # the loop does not end by itself

    def close(self) -> None:
        """Ends calls that are under way, and the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _output(self, outputs: Mapping[str, np.ndarray], name: str) -> Any:
        try:
            (value,) = outputs[name]
        except (KeyError, TypeError, ValueError):
            raise ServerError(
                f"The model {self.model} at {self.server} is no QD-net: its answer lacks {name}."
            ) from None
        return value

    def _scalars(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> list[float]:
        return [float(self._output(outputs, name)) for name in names]

    def _explain(self, error: CallError) -> ServerError:
        details = _one_line(error.details)
        if error.code == "UNAVAILABLE":
            return ServerUnreachableError(
                f"No {self._transport.name} server can be reached at {self.server} ({details}); "
                f"check that it runs and that this is its {self._transport.name} port."
            )
        if error.code == "DEADLINE_EXCEEDED":
            return ServerError(
                f"The server at {self.server} did not answer within {self.timeout:g} seconds; "
                "allow it more time or send it less at once."
            )
        if error.code == "INVALID_ARGUMENT":
            return ServerError(f"The server at {self.server} refuses the request: {details}.")
        return ServerError(f"The server at {self.server} failed: {error.code} ({details}).")


def _read(picture: Picture) -> tuple[Photo, bytes | None]:
    if isinstance(picture, np.ndarray):
        check_pixels(picture)
        return Photo(picture, None, False, "PNG"), None
    return read_photo_and_bytes(picture if isinstance(picture, bytes) else Path(picture))


def _batch_of_one(data: bytes) -> np.ndarray:
    return np.array([data], np.object_)


def _is_transient(error: CallError) -> bool:
    """Whether the same call may succeed later: no server yet, or one whose queue is full."""
    if error.code == "RESOURCE_EXHAUSTED":  # also said of messages above a limit
        return "try again" in error.details
    return error.code == "UNAVAILABLE"


def _one_line(details: str) -> str:
    """What a person needs of a status message: without TensorFlow's traces of nodes."""
    sentence = details.partition("[[{{node")[0].rpartition("last error: ")[2]
    return " ".join(sentence.split()).rstrip(".") or "no reason given"
