"""A feed on a real store, before a model that the test holds in its hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from deployments.config import ModelSpec
from deployments.errors import ServiceError
from deployments.inference.types import ProbabilityMap, UInt8Array
from deployments.job_events import JobFollower
from deployments.job_feed import ModelFeed
from deployments.job_places import Places
from deployments.job_worker import ImageWorker, JobLimits
from deployments.jobs.records import Image, Job, NewImage, NewJob
from deployments.jobs.store import JobStore

SIDE = 64
WEIGHTS = "a" * 64
LIMITS = JobLimits(
    max_image_pixels=1_000_000,
    image_seconds=60,
    decode_workers=2,
    decode_memory_mb=1024,
    decode_cpu_seconds=10,
    decode_wall_seconds=30,
    metrics_convention="2026",
)
SPEC = ModelSpec(implementation="deployments.inference.models:HRNet", input_size=SIDE)


class FakeModel:
    """Stands for ``ModelClient``: answers one bright square, or what the test says.

    Attributes:
        replicas: What ``describe`` answers.
        errors: Raised by the next calls, one each.
        held: While cleared, calls wait.
        calls: Number of calls of ``segment``.
        inside: Calls that wait now.
        most: Most calls that ever waited at a time.
        starts: Whether ``start`` brings up a replica.
        refusals: Calls of ``start`` that did not.
    """

    def __init__(self, batch_size: int = 4) -> None:
        self.replicas = [{"effective_batch_size": batch_size, "weights_sha256": WEIGHTS}]
        self.errors: list[ServiceError] = []
        self.held = asyncio.Event()
        self.held.set()
        self.calls = self.inside = self.most = 0
        self.starts = True
        self.refusals = 0
        self._moved = asyncio.Condition()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at whenever a call comes or goes."""
        async with asyncio.timeout(60), self._moved:
            await self._moved.wait_for(condition)

    async def _move(self, step: int) -> None:
        async with self._moved:
            self.inside += step
            self.most = max(self.most, self.inside)
            self._moved.notify_all()

    async def segment(self, pixels: UInt8Array, deadline: float) -> ProbabilityMap:
        self.calls += 1
        await self._move(1)
        try:
            await self.held.wait()
        finally:
            await self._move(-1)
        if self.errors:
            raise self.errors.pop(0)
        probability = np.zeros((SIDE, SIDE), np.uint8)
        probability[16:48, 16:48] = 255
        weights = str(self.replicas[0]["weights_sha256"])
        return ProbabilityMap(probability, 1, "cpu", weights, 0.01, 0.0, 0.0)

    async def describe(self, seconds: float) -> list[dict[str, Any]]:
        return self.replicas

    async def start(self, seconds: float) -> bool:
        async with self._moved:
            self.refusals += not self.starts
            self._moved.notify_all()
        return self.starts


@dataclass
class Feeding:
    """A running feed and a way to wait for what it does."""

    feed: ModelFeed
    follower: JobFollower

    async def until_ended(self, store: JobStore, job: Job) -> Job:
        """Wait until a job has ended."""
        self.feed.wake()
        last_id, ended = 0, False
        async with asyncio.timeout(60):
            while not ended:
                followed = await self.follower.follow(job.id, "lab", last_id, seconds=60)
                last_id += len(followed.events)
                ended = followed.ended
        return await store.jobs.get(job.id, "lab")


@asynccontextmanager
async def feeding(
    store: JobStore, model: FakeModel, owner: str = "worker", watch: bool = True
) -> AsyncIterator[Feeding]:
    """A running feed of the model ``hrnet``."""
    sandbox = LIMITS.sandbox(LIMITS.decode_workers)
    places = Places(1)
    client: Any = model
    worker = ImageWorker(store, sandbox, client, SPEC, LIMITS, places)
    follower = JobFollower(store)
    feed = ModelFeed(
        "hrnet", store, client, worker, places, owner, timedelta(seconds=60), follower.notify
    )
    tasks = [asyncio.create_task(feed.run())]
    if watch:
        tasks.append(asyncio.create_task(feed.watch()))
    try:
        yield Feeding(feed, follower)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await feed.stop()
        sandbox.close()


async def accept_images(store: JobStore, contents: list[bytes], **fields: Any) -> Job:
    """Accept a job with these files."""
    refs = await store.save(contents)
    images = tuple(NewImage(f"{n}.png", ref) for n, ref in enumerate(refs))
    values = {"model": "hrnet", "threshold": 0.5, "detect_holes": True, **fields}
    job, _ = await store.jobs.create(NewJob(tenant="lab", images=images, **values))
    return job


async def images_of(store: JobStore, job: Job) -> list[Image]:
    """All images of a job."""
    return list(await store.jobs.images(job.id, "lab", 1000))
