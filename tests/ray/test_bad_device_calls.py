"""A device call that hangs or raises costs the images that caused it and nothing else."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.ray.applications import application
from tests.ray.conftest import Service
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

MOODY = {"implementation": "moody:MoodyModel", "input_size": 64}
BLACK = encoded(np.zeros((64, 64, 3), np.uint8))
WHITE = encoded(np.full((64, 64, 3), 255, np.uint8))
GOOD = encoded(spheroid()[0])


async def test_a_hung_call_ends_in_504_and_a_new_replica(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    patience = {"SPHEROSERVE_REQUEST_TIMEOUT_SECONDS": "2"}
    async with application(
        service, client, tmp_path, "moody", MOODY, batch_size=1, environment=patience
    ) as moody:

        async def first_success() -> None:
            while (await moody.segment(GOOD)).status_code != 200:
                pass

        await asyncio.wait_for(first_success(), 60)
        (before,) = replica_pids("moody", "moody")
        hung = await moody.segment(BLACK)
        assert hung.status_code == 504
        assert isinstance(hung.json()["detail"], str)
        await asyncio.wait_for(first_success(), 90)
        assert before not in replica_pids("moody", "moody")


async def test_an_image_that_makes_the_network_raise_fails_alone(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with application(service, client, tmp_path, "moody", MOODY, batch_size=4) as moody:
        files = [("files", (str(n), WHITE if n == 2 else GOOD)) for n in range(6)]
        response = await client.post(
            f"{moody.prefix}/api/v1/batch-segment", data={"model": "moody"}, files=files
        )
        answer = response.json()
        assert response.status_code == 200
        assert [item["success"] for item in answer["results"]] == [n != 2 for n in range(6)]
        assert "ValueError" in answer["results"][2]["error"]
