"""What gRPC and REST have in common: one Predict call, and how it can fail."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class CallError(Exception):
    """A Predict call that failed.

    Attributes:
        code: Name of the gRPC status code, such as `"UNAVAILABLE"`.
        details: What the server, or the network, said about it.
    """

    def __init__(self, code: str, details: str):
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class Transport(Protocol):
    """Sends Predict calls to one server; may be used from several threads."""

    name: str

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """Outputs of a signature by name, bytes as dtype object.

        Args:
            inputs: Arrays whose first axis is the batch; dtype object holds bytes.
            timeout: Seconds.

        Raises:
            CallError: If there is no answer in time, or the answer is an error.
        """

    def close(self) -> None:
        """Ends calls that are under way."""
