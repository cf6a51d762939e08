"""A semaphore whose size changes while it is in use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """So many may be inside at a time.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._freed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """How many may be inside."""
        return self._limit

    async def resize(self, limit: int) -> None:
        """Change the limit; those inside stay."""
        async with self._freed:
            self._limit = limit
            self._freed.notify_all()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place, first come first served, and hold it during the block."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._taken < self._limit)
            self._taken += 1
        try:
            yield
        finally:
            async with self._freed:
                self._taken -= 1
                self._freed.notify_all()
