import asyncio
import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from tests.ray.applications import application
from tests.ray.conftest import Service
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

NAME = "sleeper"
MODEL: dict[str, object] = {
    "implementation": "deployments.inference.models:HRNet",
    "weights": "package:hrnet_compact.safetensors",
    "input_size": 512,
    "autoscaling": {"min_replicas": 0, "max_replicas": 1},
}


def deployed() -> dict[str, Any]:
    """What Serve's controller knows of the model."""
    details = serve.context._get_global_client().get_serve_details()
    found: dict[str, Any] = details["applications"][NAME]["deployments"][NAME]
    return found


async def test_the_first_request_wakes_a_model_at_zero(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with application(service, client, tmp_path, NAME, MODEL) as running:
        assert await running.replicas() == []
        assert replica_pids(NAME, NAME) == set()
        data = encoded(spheroid()[0])
        answers = await asyncio.gather(*(running.segment(data) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        await running.until(lambda replicas: len(replicas) == 1)
        (awake,) = replica_pids(NAME, NAME)

        # Other limits reach the replica that runs.
        config = copy.deepcopy(running.config)
        for deployment in config["applications"][-1]["deployments"]:
            if deployment["name"] == NAME:
                deployment["autoscaling_config"].update(min_replicas=1, downscale_delay_s=1)
        await asyncio.to_thread(service.cluster.deploy, config)
        async with asyncio.timeout(30):
            while deployed()["deployment_config"]["autoscaling_config"]["min_replicas"] != 1:
                await asyncio.sleep(0.1)
            while deployed()["status"] != "HEALTHY":
                await asyncio.sleep(0.1)
        assert (await running.segment(data)).status_code == 200
        assert replica_pids(NAME, NAME) == {awake}
