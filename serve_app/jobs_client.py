"""Calls the jobs by their handle: implements ``serve_app.jobs_service.JobsService``.

Every call may be repeated: files are named by their content, and a job by its idempotency key.
So a replica of the jobs that dies under a call costs the time of its restart and nothing else.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray.exceptions
from ray import serve
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from deployments.errors import Overloaded, ServiceError, StoreUnavailable
from deployments.inference.images.declared import count_pixels
from deployments.inference.images.limits import ImageLimits
from deployments.inference.sandbox import Sandbox
from deployments.job_events import Followed
from deployments.job_results import Rendering
from deployments.jobs.records import Image, Job, NewJob
from serve_app.archives import ArchiveEntry, ArchiveLimits, list_entries, read_entries

log = logging.getLogger(__name__)

APPLICATION = "jobs"
DEPLOYMENT = "jobs"

_RETRIES = 4
_FIRST_WAIT_S = 0.2
# Longer than a restart of the replica and a rendering of the largest image.
_PATIENCE_S = 90.0


class JobsClient:
    """The application ``jobs`` as the ingress sees it.

    Args:
        sandbox: Where archives and headers of images are read.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._found: DeploymentHandle | None = None

    async def list_archive(self, path: Path, limits: ArchiveLimits) -> list[ArchiveEntry]:
        """List an archive; see ``JobsService``."""
        return await self._sandbox.run(list_entries, path, limits)

    async def read_archive(self, path: Path, entries: Sequence[ArchiveEntry]) -> list[bytes]:
        """Unpack files of an archive; see ``JobsService``."""
        return await self._sandbox.run(read_entries, path, entries)

    async def count_pixels(self, contents: Sequence[bytes], limits: ImageLimits) -> int:
        """Add up the pixels of files; see ``JobsService``."""
        return await self._sandbox.run(count_pixels, contents, limits)

    async def save(self, contents: Sequence[bytes]) -> list[str]:
        """Store files; see ``JobsService``."""
        refs: list[str] = await self._call("save", contents)
        return refs

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job; see ``JobsService``."""
        created: tuple[Job, bool] = await self._call("create", new)
        return created

    async def get_job(self, job_id: str, tenant: str) -> Job:
        """Look up a job; see ``JobsService``."""
        job: Job = await self._call("get_job", job_id, tenant)
        return job

    async def list_jobs(self, tenant: str, limit: int, after: str | None) -> list[Job]:
        """List jobs; see ``JobsService``."""
        jobs: list[Job] = await self._call("list_jobs", tenant, limit, after)
        return jobs

    async def list_images(
        self, job_id: str, tenant: str, limit: int, after: int = -1, name: str | None = None
    ) -> Sequence[Image]:
        """List images; see ``JobsService``."""
        images: Sequence[Image] = await self._call(
            "list_images", job_id, tenant, limit, after, name
        )
        return images

    async def cancel(self, job_id: str, tenant: str) -> Job:
        """Cancel a job; see ``JobsService``."""
        job: Job = await self._call("cancel", job_id, tenant)
        return job

    async def follow(self, job_id: str, tenant: str, last_id: int, seconds: float) -> Followed:
        """Wait for events; see ``JobsService``."""
        followed: Followed = await self._call("follow", job_id, tenant, last_id, seconds)
        return followed

    async def overview(self) -> dict[str, object]:
        """Count jobs and mails; see ``JobsService``."""
        numbers: dict[str, object] = await self._call("overview")
        return numbers

    async def read(self, result: str) -> bytes:
        """Read a result file; see ``JobsService``."""
        data: bytes = await self._call("read", result)
        return data

    async def render(
        self, result: str, position: int, name: str, mask: bool, metrics: bool
    ) -> Rendering:
        """Render a result; see ``JobsService``."""
        rendering: Rendering = await self._call("render", result, position, name, mask, metrics)
        return rendering

    async def _call(self, method: str, *args: object) -> Any:
        """Call a method of the jobs, again where their replica dies under the call.

        Raises:
            ServiceError: Whatever it raised.
            Overloaded: Too many calls wait.
            StoreUnavailable: There are no jobs here, or they do not answer.
        """
        handle = await self._handle()
        for attempt in range(_RETRIES + 1):
            response = getattr(handle, method).remote(*args)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await response
            except TimeoutError:
                response.cancel()
                raise StoreUnavailable("the jobs did not answer in time") from None
            except asyncio.CancelledError:
                response.cancel()
                raise
            except BackPressureError as error:
                raise Overloaded("too many requests wait for the jobs") from error
            except DeploymentUnavailableError as error:
                self._found = None
                raise StoreUnavailable("the jobs could not be started") from error
            except (ray.exceptions.RayActorError, RequestCancelledError) as error:
                log.warning("jobs lost, attempt %d: %s", attempt + 1, type(error).__name__)
                await asyncio.sleep(_FIRST_WAIT_S * 2**attempt)
            except ray.exceptions.RayTaskError as error:
                # Ray wraps what the replica raised in a class that is both; only the cause is ours.
                if isinstance(error.cause, ServiceError):
                    raise error.cause from None
                raise
        raise StoreUnavailable(f"the jobs died {_RETRIES + 1} times in a row")

    async def _handle(self) -> DeploymentHandle:
        if self._found is None:
            try:
                # Asks the controller, which blocks.
                self._found = await asyncio.to_thread(
                    serve.get_deployment_handle, DEPLOYMENT, APPLICATION
                )
            except RayServeException as error:
                raise StoreUnavailable("this server has no jobs: it runs without them") from error
        return self._found
