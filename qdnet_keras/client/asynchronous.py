"""The client for asyncio."""

import asyncio
from typing import Self

import numpy as np

from qdnet_keras.client import calls, pictures
from qdnet_keras.client.access import Access
from qdnet_keras.client.client import ClientBase
from qdnet_keras.client.grpc_transport import AsyncGrpcTransport
from qdnet_keras.client.pictures import Picture
from qdnet_keras.client.rest_transport import AsyncRestTransport
from qdnet_keras.client.retries import Retries
from qdnet_keras.client.transport import Arrays, AsyncTransport, CallError, Model
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.outcomes import Enhanced, Score


class AsyncClient(ClientBase):
    """`Client` for asyncio: same arguments, same results, same errors; for one event loop.

    Pictures are read in threads, and a call that is cancelled is cancelled at the server too (over
    gRPC).

    Example:
        >>> async with AsyncClient("localhost:8500") as client:
        ...     scores = await asyncio.gather(*map(client.score, paths))
    """

    _transport: AsyncTransport

    def _connect(self, model: Model, access: Access) -> AsyncTransport:
        transport = AsyncRestTransport if self.address.rest else AsyncGrpcTransport
        return transport(self.address, model, access)

    async def score(self, picture: Picture) -> Score:
        """See `Client.score`."""
        data = await asyncio.to_thread(pictures.to_score, picture)
        return calls.score_of(await self.predict("score_bytes", calls.score_inputs(data)))

    async def score_copy(self, picture: Picture, long_side: int = WORKING_SIDE) -> Score:
        """See `Client.score_copy`."""
        copy = await asyncio.to_thread(pictures.to_copy, picture, long_side)
        return calls.score_of(await self.predict("score_copy", {"copy": copy[None]}))

    async def enhance(self, picture: Picture, target: float) -> Enhanced:
        """See `Client.enhance`."""
        data = await asyncio.to_thread(pictures.to_render, picture)
        outputs = await self.predict("enhance_bytes", calls.enhance_inputs(data, target))
        return await asyncio.to_thread(calls.enhanced_of, outputs, target)

    async def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """See `Client.predict`."""
        retries = self._retries()
        while True:
            try:
                outputs = await self._transport.predict(signature, inputs, retries.left)
            except CallError as error:
                await asyncio.sleep(self._pause(retries, error))
            else:
                self._has_answered = True
                return outputs

    async def wait_until_loaded(self, seconds: float) -> None:
        """See `Client.wait_until_loaded`."""
        retries = Retries(seconds, seconds, until_loaded=True)
        while True:
            try:
                await self._transport.check_loaded(retries.left)
            except CallError as error:
                await asyncio.sleep(self._pause(retries, error))
            else:
                self._has_answered = True
                return

    async def close(self) -> None:
        """Ends calls that are under way, and the connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
