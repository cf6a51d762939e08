"""How long a person waits while a job runs.

    python -m benchmarks.interactive [--images 500] [--requests 40]

One person sends one image after the other, first to the idle service, then while a job runs on
the same model. The 95th percentile under the job may be at most twice that of the idle service
plus the time of one whole batch. Writes ``benchmarks/results/interactive-under-job.json``.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.job_service import JOBS, images, machine, running_service, start_job
from tests.smtp_sink import SmtpSink

RESULT = Path(__file__).parent / "results" / "interactive-under-job.json"

_MODEL = "hrnet"
_WARM_UP = 5
# So many images first, to learn how long a whole batch takes while nobody else is there.
_IMAGES_ALONE = 60


async def run(url: str, number: int, requests: int) -> dict[str, Any]:
    """Measure idle, start the job, measure again.

    Raises:
        RuntimeError: The job was over before all requests were sent; it needs more images.
    """
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        people = images(1_000_000, requests + _WARM_UP)
        await send_all(client, people[:_WARM_UP])
        idle = await send_all(client, people[_WARM_UP:])
        job_id = await start_job(client, images(0, number), model=_MODEL)
        await images_done(client, job_id, _IMAGES_ALONE)
        batch = await batch_seconds(client, job_id)
        started, before = time.monotonic(), await progress(client, job_id)
        under_job = await send_all(client, people[_WARM_UP:])
        after, seconds = await progress(client, job_id), time.monotonic() - started
        if after["done"] == after["total"]:
            raise RuntimeError("the job was over too early: raise --images")
        await client.delete(f"{JOBS}/{job_id}")
    bound = 2 * percentile(idle, 95) + batch
    return {
        "model": _MODEL,
        "job_images": number,
        "requests": requests,
        "idle_p50_s": round(percentile(idle, 50), 3),
        "idle_p95_s": round(percentile(idle, 95), 3),
        "under_job_p50_s": round(percentile(under_job, 50), 3),
        "under_job_p95_s": round(percentile(under_job, 95), 3),
        "batch_s": round(batch, 3),
        "bound_s": round(bound, 3),
        "within_bound": percentile(under_job, 95) <= bound,
        "job_images_per_second_meanwhile": round((after["done"] - before["done"]) / seconds, 2),
    }


async def send_all(client: httpx.AsyncClient, contents: list[bytes]) -> list[float]:
    """Send one image after the other; return the seconds of each."""
    seconds = []
    for data in contents:
        started = time.monotonic()
        response = await client.post(
            "/api/v1/segment", data={"model": _MODEL}, files={"file": ("a.png", data)}
        )
        response.raise_for_status()
        seconds.append(time.monotonic() - started)
    return seconds


async def images_done(client: httpx.AsyncClient, job_id: str, number: int) -> None:
    """Wait until so many images of a job are done."""
    done = 0
    async with client.stream("GET", f"{JOBS}/{job_id}/events") as response:
        async for line in response.aiter_lines():
            done += line == "event: image"
            if done == number:
                return


async def progress(client: httpx.AsyncClient, job_id: str) -> dict[str, int]:
    """How far a job is."""
    job = (await client.get(f"{JOBS}/{job_id}?limit=0")).json()
    found: dict[str, int] = job["progress"]
    return found


async def batch_seconds(client: httpx.AsyncClient, job_id: str) -> float:
    """Median time of a device call, as the images that are done so far met it."""
    job = (await client.get(f"{JOBS}/{job_id}?limit=1000")).json()
    calls = [float(image["timings"]["inference"]) for image in job["images"] if image["timings"]]
    return statistics.median(calls)


def percentile(values: list[float], percent: int) -> float:
    """The value below which so many percent of the values are."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """Run it, write the result, and fail if a person waits too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--requests", type=int, default=40)
    arguments = parser.parse_args()
    with SmtpSink() as sink, running_service(sink) as url:
        measured = asyncio.run(run(url, arguments.images, arguments.requests))
    result = {**measured, "machine": machine()}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    sys.exit(0 if result["within_bound"] else 1)


if __name__ == "__main__":
    main()
