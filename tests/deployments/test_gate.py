import asyncio
from collections.abc import AsyncIterator

import pytest

from deployments.gate import Gate, Priority


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that go through a gate, and the order in which they were let through.

    They stay behind it until ``answer`` is called.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.passed: list[int] = []
        self.answered = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def arrive(self, count: int, priority: Priority = Priority.INTERACTIVE) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._one(len(self.tasks), priority)))
        await settle()

    async def _one(self, number: int, priority: Priority) -> None:
        async with self.gate.passage(priority):
            self.passed.append(number)
            await self.answered.wait()

    async def answer(self) -> None:
        """All that are behind the gate leave."""
        answered, self.answered = self.answered, asyncio.Event()
        answered.set()
        await settle()


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
    await crowd.answer()
    assert crowd.passed == [2, 3, 0, 1]


async def test_jobs_do_not_slip_into_the_batch_of_a_person(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(1)
    crowd.gate.open(12)
    await crowd.arrive(2, Priority.BACKGROUND)
    await crowd.arrive(1)
    # Not closed yet: another person may still join, images of jobs may not.
    assert crowd.passed == [0, 3]
    crowd.gate.close()
    crowd.gate.open(12)
    await crowd.answer()
    assert crowd.passed == [0, 3, 1, 2]


async def test_no_more_go_than_fit_when_the_last_ones_are_answered(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(6, Priority.BACKGROUND)
    crowd.gate.open(2)
    await settle()
    crowd.gate.close()
    crowd.gate.open(2)
    await crowd.answer()
    assert crowd.passed == [0, 1, 2, 3]


async def test_whoever_leaves_without_a_batch_lets_the_next_ones_through(crowd: Crowd) -> None:
    crowd.gate.close()
    await crowd.arrive(3)
    crowd.gate.open(1)
    await settle()
    assert crowd.passed == [0]
    crowd.tasks[0].cancel()  # behind the gate, before its batch started
    await settle()
    assert crowd.passed == [0, 1]


async def test_jobs_go_first_once_they_have_waited_for_long() -> None:
    crowd = Crowd(Gate(patience_s=0, calm_s=0))
    crowd.gate.close()
    await crowd.arrive(2)
    await crowd.arrive(2, Priority.BACKGROUND)
    crowd.gate.open(3)
    await settle()
    assert crowd.passed == [2, 3, 0]
    crowd.gate.close()
    crowd.gate.open(3)
    await crowd.answer()
    await crowd.answer()
    assert crowd.passed == [2, 3, 0, 1]


@pytest.mark.parametrize(("calm_s", "expected"), [(3600, [0, 1, 2]), (0, [0, 1, 2, 3, 4])])
async def test_batches_of_jobs_are_shorter_while_people_are_here(
    calm_s: float, expected: list[int]
) -> None:
    crowd = Crowd(Gate(calm_s=calm_s))
    await crowd.arrive(1)
    crowd.gate.close()
    await crowd.arrive(6, Priority.BACKGROUND)
    crowd.gate.open(4)
    await crowd.answer()
    # Those who come now wait too: they would make the batch longer.
    await crowd.arrive(2, Priority.BACKGROUND)
    assert crowd.passed == expected
