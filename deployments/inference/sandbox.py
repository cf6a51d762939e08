"""Runs functions in child processes, so that hostile input costs one task and nothing else.

Each child has a pipe of its own, and one task at a time. Pools that share a queue or a lock
between workers (concurrent.futures, pebble) break as a whole when one worker dies at the wrong
moment; here the end of a pipe is the end of one task.

The sandbox protects against crashes and exhaustion (memory, CPU, time). It is no jail: a
child runs as the same user, with the same files and the same network.
"""

import asyncio
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from deployments.errors import WorkerDied
from deployments.inference.sandbox_process import BEGUN, Reply, SandboxLimits, SandboxProcess, serve

__all__ = ["Sandbox", "SandboxLimits"]

P = ParamSpec("P")
T = TypeVar("T")

# multiprocessing reaps all children of a process whenever one starts, without a lock.
_lifecycle = threading.Lock()


class Sandbox:
    """A pool of child processes for one event loop.

    Children start with the first tasks and live on; one that dies is replaced by the next task.

    Attributes:
        limits: What each task may use.
    """

    def __init__(self, workers: int, limits: SandboxLimits) -> None:
        """Create the pool; no process starts yet.

        Args:
            workers: Largest number of tasks, and of child processes, at a time.
            limits: What each task may use.
        """
        self.limits = limits
        self._slots = asyncio.Semaphore(workers)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a child process and return its result.

        Function, arguments and result must be picklable. Cancelling the caller kills the
        child.

        Raises:
            ServiceError: Whatever the function raised of that family, unchanged.
            WorkerDied: The child exceeded a limit or crashed.
            RuntimeError: The function raised anything else (its traceback is the text), or
                the sandbox is closed.
        """
        async with self._slots:
            reply = None
            while reply is None:
                reply = await self._call(self._take(), function, args, kwargs)
        if reply.error is not None:
            raise reply.error
        return reply.value  # type: ignore[return-value]

    def close(self) -> None:
        """Kill all children. Tasks still running end with `WorkerDied`."""
        self._closed = True
        for child in [*self._idle, *self._busy]:
            child.kill("the sandbox was closed")
        for child in self._idle:
            child.join()
        self._idle.clear()
        self._threads.shutdown(wait=False)

    def _take(self) -> "_Child":
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        child = self._idle.pop() if self._idle else _Child(self.limits)
        self._busy.add(child)
        return child

    async def _call(
        self,
        child: "_Child",
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> Reply | None:
        loop = asyncio.get_running_loop()
        reason = f"it took longer than {self.limits.wall_seconds:g} s"
        timer = loop.call_later(self.limits.wall_seconds, child.kill, reason)
        try:
            return await asyncio.shield(
                loop.run_in_executor(self._threads, child.call, function, args, kwargs)
            )
        except asyncio.CancelledError:
            child.kill("the caller left")
            raise
        finally:
            timer.cancel()
            self._busy.discard(child)
            if child.usable:
                self._idle.append(child)


class _Child:
    """One child process and the pipe to it. `call` runs in a thread, `kill` in any other."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._connection, self._far_end = multiprocessing.Pipe()
        self._process = SandboxProcess(
            target=serve, args=(self._far_end, limits), daemon=True, name="sandbox"
        )
        self._guard = threading.Lock()
        self._started = False
        self._tasks = 0
        self._killed_because: str | None = None

    @property
    def usable(self) -> bool:
        """Whether the child can take another task, as far as this end knows."""
        return self._started and not self._connection.closed and self._killed_because is None

    def kill(self, reason: str) -> None:
        """Kill the child; a `call` in progress raises `WorkerDied` with the reason."""
        with self._guard:
            if self._killed_because is None:
                self._killed_because = reason
            if self._started:
                self._process.kill()

    def call(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Reply | None:
        """Send one task and wait for its reply.

        Returns:
            The reply, or None where the child had ended since its last task: then this task
            was never begun, and another child can take it.

        Raises:
            WorkerDied: The child ended during the task.
        """
        task = pickle.dumps((function, args, kwargs), protocol=5)
        begun = False
        try:
            self._start()
            self._connection.send_bytes(task)
            begun = self._connection.recv_bytes() == BEGUN
            reply: Reply = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            self.join()
            if not begun and self._tasks > 0 and self._killed_because is None:
                return None
            raise WorkerDied(f"A child process was stopped: {self._reason()}.") from None
        self._tasks += 1
        if reply.out_of_memory:
            self.kill("it needed more memory than allowed")
            self.join()
            raise WorkerDied(f"A child process was stopped: {self._reason()}.")
        return reply

    def join(self) -> None:
        """Wait for the end of a child that is dying."""
        if self._started:
            wait([self._process.sentinel])
            with _lifecycle:
                self._process.join()
        self._connection.close()

    def _start(self) -> None:
        if self._started:
            return
        with self._guard, _lifecycle:
            if self._killed_because is None:
                self._process.start()
                self._started = True
            self._far_end.close()

    def _reason(self) -> str:
        if self._killed_because is not None:
            return self._killed_because
        exit_code = self._process.exitcode
        if exit_code == -signal.SIGXCPU:
            return f"it used more than {self._limits.cpu_seconds} s of CPU time"
        if exit_code is not None and exit_code < 0:
            return f"it was ended by {signal.Signals(-exit_code).name}"
        return f"it ended with exit code {exit_code}"
