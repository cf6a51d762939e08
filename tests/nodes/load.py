"""Steady load through the proxy of every worker, with the fate of every request."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

SEGMENT = "/api/v1/segment"
_TIMEOUT_S = 120


@dataclass(frozen=True)
class Sent:
    """One request.

    Attributes:
        via: Address of the proxy that it went through.
        began: When it was sent, in seconds of ``time.monotonic()``.
        seconds: Until its answer or its failure.
        failure: Empty for an image, else what came in its place.
        accepted: Whether the proxy took it; a refused connection leaves nothing to lose.
    """

    via: str
    began: float
    seconds: float
    failure: str
    accepted: bool

    @property
    def ended(self) -> float:
        """When its answer came, or its failure."""
        return self.began + self.seconds


class Load:
    """Clients that each send an image, wait for the answer, and send the next.

    A client whose proxy takes no connection any more stops, as a load balancer forgets a pod.

    Args:
        addresses: Address of the worker of every client.
        key: API key.
        image: The image.
        model: Name of the model.
    """

    def __init__(self, addresses: Sequence[str], key: str, image: bytes, model: str) -> None:
        self.sent: list[Sent] = []
        self._addresses = addresses
        self._key = key
        self._image = image
        self._model = model
        self._stopped = False
        self._more = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Send while the block runs, and wait for the last answers."""
        clients = [asyncio.create_task(self._client(address)) for address in self._addresses]
        try:
            yield self
        finally:
            self._stopped = True
            await asyncio.gather(*clients)

    async def _client(self, address: str) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        base = f"http://{address}:8000"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT_S) as client:
            while not self._stopped:
                sent = await self._send(client, address)
                async with self._more:
                    self.sent.append(sent)
                    self._more.notify_all()
                if not sent.accepted:
                    return

    async def _send(self, client: httpx.AsyncClient, address: str) -> Sent:
        began = time.monotonic()
        failure, accepted = "", True
        try:
            answer = await client.post(
                SEGMENT, data={"model": self._model}, files={"file": ("a.png", self._image)}
            )
            if answer.status_code != 200:
                failure = f"{answer.status_code} {answer.text[:200]}"
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure, accepted = type(error).__name__, False
        except httpx.TransportError as error:
            failure = type(error).__name__
        return Sent(address, began, time.monotonic() - began, failure, accepted)

    def lost(self) -> list[Sent]:
        """Requests that were taken and not answered."""
        return [sent for sent in self.sent if sent.failure and sent.accepted]

    def seconds(self, since: float, until: float) -> list[float]:
        """How long the answered requests took that were under way at some time between."""
        return [
            sent.seconds
            for sent in self.sent
            if not sent.failure and sent.ended >= since and sent.began <= until
        ]

    async def answered(self, number: int) -> None:
        """Wait until so many more requests have been answered."""
        wanted = len(self.sent) + number
        async with asyncio.timeout(_TIMEOUT_S):
            async with self._more:
                await self._more.wait_for(lambda: len(self.sent) >= wanted)
