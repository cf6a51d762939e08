import asyncio

import pytest

from deployments.errors import Overloaded
from serve_app.drain import WorkInHand


async def test_work_at_hand_is_finished_and_none_is_taken() -> None:
    work = WorkInHand()
    with work.image("hrnet"):
        draining = asyncio.create_task(work.drain(30))
        await asyncio.sleep(0)
        assert not draining.done()
        with pytest.raises(Overloaded, match="stopping"), work.image("hrnet"):
            pass
        assert work.by_model["hrnet"] == 1
    assert await draining == 0


async def test_an_image_that_fails_is_no_longer_at_work() -> None:
    work = WorkInHand()
    with pytest.raises(ValueError, match="bad"), work.image("hrnet"):
        raise ValueError("bad")
    assert await work.drain(30) == 0


async def test_what_is_not_done_in_time_is_told() -> None:
    work = WorkInHand()
    with work.image("hrnet"), work.image("resunet_small"):
        assert await work.drain(0) == 2
