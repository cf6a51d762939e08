"""Memory runs out for real: torch's own allocator fails under a limit set by the kernel."""

import asyncio
import itertools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load_file

from deployments.config import PACKAGE_WEIGHTS
from deployments.inference import checkpoints
from tests.ray.applications import Application, application
from tests.ray.conftest import Service
from tests.scenes import dice, encoded, painted, spheroid

pytestmark = pytest.mark.ray

# Images of 448 x 448. A replica that has run without a limit holds some memory already: above it,
# 16 images need 345 MiB and eight 165. A replica that starts needs 235 MiB for eight.
BATCH = 16
LIMIT_MB = 290
HRNET: dict[str, object] = {
    "implementation": "deployments.inference.models:HRNet",
    "weights": "package:hrnet_compact.safetensors",
    "input_size": 448,
    "engine": "torch",
}
SCENES = [spheroid(seed)[0] for seed in range(8)]
FILES = [encoded(scene) for scene in SCENES]


async def segment_all(app: Application, count: int) -> list[dict[str, Any]]:
    """Send images at once; every one must be answered."""
    answers = await asyncio.gather(*(app.segment(FILES[n % len(FILES)]) for n in range(count)))
    assert Counter(answer.status_code for answer in answers) == {200: count}
    return [answer.json() for answer in answers]


def ooms(replicas: list[dict[str, Any]]) -> int:
    return sum(replica["memory"]["ooms"] for replica in replicas)


async def test_a_batch_that_does_not_fit_costs_no_request(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with application(service, client, tmp_path, "tight", HRNET, batch_size=BATCH) as app:
        unlimited = await segment_all(app, len(FILES))
        await app.until_one(lambda replica: replica["effective_batch_size"] == BATCH)
        (before,) = await app.replicas()
        assert before["memory"]["ooms"] == 0

        await app.tune(memory_limit_mb=LIMIT_MB)
        await app.until_one(lambda replica: replica["memory"]["memory_limit_mb"] == LIMIT_MB)
        limited: list[dict[str, Any]] = []
        async with asyncio.timeout(120):
            # On a crowded machine it may take a while until a batch is full.
            while not ooms(await app.replicas()):
                limited += await segment_all(app, 2 * BATCH)
                # Not before the last is counted: what a replica is known to say may be old.
                total = len(FILES) + len(limited)
                await app.until_one(lambda replica: replica["images"] == total)  # noqa: B023
        (after,) = await app.replicas()
        # Serve and the event loop went on beside a batch that had taken everything.
        assert after["pid"] == before["pid"]
        assert after["memory"]["shrinks"] > 0
        assert after["memory"]["last_oom_at"] is not None
        assert BATCH / 2 <= after["effective_batch_size"] < BATCH
        for number, answer in enumerate(limited):
            shape = SCENES[number % len(FILES)].shape[:2]
            expected = painted(unlimited[number % len(FILES)]["polygons"], shape)
            overlap = dice(painted(answer["polygons"], shape), expected)
            # A Dice of 0.9995 is an IoU of 0.999.
            assert overlap >= 0.9995

        # What was learnt holds: more of the same causes no further shortage.
        answers = await segment_all(app, 2 * BATCH)
        assert max(answer["batch_size_used"] for answer in answers) < BATCH
        await app.until_one(lambda replica: replica["images"] >= after["images"] + 2 * BATCH)
        assert ooms(await app.replicas()) == after["memory"]["ooms"]

        # A replica that takes the place of this one knows it already.
        os.kill(after["pid"], signal.SIGKILL)
        await app.until_one(lambda replica: replica["pid"] != after["pid"])
        (successor,) = await app.replicas()
        assert successor["memory"]["ooms"] == 0
        assert successor["effective_batch_size"] < BATCH

        # More memory: the evidence is void, and batches are full again.
        await app.tune(memory_limit_mb=None)
        await app.until_one(lambda replica: replica["effective_batch_size"] == BATCH)
        answers = await segment_all(app, 2 * BATCH)
        assert max(answer["batch_size_used"] for answer in answers) == BATCH


async def test_new_weights_under_a_limit_cost_no_request(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    packaged = PACKAGE_WEIGHTS / "hrnet_compact.safetensors"
    state = {key: tensor.float() * 0.99 for key, tensor in load_file(packaged).items()}
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, state, checkpoints.read_metadata(packaged))
    statuses: Counter[int] = Counter()

    async def send(app: Application) -> None:
        for file in itertools.cycle(FILES):
            statuses[(await app.segment(file)).status_code] += 1

    async with application(service, client, tmp_path, "rolled", HRNET, batch_size=BATCH) as app:
        await app.tune(memory_limit_mb=LIMIT_MB)
        await app.until_one(lambda replica: replica["memory"]["memory_limit_mb"] == LIMIT_MB)
        (before,) = await app.replicas()
        sending = [asyncio.create_task(send(app)) for _ in range(2 * BATCH)]
        try:
            await app.until_one(lambda replica: replica["memory"]["ooms"] > 0)
            await app.tune(memory_limit_mb=LIMIT_MB, weights=str(other))
            await app.until_one(lambda replica: replica["weights"] == other.name)
            answered = statuses.total()
            await app.until_one(lambda _: statuses.total() > answered + 2 * BATCH)
        finally:
            for task in sending:
                task.cancel()
            ends = await asyncio.gather(*sending, return_exceptions=True)
        (after,) = await app.replicas()
        assert set(statuses) == {200}
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert after["pid"] == before["pid"]
        assert after["memory"]["memory_limit_mb"] == LIMIT_MB
        assert after["effective_batch_size"] < BATCH


async def test_two_replicas_are_told_apart_and_reset_together(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    model = HRNET | {
        "input_size": 128,
        "num_cpus": 0.25,
        "autoscaling": {"min_replicas": 2, "max_replicas": 2},
    }
    faults = {"SPHEROSERVE_FAULTS": "two:oom@2", "SPHEROSERVE_TESTING": "1"}
    async with application(
        service, client, tmp_path, "two", model, batch_size=4, replica_environment=faults
    ) as app:
        await app.until(lambda replicas: len(replicas) == 2)
        await segment_all(app, 32)
        await app.until(lambda replicas: ooms(replicas) == 2)
        memory = (await client.get("/two/api/v1/memory")).json()["two"]
        sizes = [replica["effective_batch_size"] for replica in memory["replicas"]]
        assert len(sizes) == 2
        assert memory["effective_batch_size"] == min(sizes) < 4
        assert (await client.post("/two/api/v1/memory/reset")).status_code == 200
        await app.until(
            lambda replicas: [replica["effective_batch_size"] for replica in replicas] == [4, 4]
        )


async def test_a_lost_device_is_replaced_and_no_request_lost(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    model = HRNET | {"input_size": 128}
    faults = {"SPHEROSERVE_FAULTS": "lost:illegal@4", "SPHEROSERVE_TESTING": "1"}
    async with application(
        service, client, tmp_path, "lost", model, batch_size=4, replica_environment=faults
    ) as app:
        (before,) = await app.replicas()
        # The warm-up is the first call, the first image the second. Each successor of the replica
        # fails at its fourth, too.
        answers = await asyncio.gather(*(app.segment(FILES[n % 8]) for n in range(10)))
        assert Counter(answer.status_code for answer in answers) == {200: 10}
        await app.until_one(lambda replica: replica["pid"] != before["pid"])
