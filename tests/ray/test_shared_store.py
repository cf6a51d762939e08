"""Jobs where several machines reach them: rows in PostgreSQL, files in a bucket."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deployments.jobs.records import Job, NewImage, NewJob
from deployments.jobs.states import JobState
from serve_app import jobs_client
from serve_app.jobs_client import JobsClient
from tests.jobs.postgres_server import postgres_server
from tests.jobs.s3_server import S3Server, s3_server
from tests.ray.clusters import beside, renamed
from tests.ray.conftest import Service
from tests.ray.jobs import images
from tests.ray.processes import replica_pids
from tests.smtp_sink import SmtpSink

pytestmark = pytest.mark.ray

APPLICATION = "shared-jobs"
TENANT = "lab"


@dataclass(frozen=True)
class Shared:
    """The second application of jobs and its bucket."""

    client: JobsClient
    bucket: S3Server

    def objects(self) -> int:
        """Number of objects in the bucket."""
        return int(self.bucket.client().list_objects_v2(Bucket="spheroids")["KeyCount"])


@pytest.fixture
def shared(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    with postgres_server() as postgres, s3_server() as bucket:
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        bucket.client().create_bucket(Bucket="spheroids")
        variables = {
            **bucket.environment,
            "SPHEROSERVE_HA": "true",
            "SPHEROSERVE_DATA_DIR": "s3://spheroids/jobs",
            "SPHEROSERVE_DATABASE_URL": postgres.create_database("jobs"),
        }
        _, jobs = service.config["applications"]
        both = {"jobs": variables, "notifier": variables}
        monkeypatch.setattr(jobs_client, "APPLICATION", APPLICATION)
        sandbox: Any = None
        with beside(service, renamed(jobs, APPLICATION, both)):
            yield Shared(JobsClient(sandbox), bucket)


async def test_a_job_survives_its_worker_and_is_told(shared: Shared, sink: SmtpSink) -> None:
    refs = await shared.client.save(images(4000, 30))
    assert shared.objects() == 30
    named = tuple(NewImage(f"{number}.png", ref) for number, ref in enumerate(refs))
    job, _ = await shared.client.create(
        NewJob(TENANT, "hrnet", 0.5, True, named, notify=("frank@example.org",))
    )
    await events(shared, job, enough=3)
    (victim,) = replica_pids("jobs", APPLICATION)
    os.kill(victim, signal.SIGKILL)
    told = await events(shared, job)
    ended = await shared.client.get_job(job.id, TENANT)
    assert ended.state is JobState.SUCCEEDED
    assert sorted(told) == list(range(30))
    listed = await shared.client.list_images(job.id, TENANT, 100)
    assert {image.state for image in listed} == {"succeeded"}
    # The one that was killed may have left results that nobody names.
    assert shared.objects() >= 60
    for image in listed:
        assert b"polygons" in await shared.client.read(str(image.result))

    def mails(sink: SmtpSink) -> list[object]:
        return [each for each in sink.messages if each["To"] == "frank@example.org"]

    await asyncio.to_thread(sink.wait, lambda sink: bool(mails(sink)))
    assert len(mails(sink)) == 1


async def events(shared: Shared, job: Job, enough: int | None = None) -> list[int]:
    """Follow a job to its end, or until so many images are done; return their positions."""
    positions: list[int] = []
    last_id, ended = 0, False
    async with asyncio.timeout(120):
        while not ended and (enough is None or len(positions) < enough):
            followed = await shared.client.follow(job.id, TENANT, last_id, 10)
            ended = followed.ended
            for event in followed.events:
                last_id = event.id
                if event.kind == "image":
                    positions.append(event.data["position"])
    return positions
