"""How many requests run and wait at a time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from qdnet_keras.server.status import StatusError


class Admission:
    """Lets `concurrency` requests run and `queue` more wait; further ones are refused at once."""

    def __init__(self, concurrency: int, queue: int):
        self.concurrency = concurrency
        self.places = concurrency + queue
        self._changed = threading.Condition()
        self._inside = 0
        self._running = 0
        self._closed = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place from before a request's body is read until it is answered.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, if all places are taken; UNAVAILABLE after `close`.
        """
        with self._changed:
            if self._closed:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE, "The server is stopping; ask another one."
                )
            if self._inside >= self.places:
                raise StatusError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"The server is busy with {self.places} requests; try again later.",
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def run(self, deadline: float) -> Iterator[None]:
        """Waits for one of the `concurrency` turns, until `deadline` on `time.monotonic`.

        Raises:
            StatusError: DEADLINE_EXCEEDED.
        """
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._running < self.concurrency,
                timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX),
            )
            if not free or time.monotonic() >= deadline:
                raise StatusError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    "The deadline passed while the request waited for its turn.",
                )
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Refuses further requests; those that have a place keep it."""
        with self._changed:
            self._closed = True

    def wait_until_idle(self, timeout: float) -> int:
        """How many requests are still not answered after at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0, timeout)
            return self._inside
