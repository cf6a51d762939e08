"""One child process: how it starts, what it may use, how it answers.

Children are forked from a server process that has imported the libraries once, so that a new
child costs milliseconds and shares their memory. The server is not the one behind
``multiprocessing.set_start_method("forkserver")``: that one makes every child import the
parent's ``__main__``, which on a Ray replica is Ray's worker program.
"""

import contextlib
import fcntl
import io
import multiprocessing
import os
import pickle
import resource
import signal
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver, popen_forkserver, reduction, spawn, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess, set_spawning_popen
from multiprocessing.process import BaseProcess
from pathlib import Path

from deployments.errors import ServiceError

_SERVER = forkserver.ForkServer()
_SERVER.set_forkserver_preload(["deployments.inference.pipeline"])

BEGUN = b"begun"
"""Sent ahead of each reply: a child that ends before it has not begun the task."""

_UNLIMITED = resource.RLIM_INFINITY


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one task may use.

    Attributes:
        memory_bytes: Address space on top of what the child has when the task begins.
        cpu_seconds: CPU time over all threads, in whole seconds.
        wall_seconds: Time from the start of the task to its answer.
    """

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child sends back: a value, an error to raise, or the news that memory ran out."""

    value: object = None
    error: Exception | None = None
    out_of_memory: bool = False


class SandboxProcess(ForkServerProcess):
    """A process forked from our own server, which never imports ``__main__``."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> popen_forkserver.Popen:
        return _Popen(process_obj)


class _Popen(popen_forkserver.Popen):
    """``multiprocessing.popen_forkserver.Popen`` with two changes: the server, no ``__main__``."""

    def _launch(self, process_obj: BaseProcess) -> None:
        preparation = spawn.get_preparation_data(process_obj.name)
        for key in ("init_main_from_name", "init_main_from_path"):
            preparation.pop(key, None)
        message = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, message)
            reduction.dump(process_obj, message)
        finally:
            set_spawning_popen(None)

        self.sentinel, writer = _SERVER.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        # The child takes the closing of this end for the death of its parent.
        parent_alive = os.dup(writer)
        self.finalizer = util.Finalize(self, _close, (parent_alive, self.sentinel))
        with os.fdopen(writer, "wb") as stream:
            stream.write(message.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def serve(connection: Connection, limits: SandboxLimits) -> None:
    """Answer each task ``(function, args, kwargs)`` with a `Reply` until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the whole machine runs out of memory, the kernel takes this process first.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _die_with_parent()
    while True:
        try:
            task = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(BEGUN)
        connection.send_bytes(_answer(task, limits))


def _answer(task: bytes, limits: SandboxLimits) -> bytes:
    try:
        function, args, kwargs = pickle.loads(task)
        # The limits hold for the task alone: they must not strike between two tasks.
        _limit(limits)
        try:
            value = function(*args, **kwargs)
        finally:
            _unlimit()
        return pickle.dumps(Reply(value=value), protocol=5)
    except MemoryError:
        return pickle.dumps(Reply(out_of_memory=True))
    except ServiceError as refusal:
        return pickle.dumps(Reply(error=refusal))
    except Exception:  # noqa: BLE001 - raised again in the parent
        # Exceptions of libraries do not always survive pickling; their text does.
        error = RuntimeError(f"in a child process:\n{traceback.format_exc()}")
        return pickle.dumps(Reply(error=error))


def _limit(limits: SandboxLimits) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_limit = int(usage.ru_utime + usage.ru_stime) + 1 + limits.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, _UNLIMITED))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory_limit = pages * resource.getpagesize() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, _UNLIMITED))


def _unlimit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_UNLIMITED, _UNLIMITED))
    resource.setrlimit(resource.RLIMIT_AS, (_UNLIMITED, _UNLIMITED))


def _die_with_parent() -> None:
    """Have the kernel kill this process when the parent's end of the start-up pipe closes.

    PR_SET_PDEATHSIG would follow the fork server, and there the death of a thread; a thread
    that waits would need the GIL, which a decoder may hold.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("serve() runs in a child process only")
    fd = parent.sentinel
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    if not parent.is_alive():  # it died before the kernel was asked to watch
        os._exit(1)
