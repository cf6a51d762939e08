"""Clients: a fixed number that each wait for their answer, or arrivals that wait for nobody."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.timing import summary

_SEED = 0


@dataclass
class Observed:
    """What the clients saw.

    Attributes:
        seconds: Latency of each answered request.
        batches: Size of the device call behind each.
        stages: Seconds that the service reports for each stage, by its name.
        errors: Number of failures by status code or class.
    """

    seconds: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)

    async def send(self, client: httpx.AsyncClient, model: str, image: bytes) -> None:
        """Send one image and note what came of it."""
        started = time.perf_counter()
        try:
            response = await client.post(
                "/api/v1/segment", data={"model": model}, files={"file": ("a.png", image)}
            )
        except httpx.HTTPError as error:
            self.errors[type(error).__name__] += 1
            return
        if response.status_code != 200:
            self.errors[str(response.status_code)] += 1
            return
        self.seconds.append(time.perf_counter() - started)
        answer: dict[str, Any] = response.json()
        self.batches.append(answer["batch_size_used"])
        for part in response.headers["server-timing"].split(", "):
            stage, milliseconds = part.split(";dur=")
            self.stages.setdefault(stage, []).append(float(milliseconds) / 1000)

    def as_dict(self, wall: float) -> dict[str, object]:
        """JSON-ready figures.

        Args:
            wall: Seconds over which the requests were spread.
        """
        answered = len(self.seconds)
        return {
            "images_per_second": round(answered / wall, 3),
            **(summary(self.seconds) if answered else {}),
            "mean_batch": round(sum(self.batches) / answered, 2) if answered else None,
            "errors": dict(self.errors),
        }


async def closed_loop(
    url: str, model: str, images: Sequence[bytes], clients: int, seconds: float
) -> tuple[Observed, float]:
    """So many clients, each with one request at a time; returns what they saw, and the time."""
    observed = Observed()
    async with _client(url) as client:
        end = time.perf_counter() + seconds
        started = time.perf_counter()

        async def one(number: int) -> None:
            count = number
            while time.perf_counter() < end:
                await observed.send(client, model, images[count % len(images)])
                count += 1

        await asyncio.gather(*(one(number) for number in range(clients)))
        return observed, time.perf_counter() - started


async def open_loop(
    url: str, model: str, images: Sequence[bytes], rate: float, seconds: float
) -> tuple[Observed, float]:
    """Poisson arrivals at ``rate`` per second, whether or not earlier ones are answered."""
    observed, chance = Observed(), random.Random(_SEED)
    async with _client(url) as client, asyncio.TaskGroup() as group:
        started = time.perf_counter()
        count = 0
        while time.perf_counter() - started < seconds:
            group.create_task(observed.send(client, model, images[count % len(images)]))
            count += 1
            await asyncio.sleep(chance.expovariate(rate))
    return observed, time.perf_counter() - started


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=600, limits=limits)
