"""What the steps ask the service and wait for."""

import asyncio
import time
from typing import Any

import httpx

from tests.nodes.cluster import Nodes, messages
from tests.scenes import encoded, spheroid

MODEL = "hrnet"
JOB_IMAGES = 8
PATIENCE_S = 120


def client(nodes: Nodes, address: str) -> httpx.AsyncClient:
    """A client of the proxy of one worker."""
    headers = {"Authorization": f"Bearer {nodes.key}"}
    return httpx.AsyncClient(base_url=f"http://{address}:8000", headers=headers, timeout=PATIENCE_S)


async def describe(nodes: Nodes) -> dict[str, Any]:
    """What the replica of the model says of itself; empty while there is none."""
    address = next(pod.address for pod in nodes.workers if pod.alive)
    async with client(nodes, address) as to_worker:
        models = (await to_worker.get("/api/v1/models")).json()["models"]
    replicas = models[MODEL]["replicas"]
    return dict(replicas[0]) if replicas else {}


async def until(nodes: Nodes, **facts: object) -> None:
    """Wait until the replica of the model reports these facts."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = await describe(nodes)
            if said and all(said[name] == value for name, value in facts.items()):
                return
            await asyncio.sleep(0.1)


async def until_refused(nodes: Nodes) -> str:
    """Wait until the replica of the model says why it keeps what it has."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = (await describe(nodes)).get("refused")
            if said:
                return str(said)
            await asyncio.sleep(0.1)


def until_moved(nodes: Nodes, address: str) -> None:
    """Wait until everything runs, on the worker with this address.

    Serve calls what it has lost running until it has noticed.
    """
    deadline = time.monotonic() + PATIENCE_S
    while {replica.node for replica in nodes.replicas(MODEL)} != {address}:
        if time.monotonic() > deadline:
            raise TimeoutError(str(messages(nodes.status())))
        time.sleep(0.2)
    nodes.wait_until_running()


async def start_job(nodes: Nodes, address: str) -> str:
    """Send a job through one worker and return its id."""
    images = [encoded(spheroid(seed)[0]) for seed in range(JOB_IMAGES)]
    files = [("files", (f"{number}.png", data)) for number, data in enumerate(images)]
    async with client(nodes, address) as to_worker:
        answer = await to_worker.post("/api/v1/jobs", data={"model": MODEL}, files=files)
    answer.raise_for_status()
    return str(answer.json()["id"])


async def job_end(nodes: Nodes, address: str, job: str) -> dict[str, Any]:
    """Wait for the end of a job; return its state and how many images are done."""
    async with client(nodes, address) as to_worker, asyncio.timeout(PATIENCE_S):
        while True:
            answer = await to_worker.get(f"/api/v1/jobs/{job}?limit=0")
            if answer.status_code == 200 and answer.json()["finished_at"]:
                ended = answer.json()
                return {"state": ended["state"], "done": ended["progress"]["done"]}
            await asyncio.sleep(0.2)
