"""Threads for what would block an event loop."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_thread(name: str, niceness: int = 0) -> ThreadPoolExecutor:
    """Return one thread, which does one thing after the other.

    Args:
        name: Its name, for people who look at the process.
        niceness: How much it, and the processes that it starts, yield to others: 0 to 19, see
            setpriority(2). On Linux that concerns this thread alone.
    """

    def yield_to_others() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)

    return ThreadPoolExecutor(1, name, initializer=yield_to_others if niceness else None)


async def in_thread(thread: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    """Run a function there, as part of the same trace, and wait for what it returns."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(thread, context.run, function)
