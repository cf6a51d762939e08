"""A job whose processes are killed while it runs, and small jobs beside it.

    python -m benchmarks.job_kills [--images 200]

SIGKILLs the jobs (twice), a model replica, and the notifier within a send: the server has the
mail and has not said so. At the end every image must have one result, told by one event, every job
that was accepted must have ended, and each notification must have arrived under one Message-ID,
with one more copy for each send that was cut. Writes ``benchmarks/results/job-kills.json``.
"""

import argparse
import asyncio
import io
import json
import os
import signal
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.job_service import (
    JOBS,
    images,
    machine,
    running_service,
    start_job,
)
from tests.ray.processes import replica_pids
from tests.smtp_sink import SmtpSink

RESULT = Path(__file__).parent / "results" / "job-kills.json"

# At which part of the job what is killed: deployment and application.
KILLS = (
    (0.2, "jobs", "jobs"),
    (0.4, "hrnet", "inference"),
    (0.6, "notifier", "jobs"),
    (0.8, "jobs", "jobs"),
)
_SMALL_JOB_IMAGES = 3


async def run(url: str, sink: SmtpSink, number: int) -> dict[str, Any]:
    """Send the job, kill, wait for the end, count."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        contents = images(0, number)
        started = time.monotonic()
        job_id = await start_job(client, contents, notify="ada@example.org")
        accepted = time.monotonic() - started
        small: list[str] = []
        kills = []
        for part, deployment, application in KILLS:
            done = await until_done(client, job_id, round(part * number))
            few = images(number + 10 * len(small), _SMALL_JOB_IMAGES)
            if deployment == "notifier":
                taken = len(sink.messages)
                sink.silent = True
                small.append(await start_job(client, few, notify="bob@example.org"))
                await asyncio.to_thread(sink.wait, lambda sink, n=taken: len(sink.messages) > n)
                done = await until_done(client, job_id, done)
            kills.append(await kill(client, job_id, deployment, application, done))
            if deployment == "notifier":
                cut_sends = len(sink.messages) - taken
                sink.silent = False
            else:
                # Accepted in the middle of the trouble.
                small.append(await start_job(client, few, notify="bob@example.org"))
        ends = Counter([await until_ended(client, each) for each in (job_id, *small)])
        seconds = time.monotonic() - started
        expected = 1 + len(small)
        # The mails of the cut sends come again when their leases have ended.
        copies = expected + cut_sends
        await asyncio.to_thread(sink.wait, lambda sink: len(sink.messages) >= copies, 180)
        return {
            "images": number,
            "seconds_to_accept": round(accepted, 2),
            "seconds": round(seconds, 1),
            "kills": kills,
            "jobs_accepted": expected,
            "jobs_by_state": dict(ends),
            **await count_images(client, job_id),
            "notifications": expected,
            "message_ids": len({str(message["Message-ID"]) for message in sink.messages}),
            "sends_cut_by_the_kill": cut_sends,
            "mails": len(sink.messages),
        }


async def until_done(client: httpx.AsyncClient, job_id: str, number: int) -> int:
    """Wait until so many images are done; return how many really are."""
    while True:
        job = (await client.get(f"{JOBS}/{job_id}?limit=0")).json()
        if job["progress"]["done"] >= number:
            return int(job["progress"]["done"])
        await asyncio.sleep(0.1)


async def kill(
    client: httpx.AsyncClient, job_id: str, deployment: str, application: str, done: int
) -> dict[str, object]:
    """SIGKILL a replica and wait until the job has gone on."""
    (victim,) = replica_pids(deployment, application)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    await until_done(client, job_id, done + 1)
    return {
        "deployment": deployment,
        "images_done": done,
        "seconds_to_next_image": round(time.monotonic() - killed, 1),
    }


async def until_ended(client: httpx.AsyncClient, job_id: str) -> str:
    """Wait for the end of a job and return its state."""
    while True:
        job = (await client.get(f"{JOBS}/{job_id}?limit=0")).json()
        if job["finished_at"]:
            return str(job["state"])
        await asyncio.sleep(0.2)


async def count_images(client: httpx.AsyncClient, job_id: str) -> dict[str, object]:
    """Count results, events and attempts of the images of a job."""
    job = (await client.get(f"{JOBS}/{job_id}?limit=1000")).json()
    archive = zipfile.ZipFile(io.BytesIO((await client.get(f"{JOBS}/{job_id}/results")).content))
    files = [name for name in archive.namelist() if name.startswith("json/")]
    lines = (await client.get(f"{JOBS}/{job_id}/events")).text.splitlines()
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    positions = Counter(event["position"] for event in told if "position" in event)
    attempts = Counter(image["attempts"] for image in job["images"])
    return {
        "images_with_one_result": len(set(files)),
        "images_told_once": sum(count == 1 for count in positions.values()),
        "images_by_attempts": {str(key): value for key, value in sorted(attempts.items())},
    }


def main() -> None:
    """Run it, write the result, and fail if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    number: int = parser.parse_args().images
    with SmtpSink() as sink, running_service(sink) as url:
        result = {**asyncio.run(run(url, sink, number)), "machine": machine()}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    kept = (
        result["images_with_one_result"] == result["images_told_once"] == number
        and result["jobs_by_state"] == {"succeeded": result["jobs_accepted"]}
        and result["message_ids"] == result["notifications"]
        and result["mails"] == result["notifications"] + result["sends_cut_by_the_kill"]
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
