import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file, save_file

from deployments.config import PACKAGE_WEIGHTS
from deployments.inference import checkpoints
from deployments.inference.weights_metadata import METADATA_KEY
from tests.ray.conftest import Service
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

DEPLOYMENTS = ["ingress", "hrnet", "resunet_small", "resunet_advanced"]


def all_pids() -> dict[str, set[int]]:
    return {name: replica_pids(name) for name in DEPLOYMENTS}


def changed(config: dict[str, Any], deployment: str, **tunables: object) -> dict[str, Any]:
    """The configuration with some of one deployment's user_config replaced."""
    config = copy.deepcopy(config)
    for entry in config["applications"][0]["deployments"]:
        if entry["name"] == deployment:
            entry["user_config"].update(tunables)
    return config


@asynccontextmanager
async def answers_counted(client: httpx.AsyncClient, data: bytes) -> AsyncIterator[Counter[int]]:
    """Send one image after the other during the block; count the answers by status."""
    statuses: Counter[int] = Counter()

    async def send() -> None:
        while True:
            answer = await client.post("/api/v1/segment", files={"file": ("a.png", data)})
            statuses[answer.status_code] += 1

    sending = asyncio.create_task(send())
    try:
        yield statuses
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def hrnet_becomes(client: httpx.AsyncClient, **facts: object) -> None:
    """Wait until the replica of hrnet reports these facts."""
    async with asyncio.timeout(180):
        while True:
            models = (await client.get("/api/v1/models")).json()["models"]
            replicas = models["hrnet"]["replicas"]
            if replicas and all(replicas[0][key] == value for key, value in facts.items()):
                return
            await asyncio.sleep(0.1)


async def test_new_weights_and_batch_size_restart_nothing(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    before = all_pids()
    assert all(before.values())
    packaged = PACKAGE_WEIGHTS / "hrnet_compact.safetensors"
    other = tmp_path / "other.safetensors"
    metadata = checkpoints.read_metadata(packaged)
    state = {key: tensor.float() * 0.99 for key, tensor in load_file(packaged).items()}
    checkpoints.save(other, state, metadata)
    try:
        config = changed(service.config, "hrnet", weights=str(other), max_batch_size=5)
        data = encoded(spheroid()[0])
        await asyncio.to_thread(service.cluster.deploy, config)
        # The network is converted first, which takes many times as long as an image.
        await hrnet_becomes(client, loading="other.safetensors")
        async with answers_counted(client, data) as statuses:
            await hrnet_becomes(client, weights="other.safetensors", configured_batch_size=5)
        assert statuses.total() > 3
        assert set(statuses) == {200}
        answers = await asyncio.gather(
            *(client.post("/api/v1/segment", files={"file": ("a.png", data)}) for _ in range(12))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert max(answer.json()["batch_size_used"] for answer in answers) <= 5
        assert all_pids() == before
    finally:
        await asyncio.to_thread(service.cluster.deploy, service.config)
        await hrnet_becomes(client, weights=packaged.name, configured_batch_size=12)


async def test_damaged_weights_are_refused_and_the_old_ones_stay(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    before = all_pids()
    good = PACKAGE_WEIGHTS / "hrnet_compact.safetensors"
    metadata = checkpoints.read_metadata(good).model_copy(update={"sha256": "0" * 64})
    damaged = tmp_path / "damaged.safetensors"
    save_file(load_file(good), damaged, {METADATA_KEY: metadata.model_dump_json()})
    try:
        config = changed(service.config, "hrnet", weights=str(damaged))
        await asyncio.to_thread(service.cluster.deploy, config)
        refused = "damaged.safetensors is damaged: its tensors do not have its sha256"
        await hrnet_becomes(client, refused=refused, weights="hrnet_compact.safetensors")
        page = (await client.get("/metrics")).text
        assert 'spheroserve_configuration_refused{model="hrnet"} 1.0' in page
        data = encoded(spheroid()[0])
        answer = await client.post("/api/v1/segment", files={"file": ("a.png", data)})
        assert answer.status_code == 200
    finally:
        await asyncio.to_thread(service.cluster.deploy, service.config)
        await hrnet_becomes(client, refused=None)
    assert all_pids() == before
