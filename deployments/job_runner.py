"""The jobs: one replica that alone writes job rows and files, and feeds images to the models.

It can die at any moment. What it had accepted is on disk; the images that it had claimed
return to the queue when their leases end, and what it might still report after that is refused
by the fencing tokens.
"""

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Sequence
from datetime import timedelta

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.config import ModelSpec
from deployments.errors import ServerError
from deployments.gate import Priority
from deployments.job_events import Followed, JobFollower
from deployments.job_feed import ModelFeed
from deployments.job_metrics import JobMetrics, summarise
from deployments.job_places import Places
from deployments.job_results import Rendering, render
from deployments.job_settings import JobSettings
from deployments.job_worker import ImageWorker, JobLimits
from deployments.jobs.records import Image, Job, NewJob
from deployments.jobs.store import JobStore
from deployments.logs import join_serve_logs
from deployments.mail.settings import MailSettings
from deployments.model_client import ModelClient
from deployments.periodic import repeat

log = logging.getLogger(__name__)

_GAUGES_PERIOD_S = 5.0
_RETENTION_PERIOD_S = 3600.0
# Behind the ingress and the models when they compete for the processor.
_NICENESS = 10


class Jobs:
    """Accepts jobs, works on them and tells of them.

    Args:
        specs: What of each model is fixed, by name, as plain values.
        limits: A ``JobLimits`` as plain values.
        application: Name of the Serve application with the models.
        notifier: Sends the mails about jobs that have ended.

    Raises:
        ConfigurationError: The store cannot be where the settings say.
        StoreUnavailable: The database does not answer.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        specs: dict[str, dict[str, object]],
        limits: dict[str, object],
        application: str,
        notifier: DeploymentHandle,
    ) -> None:
        join_serve_logs()
        os.nice(_NICENESS)
        self._settings = JobSettings.from_environment()
        self._settings.check(nodes=_working_nodes())
        self._limits = JobLimits.model_validate(limits)
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._sandbox = self._limits.sandbox(self._limits.decode_workers)
        self._metrics = JobMetrics()
        self._store = await JobStore.open(
            self._settings.url,
            self._settings.files,
            mail_expiry=timedelta(hours=MailSettings().email_expiry_hours),
        )
        self._notifier = notifier
        self._follower = JobFollower(self._store)
        self._feeds = [
            self._feed(application, name, ModelSpec.model_validate(spec))
            for name, spec in specs.items()
        ]
        lease_s = self._settings.lease_seconds
        self._tasks = [
            asyncio.create_task(repeat(self._heartbeat, lease_s / 3)),
            asyncio.create_task(repeat(self._update_gauges, _GAUGES_PERIOD_S)),
            asyncio.create_task(repeat(self._delete_expired, _RETENTION_PERIOD_S)),
        ]
        for feed in self._feeds:
            self._tasks += [asyncio.create_task(feed.watch()), asyncio.create_task(feed.run())]

    def _feed(self, application: str, name: str, spec: ModelSpec) -> ModelFeed:
        handle: DeploymentHandle = serve.get_deployment_handle(
            name, app_name=application, _check_exists=False
        )
        client = ModelClient(name, handle, Priority.BACKGROUND)
        places = Places(1)
        worker = ImageWorker(self._store, self._sandbox, client, spec, self._limits, places)
        return ModelFeed(
            name,
            self._store,
            client,
            worker,
            places,
            self._owner,
            self._settings.lease,
            self._changed,
        )

    def _changed(self, job_id: str) -> None:
        self._follower.notify(job_id)
        # The last image in flight may have ended a job. The notifier also looks by itself.
        if sum(len(feed.tokens) for feed in self._feeds) <= 1:
            self._notifier.wake.remote()

    async def save(self, contents: Sequence[bytes]) -> list[str]:
        """Store files durably and return their refs; a job must name them within a day.

        Raises:
            InsufficientStorage: The disk is full.
        """
        return await self._store.save(contents)

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job durably; see ``JobRepository.create``."""
        job, created = await self._store.jobs.create(new)
        for feed in self._feeds:
            feed.wake()
        return job, created

    async def get_job(self, job_id: str, tenant: str) -> Job:
        """Return a job; see ``JobRepository.get``."""
        return await self._store.jobs.get(job_id, tenant)

    async def list_jobs(self, tenant: str, limit: int, after: str | None) -> list[Job]:
        """Return one page of jobs; see ``JobRepository.list``."""
        return await self._store.jobs.list(tenant, limit, after)

    async def list_images(
        self, job_id: str, tenant: str, limit: int, after: int, name: str | None
    ) -> Sequence[Image]:
        """Return one page of images; see ``JobRepository.images``."""
        return await self._store.jobs.images(job_id, tenant, limit, after, name)

    async def cancel(self, job_id: str, tenant: str) -> Job:
        """Let no further image of a job start; see ``JobRepository.cancel``."""
        job = await self._store.jobs.cancel(job_id, tenant)
        self._follower.notify(job_id)
        return job

    async def follow(self, job_id: str, tenant: str, last_id: int, seconds: float) -> Followed:
        """Return the next events of a job, waiting for them; see ``JobFollower.follow``."""
        return await self._follower.follow(job_id, tenant, last_id, seconds)

    async def read(self, result: str) -> bytes:
        """Return a result file.

        Raises:
            NotFound: It was deleted.
        """
        return await self._store.read(result)

    async def render(
        self, result: str, position: int, name: str, mask: bool, metrics: bool
    ) -> Rendering:
        """Make mask and rows of the metrics table; see ``job_results.render``."""
        data = await self._store.read(result)
        convention = self._limits.metrics_convention
        return await self._sandbox.run(render, data, position, name, mask, metrics, convention)

    async def describe(self) -> dict[str, object]:
        """What this replica is and does, as JSON-ready values."""
        return {
            "pid": os.getpid(),
            "owner": self._owner,
            "in_flight": {feed.name: len(feed.tokens) for feed in self._feeds},
        }

    async def overview(self) -> dict[str, object]:
        """Count jobs and mails of all tenants, as JSON-ready values.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        return await summarise(self._store)

    async def check_health(self) -> None:
        """Called by Serve; raising makes it replace this replica.

        Raises:
            BaseException: What ended one of the loops, which run for ever.
        """
        for task in self._tasks:
            if task.done():
                task.result()

    async def _heartbeat(self) -> None:
        for feed in self._feeds:
            await feed.heartbeat()
        mine = {token for feed in self._feeds for token in feed.tokens}
        reaped = await self._store.images.reap(spare=mine)
        if reaped.returned or reaped.dead:
            log.warning("leases expired: %d returned, %d dead", reaped.returned, reaped.dead)
            for feed in self._feeds:
                feed.wake()

    async def _update_gauges(self) -> None:
        await self._metrics.update(
            self._store, {feed.name: len(feed.tokens) for feed in self._feeds}
        )

    async def _delete_expired(self) -> None:
        deleted = await self._store.delete_expired(self._settings.retention)
        if deleted.jobs or deleted.files:
            log.info("deleted %d expired jobs and %d files", deleted.jobs, deleted.files)

    async def __del__(self) -> None:
        """Called by Serve once before the end: give back what is claimed."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(ServerError):
            for feed in self._feeds:
                await feed.stop()
        self._sandbox.close()
        await self._store.close()


def _working_nodes() -> int:
    """Nodes that may run this deployment; the head of a cluster often has no CPUs to give."""
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
