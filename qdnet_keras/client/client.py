"""The client for threads and for programs without any."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from qdnet_keras.client import calls, pictures
from qdnet_keras.client.access import Access
from qdnet_keras.client.address import Address, parse_address
from qdnet_keras.client.grpc_transport import GrpcTransport
from qdnet_keras.client.pictures import Picture
from qdnet_keras.client.rest_transport import RestTransport
from qdnet_keras.client.retries import Retries
from qdnet_keras.client.transport import Arrays, CallError, Model, Transport
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.outcomes import Enhanced, Score

CONNECT_SECONDS = 10.0


class ClientBase:
    """The options of `Client` and `AsyncClient`."""

    address: Address

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
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
    ):
        if version is not None and label is not None:
            raise ValueError("Give a version or a label of one, not both.")
        headers = dict(headers or {})
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        self.address = parse_address(server, rest)
        self.timeout, self.connect_timeout = timeout, connect_timeout
        access = Access(headers, ca_file, cert_file, key_file)
        self._transport = self._connect(Model(model, version, label), access)
        self._has_answered = False

    def _connect(self, model: Model, access: Access) -> Any:
        raise NotImplementedError

    def _retries(self) -> Retries:
        patience = self.timeout if self._has_answered else self.connect_timeout
        return Retries(self.timeout, patience)

    def _pause(self, retries: Retries, error: CallError) -> float:
        """Seconds before the next try. Raises `ServerError` if there is none."""
        pause = retries.pause(error)
        if pause is None:
            raise calls.explain(error, self.address, retries.elapsed, retries.timeout) from None
        return pause


class Client(ClientBase):
    """A QD-net behind TF-Serving. May be used from several threads, and in a `with` statement.

    A call that finds the server unavailable (restarting, its queue full) is repeated until the
    timeout, after pauses drawn at random from 0 to a bound that doubles each time; until the
    server has answered once, for at most `connect_timeout`. The signatures depend on their inputs
    alone, so that repeating a call does no harm.

    Args:
        server: `"host:port"`, or a URL: `grpc://` and `http://` are open, `grpcs://` and `https://`
            encrypted, and those of HTTP may hold a path that goes in front of `/v1/models`. Proxies
            are those of the environment (`https_proxy`, `no_proxy`), except for this machine.
        rest: Whether the port of `"host:port"` speaks REST.
        model: Name that the server gives the model.
        version: Version of the model; by default the newest that the server has.
        label: Label of a version instead, such as `"stable"` or `"canary"`.
        timeout: Seconds that a call may take, repetitions included.
        connect_timeout: Seconds that a call may be repeated for before there was any answer.
        token: Sent as `Authorization: Bearer`.
        headers: Further HTTP headers or gRPC metadata.
        ca_file: Certificates, PEM, of those who may vouch for the server; else the system's.
        cert_file: The client's own certificate, PEM.
        key_file: The key to it, PEM, unless `cert_file` holds it too.

    Raises:
        ValueError: One of these is malformed or a file cannot be used, or both `version` and
            `label` are given.

    Example:
        >>> with Client("localhost:8500") as client:
        ...     client.score("photo.jpg").score
        ...     client.enhance("photo.jpg", target=50).pixels
    """

    _transport: Transport

    def _connect(self, model: Model, access: Access) -> Transport:
        transport = RestTransport if self.address.rest else GrpcTransport
        return transport(self.address, model, access)

    def score(self, picture: Picture) -> Score:
        """Scores a picture.

        Args:
            picture: Path or bytes of a PNG, JPEG, TIFF or WebP file, or uint8
                or uint16 `[height, width, 3]`, sRGB-encoded, sides ≥ 32; 16 bits are rounded to 8.

        Raises:
            ImageError: The picture cannot be read.
            MissingPackageError: It is no plain PNG or JPEG, and what reads others is missing.
            ServerError: The server cannot be reached, or refuses or fails.
        """
        return self.score_file(pictures.to_score(picture))

    def score_copy(self, picture: Picture, long_side: int = WORKING_SIDE) -> Score:
        """As `score`, but sends the working copy that the score is computed on.

        It has a few hundred thousand pixels, however large the picture, and pictures of one aspect
        have copies of one size, so that a server with batching joins their requests.

        Args:
            picture: As for `score`; reading files needs imagecodecs and tifffile.
            long_side: That the model was exported with, pixels.
        """
        copy = pictures.to_copy(picture, long_side)
        return calls.score_of(self.predict("score_copy", {"copy": copy[None]}))

    def enhance(self, picture: Picture, target: float) -> Enhanced:
        """Renders a picture at the score asked for, or as near to it as the model can.

        Args:
            picture: As for `score`, but of 8 bits a channel.
            target: Score, 0..100.

        Returns:
            `Enhanced` with uint8 `pixels` of the picture's size.

        Raises:
            ImageError: The picture cannot be read, has 16 bits, or is too large for a server.
            MissingPackageError: As for `score`.
            ServerError: The server cannot be reached, or refuses or fails.
        """
        return self.enhance_file(pictures.to_render(picture), target)

    def score_file(self, data: bytes) -> Score:
        """Scores a picture given as a PNG or JPEG file that needs no turning. Errors as `score`."""
        return calls.score_of(self.predict("score_bytes", calls.score_inputs(data)))

    def enhance_file(self, data: bytes, target: float) -> Enhanced:
        """As `enhance`, for a PNG or JPEG file that needs no turning."""
        outputs = self.predict("enhance_bytes", calls.enhance_inputs(data, target))
        return calls.enhanced_of(outputs, target)

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Calls a signature: `score`, `enhance`, `score_bytes` or `enhance_bytes`.

        Args:
            signature: Its name.
            inputs: Arrays by name, the batch first; dtype object holds bytes.

        Returns:
            Arrays by name, the batch first.

        Raises:
            ServerUnreachableError: No server answers in time, or none that can be trusted.
            ServerError: The server refuses or fails.
        """
        retries = self._retries()
        while True:
            try:
                outputs = self._transport.predict(signature, inputs, retries.left)
            except CallError as error:
                time.sleep(self._pause(retries, error))
            else:
                self._has_answered = True
                return outputs

    def wait_until_loaded(self, seconds: float) -> None:
        """Returns as soon as the server has the model ready. Raises `ServerError` if it has not."""
        retries = Retries(seconds, seconds, until_loaded=True)
        while True:
            try:
                self._transport.check_loaded(retries.left)
            except CallError as error:
                time.sleep(self._pause(retries, error))
            else:
                self._has_answered = True
                return

    def close(self) -> None:
        """Ends calls that are under way, and the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
