"""Results, errors, limits and cancellation of tasks in child processes."""

import asyncio
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.errors import InvalidFields, InvalidImage, WorkerDied
from deployments.inference.sandbox import Sandbox, SandboxLimits

LIMITS = SandboxLimits(memory_bytes=64 << 20, cpu_seconds=1, wall_seconds=20)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    pool = Sandbox(2, LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: opening one end waits for the other."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def exit_at_once(code: int) -> None:
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def spin() -> None:
    while True:
        pass


def use_memory() -> int:
    return len(bytearray(1 << 30))


def sleep_for_an_hour() -> None:
    time.sleep(3600)


def wait_for_writer(pipe: Path) -> str:
    return pipe.read_text()


def announce_and_spin(pipe: Path) -> None:
    pipe.write_text(str(os.getpid()))
    spin()


def raise_error(error: Exception) -> None:
    raise error


class TwoArguments(Exception):
    """Cannot be unpickled: its pickle calls it with one argument."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


def raise_unpicklable() -> None:
    raise TwoArguments("a", "b")


def return_unpicklable() -> Callable[[], None]:
    return lambda: None


def cpu_and_memory_left() -> tuple[float, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    cpu_limit, _ = resource.getrlimit(resource.RLIMIT_CPU)
    memory_limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = usage.ru_utime + usage.ru_stime
    return cpu_limit - used, memory_limit - pages * resource.getpagesize()


def loaded_modules() -> set[str]:
    return set(sys.modules)


def wait_until_dead(pid_fd: int) -> None:
    ready, _, _ = select.select([pid_fd], [], [], 20)
    assert ready, "the process is still alive"
    os.close(pid_fd)


async def test_returns_the_result_of_the_function(sandbox: Sandbox) -> None:
    assert await sandbox.run(divmod, 17, 5) == (3, 2)
    assert await sandbox.run(int, "ff", base=16) == 255


async def test_starts_lazily_and_keeps_its_children(sandbox: Sandbox) -> None:
    first = await sandbox.run(os.getpid)
    assert first != os.getpid()
    assert await sandbox.run(os.getpid) == first


async def test_runs_as_many_tasks_at_a_time_as_it_has_workers(sandbox: Sandbox, pipe: Path) -> None:
    # Neither end of the pipe opens without the other.
    read, _ = await asyncio.gather(
        sandbox.run(wait_for_writer, pipe), sandbox.run(pipe.write_text, "met")
    )
    assert read == "met"


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (exit_at_once, (1,), "exit code 1"),
        (exit_at_once, (0,), "exit code 0"),
        (segfault, (), "SIGSEGV"),
        (kill_oneself, (), "SIGKILL"),
        (use_memory, (), "more memory"),
        (spin, (), "more than 1 s of CPU time"),
    ],
)
async def test_a_dying_child_costs_its_own_task_only(
    sandbox: Sandbox,
    pipe: Path,
    function: Callable[..., object],
    args: tuple[object, ...],
    reason: str,
) -> None:
    neighbour = asyncio.create_task(sandbox.run(wait_for_writer, pipe))
    with pytest.raises(WorkerDied, match=reason):
        await sandbox.run(function, *args)
    assert not neighbour.done()
    await asyncio.to_thread(pipe.write_text, "alive")
    assert await neighbour == "alive"
    assert await sandbox.run(abs, -1) == 1


async def test_ends_a_task_at_the_wall_limit() -> None:
    sandbox = Sandbox(1, SandboxLimits(memory_bytes=64 << 20, cpu_seconds=5, wall_seconds=0.2))
    with pytest.raises(WorkerDied, match="longer than"):
        await sandbox.run(sleep_for_an_hour)
    sandbox.close()


async def test_limits_begin_anew_with_each_task(sandbox: Sandbox) -> None:
    for _ in range(3):
        await sandbox.run(sum, range(10**6))
        cpu, memory = await sandbox.run(cpu_and_memory_left)
        assert LIMITS.cpu_seconds <= cpu <= LIMITS.cpu_seconds + 1
        assert LIMITS.memory_bytes * 0.9 <= memory <= LIMITS.memory_bytes


async def test_an_idle_child_that_was_killed_costs_nothing(sandbox: Sandbox) -> None:
    for _ in range(5):
        os.kill(await sandbox.run(os.getpid), signal.SIGKILL)
        assert await sandbox.run(abs, -1) == 1


async def test_a_fork_server_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    child, server = await sandbox.run(os.getpid), await sandbox.run(os.getppid)
    watched = os.pidfd_open(server)
    os.kill(server, signal.SIGKILL)
    wait_until_dead(watched)
    assert await sandbox.run(os.getpid) == child
    os.kill(child, signal.SIGKILL)
    assert await sandbox.run(os.getppid) != server


@pytest.mark.parametrize(
    "error",
    [
        InvalidImage("no image"),
        InvalidFields([{"loc": ["body"], "msg": "wrong", "type": "value_error"}]),
    ],
)
async def test_service_errors_come_back_as_themselves(sandbox: Sandbox, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await sandbox.run(raise_error, error)
    assert caught.value.args == error.args


@pytest.mark.parametrize(
    ("function", "text"),
    [(raise_unpicklable, "TwoArguments: a"), (return_unpicklable, "pickle"), (abs, "TypeError")],
)
async def test_other_errors_come_back_as_text(
    sandbox: Sandbox, function: Callable[..., object], text: str
) -> None:
    with pytest.raises(RuntimeError, match=text):
        await sandbox.run(function)
    assert await sandbox.run(abs, -1) == 1


async def test_cancelling_the_caller_kills_the_child(sandbox: Sandbox, pipe: Path) -> None:
    task = asyncio.create_task(sandbox.run(announce_and_spin, pipe))
    child = os.pidfd_open(int(await asyncio.to_thread(pipe.read_text)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_until_dead(child)
    assert await sandbox.run(abs, -1) == 1


async def test_a_cancelled_caller_in_the_queue_leaves_no_trace(pipe: Path) -> None:
    sandbox = Sandbox(1, LIMITS)
    first = asyncio.create_task(sandbox.run(wait_for_writer, pipe))
    second = asyncio.create_task(sandbox.run(abs, -1))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.to_thread(pipe.write_text, "go")
    assert await first == "go"
    assert second.cancelled()
    assert await sandbox.run(abs, -1) == 1
    sandbox.close()


async def test_close_ends_running_tasks_and_refuses_new_ones(sandbox: Sandbox, pipe: Path) -> None:
    task = asyncio.create_task(sandbox.run(announce_and_spin, pipe))
    child = os.pidfd_open(int(await asyncio.to_thread(pipe.read_text)))
    sandbox.close()
    with pytest.raises(WorkerDied, match="closed"):
        await task
    wait_until_dead(child)
    with pytest.raises(RuntimeError, match="closed"):
        await sandbox.run(abs, -1)


async def test_children_do_not_import_torch(sandbox: Sandbox) -> None:
    modules = await sandbox.run(loaded_modules)
    assert "deployments.inference.pipeline" in modules
    assert "torch" not in modules
    assert "ray" not in modules
