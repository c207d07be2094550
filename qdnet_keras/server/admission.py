"""How many requests run and wait at a time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from qdnet_keras.server.status import StatusError


class Admission:
    """Lets `concurrency` requests run and `queue` more wait; further ones are refused at once.

    For one event loop.
    """

    def __init__(self, concurrency: int, queue: int):
        self.places = concurrency + queue
        self._inside = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place from when a request has arrived whole until it is answered.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, if all places are taken; UNAVAILABLE after `close`.
        """
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
        self._idle.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._idle.set()

    def close(self) -> None:
        """Refuses further requests; those that have a place keep it."""
        self._closed = True

    async def wait_until_idle(self, seconds: float) -> int:
        """How many requests are still not answered after at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return self._inside
        return 0
