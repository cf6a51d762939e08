"""Clients of one model, whose number changes, and what became of each request."""

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass

import httpx

from benchmarks.job_service import images

_BUCKET_S = 2.0


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        sent: Seconds since the start.
        seconds: Until the answer.
        outcome: Status code, or the name of an error.
    """

    sent: float
    seconds: float
    outcome: str


class Load:
    """Clients of one model, each with one request at a time, and what became of each request.

    Args:
        client: HTTP client of the service.
        model: The model that they ask.
    """

    def __init__(self, client: httpx.AsyncClient, model: str) -> None:
        self.clients = 0
        self.sent = 0
        self.requests: list[Request] = []
        self._client = client
        self._model = model
        self._images = itertools.cycle(images(0, 8))
        self.started = time.time()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.time() - self.started

    async def send(self) -> Request:
        """Send one image and note what came of it."""
        self.sent += 1
        sent = self.seconds
        try:
            response = await self._client.post(
                "/api/v1/segment",
                data={"model": self._model},
                files={"file": ("a.png", next(self._images))},
            )
            outcome = str(response.status_code)
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        request = Request(round(sent, 3), round(self.seconds - sent, 3), outcome)
        self.requests.append(request)
        return request

    async def keep_up(self, clients: int, seconds: float) -> None:
        """So many clients for so long; returns when the last of them has its answer."""
        self.clients = clients
        end = self.seconds + seconds

        async def one() -> None:
            while self.seconds < end:
                await self.send()

        await asyncio.gather(*(one() for _ in range(clients)))

    def latency(self) -> list[list[float]]:
        """Time, median and longest seconds of what was sent within each two seconds."""
        buckets: dict[float, list[float]] = {}
        for request in self.requests:
            at = request.sent // _BUCKET_S * _BUCKET_S
            buckets.setdefault(at, []).append(request.seconds)
        return [
            [at, round(statistics.median(times), 3), max(times)]
            for at, times in sorted(buckets.items())
        ]
