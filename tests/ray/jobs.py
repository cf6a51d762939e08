"""Jobs over HTTP, for tests that watch what becomes of them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid

JOBS = "/api/v1/jobs"


def images(first_seed: int, number: int) -> list[bytes]:
    """So many files, all different: what is repeated would come from the result cache."""
    return [encoded(spheroid(first_seed + n, width=400, height=300)[0]) for n in range(number)]


async def start_job(
    client: httpx.AsyncClient, contents: list[bytes], **fields: Any
) -> dict[str, Any]:
    """Send a job and return the answer."""
    headers = fields.pop("headers", {})
    files = [("files", (f"{n}.png", data)) for n, data in enumerate(contents)]
    response = await client.post(JOBS, files=files, data=fields, headers=headers)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def events(
    client: httpx.AsyncClient, job_id: str, last_id: int = 0
) -> AsyncIterator[dict[str, Any]]:
    """The events of a job until its last one, as ``{"id", "event", "data"}``."""
    headers = {"Last-Event-ID": str(last_id)}
    async with client.stream("GET", f"{JOBS}/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        event: dict[str, Any] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = json.loads(value) if name == "data" else value
            elif "data" in event:
                yield event
                event = {}
            else:
                event = {}


async def ended(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """Wait until a job has ended and return it with its first 1000 images."""
    async with asyncio.timeout(180):
        async for _ in events(client, job_id):
            pass
    job: dict[str, Any] = (await client.get(f"{JOBS}/{job_id}?limit=1000")).json()
    assert job["finished_at"], job
    return job


async def kill_after_first_image(client: httpx.AsyncClient, job_id: str, *replica: str) -> None:
    """SIGKILL a replica, named by deployment and application, once an image is done."""
    async for event in events(client, job_id):
        if event["event"] == "image":
            break
    (victim,) = replica_pids(*replica)
    os.kill(victim, signal.SIGKILL)
    job = (await client.get(f"{JOBS}/{job_id}?limit=0")).json()
    assert job["finished_at"] is None, "the job was done before the replica died"


async def every_image_once(client: httpx.AsyncClient, job: dict[str, Any]) -> None:
    """Check that each image has one result, and that one event told of it."""
    assert job["state"] == "succeeded"
    number = job["progress"]["total"]
    assert [image["state"] for image in job["images"]] == ["succeeded"] * number
    told = [event async for event in events(client, job["id"]) if event["event"] == "image"]
    assert sorted(event["data"]["position"] for event in told) == list(range(number))
