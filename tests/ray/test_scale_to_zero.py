import asyncio
import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from ray import serve

from tests.ray.applications import application
from tests.ray.conftest import Service
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

NAME = "sleeper"
STATUS = "ray_serve_deployment_status"
REQUESTS = "ray_serve_replica_processing_queries"
HEALTHY = "ray_serve_deployment_replica_healthy"
ANSWERING = "ray_spheroserve_replicas"
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


async def of_serve(client: httpx.AsyncClient) -> tuple[str, dict[str, int]]:
    """Status and replicas of the model in the overview of the service."""
    deployments = (await client.get("/api/v1/overview")).json()["deployments"]
    (model,) = (each for each in deployments if each["name"] == NAME)
    return model["status"], model["replicas"]


async def exported(metric: str, name: str = NAME) -> list[float]:
    """What Ray's exporter says of a deployment in its own metrics, or of a model in ours."""
    (node,) = ray.nodes()
    page = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    async with httpx.AsyncClient() as client:
        text = (await client.get(page)).text
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric
        and name in (sample.labels.get("deployment"), sample.labels.get("model"))
    ]


async def becomes(metric: str, value: float, name: str = NAME) -> None:
    """Wait until Ray's exporter says so of each replica; it collects every few seconds."""
    async with asyncio.timeout(60):
        while set(await exported(metric, name)) != {value}:
            await asyncio.sleep(0.5)


async def test_the_first_request_wakes_a_model_at_zero(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with application(service, client, tmp_path, NAME, MODEL) as running:
        assert await running.replicas() == []
        assert replica_pids(NAME, NAME) == set()
        # By these the alert for a model without a replica knows that none is wanted.
        await becomes(STATUS, 6)
        assert await exported(HEALTHY) == []
        await becomes(ANSWERING, 0)
        assert await of_serve(client) == ("HEALTHY", {})
        data = encoded(spheroid()[0])
        answers = await asyncio.gather(*(running.segment(data) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        await running.until(lambda replicas: len(replicas) == 1)
        (awake,) = replica_pids(NAME, NAME)
        await becomes(HEALTHY, 1)
        await becomes(ANSWERING, 1)
        assert await of_serve(client) == ("HEALTHY", {"RUNNING": 1})
        # The hook before a pod's end waits until this says 0, which it must go on to say.
        await becomes(REQUESTS, 0, "ingress")

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
