"""Steps that a replica repeats as long as it lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployments.errors import ServerError

log = logging.getLogger(__name__)


async def repeat(step: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Repeat a step for ever.

    Where the store does not answer, the next turn tries again.

    Args:
        step: Called again and again.
        seconds: Pause between two calls.

    Raises:
        BaseException: What the step raised, other than a ``ServerError``.
    """
    while True:
        try:
            await step()
        except ServerError as error:
            log.warning("%s: %s", step.__qualname__, error)
        await asyncio.sleep(seconds)
