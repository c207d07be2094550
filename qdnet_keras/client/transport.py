"""What gRPC and REST have in common: one Predict call, and how it can fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Model:
    """Which model of a server is meant: its name, and a version or the label of one."""

    name: str
    version: int | None = None
    label: str | None = None


class CallError(Exception):
    """A call that failed.

    Attributes:
        code: Name of the gRPC status code, such as `"UNAVAILABLE"`.
        details: What the server, or the network, said about it.
    """

    def __init__(self, code: str, details: str):
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details

    @property
    def is_distrust(self) -> bool:
        """Whether the server's certificate was refused."""
        marks = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
        return any(mark in self.details for mark in marks)


class Transport(Protocol):
    """Sends calls to one server; may be used from several threads."""

    def predict(self, signature: str, inputs: Arrays, timeout: float) -> dict[str, np.ndarray]:
        """Outputs of a signature by name, bytes as dtype object.

        Args:
            inputs: Arrays whose first axis is the batch; dtype object holds bytes.
            timeout: Seconds.

        Raises:
            CallError: If there is no answer in time, or the answer is an error.
        """

    def check_loaded(self, timeout: float) -> None:
        """Raises `CallError` unless the model is ready to be called."""

    def close(self) -> None:
        """Ends calls that are under way."""


class AsyncTransport(Protocol):
    """`Transport` for asyncio."""

    async def predict(
        self, signature: str, inputs: Arrays, timeout: float
    ) -> dict[str, np.ndarray]: ...

    async def check_loaded(self, timeout: float) -> None: ...

    async def close(self) -> None: ...
