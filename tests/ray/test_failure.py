import asyncio
import os
import signal

import httpx
import pytest

from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray


async def test_killing_a_model_replica_under_load_loses_no_request(
    client: httpx.AsyncClient,
) -> None:
    data = encoded(spheroid()[0])
    (victim,) = replica_pids("hrnet")
    requests = [
        asyncio.create_task(client.post("/api/v1/segment", files={"file": ("a.png", data)}))
        for _ in range(40)
    ]
    await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert sum(not request.done() for request in requests) > 10, "nothing was in flight"
    os.kill(victim, signal.SIGKILL)
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [200] * 40
    assert len({answer.json()["processing_info"]["num_polygons"] for answer in answers}) == 1
    assert victim not in replica_pids("hrnet")


async def test_a_client_that_leaves_frees_its_place(client: httpx.AsyncClient) -> None:
    data = encoded(spheroid()[0])

    def send(model: str) -> asyncio.Task[httpx.Response]:
        files = {"file": ("a.png", data)}
        return asyncio.create_task(
            client.post("/api/v1/segment", data={"model": model}, files=files)
        )

    before = await images_of(client, "resunet_advanced")
    requests = [send("resunet_advanced") for _ in range(20)]
    await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    answer = await send("resunet_advanced")
    assert answer.status_code == 200
    async with asyncio.timeout(30):
        while (await client.get("/api/v1/status")).json()["is_processing"]:
            await asyncio.sleep(0.05)
    # The model did not work through the 20 for nobody.
    assert await images_of(client, "resunet_advanced") - before < 15


async def images_of(client: httpx.AsyncClient, model: str) -> int:
    """Images that the replicas of a model have run, as soon as that is stable."""
    last = -1
    async with asyncio.timeout(30):
        while True:
            models = (await client.get("/api/v1/models")).json()["models"]
            now = sum(replica["images"] for replica in models[model]["replicas"])
            if now == last:
                return now
            last = now
            await asyncio.sleep(1.5)
