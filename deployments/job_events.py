"""Wakes those who follow a job when something happens to it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from deployments.jobs.records import Event
from deployments.jobs.store import JobStore

# What another process does to the job is seen at the next look.
_LOOK_S = 1.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Followed:
    """Events of a job, and whether they are the last ones it will ever have."""

    events: Sequence[Event]
    ended: bool


class JobFollower:
    """Waits for the events of jobs.

    Args:
        store: Where the events are.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        # Those who wait keep an entry alive.
        self._changes: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def notify(self, job_id: str) -> None:
        """Something happened to a job."""
        change = self._changes.pop(job_id, None)
        if change is not None:
            change.set()

    async def follow(
        self, job_id: str, tenant: str | None, last_id: int, seconds: float
    ) -> Followed:
        """Return the events after ``last_id``, waiting for the first one if need be.

        Args:
            seconds: Longest wait; after it the events are empty.

        Raises:
            NotFound: There is no such job of this tenant.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            # Before the look, so that no change falls between the look and the wait.
            change = self._changes.setdefault(job_id, asyncio.Event())
            # The state before the events: if it is terminal, all events are there.
            job = await self._store.jobs.get(job_id, tenant)
            events = await self._store.jobs.events_since(job_id, tenant, last_id, _PAGE)
            ended = job.state.is_terminal and len(events) < _PAGE
            remaining = deadline - loop.time()
            if events or ended or remaining <= 0:
                return Followed(events, ended)
            try:
                async with asyncio.timeout(min(_LOOK_S, remaining)):
                    await change.wait()
            except TimeoutError:
                continue
