"""Two clusters on one store, as during an upgrade: each with models, jobs and a notifier.

The second one has a faulty device, so that its operator has something to read.
"""

import asyncio
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray import serve

from deployments.config import load_profile
from serve_app.serve_config import render
from serve_app.settings import Settings
from tests.ray.clusters import beside, renamed
from tests.ray.conftest import Service
from tests.ray.jobs import JOBS, ended, every_image_once, images, start_job
from tests.ray.processes import replica_pids
from tests.smtp_sink import SmtpSink, text_of

pytestmark = pytest.mark.ray

MODELS, JOBS_OF = "green", "green-jobs"
OPERATOR = "green@example.org"
LOST_AT = 120
HRNET: dict[str, object] = {
    "implementation": "deployments.inference.models:HRNet",
    "weights": "package:hrnet_compact.safetensors",
    "input_size": 128,
    "engine": "torch",
    "num_cpus": 0.5,
}
FAULTS = {
    # Only single images fit, and the device is lost at that call.
    "SPHEROSERVE_FAULTS": f"hrnet:oom>1,illegal@{LOST_AT}",
    "SPHEROSERVE_TESTING": "1",
}


@dataclass(frozen=True)
class Green:
    """The second cluster, reached by handles.

    Attributes:
        store: The SQLite file that both share.
    """

    store: Path

    async def in_flight(self) -> int:
        """Images that its jobs have claimed."""
        answer = await serve.get_deployment_handle("jobs", JOBS_OF).describe.remote()
        return int(answer["in_flight"]["hrnet"])

    def freeze(self) -> int:
        """Stop the process of its jobs, but not within a transaction; return its pid."""
        (pid,) = replica_pids("jobs", JOBS_OF)
        with closing(sqlite3.connect(self.store, timeout=0.2)) as connection:
            while True:
                os.kill(pid, signal.SIGSTOP)
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.rollback()
                    return pid
                except sqlite3.OperationalError:
                    os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def green(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Green]:
    folder = tmp_path_factory.mktemp("green")
    profile = {"device": "cpu", "models": {"hrnet": HRNET}}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {}, "profiles": {"p": profile}}))
    sizes = {"hrnet": {"optimal_batch_size": 4, "max_safe_batch_size": 16}}
    (folder / "batch_sizes.json").write_text(json.dumps({"batch_configurations": sizes}))
    rendered = render(load_profile(folder, "p"), Settings.from_environment(), "127.0.0.1", 8000)
    models, jobs = rendered["applications"]
    jobs["args"]["inference"] = MODELS
    applications = (
        renamed(models, MODELS, {"hrnet": FAULTS}),
        renamed(jobs, JOBS_OF, {"notifier": {"OPS_EMAIL": OPERATOR}}),
    )
    with beside(service, *applications):
        yield Green(service.data_dir / "jobs.db")


async def test_a_job_is_shared_and_a_frozen_cluster_costs_no_image(
    client: httpx.AsyncClient, green: Green, sink: SmtpSink
) -> None:
    job = await start_job(client, images(3000, 60), notify="dora@example.org")
    async with asyncio.timeout(60):
        while not await green.in_flight():
            await asyncio.sleep(0.02)
    frozen = green.freeze()
    try:
        done = await ended(client, job["id"])
    finally:
        os.kill(frozen, signal.SIGCONT)
    await every_image_once(client, done)
    taken_over = [image for image in done["images"] if image["attempts"] > 1]
    assert taken_over, "it had claimed nothing when it was frozen"
    # It wakes up with answers under tokens that are outdated.
    async with asyncio.timeout(60):
        while await green.in_flight():
            await asyncio.sleep(0.05)
    assert replica_pids("jobs", JOBS_OF) == {frozen}
    again = (await client.get(f"{JOBS}/{job['id']}?limit=1000")).json()
    assert again == done
    await every_image_once(client, again)

    def mails(sink: SmtpSink) -> Counter[str]:
        return Counter(
            str(message["Message-ID"])
            for message in sink.messages
            if message["To"] == "dora@example.org"
        )

    await asyncio.to_thread(sink.wait, lambda sink: bool(mails(sink)))
    await all_sent()
    assert list(mails(sink).values()) == [1]


async def test_killing_one_cluster_leaves_its_images_to_the_other(
    client: httpx.AsyncClient, green: Green
) -> None:
    job = await start_job(client, images(3100, 40))
    async with asyncio.timeout(60):
        while not await green.in_flight():
            await asyncio.sleep(0.02)
    for name in ("jobs", "notifier"):
        for pid in replica_pids(name, JOBS_OF):
            os.kill(pid, signal.SIGKILL)
    done = await ended(client, job["id"])
    await every_image_once(client, done)
    # What the dead ones had claimed was claimed again.
    assert any(image["attempts"] > 1 for image in done["images"])


async def test_the_operator_reads_of_single_images_and_of_a_lost_device(
    service: Service, client: httpx.AsyncClient, green: Green, sink: SmtpSink
) -> None:
    def subjects(sink: SmtpSink) -> set[str]:
        return {str(each["Subject"]) for each in sink.messages if each["To"] == OPERATOR}

    async def segment(data: bytes) -> int:
        answer = await client.post(f"/{MODELS}/api/v1/segment", files={"file": ("a.png", data)})
        return answer.status_code

    (before,) = replica_pids("hrnet", MODELS)
    contents = images(3200, 8)
    async with asyncio.timeout(120):
        while before in replica_pids("hrnet", MODELS):
            answers = await asyncio.gather(*(segment(data) for data in contents))
            # A lost device costs no request either.
            assert answers == [200] * len(contents)
    expected = {"Model degraded to single images", "Replica replaced after a device error"}
    await asyncio.to_thread(sink.wait, lambda sink: expected <= subjects(sink))
    texts = [text_of(message) for message in sink.messages if message["To"] == OPERATOR]
    (lost,) = [text for text in texts if "an illegal memory access was encountered" in text]
    assert f"pid {before}\n" in lost


async def all_sent() -> None:
    """Wait until no mail is owed any more."""
    handle = serve.get_deployment_handle("notifier", "jobs")
    async with asyncio.timeout(60):
        while True:
            mails: dict[str, Any] = (await handle.describe.remote())["mails"]
            if not mails["queued"] + mails["sending"] + mails["deferred"]:
                return
            await asyncio.sleep(0.05)
