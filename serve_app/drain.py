"""The end of an ingress replica's work: no new images, and time for those at work."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from deployments.errors import Overloaded


class WorkInHand:
    """Counts the images that an ingress replica works on, and can bring that to an end."""

    def __init__(self) -> None:
        self.by_model: Counter[str] = Counter()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def image(self, model: str) -> Iterator[None]:
        """Count the block as one image at work.

        Raises:
            Overloaded: The service is stopping.
        """
        if self._stopping:
            raise Overloaded("the service is stopping")
        self.by_model[model] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.by_model[model] -= 1
            if not self.by_model.total():
                self._idle.set()

    async def drain(self, seconds: float) -> int:
        """Refuse new images and wait for those at work.

        Args:
            seconds: Longest wait.

        Returns:
            Number of images that were not done in time.
        """
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self.by_model.total()
