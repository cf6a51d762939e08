import asyncio

from deployments.job_places import Places


async def test_the_limit_can_change_while_places_are_taken() -> None:
    places = Places(1)
    inside: list[int] = []
    go_on = asyncio.Event()

    async def visit(number: int) -> None:
        async with places.take():
            inside.append(number)
            await go_on.wait()

    visits = [asyncio.create_task(visit(number)) for number in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inside == [0]
    await places.resize(3)
    for _ in range(5):
        await asyncio.sleep(0)
    assert inside == [0, 1, 2]
    await places.resize(1)
    go_on.set()
    await asyncio.gather(*visits)
    assert inside == [0, 1, 2, 3]


async def test_a_visitor_that_leaves_early_takes_no_place() -> None:
    places = Places(1)
    async with places.take():
        waiting = asyncio.create_task(places.take().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), places.take():
        assert waiting.cancelled()
