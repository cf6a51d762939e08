"""A thread that yields slows nobody else down."""

import asyncio
import os
import subprocess
import threading

from opentelemetry import context

from deployments.threads import in_thread, one_thread


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def child_niceness() -> int:
    return int(subprocess.check_output(["nice"]))


async def test_a_thread_that_yields_is_the_only_one_and_so_are_its_children() -> None:
    mine = niceness()
    yielding, equal = one_thread("yielding", 19), one_thread("equal")
    assert await in_thread(yielding, niceness) == 19
    assert await in_thread(yielding, child_niceness) == 19
    assert await in_thread(equal, niceness) == mine
    assert niceness() == mine


async def test_one_thing_after_the_other() -> None:
    thread, order = one_thread("one"), list[int]()
    started = threading.Event()

    def first() -> None:
        started.wait(10)
        order.append(1)

    waiting = asyncio.gather(in_thread(thread, first), in_thread(thread, lambda: order.append(2)))
    await asyncio.sleep(0)
    started.set()
    await waiting
    assert order == [1, 2]


async def test_a_function_sees_the_trace_of_its_caller() -> None:
    token = context.attach(context.set_value("spheroserve", "here"))
    try:
        seen = await in_thread(one_thread("one"), lambda: context.get_value("spheroserve"))
    finally:
        context.detach(token)
    assert seen == "here"
