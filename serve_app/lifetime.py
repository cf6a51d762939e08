"""How long the work for a request may live: until its deadline, and while its client waits."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from deployments.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of the time one request may take, counted from its first byte.

    Attributes:
        started: When the request came, in seconds of the event loop's clock.
        seconds: Time allowed.
    """

    started: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Start the clock now."""
        return cls(asyncio.get_running_loop().time(), seconds)

    @property
    def elapsed(self) -> float:
        """Seconds since the request came."""
        return asyncio.get_running_loop().time() - self.started

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cancel the block at the deadline.

        Raises:
            DeadlineExceeded: The block was cancelled for that reason.
        """
        try:
            async with asyncio.timeout_at(self.started + self.seconds) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(f"Not answered within {self.seconds:g} seconds.") from error


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``, and cancel it when the client goes away.

    Call it once the body has been read. Ray Serve cancels the request by itself; other ASGI
    servers only tell.

    Raises:
        ClientDisconnect: The client went away first.
    """

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(work)
    watch = asyncio.create_task(wait_for_disconnect())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.cancelled():
            # Nobody here asked for it; as a cancellation it would leave the client unanswered.
            raise RuntimeError("The work was cancelled from elsewhere.")
        if task.done():
            return task.result()
        watch.result()
        raise ClientDisconnect
    finally:
        unfinished = [each for each in (task, watch) if not each.done()]
        for each in unfinished:
            each.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
