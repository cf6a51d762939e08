"""Feeds the images of jobs to one model: enough that batches fill, few enough that people
come first.

At the model are as many images as its running replicas put into one batch each; as many more
are being decoded or wait decoded. A replica takes two batches and two images, so a batch of
requests always finds room beside them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from deployments.errors import (
    ClientError,
    InsufficientStorage,
    Overloaded,
    ServerError,
    ServiceError,
    StoreUnavailable,
)
from deployments.job_places import Places
from deployments.job_worker import Answer, ImageWorker
from deployments.jobs.records import ImageLease, ImageToken
from deployments.jobs.store import JobStore
from deployments.model_client import ModelClient

log = logging.getLogger(__name__)

# Images can come back to the queue without a word: from another process, from a reaper.
_LOOK_S = 1.0
_PAUSE_S = 2.0
_PATIENCE_S = 5.0
_START_S = 60.0
_Known = dict[ImageToken, str]
# Troubles of the service that say nothing of the image: its attempt does not count.
_NOT_ITS_FAULT = (StoreUnavailable, InsufficientStorage, Overloaded)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an image has no result, and whether another attempt may help or does not count."""

    error: str
    retry: bool = False
    uncounted: bool = False


class ModelFeed:
    """Claims images for one model and reports what became of them.

    Args:
        name: Name of the model.
        store: The job store.
        client: The model.
        worker: Segments one image.
        places: The places at the model, which the worker takes.
        owner: Name of this process in leases.
        lease: How long an image is claimed.
        changed: Called with the id of a job when one of its images has changed.
    """

    def __init__(
        self,
        name: str,
        store: JobStore,
        client: ModelClient,
        worker: ImageWorker,
        places: Places,
        owner: str,
        lease: timedelta,
        changed: Callable[[str], None],
    ) -> None:
        self.name = name
        self._store = store
        self._client = client
        self._worker = worker
        self._places = places
        self._owner = owner
        self._lease = lease
        self._changed = changed
        self._replicas = 0
        self._weights: str | None = None
        self._tasks: dict[ImageToken, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    @property
    def tokens(self) -> set[ImageToken]:
        """Images that are claimed now."""
        return set(self._tasks)

    def wake(self) -> None:
        """There may be new images."""
        self._wake.set()

    async def watch(self) -> None:
        """Ask the replicas for ever how many they are, their batch size and their weights."""
        while True:
            with contextlib.suppress(TimeoutError):
                await self._take_over(await self._client.describe(_PATIENCE_S))
            await asyncio.sleep(_LOOK_S)

    async def _take_over(self, replicas: list[dict[str, Any]]) -> None:
        self._replicas = len(replicas)
        weights = {each["weights_sha256"] for each in replicas}
        self._weights = weights.pop() if len(weights) == 1 else None
        await self._places.resize(max(1, sum(each["effective_batch_size"] for each in replicas)))

    async def run(self) -> None:
        """Claim images for ever."""
        while True:
            self._wake.clear()
            room = self._room()
            # Claims are transactions: few larger ones are cheaper than one per image.
            if room > 0 and (not self._tasks or room >= self._places.limit // 2):
                try:
                    await self._claim(room)
                except ServerError as error:
                    log.warning("%s: no images claimed: %s", self.name, error)
                    await asyncio.sleep(_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()

    def _room(self) -> int:
        # Where no replica runs, one image waits for the first one to start.
        wanted = 2 * self._places.limit if self._replicas else 1
        return wanted - len(self._tasks)

    async def _claim(self, limit: int) -> None:
        leases = await self._store.images.claim(self._owner, limit, self._lease, self.name)
        # Without an await in between: from here on the heartbeat knows of them.
        known = asyncio.create_task(self._look_up(leases))
        for lease in leases:
            self._tasks[lease.token] = asyncio.create_task(self._work(lease, known))
        for job_id in {lease.token.job_id for lease in leases}:
            self._changed(job_id)

    async def _look_up(self, leases: Sequence[ImageLease]) -> _Known:
        """Return the results that are in the cache."""
        weights = self._weights
        if weights is None or not leases:
            return {}
        keys = {lease.token: self._worker.cache_key(lease, weights) for lease in leases}
        found = await self._store.results.lookup(set(keys.values()))
        return {token: found[key] for token, key in keys.items() if key in found}

    async def _work(self, lease: ImageLease, known: asyncio.Task[_Known]) -> None:
        try:
            outcome = await self._attempt(lease, known)
            await self._report(lease.token, outcome)
            if isinstance(outcome, _Failure) and outcome.uncounted:
                log.warning("%s: an image goes back: %s", self.name, outcome.error)
                await asyncio.sleep(_PAUSE_S)
        except ServerError as error:
            # The lease ends by itself, and the image is claimed again.
            log.warning("%s: the outcome of an image is not recorded: %s", self.name, error)
        finally:
            self._tasks.pop(lease.token, None)
            self._changed(lease.token.job_id)
            self._wake.set()

    async def _attempt(self, lease: ImageLease, known: asyncio.Task[_Known]) -> Answer | _Failure:
        try:
            # Shielded: the others wait for it too.
            result = (await asyncio.shield(known)).get(lease.token)
            if result is not None:
                return Answer(result, {})
            if not self._replicas and not await self._client.start(_START_S):
                return _Failure(f"{self.name} does not start", uncounted=True)
            return await self._worker.segment(lease)
        except ClientError as error:
            return _Failure(str(error))
        except ServiceError as error:
            return _Failure(str(error), retry=True, uncounted=isinstance(error, _NOT_ITS_FAULT))
        except Exception as error:
            log.exception("%s: an image failed", self.name)
            return _Failure(f"internal error: {type(error).__name__}", retry=True)

    async def _report(self, token: ImageToken, outcome: Answer | _Failure) -> None:
        queue = self._store.images
        if isinstance(outcome, Answer):
            await queue.complete(token, outcome.result, outcome.timings)
        elif outcome.uncounted:
            await queue.release([token])
        else:
            await queue.fail(token, outcome.error, retry=outcome.retry)

    async def heartbeat(self) -> None:
        """Prolong all leases; drop the images that somebody else has claimed meanwhile.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        tokens = self.tokens
        if tokens:
            for token in tokens - await self._store.images.heartbeat(tokens, self._lease):
                if token in self._tasks:
                    self._tasks[token].cancel()

    async def stop(self) -> None:
        """Drop all images and give them back."""
        tokens, tasks = list(self._tasks), list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tokens:
            await self._store.images.release(tokens)
