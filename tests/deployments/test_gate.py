import asyncio
from collections.abc import AsyncIterator

import pytest

from deployments.gate import Gate, Priority


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that wait at a gate, and the order in which they were let through."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def arrive(self, count: int, priority: Priority = Priority.INTERACTIVE) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._one(len(self.tasks), priority)))
        await settle()

    async def _one(self, number: int, priority: Priority) -> None:
        await self.gate.wait(priority)
        self.passed.append(number)


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    crowd = Crowd(Gate())
    yield crowd
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)


async def test_an_idle_gate_lets_everybody_through(crowd: Crowd) -> None:
    await crowd.arrive(3)
    assert crowd.passed == [0, 1, 2]


async def test_nobody_passes_while_a_batch_runs(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(3)
    assert crowd.passed == []
    assert crowd.gate.waiting == 3


async def test_the_end_of_a_batch_lets_the_first_of_them_through(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(5)
    crowd.gate.open(3)
    await settle()
    assert crowd.passed == [0, 1, 2]
    assert crowd.gate.waiting == 2


async def test_a_waiter_that_left_takes_no_place(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(4)
    crowd.tasks[0].cancel()
    await settle()
    crowd.gate.open(2)
    await settle()
    assert crowd.passed == [1, 2]


async def test_a_place_given_to_someone_who_leaves_goes_to_the_next(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(3)
    crowd.gate.open(1)
    crowd.tasks[0].cancel()  # let through, and cancelled before it could go
    await settle()
    assert crowd.passed == [1]


async def test_the_gate_works_again_after_every_batch(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(2)
    crowd.gate.open(1)
    crowd.gate.close()
    await settle()
    crowd.gate.open(1)
    await settle()
    assert crowd.passed == [0, 1]
    await crowd.arrive(1)
    assert crowd.passed == [0, 1, 2]


async def test_jobs_wait_until_nobody_else_does(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(2, Priority.BACKGROUND)
    await crowd.arrive(2)
    crowd.gate.open(12)
    await settle()
    assert crowd.passed == [2, 3]
    crowd.gate.close()
    crowd.gate.open(12)
    await settle()
    assert crowd.passed == [2, 3, 0, 1]
