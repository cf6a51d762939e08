"""A process that accepts and works on jobs, says what is done, and waits to be killed."""

import asyncio
import os
import sys
from datetime import timedelta

from deployments.jobs.records import NewImage, NewJob
from deployments.jobs.store import JobStore


def say(*words: object) -> None:
    """Print one line, at once and whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def main(database_url: str, data_dir: str) -> None:
    """Accept jobs of two images and complete images, for ever."""
    store = JobStore(database_url, data_dir)
    owner = f"process {os.getpid()}"
    number = 0
    while True:
        number += 1
        refs = await store.save([f"{owner} {number} {image}".encode() for image in range(2)])
        images = tuple(NewImage(f"{ref}.tif", ref) for ref in refs)
        job, _ = await store.jobs.create(
            NewJob("lab", "hrnet", 0.5, True, images, notify=("a@x.cz",))
        )
        say("accepted", job.id, *refs)
        for lease in await store.images.claim(owner, 2, timedelta(minutes=1)):
            [result] = await store.save([f"result of {lease.content} by {owner}".encode()])
            if await store.images.complete(lease.token, result):
                say("completed", lease.token.job_id, lease.token.position, result)


asyncio.run(main(*sys.argv[1:]))
